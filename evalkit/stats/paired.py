"""Paired estimates: what the difference of two arms on the same samples says.

All functions take the per-sample differences tuned − base (or the counts of flips), are
independent of the order of the samples, and know nothing of files or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Reals = npt.NDArray[np.float64]

_BOOTSTRAP_SEED = 20260101
_BOOTSTRAP_DRAWS = 2000


class Interval(NamedTuple):
    """Bounds of a two-sided interval."""

    low: float
    high: float


class MeanEstimate(NamedTuple):
    """A mean difference with its (cluster-robust) standard error and degrees of freedom."""

    mean: float
    standard_error: float
    freedom: int
    clusters: int


def mean_difference(differences: Reals, clusters: Sequence[str] = ()) -> MeanEstimate:
    """Mean of the differences; its standard error allows for samples that belong together.

    Without clusters SE = s/√n. With G clusters, SE² = G/(G−1) · Σ_g (Σ_{i∈g} (d_i − d̄))² / n²
    (the CR1 sandwich for a mean; Cameron & Miller 2015, eq. 11), G − 1 degrees of freedom.
    SE is NaN where there are fewer than two samples or clusters.
    """
    n = len(differences)
    if n == 0:
        return MeanEstimate(math.nan, math.nan, 0, 0)
    mean = math.fsum(differences) / n
    labels = np.unique(np.asarray(clusters), return_inverse=True)[1] if clusters else np.arange(n)
    groups = int(labels.max()) + 1
    if groups < 2:
        return MeanEstimate(mean, math.nan, 0, groups)
    sums = np.bincount(labels, weights=differences - mean)
    error = math.sqrt(groups / (groups - 1) * math.fsum(np.sort(sums**2))) / n
    return MeanEstimate(mean, error, groups - 1, groups)


def t_interval(estimate: MeanEstimate, level: float) -> Interval | None:
    """Student's t interval of a mean; None where the standard error is unknown or zero.

    A zero standard error means that every difference was the same, which says nothing about
    the differences not seen: no interval is better than one of no width.
    """
    if not estimate.standard_error > 0:
        return None
    reach = float(stats.t.ppf(0.5 + level / 2, estimate.freedom)) * estimate.standard_error
    return Interval(estimate.mean - reach, estimate.mean + reach)


def t_test(estimate: MeanEstimate) -> float | None:
    """Two-sided p of "no difference on average"; None where the standard error is not positive."""
    if not estimate.standard_error > 0:
        return None
    statistic = abs(estimate.mean) / estimate.standard_error
    return float(2 * stats.t.sf(statistic, estimate.freedom))


def bootstrap_interval(differences: Reals, level: float) -> Interval | None:
    """BCa bootstrap interval of the mean difference (Efron 1987), 2,000 draws, a fixed seed.

    None below 10 samples, where resampling cannot show the tails, and for constant differences.
    """
    if len(differences) < 10 or np.ptp(differences) == 0:
        return None
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    result = stats.bootstrap(
        (np.sort(differences),),
        np.mean,
        confidence_level=level,
        n_resamples=_BOOTSTRAP_DRAWS,
        method="BCa",
        rng=rng,
        batch=100,
    )
    low, high = map(float, result.confidence_interval)
    return Interval(low, high) if math.isfinite(low) and math.isfinite(high) else None


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p: of the samples that flipped, did as many get better as worse?

    A binomial test of gained in gained + lost with probability ½ (McNemar 1947); 1 when none
    flipped.
    """
    flips = gained + lost
    return float(stats.binomtest(gained, flips, 0.5).pvalue) if flips else 1.0


def tango_interval(gained: int, lost: int, n: int, level: float) -> Interval | None:
    """Score interval of a paired difference of proportions, (gained − lost)/n.

    Tango (1998), Statistics in Medicine 17:891–908: the values δ that the score statistic
    z(δ) = (b − c − nδ)/√(n(2q̂ + δ(1 − δ))) does not reject, b and c the flips and q̂ the
    restricted maximum likelihood estimate of c/n. Never of zero width, also when nothing
    flipped. None for n = 0.
    """
    if n == 0:
        return None
    z = float(stats.norm.ppf(0.5 + level / 2))
    centre = (gained - lost) / n

    def excess(delta: float, side: float) -> float:
        return side * _tango_statistic(delta, gained, lost, n) - z

    edge = 1 - 1e-12
    low, high = -1.0, 1.0
    if excess(-edge, 1.0) > 0:
        low = float(optimize.brentq(excess, -edge, centre, args=(1.0,), xtol=1e-12))
    if excess(edge, -1.0) > 0:
        high = float(optimize.brentq(excess, centre, edge, args=(-1.0,), xtol=1e-12))
    return Interval(low, high)


def _tango_statistic(delta: float, gained: int, lost: int, n: int) -> float:
    """Tango's score statistic of H0: difference = delta (his eq. 4, with q21 from eq. 5)."""
    a = 2.0 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    rare = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * rare + delta * (1 - delta))
    shift = gained - lost - n * delta
    if variance <= 0:
        return math.copysign(math.inf, shift) if abs(shift) > 1e-12 else 0.0
    return shift / math.sqrt(variance)


def samples_needed(deviation: float, distance: float, alpha: float, power: float = 0.8) -> int:
    """Samples with which a one-sided test at `alpha` settles an effect `distance` from the margin.

    n = ((z_{1−α} + z_power) · σ_d / distance)², σ_d the standard deviation of the paired
    differences (Lachin 1981, eq. 1).
    """
    reach = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
    return math.ceil((reach * deviation / distance) ** 2)
