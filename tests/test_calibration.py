"""The gate on data whose truth is known: it keeps its promise, and a gate that did not is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from evalkit import calibration
from evalkit.calibration import calibrate_made_up, calibrate_run, gate_rule
from evalkit.errors import UsageError
from evalkit.records import Metric, Result, Run
from evalkit.stats.base import Reals
from evalkit.stats.calibrate import Rate
from evalkit.stats.simulate import binary
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


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulations of few cases: what the numbers mean is tested, not what they are."""
    monkeypatch.setattr(calibration, "QUICK_SIMULATIONS", 40)
    monkeypatch.setattr("evalkit.stats.calibrate._QUICK_SIZES", (50,))


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
    assert {row.n for row in found.rows} == {50}
    assert {row.data for row in found.rows} == {
        "binary",
        "continuous",
        "clustered",
        "5 completions",
    }
    for row in found.rows:
        assert (row.wrong_pass is None) == (row.difference == 0)
        assert row.wrong_fail.times + row.inconclusive.times <= 40
        if row.wrong_pass is not None:
            times = row.wrong_pass.times + row.wrong_fail.times + row.inconclusive.times
            assert times == 40
    assert len(found.rates) == 12
    assert found == calibrate_made_up(margin=0.05, alpha=0.05, quick=True)


def test_a_rule_that_errs_is_told(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "gate_rule", lambda *_: lambda differences, clusters: "pass")
    found = calibrate_made_up(margin=0.05, alpha=0.05, quick=True)
    assert found.excesses == 4  # each kind passes all that differ by the margin
    assert all(found.exceeds(row.wrong_pass) == (row.difference < 0) for row in found.rows)


def test_a_count_is_judged_among_as_many_as_were_looked_at(few: None) -> None:
    found = calibrate_made_up(margin=0.05, alpha=0.05, quick=True)
    rate = Rate(7, 40)  # p = .0034 alone
    assert rate.exceeds(0.05, 0.01)
    assert not found.exceeds(rate)
    assert replace(found, rows=found.rows[:1]).exceeds(rate)


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
    # A NaN is no answer, and a sample with one answer cannot be split.
    results[0] = _with_values(results[0], [1.0, float("nan")])
    results[1] = _with_values(results[1], [1.0, 0.0, float("nan")])
    found = calibrate_run(replace(both, results=tuple(results)), alpha=0.05, quick=True)
    assert found.skipped == ("style/other",)
    assert {row.n for row in found.rows} == {29}


def test_the_gate_errs_no_more_often_than_it_says() -> None:
    """A fast representative of the whole table, which the slow test below goes through."""
    rng = np.random.default_rng(4)
    drawn = binary(200, base_rate=0.6, difference=-0.05, discordance=0.2, rng=rng, simulations=1000)
    rule = gate_rule(Metric(name="score", kind="binary"), 0.05, 0.05)
    said = [rule(differences, ()) for differences in drawn.differences]
    for outcome in ("pass", "fail"):
        assert not Rate(said.count(outcome), 1000).exceeds(0.05)


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
