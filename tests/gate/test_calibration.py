"""The gate on data whose truth is known: it keeps its promise, and a gate that did not is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evalkit.errors import UsageError
from evalkit.gate import calibration
from evalkit.gate.calibration import Calibration, Row, calibrate_made_up, calibrate_run, gate_rule
from evalkit.records import Metric, MetricKind, Result, Run
from evalkit.stats.base import Reals
from evalkit.stats.calibrate import (
    KINDS,
    SIZES,
    TRUTHS,
    Case,
    Kind,
    Rate,
    SplitRates,
    Truth,
    cases,
    error_rates,
)
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def _sampled(values: Reals, *, clusters: Sequence[str] = (), kind: str = "binary") -> Run:
    """A run in which each sample was answered several times: values [n, K]."""
    infos = [make_info(SUITE, kind="continuous" if kind == "continuous" else "binary")]
    run = make_run("base", {SUITE: list(values.mean(axis=1))}, infos=infos, clusters=clusters)
    return replace(run, results=tuple(map(_with_values, run.results, values.tolist())))


def _with_values(result: Result, values: list[float]) -> Result:
    return replace(result, scores=(replace(result.scores[0], values=tuple(values)),))


def _right_or_wrong(n: int, completions: int) -> Reals:
    rng = np.random.default_rng(3)
    chance = rng.beta(0.5, 0.5, (n, 1))
    return (rng.random((n, completions)) < chance).astype(np.float64)


def _few_cases(margin: float, quick: bool) -> tuple[Case, ...]:
    """Two sizes of four kinds, and one case of each thing that is asked."""
    kinds: tuple[Kind, ...] = ("binary", "continuous", "clustered", "5 completions")
    usual = [Case(kind, n, truth, margin) for kind in kinds for n in (50, 60) for truth in TRUTHS]
    others = (case for case in cases(margin, quick) if case.ask != "non_inferiority")
    return (*usual, *{case.ask: case for case in others if case.n <= 200}.values())


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulations of few cases: what the numbers mean is tested, not what they are."""
    monkeypatch.setattr(calibration, "QUICK_SIMULATIONS", 40)
    monkeypatch.setattr(calibration, "cases", _few_cases)


def test_the_rule_is_the_gate_s_own() -> None:
    rule = gate_rule(Metric(name="score", kind="binary", least=0.0, most=1.0), 0.05, 0.05)
    same = np.zeros(200)
    assert rule(same, ()) == "pass"  # no flip in 200 bounds the loss at 1.3 %
    assert rule(same[:20], ()) == "inconclusive"
    assert rule(np.repeat([-1.0, 0.0], 100), ()) == "fail"
    lower = gate_rule(Metric(name="loss", higher_is_better=False), 0.05, 0.05)
    spread = np.random.default_rng(1).normal(0.5, 0.1, 100)
    assert lower(spread, ()) == "fail"
    assert lower(-spread, ()) == "pass"
    # Twice as many samples that say the same in pairs are no more than half of them.
    pairs = [f"pair {place // 2}" for place in range(200)]
    drawn = np.repeat(-0.025 + 0.17 * np.tile([-1.0, 1.0], 50), 2)
    upper = gate_rule(Metric(name="score"), 0.05, 0.05)
    assert (upper(drawn, ()), upper(drawn, pairs)) == ("pass", "inconclusive")


def test_the_rates_of_the_gate_are_those_of_its_decisions(few: None) -> None:
    found = calibrate_made_up(margin=0.05, alpha=0.05, quick=True)
    for row, case in zip(found.rows, _few_cases(0.05, True), strict=True):
        assert (row.data, row.ask, row.n) == (case.kind, case.ask, case.n)
        assert (row.wrong_pass is None) == (row.difference == 0)
        asked = 200 if case.countable else 40
        assert row.inconclusive.simulations == asked
        assert row.wrong_fail.times + row.inconclusive.times <= asked
        if row.wrong_pass is not None:
            times = row.wrong_pass.times + row.wrong_fail.times + row.inconclusive.times
            assert times == asked
    assert found == calibrate_made_up(margin=0.05, alpha=0.05, quick=True)


def test_a_rule_that_errs_is_told(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "gate_rule", lambda *_: lambda differences, clusters: "pass")
    found = calibrate_made_up(margin=0.05, alpha=0.05, quick=True)
    wrong = [row for row in found.rows if row.difference]
    assert found.excesses == len(wrong) + len(found.pools)
    assert all(found.exceeds(row.wrong_pass) == (row.difference != 0) for row in found.rows)


def test_a_count_is_judged_among_as_many_as_were_looked_at(few: None) -> None:
    found = calibrate_made_up(margin=0.05, alpha=0.05, quick=True)
    rate = Rate(7, 40)  # p = .0034 alone
    assert rate.exceeds(0.05, 0.005)
    assert not found.exceeds(rate)
    assert replace(found, rows=found.rows[:1]).exceeds(rate)


def test_seven_per_cent_at_every_size_are_found_in_the_sum_though_in_none_alone() -> None:
    """The promise is 5: no size by itself tells 7 of 100 from it, all five together do."""
    row = Row(
        data="continuous",
        n=20,
        difference=-0.05,
        margin=0.05,
        wrong_pass=Rate(70, 1000),
        wrong_fail=Rate(30, 1000),
        inconclusive=Rate(900, 1000),
    )
    sizes = [replace(row, n=n) for n in SIZES]
    kept = [
        replace(one, data=kind, wrong_pass=Rate(50, 1000)) for one in sizes for kind in KINDS[:3]
    ]
    found = Calibration(alpha=0.05, simulations=1000, rows=(*sizes, *kept))
    assert not any(map(found.exceeds, found.rates))
    (pool,) = [pool for pool in found.pools if found.pool_exceeds(pool.wrong_pass)]
    assert pool.wrong_pass == Rate(350, 5000)
    assert found.excesses == 1
    # The chance to find it, of 7 % in truth: the least count that is called, by scipy.
    least = next(k for k in range(5000) if found.pool_exceeds(Rate(k, 5000)))
    assert stats.binom.sf(least - 1, 5000, 0.07) > 0.95


@pytest.mark.parametrize(("margin", "alpha"), [(0.0, 0.05), (0.5, 0.05), (0.05, 0.0), (0.05, 0.5)])
def test_what_cannot_be_calibrated_is_told(margin: float, alpha: float) -> None:
    with pytest.raises(UsageError, match="Choose another"):
        calibrate_made_up(margin=margin, alpha=alpha, quick=True)


def test_a_model_is_compared_with_itself_at_its_margin_and_at_none(few: None) -> None:
    run = _sampled(_right_or_wrong(80, 6))
    wide, exact = calibrate_run(run, alpha=0.05, quick=True).rows
    assert (wide.data, wide.n, wide.margin, wide.wrong_pass) == (SUITE, 80, 0.05, None)
    assert (exact.margin, exact.difference) == (0.0, 0.0)
    assert exact.wrong_pass is not None
    given = calibrate_run(run, margin=0.2, alpha=0.05, quick=True).rows
    assert [row.margin for row in given] == [0.2, 0.0]
    # At so wide a margin the same model passes nearly always.
    assert given[0].inconclusive.times < wide.inconclusive.times


def test_the_margin_is_that_of_the_gate_the_run_was_made_with(few: None) -> None:
    run = _sampled(_right_or_wrong(80, 4))
    for declared in ({"margin": 0.15}, {"suites": {SUITE: {"margin": 0.15}}}):
        manifest = replace(run.manifest, config={"gate": declared})
        wide, _ = calibrate_run(replace(run, manifest=manifest), alpha=0.05, quick=True).rows
        assert wide.margin == 0.15


def test_a_sample_with_few_answers_does_not_cost_the_others_theirs(
    few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _sampled(_right_or_wrong(40, 10))
    short = _with_values(run.results[0], [0.0, 1.0])
    seen: list[tuple[int, ...]] = []

    def split(rule: object, scores: Reals, *_: object) -> SplitRates:
        seen.append(scores.shape)
        return SplitRates(Rate(0, 40), Rate(0, 40), Rate(40, 40))

    monkeypatch.setattr(calibration, "split_rates", split)
    calibrate_run(replace(run, results=(short, *run.results[1:])), alpha=0.05, quick=True)
    assert seen == [(39, 10)] * 2


def test_neither_the_order_of_samples_nor_of_answers_matters(few: None) -> None:
    values = _right_or_wrong(40, 5)
    run = _sampled(values)
    mixed = replace(run, results=run.results[::-1])
    turned = replace(run, results=tuple(map(_with_values, run.results, values[:, ::-1].tolist())))
    first = calibrate_run(run, alpha=0.05, quick=True)
    assert calibrate_run(mixed, alpha=0.05, quick=True) == first
    assert calibrate_run(turned, alpha=0.05, quick=True) == first


def test_a_run_without_several_answers_says_how_to_make_one() -> None:
    run = make_run("base", {SUITE: [0.0, 1.0, 1.0]})
    with pytest.raises(UsageError, match=r"temperature: 0\.7, repeats: 10"):
        calibrate_run(run, alpha=0.05)


def test_a_suite_that_cannot_be_split_is_named_beside_one_that_can(few: None) -> None:
    both = make_run("base", {SUITE: [0.5] * 30, "style/other": [1.0] * 30})
    rows = _right_or_wrong(30, 4).tolist()
    results = [*map(_with_values, both.results[:30], rows), *both.results[30:]]
    # A NaN is no answer, and a sample with fewer answers than most is left out.
    results[0] = _with_values(results[0], [1.0, float("nan")])
    results[1] = _with_values(results[1], [1.0, 0.0, float("nan")])
    found = calibrate_run(replace(both, results=tuple(results)), alpha=0.05, quick=True)
    assert found.skipped == ("style/other",)
    assert {row.n for row in found.rows} == {28}


_MARGIN: Truth = "at the margin"


@pytest.mark.parametrize(
    ("case", "simulations"),
    [
        (Case("binary", 200, _MARGIN, 0.05), 10_000),
        (Case("binary, only losses", 52, _MARGIN, 0.05), 10_000),
        (Case("binary", 32, _MARGIN, 0.05, "absolute"), 10_000),
        (Case("binary", 50, _MARGIN, 0.05, "lower is better"), 10_000),
        (Case("binary", 50, _MARGIN, 0.05, "superiority"), 10_000),
        (Case("binary", 200, _MARGIN, 0.05, "equivalence"), 10_000),
        (Case("continuous", 50, _MARGIN, 0.05), 400),
        (Case("clustered", 200, _MARGIN, 0.05), 300),
        (Case("clustered, few and unequal", 60, _MARGIN, 0.05, "absolute"), 60),
        (Case("5 completions", 50, _MARGIN, 0.05), 300),
        (Case("5 completions, little noise", 20, _MARGIN, 0.05), 300),
        (Case("continuous", 50, _MARGIN, 0.05, "3 suites"), 150),
    ],
    ids=lambda one: f"{one.kind}, {one.ask}" if isinstance(one, Case) else "",
)
def test_the_gate_errs_no_more_often_than_it_says(case: Case, simulations: int) -> None:
    """A fast representative of each kind; the slow test below goes through the whole table."""
    kind: MetricKind = "continuous" if case.kind == "continuous" else "binary"
    floor = case.floor if case.ask == "absolute" else None
    rule = gate_rule(Metric(name="score", kind=kind), 0.05, 0.05, case.ask, floor)
    (found,) = error_rates(rule, [case], simulations, seed=4)
    assert found.wrong_pass is not None
    assert not found.wrong_pass.exceeds(0.05)
    assert not found.wrong_fail.exceeds(0.05)


def test_the_rule_asks_what_it_was_told_to() -> None:
    """Each against a rule of thumb that a reader can work out."""
    metric = Metric(name="score", kind="binary", least=0.0, most=1.0)
    same, better = np.zeros(1000), np.repeat([1.0, 0.0], [200, 800])
    assert gate_rule(metric, 0.05, 0.05, "superiority")(same, ()) == "fail"
    assert gate_rule(metric, 0.05, 0.05, "superiority")(better, ()) == "pass"
    assert gate_rule(metric, 0.05, 0.05, "equivalence")(same, ()) == "pass"
    assert gate_rule(metric, 0.05, 0.05, "equivalence")(better, ()) == "fail"
    # Benefits stay benefits where the score itself is better when it is lower.
    assert gate_rule(metric, 0.05, 0.05, "lower is better")(better, ()) == "pass"
    assert gate_rule(metric, 0.05, 0.05, "lower is better")(-better, ()) == "fail"
    assert gate_rule(metric, 0.05, 0.05, "absolute", 0.1)(better, ()) == "pass"
    assert gate_rule(metric, 0.05, 0.05, "absolute", 0.3)(better, ()) == "fail"
    three = gate_rule(metric, 0.05, 0.05, "3 suites")
    assert three(np.concatenate([same, same, same]), ()) == "pass"
    assert three(np.concatenate([same, same, -better]), ()) == "fail"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_kind_and_size_keeps_alpha() -> None:
    found = calibrate_made_up(margin=0.05, alpha=0.05)
    above = [
        row for row in found.rows if found.exceeds(row.wrong_pass) or found.exceeds(row.wrong_fail)
    ]
    assert not above


@pytest.mark.slow
@pytest.mark.parametrize("completions", [2, 5, 10])
def test_a_sampled_model_against_itself_keeps_alpha(completions: int) -> None:
    clusters = [f"passage {place // 3}" for place in range(150)]
    for run in (
        _sampled(_right_or_wrong(150, completions)),
        _sampled(_right_or_wrong(150, completions), clusters=clusters),
        _sampled(np.random.default_rng(5).beta(2, 5, (60, completions)), kind="continuous"),
    ):
        assert not calibrate_run(run, alpha=0.05).excesses
