"""Intervals and tests of right or wrong: published tables, statsmodels, and exact coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from evalkit.stats.base import Interval, Reals
from evalkit.stats.binary import (
    HALF_A_FLIP,
    mcnemar,
    newcombe_interval,
    rate_bounds,
    tango_bounds,
    tango_interval,
    tango_statistic,
    wilson_interval,
)

COUNTS = st.integers(0, 60)


def test_mcnemar_is_exact() -> None:
    """[[794, 86], [150, 570]], Agresti's approval ratings: exact p 3.716e-5."""
    assert mcnemar(86, 150) == pytest.approx(3.716e-5, rel=1e-3)
    table = [[30, 3], [12, 15]]
    assert mcnemar(3, 12) == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert mcnemar(0, 0) == 1.0


def test_tangos_statistic_of_no_difference_is_mcnemars() -> None:
    """z(0)² is McNemar's χ² without correction: 17.356 of the approval ratings."""
    table = [[794, 86], [150, 570]]
    oracle = statsmodels_mcnemar(table, exact=False, correction=False).statistic
    assert oracle == pytest.approx(17.356, abs=5e-4)
    assert tango_statistic(0.0, 150, 86, 1600) ** 2 == pytest.approx(oracle)
    corrected = statsmodels_mcnemar(table, exact=False, correction=True).statistic
    assert corrected == pytest.approx(16.818, abs=5e-4)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 7), (37, 120), (1, 1)])
def test_wilson_is_that_of_statsmodels(successes: int, n: int, level: float) -> None:
    oracle = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert wilson_interval(successes, n, level) == pytest.approx(oracle, abs=1e-12)


# Fagerland, Lydersen & Laake (2014), Statistics in Medicine 33:2850–2875: airway reactivity
# before and after a transplant (Bentur et al. 2009), and complete response before and after
# consolidation (Cavo et al. 2012). The second is also checked by R's contingencytables.
BENTUR = (1, 1, 7, 12)
CAVO = (59, 6, 16, 80)


@pytest.mark.parametrize(
    ("table", "published", "digits"),
    [(BENTUR, (-0.507, -0.026), 3), (CAVO, (-0.1186, -0.0046), 4)],
)
def test_newcombe_gives_the_published_intervals(
    table: tuple[int, int, int, int], published: tuple[float, float], digits: int
) -> None:
    found = _some(newcombe_interval(*table, 0.95))
    assert tuple(round(end, digits) for end in found) == published


@pytest.mark.parametrize(
    ("gained", "lost", "n", "level", "published", "digits"),
    [
        (1, 7, 21, 0.95, (-0.517, -0.026), 3),  # Bentur, Fagerland et al. (2014)
        (6, 16, 161, 0.95, (-0.1240, -0.0054), 4),  # Cavo, R's contingencytables
        (0, 1, 44, 0.90, (-0.096, 0.037), 3),  # soft lenses, Tango (1998)
    ],
)
def test_tango_gives_the_published_intervals(
    gained: int, lost: int, n: int, level: float, published: tuple[float, float], digits: int
) -> None:
    found = _some(tango_interval(gained, lost, n, level))
    assert tuple(round(end, digits) for end in found) == published


@pytest.mark.parametrize(("gained", "lost", "n"), [(3, 9, 40), (0, 4, 15), (20, 0, 20)])
def test_tangos_restricted_estimate_has_the_greatest_likelihood(
    gained: int, lost: int, n: int
) -> None:
    """The closed form of the nuisance rate against a search over all rates."""
    for delta in (-0.4, -0.1, 0.05, 0.3):
        lowest, highest = max(0.0, -delta), (1 - delta) / 2
        rates = np.linspace(lowest, highest, 200_001)[1:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            fit = stats.multinomial.logpmf(
                [gained, lost, n - gained - lost],
                n,
                np.column_stack([rates + delta, rates, 1 - 2 * rates - delta]),
            )
        rate = rates[np.nanargmax(fit)]
        variance = n * (2 * rate + delta * (1 - delta))
        oracle = (gained - lost - n * delta) / math.sqrt(variance)
        assert tango_statistic(delta, gained, lost, n) == pytest.approx(oracle, rel=1e-3)


@given(gained=COUNTS, lost=COUNTS, same=st.integers(0, 200))
def test_tango_bounds_are_where_the_score_test_just_rejects(
    gained: int, lost: int, same: int
) -> None:
    n = gained + lost + same
    interval = tango_interval(gained, lost, n, 0.95)
    if n == 0:
        assert interval is None
        return
    assert interval is not None
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1
    assert interval.high > interval.low
    mirrored = tango_interval(lost, gained, n, 0.95)
    assert mirrored is not None
    assert mirrored == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    z = stats.norm.ppf(0.975)
    if interval.low > -1:
        assert tango_statistic(interval.low, gained, lost, n) == pytest.approx(z, abs=1e-5)
    if interval.high < 1:
        assert tango_statistic(interval.high, gained, lost, n) == pytest.approx(-z, abs=1e-5)


def test_tango_has_width_even_when_nothing_flipped() -> None:
    # With no discordant pair the bounds solve z² = nδ/(1 − δ), δ = z²/(n + z²).
    z2 = stats.norm.ppf(0.975) ** 2
    bounds = (-z2 / (50 + z2), z2 / (50 + z2))
    assert tango_interval(0, 0, 50, 0.95) == pytest.approx(bounds)


@given(both=COUNTS, gained=COUNTS, lost=COUNTS, neither=COUNTS)
def test_newcombe_and_wilson_hold_the_estimate_have_width_and_mirror(
    both: int, gained: int, lost: int, neither: int
) -> None:
    n = both + gained + lost + neither
    interval = newcombe_interval(both, gained, lost, neither, 0.95)
    rate = wilson_interval(both, n, 0.95)
    if interval is None or rate is None:
        assert n == 0
        return
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1
    assert interval.high > interval.low
    mirrored = newcombe_interval(both, lost, gained, neither, 0.95)
    turned = (-interval.high, -interval.low)
    assert mirrored == pytest.approx(turned, abs=1e-12)
    # Calling right wrong and wrong right in both arms turns the difference round.
    renamed = newcombe_interval(neither, lost, gained, both, 0.95)
    assert renamed == pytest.approx(turned, abs=1e-9)
    assert 0 <= rate.low <= both / n <= rate.high <= 1
    assert rate.high > rate.low


def test_no_samples_give_no_interval() -> None:
    assert wilson_interval(0, 0, 0.95) is None
    assert newcombe_interval(0, 0, 0, 0, 0.95) is None
    assert tango_interval(0, 0, 0, 0.95) is None


def test_a_million_alike_still_leave_some_width() -> None:
    for interval in (
        wilson_interval(0, 10**6, 0.95),
        newcombe_interval(10**6, 0, 0, 0, 0.95),
        newcombe_interval(5 * 10**5, 0, 0, 5 * 10**5, 0.95),
        tango_interval(0, 0, 10**6, 0.95),
    ):
        assert _some(interval).high - _some(interval).low > 1e-6


# Coverage below is exact: the probabilities of all tables are added up, nothing is simulated.
# Counts are discrete, so it swings about the level from rate to rate; what these intervals
# promise is the level on average and no deep holes (Agresti & Coull 1998; Newcombe 1998).


@pytest.mark.parametrize("n", [5, 10, 20, 50, 200])
def test_wilson_covers_the_truth_as_often_as_it_says(n: int) -> None:
    rates = np.linspace(0.001, 0.999, 999)
    ends = np.array([wilson_interval(k, n, 0.95) for k in range(n + 1)])
    held = (ends[:, :1] <= rates) & (rates <= ends[:, 1:])
    chances = stats.binom.pmf(np.arange(n + 1)[:, None], n, rates)
    coverage = (held * chances).sum(axis=0)
    assert coverage.mean() == pytest.approx(0.95, abs=0.012)
    assert coverage.min() > 0.83  # at rates near 0 and 1, whatever n (Agresti & Coull 1998)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tango", "newcombe"])
@pytest.mark.parametrize("n", [10, 20, 40])
def test_paired_intervals_cover_the_truth_as_often_as_they_say(method: str, n: int) -> None:
    """Small samples are covered too often, which is safe; 40 are covered as often as said."""
    coverage, beyond = _paired_coverage(method, n)
    assert 0.95 <= coverage.mean() <= (0.96 if n == 40 else 0.985)
    assert coverage.min() > 0.92
    assert beyond.mean() <= 0.025


def test_mcnemar_rejects_true_nulls_at_most_as_often_as_it_says() -> None:
    """Size for every number of flips up to 100, exactly; few flips never reject at 5 %."""
    for flips in range(101):
        chances = stats.binom.pmf(np.arange(flips + 1), flips, 0.5)
        rejects = np.array([mcnemar(k, flips - k) <= 0.05 for k in range(flips + 1)])
        size = float(chances[rejects].sum())
        assert size <= 0.05 + 1e-12
        assert (size > 0) == (flips >= 6)


def _some(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


def _paired_coverage(method: str, n: int) -> tuple[Reals, Reals]:
    """Exact coverage of the 95 % interval at 60 truths, and how often the truth is below it."""
    tables = np.array(
        [
            (both, gained, lost, n - both - gained - lost)
            for both in range(n + 1)
            for gained in range(n + 1 - both)
            for lost in range(n + 1 - both - gained)
        ]
    )
    if method == "tango":
        flips = {(g, ll) for _, g, ll, _ in tables.tolist()}
        known = {(g, ll): _some(tango_interval(g, ll, n, 0.95)) for g, ll in flips}
        ends = np.array([known[g, ll] for _, g, ll, _ in tables.tolist()])
    else:
        ends = np.array([newcombe_interval(b, g, ll, w, 0.95) for b, g, ll, w in tables.tolist()])
    rng = np.random.default_rng(3)
    coverage, beyond = [], []
    for rates in rng.dirichlet([3, 1, 1, 2], 60):
        truth = rates[1] - rates[2]
        chances = stats.multinomial.pmf(tables, n, rates)
        held = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        coverage.append(chances[held].sum())
        beyond.append(chances[ends[:, 0] > truth].sum())
    return np.array(coverage), np.array(beyond)


def _chance_of_a_wrong_pass(n: int, margin: float, gained: float, alpha: float) -> float:
    """Exact: all tables of n samples whose true difference is −margin, `gained` of them gained."""
    lost, found = gained + margin, 0.0
    for losses in range(int(stats.binom.ppf(1 - 1e-9, n, lost)) + 1):
        gains = range(n - losses + 1)
        passing = [
            each
            for each in gains
            if tango_statistic(-margin, each, losses, n, HALF_A_FLIP) > stats.norm.isf(alpha)
        ]
        chances = np.sum(stats.binom.pmf(passing, n - losses, gained / (1 - lost)))
        found += float(stats.binom.pmf(losses, n, lost) * chances)
    return found


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.025])
@pytest.mark.parametrize(
    ("n", "margin"), [(20, 0.12), (25, 0.1), (32, 0.05), (52, 0.05), (60, 0.03), (133, 0.02)]
)
def test_a_corrected_bound_is_never_wrong_more_often_than_promised(
    n: int, margin: float, alpha: float
) -> None:
    """The sizes at which Tango's own are: 7.8 % at n = 20, 6.9 at 52, and 19.4 at .1 and n = 32."""
    for gained in (0.0, margin / 10, margin, 0.25):
        assert _chance_of_a_wrong_pass(n, margin, gained, alpha) <= alpha


@given(COUNTS, COUNTS, st.integers(1, 60), st.sampled_from([0.1, 0.05, 0.01]))
def test_corrected_bounds_are_the_differences_that_are_not_rejected(
    gained: int, lost: int, neither: int, alpha: float
) -> None:
    n = gained + lost + neither
    bounds, plain = (
        tango_bounds(gained, lost, n, alpha),
        tango_interval(gained, lost, n, 1 - 2 * alpha),
    )
    assert bounds is not None
    assert plain is not None
    assert bounds.low <= plain.low < plain.high <= bounds.high
    z = float(stats.norm.isf(alpha))
    if bounds.low > -1:
        at_low = tango_statistic(bounds.low, gained, lost, n, HALF_A_FLIP)
        assert at_low == pytest.approx(z, abs=1e-5)
    mirrored = tango_bounds(lost, gained, n, alpha)
    assert mirrored is not None
    assert mirrored == pytest.approx((-bounds.high, -bounds.low), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (20, 20), (7, 31), (950, 1000)])
def test_the_bounds_of_a_rate_are_scipys_exact_ones(successes: int, n: int) -> None:
    oracle = stats.binomtest(successes, n).proportion_ci(0.9, method="exact")
    assert rate_bounds(successes, n, 0.05) == pytest.approx((oracle.low, oracle.high))
    assert rate_bounds(0, 0, 0.05) is None
