"""Means of paired differences against scipy, statsmodels, brute force and simulation."""

from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evalkit.stats import means
from evalkit.stats.base import Reals
from evalkit.stats.binary import mcnemar


def test_the_mean_its_error_and_its_test_are_those_of_scipy() -> None:
    differences = np.random.default_rng(1).normal(0.1, 0.4, 57)
    estimate = means.mean_difference(differences)
    oracle = stats.ttest_1samp(differences, 0.0)
    assert estimate.mean == pytest.approx(differences.mean())
    assert estimate.standard_error == pytest.approx(stats.sem(differences))
    assert means.t_test(estimate) == pytest.approx(oracle.pvalue)
    interval = means.t_interval(estimate, 0.95)
    assert interval == pytest.approx(tuple(oracle.confidence_interval(0.95)))


def test_the_clustered_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 12, 90)
    differences = rng.normal(0, 1, 90) + rng.normal(0, 1, 12)[groups]
    estimate = means.mean_difference(differences, [str(group) for group in groups])
    model = sm.OLS(differences, np.ones((90, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True}
    )
    # statsmodels also multiplies by (n − 1)/(n − k), which is 1 for a mean alone.
    assert estimate.standard_error == pytest.approx(float(model.bse[0]))
    assert estimate.clusters == len(set(groups.tolist()))


def test_one_sample_and_equal_differences_give_no_interval() -> None:
    alone = means.mean_difference(np.array([0.5]))
    assert means.t_interval(alone, 0.95) is None
    assert means.t_test(alone) is None
    equal = means.mean_difference(np.full(20, 0.25))
    assert means.t_interval(equal, 0.95) is None
    assert means.bootstrap_interval(np.full(20, 0.25), 0.95) is None
    assert means.mean_difference(np.array([])).clusters == 0
    assert means.bootstrap_interval(np.array([]), 0.95) is None
    assert means.bootstrap_interval(np.arange(9.0), 0.95) is None


def test_one_cluster_gives_no_interval() -> None:
    estimate = means.mean_difference(np.array([0.1, 0.2, 0.4]), ["a", "a", "a"])
    assert estimate.mean == pytest.approx(0.7 / 3)
    assert means.t_interval(estimate, 0.95) is None


@pytest.mark.parametrize("n", [41, 12_000])
def test_estimates_do_not_depend_on_the_order_of_samples(n: int) -> None:
    rng = np.random.default_rng(4)
    differences = rng.normal(0, 1, n)
    names = [f"c{i % 7}" for i in range(n)]
    order = rng.permutation(n)
    shuffled, moved = differences[order], [names[i] for i in order]
    assert means.mean_difference(differences) == means.mean_difference(shuffled)
    assert means.mean_difference(differences, names) == means.mean_difference(shuffled, moved)
    assert means.bootstrap_interval(differences, 0.95) == means.bootstrap_interval(shuffled, 0.95)
    assert means.sign_flip_test(differences) == means.sign_flip_test(shuffled)


# The bootstrap. Widening the level as Hesterberg does is a change of level, so scipy's BCa at the
# wider level is the oracle. Tolerances are in standard errors of the mean.


def _widened(level: float, n: int) -> float:
    z = math.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)
    return float(2 * stats.norm.cdf(z) - 1)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("kind", ["skewed", "few values"])
def test_the_bootstrap_is_scipys_bca(kind: str, level: float) -> None:
    rng = np.random.default_rng(6)
    draws = rng.lognormal(0, 1.5, 60)
    if kind == "few values":
        draws = np.repeat([-0.5, 0.0, 3.0], [40, 70, 6])
    found = means.bootstrap_interval(draws, level)
    assert found is not None
    assert found.method == "BCa bootstrap"
    wider = _widened(level, len(draws))
    ends = {
        method: stats.bootstrap(
            (draws,),
            np.mean,
            confidence_level=wider,
            n_resamples=40_000,
            method=method,
            rng=np.random.default_rng(7),
        ).confidence_interval
        for method in ("BCa", "percentile")
    }
    error = stats.sem(draws)
    # 5,000 draws leave the 1 % quantile uncertain by 0.05 to 0.1 standard errors here.
    assert found[:2] == pytest.approx(tuple(ends["BCa"]), abs=0.2 * error)
    assert abs(ends["BCa"].high - ends["percentile"].high) > 0.25 * error


def test_the_expansion_is_scipys_bca_in_large_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(8).gamma(1.0, 1.0, 500)
    monkeypatch.setattr(means, "_BOOTSTRAP_LIMIT", 100)
    found = means.bootstrap_interval(draws, 0.95)
    assert found is not None
    assert found.method == "BCa, expanded"
    oracle = stats.bootstrap(
        (draws,),
        np.mean,
        confidence_level=_widened(0.95, 500),
        n_resamples=60_000,
        method="BCa",
        batch=2_000,
        rng=np.random.default_rng(9),
    ).confidence_interval
    error = stats.sem(draws)
    plain = means.t_interval(means.mean_difference(draws), 0.95)
    assert plain is not None
    assert found[:2] == pytest.approx(tuple(oracle), abs=0.045 * error)
    assert abs(plain.high - oracle.high) > 0.09 * error


def test_a_large_sample_that_a_few_decide_has_no_bootstrap_interval() -> None:
    differences = np.random.default_rng(10).normal(0, 1, 20_000)
    assert means.bootstrap_interval(differences, 0.95) is not None
    differences[0] = 1e4
    assert means.bootstrap_interval(differences, 0.95) is None


def test_the_bootstrap_agrees_with_t_where_both_are_right() -> None:
    differences = np.random.default_rng(5).normal(0.2, 1, 400)
    boot = means.bootstrap_interval(differences, 0.95)
    normal = means.t_interval(means.mean_difference(differences), 0.95)
    assert boot is not None
    assert boot[:2] == pytest.approx(normal, abs=0.02)


# Sign flips.


def _all_flips(differences: Reals) -> float:
    """The definition, on whole numbers so that ties are ties."""
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum())))


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
def test_sign_flips_of_few_samples_are_all_tried(whole: list[int]) -> None:
    differences = np.array(whole, dtype=np.float64)
    oracle = _all_flips(differences)
    # Tenths are not exact in binary: sums that tie only up to rounding must tie all the same.
    for scores in (differences, differences / 10, differences * 0.1 + 0.0):
        found = means.sign_flip_test(scores)
        assert found is not None
        assert found.p == pytest.approx(oracle, abs=1e-12)
        assert found.method.startswith("exact")


def test_sign_flips_are_scipys_permutations_of_pairs() -> None:
    base, tuned = np.random.default_rng(11).normal(0.3, 1, (2, 12))
    oracle = stats.permutation_test(
        (tuned, base),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=5_000,
    )
    found = means.sign_flip_test(tuned - base)
    assert found is not None
    assert found.p == pytest.approx(oracle.pvalue, abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(3, 12), (0, 5), (150, 86), (40_000, 39_500)])
def test_sign_flips_of_right_and_wrong_are_mcnemars_exact_test(gained: int, lost: int) -> None:
    differences = np.concatenate([np.ones(gained), -np.ones(lost), np.zeros(100)])
    found = means.sign_flip_test(differences)
    assert found is not None
    assert found.p == pytest.approx(mcnemar(gained, lost), rel=1e-8)


def test_drawn_sign_flips_give_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(12).normal(0.5, 1, 15)
    exact = means.sign_flip_test(differences)
    monkeypatch.setattr(means, "_EXACT_SUMS", 1)
    drawn = means.sign_flip_test(differences)
    assert exact is not None
    assert drawn is not None
    assert drawn.method == "sign-flip permutation, 9,999 draws"
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 9_999))
    assert 0.01 < exact.p < 0.5


def test_the_rest_of_many_values_is_as_good_as_drawn() -> None:
    """900 heavy-tailed differences, of which 256 are drawn one by one, against drawing all."""
    rng = np.random.default_rng(13)
    differences = rng.lognormal(0, 1.5, 900) * rng.choice([-1, 1], 900) + 0.25
    found = means.sign_flip_test(differences)
    signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (20_000, 900))
    share = float(np.mean(np.abs(signs @ differences) >= abs(differences.sum())))
    assert found is not None
    assert 0.02 < share < 0.6
    spread = math.sqrt(share * (1 - share) * (1 / 9_999 + 1 / 20_000))
    assert found.p == pytest.approx(share, abs=4 * spread)


def test_no_differences_and_none_that_differ() -> None:
    assert means.sign_flip_test(np.array([])) is None
    nothing = means.sign_flip_test(np.zeros(30))
    assert nothing is not None
    assert nothing.p == 1.0
    one = means.sign_flip_test(np.array([0.4]))
    assert one is not None
    assert one.p == 1.0


# Simulations: the share that covers or rejects, within four standard errors of such a share.


def _within(share: float, target: float, simulations: int, errors: float = 4) -> bool:
    return abs(share - target) <= errors * math.sqrt(target * (1 - target) / simulations)


def _coverage(kind: str, n: int, simulations: int) -> float:
    rng = np.random.default_rng(14)
    covered = 0
    for differences in rng.normal(0.3, 1, (simulations, n)):
        if kind == "t":
            interval = means.t_interval(means.mean_difference(differences), 0.95)
            assert interval is not None
            covered += interval.low <= 0.3 <= interval.high
        else:
            boot = means.bootstrap_interval(differences, 0.95)
            assert boot is not None
            covered += boot.low <= 0.3 <= boot.high
    return covered / simulations


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_t_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    assert _within(_coverage("t", n, 4_000), 0.95, 4_000)


@pytest.mark.slow
@pytest.mark.parametrize("n", [15, 30, 100])
def test_the_bootstrap_covers_the_truth_as_often_as_it_says(n: int) -> None:
    assert _within(_coverage("boot", n, 1_500), 0.95, 1_500)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "exact"), [(6, 1 / 32), (10, 25 / 512), (30, 0.05)])
def test_sign_flips_reject_true_nulls_as_often_as_they_say(n: int, exact: float) -> None:
    """Heavy-tailed but symmetric; below 17 samples the size is the largest step under 5 %."""
    simulations = 2_000
    draws = np.random.default_rng(15).standard_t(2, (simulations, n))
    results = [means.sign_flip_test(differences) for differences in draws]
    rejected = np.mean([result is not None and result.p <= 0.05 for result in results])
    assert _within(float(rejected), exact, simulations)


@pytest.mark.slow
def test_twenty_suites_of_a_hundred_thousand_take_seconds() -> None:
    rng = np.random.default_rng(16)
    n = 100_000
    kinds = (
        rng.normal(0.002, 1, n),
        rng.lognormal(0, 1, n) * rng.choice([-1, 1], n),
        rng.integers(-10, 11, n) / 10,
        rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.8, 0.1]),
    )
    names = [f"cluster {i // 4}" for i in range(n)]
    started = time.process_time()
    for differences in kinds:
        assert means.t_interval(means.mean_difference(differences), 0.95) is not None
        assert means.mean_difference(differences, names).clusters == n // 4
        assert means.bootstrap_interval(differences, 0.95) is not None
        assert means.sign_flip_test(differences) is not None
    assert time.process_time() - started < 4.0  # 20 s for twenty
