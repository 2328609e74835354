"""Power against Miller (2024), statsmodels and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestPower

from evalkit.stats import power
from evalkit.stats.binary import HALF_A_FLIP, mcnemar, tango_bounds, tango_statistic


def test_the_published_sizes_are_found() -> None:
    """Miller, "Adding Error Bars to Evals" (2024), section 5; his tests are two-sided at .05."""
    assert power.samples_needed(math.sqrt(1 / 9), 0.03, alpha=0.025) == 969
    points = {}
    for completions in (1, 10):
        deviation = power.resampled_deviation(1 / 9, 1 / 6, 1 / 6, completions)
        smallest = power.detectable(deviation, 198, alpha=0.025)
        assert smallest is not None
        points[completions] = round(100 * smallest, 1)
    assert points == {1: 13.3, 10: 7.6}


@pytest.mark.parametrize(("completions", "saved"), [(2, 1 / 3), (4, 1 / 2), (6, 5 / 9)])
def test_resampling_cuts_the_variance_as_published(completions: int, saved: float) -> None:
    """Miller (2024), section 3.1: rates uniform on 0 to 1, so 1/12 between and 1/6 within."""
    once = power.resampled_deviation(1 / 12, 1 / 6, 0.0)
    often = power.resampled_deviation(1 / 12, 1 / 6, 0.0, completions)
    assert 1 - (often / once) ** 2 == pytest.approx(saved)


def test_sizes_are_those_of_statsmodels() -> None:
    oracle = NormalIndPower(ddof=0).solve_power(
        effect_size=0.03 / 0.35, alpha=0.05, power=0.8, ratio=0, alternative="larger"
    )
    assert power.samples_needed(0.35, 0.03, 0.05) == math.ceil(oracle)
    reach = NormalIndPower(ddof=0).solve_power(
        nobs1=500, alpha=0.05, power=0.9, ratio=0, alternative="larger"
    )
    assert power.detectable(0.35, 500, 0.05, 0.9) == pytest.approx(0.35 * float(reach), rel=1e-5)


@settings(deadline=None)
@given(deviation=st.floats(0.01, 2), distance=st.floats(0.005, 0.5), wanted=st.floats(0.55, 0.99))
def test_what_is_needed_just_detects(deviation: float, distance: float, wanted: float) -> None:
    n = power.samples_needed(deviation, distance, 0.05, wanted)
    assert n is not None
    smallest = power.detectable(deviation, n, 0.05, wanted)
    assert smallest is not None
    assert smallest <= distance * (1 + 1e-9)
    assert power.can_decide(n, deviation, -smallest * (1 + 1e-9), 0.05, wanted)
    if n > 1:
        larger = power.detectable(deviation, n - 1, 0.05, wanted)
        assert larger is not None
        assert larger > distance * (1 - 1e-9)
        assert not power.can_decide(n - 1, deviation, larger * (1 - 1e-9), 0.05, wanted)


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.nan])
def test_no_noise_seen_is_no_power_and_not_safety(deviation: float) -> None:
    assert power.samples_needed(deviation, 0.02, 0.05) is None
    assert power.detectable(deviation, 100, 0.05) is None
    assert not power.can_decide(100, deviation, 0.02, 0.05)


def test_a_margin_of_nothing_and_a_suite_of_nothing_cannot_be_decided() -> None:
    assert power.samples_needed(0.3, 0.0, 0.05) is None
    assert power.detectable(0.3, 0, 0.05) is None
    assert not power.can_decide(10**9, 0.3, 0.0, 0.05)
    assert not power.can_decide(0, 0.3, 0.5, 0.05)
    assert power.least_margin_binary(0, 0.05) is None
    assert power.cautious_deviation_binary(0, 0) is None
    assert power.effective_samples([], 0.2) == 0


@pytest.mark.parametrize("n", [20, 198, 3000])
def test_the_least_margin_is_where_tango_without_a_flip_ends(n: int) -> None:
    bounds = tango_bounds(0, 0, n, 0.05)
    least = power.least_margin_binary(n, 0.05)
    assert bounds is not None
    assert least is not None
    assert least == pytest.approx(-bounds.low)
    assert power.samples_without_flip(least, 0.05) == pytest.approx(n)


@pytest.mark.parametrize("alpha", [0.1, 0.0625, 0.05, 0.01, 0.001])
def test_one_flip_fewer_can_never_reject(alpha: float) -> None:
    flips = power.flips_needed(alpha)
    assert mcnemar(flips, 0) <= alpha < mcnemar(flips - 1, 0)
    one_sided = power.flips_needed(alpha, two_sided=False)
    assert stats.binomtest(one_sided, one_sided, alternative="greater").pvalue <= alpha
    assert stats.binomtest(one_sided - 1, one_sided - 1, alternative="greater").pvalue > alpha


def test_declared_rates_give_the_deviation_of_such_samples() -> None:
    table = {(0, 0): 30, (0, 1): 12, (1, 0): 8, (1, 1): 50}
    pairs = np.array([pair for pair, count in table.items() for _ in range(count)], dtype=float)
    base, tuned = pairs.T
    seen = float(np.std(tuned - base))
    correlation = float(np.corrcoef(base, tuned)[0, 1])
    by_flips = power.paired_deviation_binary(base.mean(), tuned.mean(), discordance=0.2)
    assert by_flips == pytest.approx(seen)
    by_correlation = power.paired_deviation_binary(
        base.mean(), tuned.mean(), correlation=correlation
    )
    assert by_correlation == pytest.approx(seen)


def test_assumptions_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"allow 0\.1 to 0\.7"):
        power.paired_deviation_binary(0.6, 0.7, discordance=0.05)
    with pytest.raises(ValueError, match="to flip, not"):
        power.paired_deviation_binary(0.1, 0.9, correlation=0.9)
    with pytest.raises(ValueError, match="either"):
        power.paired_deviation_binary(0.5, 0.5)
    with pytest.raises(ValueError, match="either"):
        power.paired_deviation_binary(0.5, 0.5, discordance=0.1, correlation=0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        power.paired_deviation_binary(60, 70, discordance=0.1)
    with pytest.raises(ValueError, match="no negative"):
        power.resampled_deviation(-0.1, 0.1, 0.1)


def test_a_pilot_without_flips_still_has_a_deviation() -> None:
    cautious = power.cautious_deviation_binary(0, 50)
    assert cautious is not None
    # The bound solves (1 − ψ)^50 = 0.2.
    assert cautious**2 == pytest.approx(1 - 0.2 ** (1 / 50))
    assert power.cautious_deviation_binary(50, 50) == 1.0
    some = power.cautious_deviation_binary(7, 50)
    oracle = stats.binomtest(7, 50, alternative="less").proportion_ci(0.8, "exact").high
    assert some == pytest.approx(math.sqrt(float(oracle)))


def test_clusters_are_worth_fewer_samples() -> None:
    assert power.effective_samples([1] * 40, 0.5) == pytest.approx(40)
    assert power.effective_samples([5] * 8, 0.0) == pytest.approx(40)
    assert power.effective_samples([5] * 8, 1.0) == pytest.approx(8)


def test_the_promised_power_is_the_power_found() -> None:
    rng = np.random.default_rng(3)
    n, runs = 300, 4000
    deviation = power.paired_deviation_binary(0.6, 0.6, discordance=0.2)
    smallest = power.detectable(deviation, n, alpha=0.05)
    assert smallest is not None
    gained = 0.1 + smallest / 2
    flips = rng.multinomial(n, [gained, 0.2 - gained, 0.8], size=runs)
    mean = (flips[:, 0] - flips[:, 1]) / n
    error = np.sqrt(((flips[:, 0] + flips[:, 1]) / n - mean**2) / (n - 1))
    found = float((mean / error > stats.t.ppf(0.95, n - 1)).mean())
    assert found == pytest.approx(0.8, abs=0.02 + 4 * math.sqrt(0.16 / runs))


@pytest.mark.parametrize("n", [2, 5, 20, 200, 100_000])
@pytest.mark.parametrize(("alpha", "wanted"), [(0.05, 0.8), (0.01, 0.95), (0.001, 0.999)])
def test_the_power_of_a_mean_is_that_of_statsmodels(n: int, alpha: float, wanted: float) -> None:
    deviation, oracle = 0.35, TTestPower()
    error = deviation / math.sqrt(n)
    smallest = power.detectable_mean(error, n - 1, alpha, wanted)
    assert smallest is not None
    assert power.chance_mean(error, n - 1, smallest, alpha) == pytest.approx(wanted)
    found = oracle.power(smallest / deviation, n, alpha, alternative="larger")
    assert found == pytest.approx(wanted, abs=1e-6)


def test_the_sizes_for_a_mean_are_those_of_statsmodels() -> None:
    for deviation, distance in [(0.25, 0.05), (0.25, 0.2), (0.4, 0.02), (0.1, 1.0)]:
        found = power.samples_needed_mean(deviation, distance, 0.05)
        assert found is not None
        for n, enough in ((found, True), (found - 1, False)):
            if n > 1:
                reached = TTestPower().power(distance / deviation, n, 0.05, alternative="larger")
                assert (reached >= 0.8) == enough


def _exact_chance(n: int, flips: float, margin: float) -> float:
    """P(Tango's one-sided 95 % bound is above −margin): every count of flips and of losses."""
    z, found = stats.norm.ppf(0.95), 0.0
    for flipped in range(n + 1):
        weight = float(stats.binom.pmf(flipped, n, flips))
        if weight < 1e-9:
            continue
        passing = [
            lost
            for lost in range(flipped + 1)
            if tango_statistic(-margin, flipped - lost, lost, n, HALF_A_FLIP) > z
        ]
        found += weight * float(np.sum(stats.binom.pmf(passing, flipped, 0.5)))
    return found


@pytest.mark.parametrize(
    ("flips", "margin"),
    [(0.3, 0.10), (0.2, 0.05), (0.1, 0.05), (0.05, 0.05), (0.02, 0.05), (0.005, 0.05)],
)
def test_the_sizes_for_flips_keep_their_promise_when_every_table_is_counted(
    flips: float, margin: float
) -> None:
    """Few flips come in whole numbers: then the size is cautious, and never falls short."""
    n = power.samples_needed_binary(flips, margin, 0.05)
    assert n is not None
    exact = _exact_chance(n, flips, margin)
    assert 0.795 <= exact <= (0.82 if flips * n > 20 else 0.86)
    assert power.chance_binary(n, flips, margin, 0.05) >= 0.8
    assert power.chance_binary(n - 1, flips, margin, 0.05) < 0.8
    if flips <= margin:  # where the plain normal approximation would send a user astray
        plain = power.samples_needed(math.sqrt(flips), margin, 0.05)
        assert plain is not None
        assert _exact_chance(plain, flips, margin) < 0.75


def test_a_margin_that_is_detectable_is_one_that_is_needed() -> None:
    for n, flips in [(20, 0.01), (160, 0.2), (5000, 0.3)]:
        smallest = power.detectable_binary(n, flips, 0.05)
        least = power.least_margin_binary(n, 0.05)
        assert smallest is not None
        assert least is not None
        assert smallest >= least
        assert power.samples_needed_binary(flips, smallest * (1 + 1e-9), 0.05) == n
    # With many flips the score test and the normal approximation are the same, but for the half.
    plain = power.detectable(math.sqrt(0.3), 5000, 0.05)
    assert plain is not None
    corrected = plain + HALF_A_FLIP / 5000
    assert power.detectable_binary(5000, 0.3, 0.05) == pytest.approx(corrected, rel=2e-3)


@pytest.mark.parametrize("unknown", [0.0, -1.0, math.nan])
def test_nothing_known_of_the_noise_is_no_power_here_either(unknown: float) -> None:
    assert power.detectable_mean(unknown, 10, 0.05) is None
    assert power.samples_needed_mean(unknown, 0.1, 0.05) is None
    assert power.chance_mean(unknown, 10, 0.1, 0.05) == 0
    assert power.detectable_binary(100, unknown, 0.05) is None
    assert power.samples_needed_binary(unknown, 0.1, 0.05) is None
    assert power.chance_binary(100, unknown, 0.1, 0.05) == 0
    assert power.chance_binary(100, 0.2, unknown, 0.05) == 0
    assert power.detectable_binary(0, 0.2, 0.05) is None
    assert power.detectable_binary(1, 0.9, 0.001, 0.99) is None
    assert power.detectable_mean(0.1, 0, 0.05) is None
