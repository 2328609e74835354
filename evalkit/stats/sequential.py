"""Deciding early: an interval for a mean difference that holds at every moment one looks at it.

A fixed-n interval that is looked at after every block is wrong far more often than it says. The
bounds here come from bets: a gambler who bets that the mean is larger than m, at odds fair if it
is m, can multiply the stake by 1/alpha with probability alpha at most, at any time (Ville 1939).
A value of m that has made a gambler rich is ruled out, for good.

The samples count as independent draws from a population in random order; they are never taken
for the whole of it. The bounds depend on the order, so `blocks` fixes it by the samples' ids.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from evalkit.drawing import place
from evalkit.stats.base import Interval, Reals

Settled = Literal["pass", "fail", "undecided"]

# A factor of the capital never falls below 1 − CUT: one sample cannot ruin the gambler. Half is
# what Waudby-Smith and Ramdas use.
CUT = 0.5
# Stakes of the three gamblers, in units of the stake that is best if all planned samples are used:
# the larger ones are right where the effect is large and few samples will do.
_STAKES = (1.0, 2.0, 4.0)
_TOLERANCE = 1e-10


class Stop(NamedTuple):
    """How a sequence ended: what it settled and the number of values it needed for that."""

    outcome: Settled
    used: int


class ConfidenceSequence:
    """Bounds for the mean of values in [low, high] that hold at all times at once.

    The betting confidence sequence with predictable plug-in bets (Waudby-Smith & Ramdas 2024,
    "Estimating means of bounded random variables by betting", JRSS-B 86, Theorem 3): with x the
    values scaled to [0, 1] and K⁺_t(m) = Π_{i≤t} (1 + min(λ_i, ½/m)(x_i − m)), the mean is above m
    where K⁺ ever reached 1/alpha; K⁻ is the same for 1 − x. λ_i is chosen before x_i is seen,
    see `_stakes`. As λ_i does not depend on m, every factor falls as m grows, and so does K⁺: what
    is ruled out is all on one side of a bound, and the bound is found by root finding instead of
    on a grid. The largest capital so far decides (the running intersection).

    `planned` is the number of values (with `by_cluster`, of clusters) there can be at most, if
    known beforehand. It tightens the bounds near that number; they hold whether it is right or
    not. Time is linear in the values
    for each reading of the bounds, so linear in all where blocks grow geometrically.
    """

    def __init__(self, low: float, high: float, alpha: float, planned: int | None = None) -> None:
        """ValueError unless low < high and 0 < alpha < 1."""
        if not (math.isfinite(low) and math.isfinite(high) and low < high and 0 < alpha < 1):
            raise ValueError(f"No confidence sequence for [{low}, {high}] at alpha = {alpha}.")
        self.low = low
        self.high = high
        self.alpha = alpha
        self.planned = planned
        self._unit: Reals = np.empty(0)
        self._weights: Reals = np.empty(0)

    def __len__(self) -> int:
        """The number of values seen."""
        return len(self._unit)

    def add(self, values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> None:
        """Take in the next values [k], in the order of `blocks`; ValueError outside [low, high].

        Weights [k] in (0, 1], for `by_cluster`: the mean is then E(w·x)/E(w), and the bet on a
        value wins w·(x − m).
        """
        seen = np.asarray(values, dtype=np.float64)
        heavy = np.ones(len(seen)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(heavy) != len(seen) or not np.all((heavy > 0) & (heavy <= 1)):
            raise ValueError("Weights must be in (0, 1], one for each value.")
        self._unit = np.concatenate([self._unit, _scaled(seen, self.low, self.high)])
        self._weights = np.concatenate([self._weights, heavy])

    @property
    def one_sided(self) -> Interval | None:
        """Bounds each of which alone holds at all times with probability 1 − alpha.

        What a gate asks: it passes on the lower bound and fails on the upper one. None where the
        bounds have crossed, as they may with probability 2·alpha at most.
        """
        return self._bounds(self.alpha)

    @property
    def interval(self) -> Interval | None:
        """Bounds that both hold at all times with probability 1 − alpha; None where they crossed.

        Each capital must reach 2/alpha: the hedge of Theorem 3 with equal parts on both sides.
        """
        return self._bounds(self.alpha / 2)

    def one_sided_at(self, alphas: Sequence[float]) -> list[Interval | None]:
        """The one-sided bounds at each of these levels, all from the bets that are best at `alpha`.

        One gambler's capital rules out all of them, so they are nested: a bound at a smaller level
        never lies inside that at a larger one, and the least level whose bound excludes a value
        is a p value of it that holds at all times (Ville 1939).
        """
        return self._bounds_at(self.alpha, alphas)

    def _bounds(self, alpha: float) -> Interval | None:
        return self._bounds_at(alpha, [alpha])[0]

    def _bounds_at(self, spent: float, alphas: Sequence[float]) -> list[Interval | None]:
        stakes = _stakes(self._unit, self._weights, spent, self.planned)
        lows = _lowers(self._unit, self._weights, stakes, alphas)
        highs = [1 - low for low in _lowers(1 - self._unit, self._weights, stakes, alphas)]
        width = self.high - self.low
        return [
            Interval(self.low + low * width, self.low + high * width) if low < high else None
            for low, high in zip(lows, highs, strict=True)
        ]


def settled(interval: Interval | None, threshold: float) -> Settled:
    """Pass if all of the interval lies above the threshold, fail if all lies below it."""
    if interval is not None and interval.low > threshold:
        return "pass"
    if interval is not None and interval.high < threshold:
        return "fail"
    return "undecided"


def first_settled(
    values: npt.ArrayLike,
    threshold: float,
    low: float,
    high: float,
    alpha: float,
    planned: int | None = None,
) -> Stop:
    """When the one-sided bounds of values [n], read after each of them, leave the threshold.

    The same answer as reading `ConfidenceSequence.one_sided` n times, in linear time.
    """
    unit = _scaled(np.asarray(values, dtype=np.float64), low, high)
    weights = np.ones(len(unit))
    stakes = _stakes(unit, weights, alpha, planned)
    m = (threshold - low) / (high - low)
    ends: list[tuple[int, Settled]] = []
    sides: list[tuple[Reals, float, Settled]] = [(unit, m, "pass"), (1 - unit, 1 - m, "fail")]
    for side, mean, outcome in sides:
        if not 0 <= mean <= 1:
            raise ValueError(f"The threshold {threshold} is not in [{low}, {high}].")
        rich = np.flatnonzero(_log_capital(side, weights, stakes, mean) >= -math.log(alpha))
        if len(rich):
            ends.append((int(rich[0]) + 1, outcome))
    if not ends:
        return Stop("undecided", len(unit))
    used, outcome = min(ends)
    return Stop(outcome, used)


def values_needed(
    deviation: float, distance: float, alpha: float, power: float = 0.8
) -> int | None:
    """Values with which the one-sided bound settles a mean `distance` away from the threshold.

    n = ((z + √(z² + 2·log(1/α))) · σ / distance)², z = z_power. A bet of distance/σ² makes the log
    of the capital grow by distance²/(2σ²) a value, with a deviation of distance/σ: the best there
    is for small distances (Kelly 1956; Waudby-Smith & Ramdas 2024, section 4.3), and it has to
    reach log(1/α). About twice what `power.samples_needed` says of a fixed n at α = .05. None
    where the distance or the deviation is not positive.
    """
    if not (deviation > 0 and distance > 0):
        return None
    z = float(stats.norm.ppf(power))
    reach = z + math.sqrt(z * z - 2 * math.log(alpha))
    return math.ceil((reach * deviation / distance) ** 2)


def blocks(
    ids: Sequence[str],
    seed: int,
    clusters: Sequence[str] = (),
    first: int = 32,
    growth: float = 1.5,
) -> list[list[int]]:
    """The order in which to evaluate samples: positions in `ids`, cut into growing blocks.

    Ordered by a hash of seed and id, so a sample's place does not depend on where it stands in
    the file, and a longer file keeps the order of the samples it had. The first block has `first`
    samples, each next one `growth` times as many. With clusters, whole clusters are ordered and
    no block cuts one. ValueError for ids given twice, whose order could not be told.
    """
    if len(set(ids)) != len(ids):
        raise ValueError("Two samples have the same id.")
    if first < 1 or growth < 1:
        raise ValueError("Blocks must not be empty or shrink.")
    groups = clusters or ids
    counts = Counter(groups)
    keys = [
        # Of a sample alone in its cluster the second place is never asked for.
        (place(group, seed), place(one, seed) if counts[group] > 1 else b"")
        for group, one in zip(groups, ids, strict=True)
    ]
    cut: list[list[int]] = []
    size = float(first)
    current: list[int] = []
    for position in sorted(range(len(ids)), key=keys.__getitem__):
        if len(current) >= size and groups[position] != groups[current[-1]]:
            cut.append(current)
            current = []
            size *= growth
        current.append(position)
    return [*cut, current] if current else cut


def by_cluster(differences: Reals, clusters: Sequence[str], largest: int) -> tuple[Reals, Reals]:
    """Mean [G] and weight [G] of each cluster, in the order of first appearance, for `add`.

    Samples of one cluster are not independent, clusters are: a cluster is one draw. Its weight is
    its size over that of the largest cluster of the suite, so that the mean which is bounded is
    the one over samples (ΣΣd/Σn, as in `means.mean_difference`). `largest` must be known before
    the run; ValueError if a cluster has more samples.
    """
    places: dict[str, int] = {}
    labels = np.array([places.setdefault(one, len(places)) for one in clusters], dtype=np.intp)
    sizes = np.bincount(labels).astype(np.float64)
    if len(sizes) and sizes.max() > largest:
        raise ValueError(f"A cluster has {int(sizes.max())} samples, more than {largest}.")
    return np.bincount(labels, weights=differences) / sizes, sizes / largest


def _scaled(values: Reals, low: float, high: float) -> Reals:
    """Values [n] on [0, 1]; a mean of values at a bound may miss it by rounding."""
    unit = (values - low) / (high - low)
    if not np.all((unit >= -1e-9) & (unit <= 1 + 1e-9)):
        raise ValueError(f"A value is missing or not in [{low}, {high}].")
    return np.clip(unit, 0.0, 1.0)


def _stakes(unit: Reals, weights: Reals, alpha: float, planned: int | None) -> Reals:
    """The bets λ [gamblers, n], each from the values before it.

    λ_t² = 2·log(1/alpha) / (σ̂²_{t−1} · t·log(t + 1)), the predictable plug-in that spreads the
    capital over all times, or with N planned values 2·log(1/alpha) / (σ̂²_{t−1} · N), which
    spends it by then. Here σ̂²_t = (¼ + Σ_{i≤t} (x_i − μ̂_i)²)/(t + 1) with
    μ̂_t = (½ + Σ_{i≤t} x_i)/(t + 1) (Waudby-Smith & Ramdas 2024, the plug-ins for all times and
    for a fixed n). With weights, w(x − μ̂) stands for x − μ̂, and Σw and Σwx for t and Σx in μ̂.
    With N, three gamblers share the capital, see `_STAKES`.
    """
    count = np.arange(1.0, len(unit) + 1)
    means = (0.5 + np.cumsum(weights * unit)) / (1 + np.cumsum(weights))
    variances = (0.25 + np.cumsum((weights * (unit - means)) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variances])[: len(unit)]
    if planned is None:
        single: Reals = np.sqrt(-2 * math.log(alpha) / (before * count * np.log1p(count)))
        return single[None, :]
    spend = np.sqrt(-2 * math.log(alpha) / (before * max(planned, 1)))
    return np.asarray(_STAKES)[:, None] * spend


def _capitals(unit: Reals, weights: Reals, stakes: Reals, mean: float) -> Reals:
    """Log of the capital of each gambler who bets on a larger mean [gamblers, n]."""
    cap = CUT / mean if mean > 0 else math.inf
    found = np.minimum(stakes, cap)
    found *= weights * (unit - mean)
    found += 1.0
    # In place, and log for log1p: n factors are off by n·1e-16 at most, and it takes a third.
    np.log(found, out=found)
    np.cumsum(found, axis=1, out=found)
    return found


def _log_capital(unit: Reals, weights: Reals, stakes: Reals, mean: float) -> Reals:
    """Log of K⁺_t(mean) [n], the average capital of the gamblers who bet on a larger mean."""
    return _average(_capitals(unit, weights, stakes, mean))


def _average(capitals: Reals) -> Reals:
    top = capitals.max(axis=0)
    average: Reals = top + np.log(np.mean(np.exp(capitals - top), axis=0))
    return average


def _peak(unit: Reals, weights: Reals, stakes: Reals, mean: float) -> float:
    """The largest log of K⁺_t(mean) that there ever was; before the first value it is 0."""
    if not len(unit):
        return 0.0
    capitals = _capitals(unit, weights, stakes, mean)
    richest = capitals.max(axis=0)
    # The average is below the richest, and above it less log(gamblers): all others are out of it.
    near = richest >= richest.max() - math.log(len(stakes))
    return max(0.0, float(_average(capitals[:, near]).max()))


def _lowers(unit: Reals, weights: Reals, stakes: Reals, alphas: Sequence[float]) -> list[float]:
    """The largest mean in [0, 1] that is ruled out as too small at each level, 0 where none is.

    From the largest level down, each search starts where the one before ended.
    """

    @cache
    def peak(mean: float) -> float:
        return _peak(unit, weights, stakes, mean)

    step = 0.5 / math.sqrt(1 + len(unit))
    start = 0.5
    if len(unit):
        start = float(np.average(unit, weights=weights))
        step = max(1e-6, float(unit.std()) / math.sqrt(len(unit)))
    found: dict[float, float] = {}
    for alpha in sorted(set(alphas), reverse=True):
        start = _crossing(peak, -math.log(alpha), start, step)
        # Rounding must not help.
        found[alpha] = max(start - 2 * _TOLERANCE, 0.0)
    return [found[alpha] for alpha in alphas]


def _crossing(peak: Callable[[float], float], goal: float, start: float, step: float) -> float:
    """Where a capital that falls with the mean comes down to the goal; 0 where it never is above.

    Nobody wins by betting on more than 1, so that the search upwards ends there.
    """
    low = high = min(max(start, 0.0), 1.0)
    while peak(low) <= goal:
        if low == 0.0:
            return 0.0
        high, low, step = low, max(low - step, 0.0), 2 * step
    while high <= low or peak(high) > goal:
        low, high, step = high, min(high + step, 1.0), 2 * step
    return float(optimize.brentq(lambda mean: peak(mean) - goal, low, high, xtol=_TOLERANCE))
