"""How far raters agree beyond chance: Krippendorff's alpha and Cohen's kappa.

Raters are judges, people, or repeats of one judge. 1 is full agreement, 0 what ratings dealt at
random would give; less is possible. Missing ratings are NaN, and count for nothing.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.stats.base import Reals

Scale = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]


def krippendorff_alpha(ratings: Reals, scale: Scale) -> float | None:
    """Krippendorff's alpha of ratings [raters, units], any number of raters, any of them missing.

    α = 1 − D_o/D_e (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"): D_o is the
    mean squared distance δ² of two ratings of one unit, D_e that of any two of the n ratings. δ² is
    1 for unlike ratings (nominal), (c − k)² (interval), or that of their mid-ranks among the n
    ratings (ordinal). Units with fewer than two ratings are left out. None where no unit has two,
    and where all ratings are the same: without variation nothing is known of agreement.
    """
    counts = (~np.isnan(ratings)).sum(axis=0)
    paired, counts = ratings[:, counts > 1], counts[counts > 1]
    known = ~np.isnan(paired)
    values = paired[known]
    if not len(values) or float(np.ptp(values)) == 0:
        return None
    if scale == "nominal":
        within, overall = _unlike(paired, counts), _all_unlike(values)
    else:
        points = paired.copy()
        if scale == "ordinal":
            points[known] = stats.rankdata(values)
        # From the mean, so that a large common offset takes no digits.
        points -= math.fsum(points[known]) / len(values)
        within, overall = _squares(points, counts), _all_squares(points[known])
    n = len(values)
    return 1 - (math.fsum(within / (counts - 1)) / n) / (overall / (n * (n - 1)))


def cohen_kappa(first: Reals, second: Reals, weights: Weights = "none") -> float | None:
    """Cohen's kappa of two raters' categories [n]: agreement beyond what their habits would give.

    κ = 1 − Σ w p_ij / Σ w p_i· p_·j (Cohen 1960; weighted: Cohen 1968), w the places between two
    categories in their sorted order: 1 for any (none), |i − j| (linear), (i − j)² (quadratic).
    Pairs with a missing rating are left out. None without pairs and where chance alone would never
    disagree, since both raters always say the same one thing. ValueError for unequal lengths.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"ratings of shapes {first.shape} and {second.shape} are not paired")
    known = ~(np.isnan(first) | np.isnan(second))
    if not known.any():
        return None
    pairs = np.concatenate([first[known], second[known]])
    categories, places = np.unique(pairs, return_inverse=True)
    count, n = len(categories), len(pairs) // 2
    table = np.bincount(places[:n] * count + places[n:], minlength=count**2)
    table = table.reshape(count, count)
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    cost = {"none": (apart > 0).astype(np.int64), "linear": apart, "quadratic": apart**2}[weights]
    chance = int((cost * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    return 1 - n * int((cost * table).sum()) / chance if chance else None


def _unlike(paired: Reals, counts: Reals) -> Reals:
    """Ordered pairs of unlike ratings, of each unit."""
    alike = np.zeros(len(counts))
    for value in np.unique(paired[~np.isnan(paired)]):
        alike += (paired == value).sum(axis=0) ** 2
    return np.asarray(counts**2 - alike)


def _all_unlike(values: Reals) -> float:
    shares = np.unique(values, return_counts=True)[1]
    return float(len(values) ** 2 - (shares**2).sum())


def _squares(points: Reals, counts: Reals) -> Reals:
    """Σ over ordered pairs (x − y)² = 2(m Σx² − (Σx)²), of each unit."""
    ordered = np.sort(points, axis=0)  # sums round by order; NaN stands last
    squares, sums = np.nansum(ordered**2, axis=0), np.nansum(ordered, axis=0)
    return np.asarray(2 * (counts * squares - sums**2))


def _all_squares(points: Reals) -> float:
    return 2 * (len(points) * math.fsum(points**2) - math.fsum(points) ** 2)
