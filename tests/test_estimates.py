"""The traps: nothing, one, all alike, too few to tell, and many slices at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.stats.multitest as sm
from scipy import stats

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.records import Delta, MetricKind
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"
Values = Sequence[float | None]


def _delta(
    base: Values, tuned: Values, kind: MetricKind = "continuous", clusters: Sequence[str] = ()
) -> Delta:
    infos = [make_info(SUITE, kind=kind)]
    return compare(
        make_run("base", {SUITE: base}, infos=infos, clusters=clusters),
        make_run("tuned", {SUITE: tuned}, infos=infos, adapter="a", clusters=clusters),
    ).deltas[0]


def test_a_continuous_difference_has_the_error_the_skewness_and_the_test_of_scipy() -> None:
    rng = np.random.default_rng(1)
    base, tuned = rng.normal(0, 1, 50), rng.exponential(1, 50)
    delta = _delta(base.tolist(), tuned.tolist())
    assert delta.standard_error == pytest.approx(stats.sem(tuned - base))
    assert delta.skewness == pytest.approx(stats.skew(tuned - base, bias=False))
    assert delta.tuned_skewness == pytest.approx(stats.skew(tuned, bias=False))
    assert delta.method == ("paired t, corrected for skewness; sign-flip permutation, 9,999 draws")


def test_forty_clusters_and_more_are_corrected_by_the_skewness_of_their_sums() -> None:
    rng = np.random.default_rng(2)
    tuned = rng.exponential(1, 120)
    names = [f"c{i // 3}" for i in range(120)]
    delta = _delta([0.0] * 120, tuned.tolist(), clusters=names)
    sums = (tuned - tuned.mean()).reshape(40, 3).sum(axis=1)
    assert delta.interval == "t"
    assert delta.skewness == pytest.approx(stats.skew(sums, bias=False))
    assert delta.method == "paired t, corrected for skewness, clustered by sample group"
    assert delta.difference is not None
    assert delta.low is not None
    assert delta.high is not None
    # The upper tail is the long one.
    assert delta.high - delta.difference > 1.05 * (delta.difference - delta.low)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_no_sample_and_one_sample(kind: MetricKind) -> None:
    none = _delta([None, math.nan], [1.0, 0.0], kind)
    assert (none.n, none.difference, none.low, none.missing) == (0, None, None, 2)
    assert none.note == "no sample has a score in both arms"
    one = _delta([1.0], [0.0], kind)
    assert (one.n, one.difference) == (1, -1.0)
    if kind == "binary":
        assert one.low is not None
        assert one.high is not None
        assert one.high - one.low > 1  # Tango: of one sample next to nothing is known
    else:
        assert (one.low, one.p_value, one.note) == (None, None, "too few samples")


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_none_of_n_and_all_of_n_leave_some_width(score: float) -> None:
    delta = _delta([score] * 50, [score] * 50, "binary")
    assert delta.difference == 0
    assert delta.low is not None
    assert delta.high is not None
    z2 = stats.norm.ppf(0.975) ** 2
    assert (delta.low, delta.high) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))
    assert delta.p_value == 1


@pytest.mark.parametrize("groups", [0, 8, 48])
def test_differences_that_are_all_alike_have_no_interval(groups: int) -> None:
    """Also those that differ by rounding alone: .9 − .8 is not .3 − .2 in binary."""
    base, tuned = [0.8, 0.2, 0.1] * 32, [0.9, 0.3, 0.2] * 32
    names = [f"c{i % groups}" for i in range(96)] if groups else ()
    delta = _delta(base, tuned, clusters=names)
    assert delta.difference == pytest.approx(0.1)
    assert (delta.low, delta.boot_low, delta.p_value) == (None, None, None)
    assert delta.note == "every difference is the same"
    assert (delta.interval, delta.standard_error) == ("none", 0.0)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (2, 3)])
def test_few_flips_are_said_to_be_no_power(gained: int, lost: int) -> None:
    base = [0.0] * gained + [1.0] * (200 - gained)
    tuned = [1.0] * gained + [0.0] * lost + [1.0] * (200 - gained - lost)
    delta = _delta(base, tuned, "binary")
    assert stats.binomtest(max(gained, lost), max(1, gained + lost)).pvalue > 0.05
    assert delta.note.startswith(f"{gained + lost} of 200 flipped: below 6 flips")
    assert delta.interval == "tango"


def test_enough_flips_need_no_note() -> None:
    delta = _delta([0.0] * 6 + [1.0] * 194, [1.0] * 200, "binary")
    assert delta.p_value == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert delta.p_value is not None
    assert delta.p_value < 0.05
    assert delta.note == ""


def test_few_flips_do_not_change_what_the_gate_says() -> None:
    """The bounds hold without flips: z²/(n + z²) is all that 200 samples leave open."""
    infos = [make_info(SUITE, margin=0.02)]
    pair = compare(
        make_run("base", {SUITE: [1.0] * 200}, infos=infos),
        make_run("tuned", {SUITE: [1.0] * 200}, infos=infos, adapter="a"),
    )
    assert decide(pair, GateConfig()).outcome == "pass"
    assert decide(pair, GateConfig(margin=0.01)).outcome == "inconclusive"


def test_a_metric_where_lower_is_better_has_the_same_numbers() -> None:
    base, tuned = [0.1, 0.5, 0.9, 0.3] * 5, [0.2, 0.4, 0.1, 0.3] * 5
    one = _delta(base, tuned)
    infos = [make_info(SUITE, kind="continuous", higher_is_better=False)]
    other = compare(
        make_run("base", {SUITE: base}, infos=infos),
        make_run("tuned", {SUITE: tuned}, infos=infos, adapter="a"),
    ).deltas[0]
    assert replace(other, metric=one.metric) == one


def test_slices_of_all_suites_are_weighed_together() -> None:
    """Benjamini and Hochberg's adjusted p, against statsmodels."""
    names = ["knowledge/one", "knowledge/two"]
    rng = np.random.default_rng(3)
    topics = [f"t{i % 10}" for i in range(400)]
    base = {name: rng.integers(0, 2, 400).astype(float).tolist() for name in names}
    tuned = {name: rng.integers(0, 2, 400).astype(float).tolist() for name in names}
    for place in range(0, 400, 10):  # one topic of one suite is hit
        base[names[0]][place], tuned[names[0]][place] = 1.0, 0.0
    deltas = compare(
        make_run("base", base, slices=topics), make_run("tuned", tuned, adapter="a", slices=topics)
    ).deltas
    sliced = [one for one in deltas if one.slice]
    assert len(sliced) == 20
    oracle = sm.multipletests([one.p_value for one in sliced], method="fdr_bh")[1]
    assert [one.adjusted_p for one in sliced] == pytest.approx(oracle)
    assert [one.slice for one in sliced if (one.adjusted_p or 0) <= 0.05] == ["topic=t0"]
    assert all(one.adjusted_p is None for one in deltas if not one.slice)


def test_a_slice_without_a_test_is_left_out_of_the_family() -> None:
    infos = [make_info(SUITE, kind="continuous")]
    base, tuned = [0.1, 0.2, 0.3, 0.4, 0.9], [0.3, 0.1, 0.5, 0.9, 0.8]
    topics = ["many"] * 4 + ["one"]
    deltas = compare(
        make_run("base", {SUITE: base}, infos=infos, slices=topics),
        make_run("tuned", {SUITE: tuned}, infos=infos, slices=topics, adapter="a"),
    ).deltas
    many, one = [delta for delta in deltas if delta.slice]
    assert many.adjusted_p == many.p_value is not None
    assert (one.p_value, one.adjusted_p) == (None, None)
