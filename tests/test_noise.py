"""How much differences scatter: from a pilot, by declaration, by custom; never made up."""

from __future__ import annotations

import gzip
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evalkit.compare import compare
from evalkit.config import Expected
from evalkit.noise import (
    USUAL_PREFERENCE,
    Pilot,
    at_threshold,
    declared,
    of_pilot,
    own_of_pilot,
    scale_of,
    usual,
)
from evalkit.records import Delta, Metric, Run, Score
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"
YES_NO = Metric(name="accuracy", kind="binary")
SHARE = Metric(name="share", least=0.0, most=1.0)
ENDLESS = Metric(name="length")


def _run(
    name: str,
    values: list[float],
    metric: Metric,
    clusters: Sequence[str] = (),
    slices: Sequence[str] = (),
) -> Run:
    infos = [replace(make_info(SUITE), metric=metric.name, metrics=(metric,))]
    return make_run(
        name, {SUITE: values}, infos=infos, adapter=name, clusters=clusters, slices=slices
    )


def _pilot(
    base: list[float],
    tuned: list[float],
    metric: Metric,
    clusters: Sequence[str] = (),
    slices: Sequence[str] = (),
) -> Pilot:
    arms = [
        _run(name, values, metric, clusters, slices)
        for name, values in (("base", base), ("tuned", tuned))
    ]
    return Pilot(comparisons=(compare(*arms),))


def _one_arm(values: list[float], metric: Metric, clusters: Sequence[str] = ()) -> Pilot:
    return Pilot(run=_run("base", values, metric, clusters))


def test_flips_of_a_pilot_are_bounded_from_above() -> None:
    few = of_pilot(_pilot([1.0] * 50, [1.0] * 47 + [0.0] * 3, YES_NO), SUITE, YES_NO)
    oracle = stats.binomtest(3, 50, alternative="less").proportion_ci(0.8, "exact").high
    assert few.flips == pytest.approx(float(oracle))
    assert few.deviation == pytest.approx(math.sqrt(float(oracle)))
    none = of_pilot(_pilot([1.0] * 50, [1.0] * 50, YES_NO), SUITE, YES_NO)
    assert none.flips is not None
    assert none.flips > 0.03


def test_scores_of_a_pilot_scatter_as_they_do() -> None:
    rng = np.random.default_rng(4)
    base, tuned = rng.normal(size=60), rng.normal(size=60)
    found = of_pilot(_pilot(base.tolist(), tuned.tolist(), ENDLESS), SUITE, ENDLESS)
    assert found.deviation == pytest.approx(float(np.std(tuned - base, ddof=1)))
    assert (found.source, found.flips, found.clustered) == ("pilot", None, True)


def test_of_several_tuned_arms_the_noisiest_counts() -> None:
    quiet = _pilot([1.0] * 50, [1.0] * 49 + [0.0], YES_NO)
    loud = _pilot([1.0] * 50, [1.0] * 30 + [0.0] * 20, YES_NO)
    both = Pilot(comparisons=(*quiet.comparisons, *loud.comparisons))
    assert of_pilot(both, SUITE, YES_NO) == of_pilot(loud, SUITE, YES_NO)


def test_a_slice_scatters_like_itself_and_where_the_pilot_lacks_it_like_its_suite() -> None:
    topics = ["art"] * 30 + ["war"] * 30
    pilot = _pilot([1.0] * 60, [1.0] * 50 + [0.0] * 10, YES_NO, slices=topics)
    whole = of_pilot(pilot, SUITE, YES_NO)
    loud = of_pilot(pilot, SUITE, YES_NO, "topic=war")
    assert (loud.flips or 0) > (whole.flips or 0)
    assert of_pilot(pilot, SUITE, YES_NO, "topic=food") == whole


def test_differences_that_are_all_the_same_tell_nothing() -> None:
    assert of_pilot(_pilot([1.0] * 9, [2.0] * 9, ENDLESS), SUITE, ENDLESS).source == "unknown"
    assert of_pilot(_pilot([1.0] * 9, [2.0] * 9, ENDLESS), "other", ENDLESS).source == "unknown"


def test_more_completions_scatter_less_as_published() -> None:
    """Miller (2024), section 5: n = 198, 13.3 points with one completion and 7.6 with ten."""
    pilot = _pilot([1.0, 2.0] * 99, [1.0, 1.0] * 99, ENDLESS)
    once = math.sqrt(1 / 9 + 1 / 3)

    def remade(delta: Delta) -> Delta:
        return replace(
            delta,
            standard_error=once / math.sqrt(198),
            between=1 / 9,
            within_base=1 / 6,
            within_tuned=1 / 6,
        )

    made = replace(
        pilot.comparisons[0], deltas=tuple(remade(one) for one in pilot.comparisons[0].deltas)
    )
    points = {}
    for completions in (1, 10):
        noise = of_pilot(Pilot(comparisons=(made,)), SUITE, ENDLESS, completions=completions)
        assert noise.deviation is not None
        reach = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
        points[completions] = round(100 * reach * noise.deviation / math.sqrt(198), 1)
    assert points == {1: 13.3, 10: 7.6}


def test_one_arm_alone_is_taken_to_correlate_with_the_other() -> None:
    """At ½ the differences scatter like the scores: σ² + σ² − 2·½·σ²."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=80)
    found = of_pilot(_one_arm(values.tolist(), ENDLESS), SUITE, ENDLESS)
    assert found.deviation == pytest.approx(float(np.std(values, ddof=1)))
    assert found.source == "one_arm"
    right = of_pilot(_one_arm([1.0] * 30 + [0.0] * 30, YES_NO), SUITE, YES_NO)
    assert right.flips == pytest.approx(0.25)
    never = of_pilot(_one_arm([0.0] * 60, YES_NO), SUITE, YES_NO)
    rate = 1 - 0.2 ** (1 / 60)  # the bound of 0 of 60
    assert never.flips == pytest.approx(rate * (1 - rate))
    ratio = Metric(name="bits", kind="ratio")
    assert of_pilot(_one_arm(values.tolist(), ratio), SUITE, ratio).source == "unknown"


def test_one_arm_with_several_completions_tells_what_one_would_scatter() -> None:
    rng = np.random.default_rng(6)
    means = rng.normal(size=400)
    answers = means[:, None] + rng.normal(scale=2.0, size=(400, 4))
    pilot = _one_arm(answers.mean(axis=1).tolist(), ENDLESS)
    assert pilot.run is not None
    often = Pilot(run=_with_answers(pilot.run, answers.tolist()))
    assert of_pilot(often, SUITE, ENDLESS, completions=4).deviation == pytest.approx(
        float(np.std(answers.mean(axis=1), ddof=1))
    )
    once = of_pilot(often, SUITE, ENDLESS, completions=1).deviation
    assert once == pytest.approx(math.sqrt(1 + 4), rel=0.1)


def _with_answers(run: Run, answers: list[list[float]]) -> Run:
    def given(score: Score, values: list[float]) -> Score:
        return replace(score, values=tuple(values))

    pairs = zip(run.results, answers, strict=True)
    results = [replace(one, scores=(given(one.scores[0], values),)) for one, values in pairs]
    return replace(run, results=tuple(results))


def test_clusters_of_a_pilot_are_allowed_for() -> None:
    rng = np.random.default_rng(7)
    shared = np.repeat(rng.normal(size=50), 4)
    groups = [f"g{i // 4}" for i in range(200)]
    base = [0.0] * 200
    loose = of_pilot(_pilot(base, shared.tolist(), ENDLESS), SUITE, ENDLESS)
    tied = of_pilot(_pilot(base, shared.tolist(), ENDLESS, clusters=groups), SUITE, ENDLESS)
    assert loose.deviation is not None
    assert tied.deviation is not None
    # Samples of a cluster that are all alike are worth one: the variance is four times as large.
    assert (tied.deviation / loose.deviation) ** 2 == pytest.approx(4.0, rel=0.03)
    arm = of_pilot(_one_arm(shared.tolist(), ENDLESS, clusters=groups), SUITE, ENDLESS)
    assert arm.deviation == pytest.approx(tied.deviation)


def test_the_order_of_a_pilots_samples_changes_nothing() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=30)
    pilot = _one_arm(values.tolist(), ENDLESS)
    assert pilot.run is not None
    turned = Pilot(run=replace(pilot.run, results=pilot.run.results[::-1]))
    assert of_pilot(turned, SUITE, ENDLESS) == of_pilot(pilot, SUITE, ENDLESS)


def test_missing_scores_are_left_out_and_not_taken_for_zero() -> None:
    values = [1.0, 3.0, 2.0, 5.0, math.nan, math.nan]
    found = of_pilot(_one_arm(values, ENDLESS), SUITE, ENDLESS)
    assert found.deviation == pytest.approx(float(np.std(values[:4], ddof=1)))


def test_a_suites_own_expectation_wins_over_that_for_all() -> None:
    shared = Expected(flips=0.3, deviation=2.0)
    assert declared(YES_NO, None, shared).flips == 0.3
    assert declared(YES_NO, Expected(flips=0.1), shared).deviation == pytest.approx(math.sqrt(0.1))
    assert declared(ENDLESS, None, shared).deviation == 2.0
    assert declared(ENDLESS, Expected(deviation=1.0), shared).deviation == 1.0
    assert declared(ENDLESS, None, Expected(flips=0.3)).source == "unknown"
    assert declared(YES_NO, None, Expected(deviation=2.0)).source == "unknown"


def test_what_is_usual_needs_a_scale() -> None:
    assert usual(YES_NO).flips == 0.2
    assert usual(SHARE).deviation == 0.25
    assert usual(Metric(name="chrf", least=0.0, most=100.0)).deviation == 25.0
    preferred = Metric(name="judge.rednote", least=0.0, most=1.0)
    assert usual(preferred).deviation == 0.8
    assert usual(replace(preferred, name="judge.rednote.corrected")).source == "unknown"
    assert usual(ENDLESS).source == "unknown"
    assert usual(Metric(name="bits", kind="ratio", least=0.0, most=9.0)).source == "unknown"
    assert (scale_of(YES_NO), scale_of(SHARE), scale_of(ENDLESS)) == (1.0, 1.0, None)


def test_an_absolute_share_scatters_like_one_at_its_bound() -> None:
    assert at_threshold(YES_NO, (0.9, None)).deviation == pytest.approx(0.3)
    assert at_threshold(YES_NO, (0.6, 0.9)).deviation == pytest.approx(math.sqrt(0.24))
    assert at_threshold(YES_NO, (1.0, None)).source == "unknown"
    assert at_threshold(SHARE, (0.9, None)).source == "unknown"
    tuned = [1.0] * 40 + [0.0] * 10
    own = own_of_pilot(_pilot([1.0] * 50, tuned, YES_NO), SUITE, YES_NO)
    assert own.deviation == pytest.approx(float(np.std(tuned, ddof=1)))
    arm = own_of_pilot(_one_arm(tuned, YES_NO), SUITE, YES_NO)
    assert arm.deviation == pytest.approx(own.deviation)


def test_what_is_usual_of_a_preference_is_what_a_real_judge_shows() -> None:
    """The two models of the recorded judgements that are nearest to their opponent."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "alpaca_eval"
    if not folder.is_dir():
        pytest.skip("needs the recorded judgements of ../shared/data/alpaca_eval")
    for name in ("FuseChat-Llama-3.1-8B-Instruct", "FuseChat-Qwen-2.5-7B-Instruct"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            preferences = [json.loads(line)["preference"] - 1 for line in lines]
        spread = statistics.stdev(2 * each - 1 for each in preferences)
        assert spread == pytest.approx(USUAL_PREFERENCE, abs=0.02)
