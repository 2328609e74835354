"""Right or wrong: intervals of a rate and of a paired difference of rates, and McNemar's test.

All functions take counts, so they cannot depend on the order of the samples. No interval is
ever of zero width: 0 of N and N of N, or no flip at all, still leave something unknown.
"""

from __future__ import annotations

import math

from scipy import optimize, special, stats

from evalkit.stats.base import Interval


def wilson_interval(successes: int, n: int, level: float) -> Interval | None:
    """Score interval of a single rate, successes/n (Wilson 1927). None for n = 0.

    (p̂ + z²/2n ± z·√(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n): the rates that the score test does
    not reject. 0 of n reaches up to z²/(n + z²).
    """
    if n == 0:
        return None
    z2 = float(stats.norm.ppf(0.5 + level / 2)) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # The ends are exact in theory; rounding would leave 1e-17 where 0 is meant.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(low, high)


def newcombe_interval(
    both: int, gained: int, lost: int, neither: int, level: float
) -> Interval | None:
    """Hybrid score interval of a paired difference of rates, (gained − lost)/n.

    Newcombe (1998), Statistics in Medicine 17:2635–2650, method 10: the Wilson intervals
    (l, u) of the tuned rate t and the base rate b, squared and added, less what their
    correlation φ takes away: low = Δ − √((t − l_t)² − 2φ(t − l_t)(u_b − b) + (u_b − b)²), high
    alike with the other two distances. `both` were right in both arms, `gained` in the tuned
    one alone, `lost` in the base alone. None for n = 0.
    """
    n = both + gained + lost + neither
    tuned = wilson_interval(both + gained, n, level)
    base = wilson_interval(both + lost, n, level)
    if tuned is None or base is None:
        return None
    difference = (gained - lost) / n
    rate_tuned, rate_base = (both + gained) / n, (both + lost) / n
    phi = _newcombe_correlation(both, gained, lost, neither)

    def reach(one: float, other: float) -> float:
        return math.sqrt(one * one - 2 * phi * one * other + other * other)

    low = difference - reach(rate_tuned - tuned.low, base.high - rate_base)
    high = difference + reach(rate_base - base.low, tuned.high - rate_tuned)
    return Interval(max(low, -1.0), min(high, 1.0))


def _newcombe_correlation(both: int, gained: int, lost: int, neither: int) -> float:
    """φ of the 2 × 2 table, a positive one corrected for continuity (his method 10)."""
    n = both + gained + lost + neither
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if margins == 0:
        return 0.0
    cross = float(both * neither - gained * lost)
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    return cross / math.sqrt(margins)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p: of the samples that flipped, did as many get better as worse?

    A binomial test of gained in gained + lost with probability ½ (McNemar 1947): twice the smaller
    tail; 1 when none flipped.
    """
    return min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))


def rate_bounds(successes: int, n: int, alpha: float) -> Interval | None:
    """Each exact one-sided 1 − alpha bound of a single rate (Clopper & Pearson 1934).

    The rates at which as few, or as many, successes have a chance of alpha. Never wrong more often
    than alpha, as Wilson's are near 0 and 1. None for n = 0.
    """
    if n == 0:
        return None
    low = float(stats.beta.ppf(alpha, successes, n - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1 - alpha, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(low, high)


def tango_interval(gained: int, lost: int, n: int, level: float) -> Interval | None:
    """Score interval of a paired difference of proportions, (gained − lost)/n.

    Tango (1998), Statistics in Medicine 17:891–908: the values δ that the score statistic
    z(δ) = (b − c − nδ)/√(n(2q̂ + δ(1 − δ))) does not reject, b and c the flips and q̂ the
    restricted maximum likelihood estimate of c/n. Never of zero width, also when nothing
    flipped. None for n = 0.
    """
    return _not_rejected(gained, lost, n, float(stats.norm.ppf(0.5 + level / 2)), 0.0)


def tango_bounds(gained: int, lost: int, n: int, alpha: float) -> Interval | None:
    """Each one-sided 1 − alpha bound of the same difference, corrected for continuity.

    Half a flip is taken off the distance to δ (Yates 1934, for the step of one flip). Without it
    the bounds are wrong too often where nearly all flips are losses: with n·δ = z², e^(−z²), which
    is 6.7 % at alpha = .05 and 19 % at .1; with it never more often than alpha, as counting out
    every table shows (`tests/stats/test_binary.py`). None for n = 0.
    """
    return _not_rejected(gained, lost, n, float(stats.norm.ppf(1 - alpha)), HALF_A_FLIP)


HALF_A_FLIP = 0.5


def _not_rejected(
    gained: int, lost: int, n: int, quantile: float, correction: float
) -> Interval | None:
    if n == 0:
        return None
    centre = (gained - lost) / n

    def excess(delta: float, side: float) -> float:
        return side * tango_statistic(delta, gained, lost, n, side * correction) - quantile

    edge = 1 - 1e-12
    low, high = -1.0, 1.0
    if excess(-edge, 1.0) > 0:
        low = float(optimize.brentq(excess, -edge, centre, args=(1.0,), xtol=1e-12))
    if excess(edge, -1.0) > 0:
        high = float(optimize.brentq(excess, centre, edge, args=(-1.0,), xtol=1e-12))
    return Interval(low, high)


def tango_statistic(
    delta: float, gained: float, lost: float, n: float, correction: float = 0.0
) -> float:
    """Tango's score statistic of H0: difference = delta (q21 estimated under it).

    `correction` is taken off gained − lost − n·delta. Expected counts, which are no whole numbers,
    may stand for counted ones.
    """
    a = 2.0 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    rare = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * rare + delta * (1 - delta))
    shift = gained - lost - n * delta - correction
    if variance <= 0:
        return math.copysign(math.inf, shift) if abs(shift) > 1e-12 else 0.0
    return shift / math.sqrt(variance)
