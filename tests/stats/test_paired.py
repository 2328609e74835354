"""Paired estimates against scipy, statsmodels, published figures and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from evalkit.stats import paired


def test_the_mean_its_error_and_its_test_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0.1, 0.4, 57)
    estimate = paired.mean_difference(differences)
    oracle = stats.ttest_1samp(differences, 0.0)
    assert estimate.mean == pytest.approx(differences.mean())
    assert estimate.standard_error == pytest.approx(stats.sem(differences))
    assert paired.t_test(estimate) == pytest.approx(oracle.pvalue)
    interval = paired.t_interval(estimate, 0.95)
    assert interval == pytest.approx(tuple(oracle.confidence_interval(0.95)))


def test_the_clustered_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 12, 90)
    differences = rng.normal(0, 1, 90) + rng.normal(0, 1, 12)[groups]
    estimate = paired.mean_difference(differences, [str(group) for group in groups])
    model = sm.OLS(differences, np.ones((90, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True}
    )
    # statsmodels also multiplies by (n − 1)/(n − k), which is 1 for a mean alone.
    assert estimate.standard_error == pytest.approx(float(model.bse[0]))
    assert estimate.clusters == len(set(groups.tolist()))


def test_mcnemar_is_exact() -> None:
    """[[794, 86], [150, 570]], Agresti's approval ratings: exact p 3.716e-5."""
    assert paired.mcnemar(86, 150) == pytest.approx(3.716e-5, rel=1e-3)
    table = [[30, 3], [12, 15]]
    oracle = statsmodels_mcnemar(table, exact=True).pvalue
    assert paired.mcnemar(3, 12) == pytest.approx(oracle)
    assert paired.mcnemar(0, 0) == 1.0


@given(gained=st.integers(0, 60), lost=st.integers(0, 60), same=st.integers(0, 200))
def test_tango_bounds_are_where_the_score_test_just_rejects(
    gained: int, lost: int, same: int
) -> None:
    n = gained + lost + same
    interval = paired.tango_interval(gained, lost, n, 0.95)
    if n == 0:
        assert interval is None
        return
    assert interval is not None
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1
    assert interval.high > interval.low
    mirrored = paired.tango_interval(lost, gained, n, 0.95)
    assert mirrored is not None
    assert mirrored == pytest.approx((-interval.high, -interval.low), abs=1e-9)


def test_tango_has_width_even_when_nothing_flipped() -> None:
    interval = paired.tango_interval(0, 0, 50, 0.95)
    assert interval is not None
    # With no discordant pair the bounds solve z² = nδ/(1 − δ) … = ±z²/(n + z²).
    z2 = stats.norm.ppf(0.975) ** 2
    assert interval == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))


@pytest.mark.parametrize(
    ("n", "gain", "loss"), [(40, 0.1, 0.2), (100, 0.05, 0.05), (400, 0.1, 0.04)]
)
def test_tango_covers_the_truth_as_often_as_it_says(n: int, gain: float, loss: float) -> None:
    rng = np.random.default_rng(3)
    draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=600)
    hits = 0
    for won, gone, _ in draws:
        interval = paired.tango_interval(int(won), int(gone), n, 0.95)
        assert interval is not None
        hits += interval.low <= gain - loss <= interval.high
    # 0.95 ± four standard errors of a simulated proportion.
    assert hits / 600 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 600))


def test_one_sample_and_equal_differences_give_no_interval() -> None:
    alone = paired.mean_difference(np.array([0.5]))
    assert paired.t_interval(alone, 0.95) is None
    assert paired.t_test(alone) is None
    equal = paired.mean_difference(np.full(20, 0.25))
    assert paired.t_interval(equal, 0.95) is None
    assert paired.bootstrap_interval(np.full(20, 0.25), 0.95) is None
    assert paired.mean_difference(np.array([])).clusters == 0


def test_one_cluster_gives_no_interval() -> None:
    estimate = paired.mean_difference(np.array([0.1, 0.2, 0.4]), ["a", "a", "a"])
    assert estimate.mean == pytest.approx(0.7 / 3)
    assert paired.t_interval(estimate, 0.95) is None


def test_estimates_do_not_depend_on_the_order_of_samples() -> None:
    rng = np.random.default_rng(4)
    differences = rng.normal(0, 1, 41)
    shuffled = rng.permutation(differences)
    assert paired.mean_difference(differences).mean == paired.mean_difference(shuffled).mean
    assert paired.bootstrap_interval(differences, 0.95) == paired.bootstrap_interval(shuffled, 0.95)


def test_the_bootstrap_agrees_with_t_where_both_are_right() -> None:
    differences = np.random.default_rng(5).normal(0.2, 1, 400)
    boot = paired.bootstrap_interval(differences, 0.95)
    normal = paired.t_interval(paired.mean_difference(differences), 0.95)
    assert boot == pytest.approx(normal, abs=0.02)


def test_the_samples_needed_are_those_of_statsmodels() -> None:
    from statsmodels.stats.power import NormalIndPower

    oracle = NormalIndPower(ddof=0).solve_power(
        effect_size=0.03 / 0.35, alpha=0.05, power=0.8, ratio=0, alternative="larger"
    )
    assert paired.samples_needed(0.35, 0.03, 0.05) == math.ceil(oracle)
