"""Deciding early, below the command line: who is asked when, resuming, and how often it errs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evalkit.compare import compare, suite_deltas
from evalkit.config import GateConfig, RecordedModel, RunConfig, SuiteGate
from evalkit.estimates import ALPHAS
from evalkit.evaluate import evaluate
from evalkit.gate.bounds import p_not_below
from evalkit.gate.decide import alone_among, claims, decide
from evalkit.harnesses.base import Suite
from evalkit.models.recorded import RecordedEngine, Recording, Row
from evalkit.planning import Plan, make_plan
from evalkit.records import Metric, Pair, Result, Run, Sample, Score, SuiteInfo
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.match import exact_match
from evalkit.sequences import in_order, obstacle, planned
from evalkit.sequential import evaluate_early, make_schedules
from evalkit.stats.sequential import ConfidenceSequence
from evalkit.store.completions import CompletionStore
from tests.test_evaluate import Counting

MARGIN = 0.1


def make_suite(name: str, n: int, cluster_size: int = 1) -> Suite:
    samples = tuple(
        Sample(
            id=f"q{i}",
            suite=name,
            prompt=f"{name} {i}?",
            targets=("yes",),
            cluster=f"p{i // cluster_size}" if cluster_size > 1 else "",
        )
        for i in range(n)
    )
    scorer = exact_match(
        ScorerContext(suite=name, language="en", samples=samples, references=lambda _: ())
    )
    info = SuiteInfo(
        name=name, title=name, language="en", task="generate", metric="exact_match",
        metrics=scorer.metrics, fingerprint=name, path=name, samples=n, margin=MARGIN,
    )  # fmt: skip
    return Suite(info=info, task="generate", samples=samples, scorers=(scorer,))


def make_two(
    suites: Sequence[Suite],
    base: Sequence[Sequence[bool]],
    tuned: Sequence[Sequence[bool]],
    gate: GateConfig = GateConfig(),  # noqa: B008  frozen
) -> Plan:
    """A base and a tuned arm that are right where it is said, for each suite."""
    recordings = {}
    for arm, right in (("base", base), ("tuned", tuned)):
        rows = {
            (suite.info.name, sample.id): Row(
                place=arm, texts=("yes" if hit else f"no, {arm}",), choices=None
            )
            for suite, hits in zip(suites, right, strict=True)
            for sample, hit in zip(suite.samples, hits, strict=True)
        }
        digest = f"{arm} {[list(map(int, hits)) for hits in right]}"
        recordings[arm] = Recording(path=Path(arm), digest=digest, rows=rows)
    configs = [
        RunConfig(
            name=arm,
            model=RecordedModel(kind="recorded", path=Path(arm)),
            suites=tuple(suite.info.name for suite in suites),
            gate=gate,
        )
        for arm in recordings
    ]
    return make_plan(configs, suites, [RecordedEngine(recordings)])


def broken(plan: Plan, breaks_at: int = -1) -> tuple[Plan, Counting]:
    """The same plan over an engine that counts, and may be interrupted."""
    engine = Counting(plan.engines[0], breaks_at)
    return make_plan([arm.config for arm in plan.arms], plan.suites, [engine]), engine


def coins(seed: int, rate: float, n: int) -> list[bool]:
    return list(np.random.default_rng(seed).random(n) < rate)


def test_a_run_that_was_killed_ends_as_it_would_have(tmp_path: Path) -> None:
    plan = make_two([make_suite("my/a", 300)], [coins(1, 0.7, 300)], [coins(3, 0.45, 300)])
    with CompletionStore(tmp_path / "whole.sqlite") as store:
        counted, engine = broken(plan)
        whole = evaluate_early(counted, store, tmp_path / "whole")
    asked = engine.asked
    assert asked < 2 * 300
    with CompletionStore(tmp_path / "killed.sqlite") as store:
        counted, engine = broken(plan, breaks_at=90)  # in the second block
        with pytest.raises(KeyboardInterrupt):
            evaluate_early(counted, store, tmp_path / "killed")
        assert not list(tmp_path.glob("killed/*/manifest.json"))
        counted, engine = broken(plan)
        again = evaluate_early(counted, store, tmp_path / "killed")
    assert engine.asked == asked - 90
    for one, other in zip(whole, again, strict=True):
        assert one.results == other.results
        assert one.manifest.early == other.manifest.early
        assert one.manifest.run_id == other.manifest.run_id


def test_a_settled_suite_is_not_asked_further_while_others_are(tmp_path: Path) -> None:
    suites = [make_suite("my/clear", 300), make_suite("my/open", 300)]
    base = [coins(1, 0.8, 300), coins(3, 0.5, 300)]
    tuned = [coins(2, 0.1, 300), [not one if i % 20 < 3 else one for i, one in enumerate(base[1])]]
    gate = GateConfig(suites={"my/open": SuiteGate(margin=0.01)})
    with CompletionStore(tmp_path / "c.sqlite") as store:
        runs = evaluate_early(make_two(suites, base, tuned, gate), store, tmp_path)
    early = runs[0].manifest.early
    assert (early["my/clear"].settled, early["my/open"].settled) == (True, False)
    assert early["my/clear"].asked == early["my/clear"].requests == 32
    assert early["my/open"].asked == early["my/open"].planned == 300
    counts = runs[0].manifest.counts
    assert counts["samples"] == 332
    verdict = decide(compare(runs[0], runs[1]), gate)
    assert [one.outcome for one in verdict.suites] == ["fail", "inconclusive"]
    assert all(not ids for ids in compare(runs[0], runs[1]).unpaired.values())


def test_what_was_settled_stays_so_among_all_suites(tmp_path: Path) -> None:
    """Every fail that stopped a suite has to stand by Holm's rule in the end."""
    n, names = 400, ["my/a", "my/b", "my/c", "my/d"]
    suites = [make_suite(name, n) for name in names]
    base = [coins(seed, 0.7, n) for seed in range(4)]
    tuned = [coins(10 + seed, rate, n) for seed, rate in enumerate((0.42, 0.45, 0.7, 0.9))]
    gate = GateConfig()
    with CompletionStore(tmp_path / "c.sqlite") as store:
        runs = evaluate_early(make_two(suites, base, tuned), store, tmp_path)
    early = runs[0].manifest.early
    verdict = decide(compare(runs[0], runs[1]), gate)
    settled = {name for name, one in early.items() if one.settled}
    assert {"my/a", "my/d"} <= settled
    for one in verdict.suites:
        assert (one.outcome != "inconclusive") or one.suite not in settled
    assert early["my/a"].alphas == (0.05, alone_among(0.05, 4))
    assert 4 * alone_among(0.05, 4) < 0.05


def test_the_declared_slices_are_claims_too() -> None:
    suites = [make_suite("my/a", 1).info, make_suite("my/b", 1).info]
    gate = GateConfig(suites={"my/a": SuiteGate(must_not_regress=("x=1", "x=2"))})
    assert claims(suites, gate) == 4


def test_two_arms_that_answer_all_alike_are_no_verdict_after_a_block(tmp_path: Path) -> None:
    """They differ in one late answer alone: a verdict, as without looking early, not an error."""
    n = 200
    suite = make_suite("my/a", n)
    hits = [True] * n
    last = make_schedules(make_two([suite], [hits], [hits]))[0].blocks[-1][-1]
    other = [f"q{i}" != last for i in range(n)]
    with CompletionStore(tmp_path / "c.sqlite") as store:
        runs = evaluate_early(make_two([suite], [hits], [other]), store, tmp_path)
    assert runs[0].manifest.early["my/a"].asked == n
    assert decide(compare(*runs), GateConfig()).outcome == "pass"


def test_an_absolute_gate_is_decided_by_a_sequence_of_the_tuned_scores(tmp_path: Path) -> None:
    gate = GateConfig(suites={"my/a": SuiteGate(policy="absolute", floor=0.5)})
    for rate, outcome in ((0.95, "pass"), (0.1, "fail")):
        plan = make_two(
            [make_suite("my/a", 300)], [coins(1, 0.7, 300)], [coins(2, rate, 300)], gate
        )
        with CompletionStore(tmp_path / "c.sqlite") as store:
            runs = evaluate_early(plan, store, tmp_path)
        (delta,) = compare(*runs).deltas
        assert delta.n < 300
        assert delta.tuned_tails[0].low < (delta.tuned or 0) <= delta.tuned_tails[0].high
        assert decide(compare(*runs), gate).outcome == outcome


def test_a_bare_threshold_is_asked_as_a_whole(tmp_path: Path) -> None:
    gate = GateConfig(policy="point")
    plan = make_two([make_suite("my/a", 60)], [coins(1, 0.7, 60)], [coins(2, 0.1, 60)], gate)
    with CompletionStore(tmp_path / "c.sqlite") as store:
        early = evaluate_early(plan, store, tmp_path)
        whole = evaluate(plan, store, tmp_path)
    assert [one.manifest.run_id for one in early] == [one.manifest.run_id for one in whole]
    assert early[0].manifest.early == {}


def test_a_score_off_its_scale_has_no_interval_and_stops_nothing(tmp_path: Path) -> None:
    suite = make_suite("my/a", 64)
    narrow = Metric(name="exact_match", least=0.0, most=0.5)
    suite = Suite(
        info=SuiteInfo(**{k: getattr(suite.info, k) for k in SuiteInfo.__dataclass_fields__}
                       | {"metrics": (narrow,)}),
        task="generate", samples=suite.samples, scorers=suite.scorers,
    )  # fmt: skip
    plan = make_two([suite], [coins(1, 0.7, 64)], [coins(2, 0.1, 64)])
    with CompletionStore(tmp_path / "c.sqlite") as store:
        runs = evaluate_early(plan, store, tmp_path)
    (delta,) = compare(*runs).deltas
    assert (delta.n, delta.interval, delta.low, delta.p_value) == (64, "none", None, None)
    assert delta.note == "a score lies outside of 0 to 0.5"
    assert decide(compare(*runs), GateConfig()).outcome == "inconclusive"


def test_ratios_of_sums_cannot_be_stopped() -> None:
    assert "whole corpus" in obstacle(Metric(name="bits", kind="ratio", least=0.0, most=9.0))
    assert "no bounds" in obstacle(Metric(name="length"))
    assert obstacle(Metric(name="share", least=0.0, most=1.0)) == ""


def at_the_margin(rng: np.random.Generator, n: int, size: int) -> tuple[list[bool], list[bool]]:
    """Paired hits whose true difference is −MARGIN; clusters of a size share much of theirs."""
    groups = -(-n // size)
    down = np.repeat(rng.random(groups) < 0.2, size)[:n]
    up = np.repeat(rng.random(groups) < 0.1, size)[:n]
    base = np.where(down | up, down & ~up | (down & up), rng.random(n) < 0.6)
    tuned = np.where(down & ~up, False, np.where(up & ~down, True, base))
    return list(base), list(tuned)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 5])
def test_the_whole_decision_errs_no_more_often_than_alpha(tmp_path: Path, size: int) -> None:
    """Neither pass nor fail is right at the margin: each may happen once in twenty times."""
    rng = np.random.default_rng(size)
    suite = make_suite("my/a", 200, size)
    simulations, outcomes, early = 200, [], 0
    with CompletionStore(tmp_path / "c.sqlite") as store:
        for _ in range(simulations):
            base, tuned = at_the_margin(rng, 200, size)
            runs: list[Run] = evaluate_early(make_two([suite], [base], [tuned]), store, tmp_path)
            outcomes.append(decide(compare(*runs), GateConfig()).outcome)
            early += runs[0].manifest.early["my/a"].settled
    for wrong in ("pass", "fail"):
        assert stats.binom.sf(outcomes.count(wrong) - 1, simulations, 0.05) > 1e-3, wrong
    assert early >= outcomes.count("pass") + outcomes.count("fail")


def arms_of(
    samples: Sequence[Sample], base: Sequence[bool], tuned: Sequence[bool]
) -> tuple[SuiteInfo, list[Pair]]:
    """A suite of right-or-wrong scores and its pairs, without any model."""
    metric = Metric(name="right", kind="binary")
    info = replace(make_suite("my/a", 1).info, metric="right", metrics=(metric,))

    def result(sample: Sample, hit: bool) -> Result:
        score = Score(sample_id=sample.id, scorer="right", value=float(hit))
        return Result(sample=sample, completions=(), scores=(score,))

    arms = zip(samples, base, tuned, strict=True)
    return info, [Pair(base=result(s, b), tuned=result(s, t)) for s, b, t in arms]


def test_a_part_without_a_cluster_is_put_into_the_order_in_which_it_was_asked() -> None:
    """Of some samples with a cluster, the first block may hold none."""
    samples = [
        replace(one, cluster=f"p{place // 3}" if place < 30 else "")
        for place, one in enumerate(make_suite("my/a", 220).samples)
    ]
    seen = 0
    for seed in range(60):
        asked = [samples[place] for place in in_order(samples, seed)[0]]
        if any(one.cluster for one in asked):
            continue
        seen += 1
        again = [asked[place] for block in in_order(asked, seed) for place in block]
        assert [one.id for one in again] == [one.id for one in asked]
    assert seen
    early = planned(samples, (0.05,))
    none, hits = samples[30:62], [True] * 32
    info, pairs = arms_of(none, hits, hits)
    (delta,) = suite_deltas(info, pairs, early, 0)
    sequence = ConfidenceSequence(-1, 1, 0.05, early.draws)
    sequence.add([0.0] * 32, [1 / 3] * 32)  # each is a third of the largest cluster
    (bounds,) = sequence.one_sided_at([0.05])
    assert bounds is not None
    tail = next(one for one in delta.tails if one.alpha == 0.05)
    assert (tail.low, tail.high) == pytest.approx(tuple(bounds))


def test_what_the_gate_does_not_ask_is_bounded_at_the_level_shown_alone() -> None:
    samples = [
        replace(one, slices={"x": str(place % 2)})
        for place, one in enumerate(make_suite("my/a", 100).samples)
    ]
    info, pairs = arms_of(samples, coins(1, 0.7, 100), coins(2, 0.7, 100))
    info = replace(info, metrics=(*info.metrics, Metric(name="other", kind="binary")))
    more = [
        replace(one, scores=(*one.scores, replace(one.scores[0], scorer="other")))
        for pair in pairs
        for one in (pair.base, pair.tuned)
    ]
    pairs = [Pair(base=b, tuned=t) for b, t in zip(more[::2], more[1::2], strict=True)]
    early = replace(planned(samples, (0.05,)), metric="right", claims=("", "x=1"))
    found = {(d.metric.name, d.slice): d for d in suite_deltas(info, pairs, early)}
    levels = {key: tuple(tail.alpha for tail in one.tails) for key, one in found.items()}
    assert levels == {
        ("right", ""): ALPHAS,
        ("right", "x=1"): ALPHAS,
        ("right", "x=0"): (0.025,),
        ("other", ""): (0.025,),
    }
    assert not any(one.tuned_tails for one in found.values())
    other, asked = found["other", ""], found["right", ""]
    assert (other.low, other.high) == pytest.approx((asked.low, asked.high), abs=1e-9)
    own = suite_deltas(info, pairs, replace(early, absolute=True))
    assert [bool(one.tuned_tails) for one in own] == [True, False, False, False]
    assert all(one.boot_low is None and one.p_value is None for one in own)


def test_the_p_of_a_sequence_is_as_seldom_small_as_it_says() -> None:
    """The levels are nested, so the least that excludes the truth is one p, not the best of eight:
    each level errs seldom, and so do all below it together."""
    rng = np.random.default_rng(5)
    suite = make_suite("my/a", 150)
    early = planned(suite.samples, (0.05, alone_among(0.05, 4)))
    ps = []
    for _ in range(400):
        base, tuned = at_the_margin(rng, 150, 1)
        info, pairs = arms_of(suite.samples, base, tuned)
        (delta,) = suite_deltas(info, pairs, early)
        lows, highs = ([getattr(t, side) for t in delta.tails] for side in ("low", "high"))
        assert lows == sorted(lows, reverse=True)
        assert highs == sorted(highs)
        ps.append(p_not_below(delta, -MARGIN))
    for level in (0.1, 0.05, 0.025, 0.0125):
        assert stats.binom.sf(sum(p <= level for p in ps) - 1, 400, level) > 1e-3
