"""What once let a worse model pass: each must end open or failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from evalkit.compare import compare
from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import UsageError
from evalkit.gate.bounds import benefit_bounds, tuned_bounds
from evalkit.gate.decide import check_gate, decide
from evalkit.records import Comparison, Metric, Run, SuiteVerdict
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def pair(base: Run, tuned: Run, gate: GateConfig | None = None) -> SuiteVerdict:
    return decide(compare(base, tuned), gate or GateConfig()).suites[0]


def answers(name: str, rows: Sequence[Sequence[float]], asked: int) -> Run:
    """A run whose samples have the mean of some scored answers of those that were asked."""
    made = make_run(name, {SUITE: [float(np.mean(row)) for row in rows]}, adapter=name)
    results = tuple(
        replace(
            result,
            completions=result.completions * asked,
            scores=(replace(result.scores[0], values=tuple(row)),),
        )
        for result, row in zip(made.results, rows, strict=True)
    )
    return replace(made, results=results)


@pytest.mark.parametrize("gained", [0, 1])
def test_twenty_questions_with_several_answers_cannot_decide_two_points(gained: int) -> None:
    """Without a word of those that might be lost, one answer of 100 gained passed."""
    base = [[1.0] * 5] * 19 + [[1.0] * 4 + [0.0]]
    tuned = [[1.0] * 5] * 19 + [[1.0] * (4 + gained) + [0.0] * (1 - gained)]
    found = pair(answers("base", base, 5), answers("tuned", tuned, 5), GateConfig(margin=0.02))
    assert found.outcome == "inconclusive"


def test_answers_that_were_not_scored_are_missing() -> None:
    """An arm whose bad answers fail to be scored must not win by that."""
    rng = np.random.default_rng(1)
    base = [list((rng.random(10) < 0.5).astype(float)) for _ in range(100)]
    found = pair(answers("base", base, 10), answers("tuned", [[1.0]] * 100, 10))
    assert (found.outcome, found.ground) == ("fail", "missing")
    assert "90.0% of the answers" in found.reason
    some = GateConfig(max_missing=0.95)
    assert (
        pair(answers("base", base, 10), answers("tuned", [[1.0]] * 100, 10), some).outcome == "pass"
    )


def test_a_score_of_few_clusters_is_held_by_the_wild_bootstrap() -> None:
    """Nine of ten right, in eight clusters of which one is half wrong: Student's t is too sure."""
    names = [f"c{number // 10}" for number in range(80)]
    values = [0.0 if number < 8 else 1.0 for number in range(80)]
    base = make_run("base", {SUITE: [1.0] * 79 + [0.0]}, clusters=names)
    tuned = make_run("tuned", {SUITE: values}, clusters=names, adapter="a")
    delta = compare(base, tuned).deltas[0]
    assert delta.interval == "wild"
    kept = {tail.alpha: tail for tail in delta.tuned_tails}
    found = tuned_bounds(delta, 0.05)
    assert found is not None
    assert found.low == pytest.approx(min(kept[0.05].low, 0.9 * 0.05 ** (1 / 8)))
    assert found.low < 0.7


def test_five_clusters_decide_on_the_side_that_they_can() -> None:
    names = [f"c{number // 20}" for number in range(100)]
    base = make_run("base", {SUITE: [float(n % 5 == 0) for n in range(100)]}, clusters=names)
    values = [float(n % 20 < 16 + n // 20 % 2) for n in range(100)]
    tuned = make_run("tuned", {SUITE: values}, clusters=names, adapter="a")
    delta = compare(base, tuned).deltas[0]
    assert (delta.low, delta.interval) == (None, "wild")
    assert benefit_bounds(delta, 0.05) is not None
    assert pair(base, tuned, GateConfig(margin=0.2)).outcome == "pass"


def documents(name: str, tokens: float, nats: float) -> Run:
    info = make_info(SUITE, metric="token_perplexity", kind="perplexity", higher_is_better=False)
    made = make_run(name, {SUITE: [math.exp(nats / tokens)] * 40}, infos=[info], adapter=name)
    results = [
        replace(
            one,
            scores=(replace(one.scores[0], stats=((nats + i % 3), tokens)),),
        )
        for i, one in enumerate(made.results)
    ]
    return replace(made, results=tuple(results))


def test_perplexities_of_two_tokenizers_are_not_compared() -> None:
    """The tuned arm has more nats, on more tokens: its perplexity alone is lower."""
    found = pair(documents("base", 100, 300), documents("tuned", 150, 330))
    assert found.outcome == "inconclusive"
    assert "gate bits_per_byte" in found.reason
    assert pair(documents("base", 100, 300), documents("tuned", 100, 270)).outcome == "pass"


def test_a_perplexity_of_its_own_can_be_held_against_a_ceiling() -> None:
    base, tuned = documents("base", 100, 300), documents("tuned", 100, 270)
    for ceiling, outcome in ((20.0, "pass"), (10.0, "fail")):
        gate = GateConfig(suites={SUITE: SuiteGate(policy="absolute", ceiling=ceiling)})
        assert pair(base, tuned, gate).outcome == outcome


def crowd(suites: int) -> Comparison:
    """Many suites of few clusters, all alike but one, which fell by sixty points."""
    names = [f"c{number // 4}" for number in range(80)]
    same = [float(number % 3 == 0) for number in range(80)]
    base = {f"s/{i}": [float(n % 80 > 3) for n in range(80)] for i in range(suites)}
    tuned = {f"s/{i}": list(row) for i, row in enumerate(base.values())}
    tuned["s/0"] = [value * (n % 5 < 2) for n, value in enumerate(base["s/0"])]
    for i in range(1, suites):
        tuned[f"s/{i}"] = [1 - v if n == i % 80 else v for n, v in enumerate(same)]
        base[f"s/{i}"] = same
    return compare(
        make_run("base", base, clusters=names),
        make_run("tuned", tuned, clusters=names, adapter="a"),
    )


def test_a_great_fall_stands_among_sixty_suites() -> None:
    verdict = decide(crowd(60), GateConfig())
    assert verdict.suites[0].outcome == "fail"


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        (GateConfig(margin=5.0), "a margin of 5 allows any difference"),
        (GateConfig(suites={SUITE: SuiteGate(margin=1.0)}), "Five points are 0.05"),
        (GateConfig(suites={SUITE: SuiteGate(policy="absolute", floor=90.0)}), "90 is no bound"),
        (GateConfig(suites={SUITE: SuiteGate(metric="exact")}), "declare a margin in that unit"),
    ],
)
def test_a_margin_in_another_unit_is_refused(gate: GateConfig, told: str) -> None:
    info = make_info(SUITE)
    if "in that unit" in told:
        exact = Metric(name="exact", kind="binary")
        bleu = Metric(name="corpus_bleu", kind="bleu")
        info = replace(info, metric="exact", metrics=(bleu, exact), margin_metric="corpus_bleu")
    with pytest.raises(UsageError, match=told):
        check_gate([info], gate)


def test_no_margin_is_infinite() -> None:
    for key in ("margin", "max_missing"):
        with pytest.raises(ValueError, match="finite"):
            GateConfig.model_validate({key: math.inf})
