"""Scores on a scale: the mean of the paired differences, its intervals and its tests.

All functions take the per-sample differences tuned − base (finite, shape [n]), are independent
of the order of the samples, and know nothing of files or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from evalkit.stats.base import Codes, Interval, NamedInterval, PValue, Reals, number

_SEED = 20260101
_BOOTSTRAP_DRAWS = 5_000
_BOOTSTRAP_LIMIT = 5_000  # samples; above, what drawing adds to the expansion is below its noise
_FEW_VALUES = 100  # so many distinct scores are drawn as counts, whatever the number of samples
_CHUNK = 2_000_000  # numbers held at once while drawing (16 MB)
_SIGN_DRAWS = 9_999
_EXACT_SUMS = 2**17  # sums enumerated rather than drawn; 16 samples can give 2^16
_DRAWN_VALUES = 256
_ROUNDING = 1e-12  # of the largest difference: what is nearer to the mean equals it


class MeanEstimate(NamedTuple):
    """A mean difference with its (cluster-robust) standard error and degrees of freedom.

    `skewness` is that of the differences, or of the clusters' sums; NaN where it is not known.
    """

    mean: float
    standard_error: float
    freedom: int
    clusters: int
    skewness: float = math.nan


def mean_difference(differences: Reals, clusters: Sequence[str] = ()) -> MeanEstimate:
    """Mean of the differences; its standard error allows for samples that belong together.

    Without clusters SE = s/√n. With G clusters, SE² = G/(G−1) · Σ_g (Σ_{i∈g} (d_i − d̄))² / n²
    (the CR1 sandwich for a mean; Cameron & Miller 2015), G − 1 degrees of freedom.
    SE is NaN where there are fewer than two samples or clusters, and 0 where all differences (all
    clusters' means) are equal up to rounding.
    """
    n = len(differences)
    if n == 0:
        return MeanEstimate(math.nan, math.nan, 0, 0)
    mean = math.fsum(differences) / n
    if clusters:
        sums, _ = cluster_sums(differences - mean, clusters)
    else:
        sums = differences - mean
    groups = len(sums)
    if groups < 2:
        return MeanEstimate(mean, math.nan, 0, groups)
    if np.abs(sums).max() <= _ROUNDING * np.abs(differences).max() * n / groups:
        return MeanEstimate(mean, 0.0, groups - 1, groups)
    error = math.sqrt(groups / (groups - 1) * math.fsum(sums**2)) / n
    return MeanEstimate(mean, error, groups - 1, groups, _skewness(sums))


def _skewness(deviations: Reals) -> float:
    """Adjusted skewness of deviations from their mean, √(n(n − 1))/(n − 2) · m₃/m₂^{3/2}.

    Joanes & Gill (1998), G1. NaN below 3 of them and where they do not differ.
    """
    n = len(deviations)
    largest = float(np.abs(deviations).max())
    if n < 3 or not largest > 0:
        return math.nan
    scaled = deviations / largest
    squares, cubes = math.fsum(scaled**2) / n, math.fsum(scaled**3) / n
    return float(math.sqrt(n * (n - 1)) / (n - 2) * cubes / squares**1.5)


def cluster_sums(values: Reals, clusters: Sequence[str]) -> tuple[Reals, Codes]:
    """Sum of the values and number of samples of each cluster, in the order of the names."""
    names, codes = number(clusters)
    # Adding up in the order of the values makes the last digits independent of the samples'.
    order = np.argsort(values, kind="stable")
    sums: Reals = np.bincount(codes[order], weights=values[order], minlength=len(names)).astype(
        np.float64  # without samples the weights are forgotten
    )
    return sums, np.bincount(codes, minlength=len(names))


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


def bootstrap_interval(differences: Reals, level: float) -> NamedInterval | None:
    """BCa bootstrap interval of the mean difference (Efron 1987), 5,000 draws, a fixed seed.

    With z0 the bias and a the acceleration (jackknife, in closed form for a mean:
    Σ(d − d̄)³ / 6(Σ(d − d̄)²)^{3/2}), the ends are the bootstrap quantiles at
    Φ(z0 + (z0 ± z)/(1 − a(z0 ± z))). z is widened to √(n/(n − 1)) · t_{n−1}, for the bootstrap
    of a mean is otherwise too narrow in small samples (Hesterberg 2015). Above 5,000
    samples with many distinct values the quantiles and z0 come from the Cornish–Fisher expansion
    (Hall 1992), and the method says so.

    None below 10 samples, where resampling cannot show the tails, for constant differences,
    and above 5,000 samples where so few of them decide the skewness that the expansion fails.
    """
    n = len(differences)
    values, counts = np.unique(differences, return_counts=True)
    if n < 10 or len(values) < 2:
        return None
    mean = math.fsum(differences) / n
    centred = values - mean
    squares = float(counts @ centred**2)
    acceleration = float(counts @ centred**3) / (6 * squares**1.5)
    z = math.sqrt(n / (n - 1)) * float(stats.t.ppf(0.5 + level / 2, n - 1))
    if n > _BOOTSTRAP_LIMIT and len(values) > _FEW_VALUES:
        return _expanded(mean, math.sqrt(squares) / n, acceleration, z)
    drawn = _bootstrap_means(values, counts)
    # Means equal up to rounding count as half below, half above.
    slack = 1e-12 * float(np.abs(values).max())
    below = (np.sum(drawn < mean - slack) + np.sum(drawn <= mean + slack)) / (2 * len(drawn))
    low, high = np.quantile(drawn, _bca_levels(float(stats.norm.ppf(below)), acceleration, z))
    return NamedInterval(float(low), float(high), "BCa bootstrap") if high > low else None


def _bca_levels(bias: float, acceleration: float, z: float) -> list[float]:
    moved = [bias - z, bias + z]
    return [float(stats.norm.cdf(bias + m / (1 - acceleration * m))) for m in moved]


def _expanded(mean: float, error: float, acceleration: float, z: float) -> NamedInterval | None:
    """BCa without drawing: z0 = a for a mean, its quantiles by Cornish and Fisher's expansion.

    The skewness of the bootstrap mean is 6a, hence its quantile at Φ(x) is d̄ + SE(x + a(x² − 1)).
    """
    if abs(acceleration) > 0.02:
        return None
    ends = []
    for level in _bca_levels(acceleration, acceleration, z):
        x = float(stats.norm.ppf(level))
        ends.append(mean + error * (x + acceleration * (x * x - 1)))
    return NamedInterval(ends[0], ends[1], "BCa, expanded")


def _bootstrap_means(values: Reals, counts: Codes) -> Reals:
    """Means of resamples; of few distinct values only how often each is drawn matters."""
    n = int(counts.sum())
    rng = np.random.default_rng(_SEED)
    if len(values) <= _FEW_VALUES and len(values) < n:
        return rng.multinomial(n, counts / n, _BOOTSTRAP_DRAWS) @ values / n
    ordered = np.repeat(values, counts)
    rows = max(1, _CHUNK // n)
    starts = range(0, _BOOTSTRAP_DRAWS, rows)
    sizes = [min(rows, _BOOTSTRAP_DRAWS - start) for start in starts]
    return np.concatenate([ordered[rng.integers(0, n, (k, n))].mean(axis=1) for k in sizes])


def sign_flip_test(differences: Reals) -> PValue | None:
    """Two-sided permutation test of the mean: are the signs of the differences a coin's?

    p is the share of sign assignments whose |Σ ±|d|| reaches |Σ d| (Fisher 1935, section 21);
    it needs differences that are symmetric about 0 when the arms are equal, not normal ones.
    Exact while at most 2^17 sums are possible (any 16 samples, or many samples of few distinct
    values); else 9,999 seeded draws, (1 + hits)/(1 + draws) (Davison & Hinkley 1997).
    Of more than 256 distinct |d| the 256 that weigh most are drawn; the others together are
    normal but for a fourth cumulant below 1/500. None for n = 0; p = 1 where all are 0.
    """
    if len(differences) == 0:
        return None
    scale = float(np.abs(differences).max())
    if scale == 0:
        return PValue(1.0, "exact sign-flip permutation")
    # Rounded, so that differences equal up to the last digits are one value and sums tie.
    scaled = np.round(differences / scale, 12)
    values, counts = np.unique(np.abs(scaled[scaled != 0]), return_counts=True)
    least = abs(math.fsum(scaled)) - 1e-10 * float(counts @ values)
    if math.fsum(np.log2(counts + 1)) <= math.log2(_EXACT_SUMS):
        return PValue(_exact_tail(values, counts, least), "exact sign-flip permutation")
    sums = _flipped_sums(values, counts)
    hits = int(np.sum(np.abs(sums) >= least))
    return PValue((1 + hits) / (1 + len(sums)), "sign-flip permutation, 9,999 draws")


def _exact_tail(values: Reals, counts: Codes, least: float) -> float:
    """P(|Σ v_j(2B_j − m_j)| ≥ least) for B_j ~ Binomial(m_j, ½), by enumeration."""
    sums, weights = np.zeros(1), np.ones(1)
    for value, count in zip(values, counts, strict=True):
        heads = np.arange(count + 1)
        steps = value * (2 * heads - count)
        sums = (sums[:, None] + steps).ravel()
        weights = (weights[:, None] * stats.binom.pmf(heads, count, 0.5)).ravel()
    return min(1.0, math.fsum(weights[np.abs(sums) >= least]))


def _flipped_sums(values: Reals, counts: Codes) -> Reals:
    """Σ ±|d| under random signs, drawn once for each distinct |d|."""
    rng = np.random.default_rng(_SEED)
    weigh = counts * values**2
    order = np.lexsort((values, -weigh))
    drawn, rest = order[:_DRAWN_VALUES], order[_DRAWN_VALUES:]
    sums = math.sqrt(math.fsum(weigh[rest])) * rng.standard_normal(_SIGN_DRAWS)
    for value, count in zip(values[drawn], counts[drawn], strict=True):
        sums += value * (2 * rng.binomial(count, 0.5, _SIGN_DRAWS) - count)
    return sums
