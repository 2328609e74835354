"""The mean of what people would say, from few of their labels and a judge's word on every sample.

Prediction-powered inference (Angelopoulos et al. 2023, Science 382:669–674), tuned as in PPI++
(Angelopoulos, Duchi & Zrnic 2023). The labelled samples must be a random part of all that were
judged; the judge may be wrong in any way, for how much is estimated from the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.stats.base import Codes, Interval, Reals, number
from evalkit.stats.means import MeanEstimate
from evalkit.stats.skewed import mean_bounds, p_at_least, p_at_most
from evalkit.stats.unseen import p_of_unseen, unseen_bounds

FEWEST_LABELS = 5
_ROUNDING = 1e-12


class PredictionPowered(NamedTuple):
    """An estimated mean, from `labelled` samples with a label and `unlabelled` ones without.

    `tuning` is λ, the weight of the judge: 0 takes the labels alone, 1 all that the judge says.
    `estimate` holds the standard error and what else its bounds need, `rectifier` the mean of
    label − λ · judge over the labelled samples.
    """

    mean: float
    tuning: float
    estimate: MeanEstimate
    rectifier: float
    labelled: int
    unlabelled: int


def prediction_powered(
    labels: Reals,
    judged: Reals,
    others: Reals,
    clusters: Sequence[str] = (),
    tuning: float | None = None,
) -> PredictionPowered | None:
    """Mean of labels over a population, of which the judge's word is known of more samples.

    θ = mean(y − λf) over the labelled samples + λ · mean(f) over the others; `labels` y and
    `judged` f are [n], `others` are f of the unlabelled ones [N]. Unless `tuning` gives it, λ makes
    the error least: cov(y, f)/((1 + n/N) var(f)), within 0 to 1, for each labelled sample from all
    but itself (its cluster), without which θ would be biased: by a seventh of its error at 50
    labels. The variance is that of both independent parts, s²(y − λf)/n + λ²s²(f)/N; with
    `clusters`, names of [n + N] samples, that of the clusters' sums. None below FEWEST_LABELS
    labelled samples or clusters. ValueError for unequal lengths.
    """
    n, count = len(labels), len(others)
    if len(judged) != n or (clusters and len(clusters) != n + count):
        raise ValueError("as many labels, judged values and clusters are needed")
    units = np.arange(n) if not clusters else number(clusters[:n])[1]
    if not n or units.max() + 1 < FEWEST_LABELS:
        return None
    told = 0.0 if not count else tuning
    weight = _tuning(labels, judged, others) if told is None else told
    weights = _left_out(labels, judged, others, units) if told is None else np.full(n, told)
    predicted = math.fsum(others) / count if count else 0.0
    rests = labels - weights * judged
    rectifier = math.fsum(rests) / n
    mean = rectifier + math.fsum(weights) / n * predicted
    moved = [
        (rests + weights * predicted - mean) / n,
        weight * (others - predicted) / max(count, 1),
    ]
    estimate = _estimate(mean, np.concatenate(moved), n, clusters)
    return PredictionPowered(mean, weight, estimate, rectifier, n, count)


def _tuning(labels: Reals, judged: Reals, others: Reals) -> float:
    """λ of PPI++ for a mean (their example 6.1); 0 where the judge says the same of all."""
    return float(_left_out(labels, judged, others, None)[0])


def _left_out(labels: Reals, judged: Reals, others: Reals, units: Codes | None) -> Reals:
    """The λ of all labelled samples but those of the same unit, [n]; of all where units are None.

    From sums, from which those of a unit are taken off; values are centred, for the digits.
    """
    n, count = len(labels), len(others)
    y, f = labels - labels.mean(), judged - judged.mean()
    rest = np.sort(others - judged.mean())
    terms = np.stack([np.ones(n), y, f, y * f, f * f])
    own = np.zeros((5, n)) if units is None else _unit_sums(terms, units)
    size, ys, fs, products, squares = np.array([[math.fsum(one)] for one in terms]) - own
    together = (products - ys * fs / size) / size
    every = size + count
    total, spread = fs + math.fsum(rest), squares + math.fsum(rest**2)
    variance = (spread - total**2 / every) / (every - 1)
    ratio = together / np.where(variance > _ROUNDING, (1 + size / count) * variance, np.inf)
    return np.asarray(np.clip(ratio, 0.0, 1.0))


def _unit_sums(terms: Reals, units: Codes) -> Reals:
    """The terms [k, n] added up over each sample's unit, [k, n]."""
    return np.stack([np.bincount(units, weights=one)[units] for one in terms])


def _estimate(mean: float, pulls: Reals, n: int, clusters: Sequence[str]) -> MeanEstimate:
    """Standard error and skewness from what each sample adds to the mean, [n + N]."""
    if clusters:
        names, codes = number(clusters)
        sums: Reals = np.bincount(codes, weights=pulls, minlength=len(names)).astype(np.float64)
        labelled = np.zeros(len(names), dtype=bool)
        labelled[codes[:n]] = True
    else:
        sums, labelled = pulls, np.arange(len(pulls)) < n
    units, alone = int(labelled.sum()), int((~labelled).sum())
    squares = units / (units - 1) * math.fsum(sums[labelled] ** 2)
    squares += alone / max(alone - 1, 1) * math.fsum(sums[~labelled] ** 2)
    if squares <= _ROUNDING**2:
        return MeanEstimate(mean, 0.0, units - 1, units)
    # As of a mean of `units` values: √units times the skewness of what they add up to.
    cubes = math.fsum(sums**3) / math.fsum(sums**2) ** 1.5
    skewness = math.sqrt(units) * cubes * math.sqrt(units * (units - 1)) / (units - 2)
    return MeanEstimate(mean, math.sqrt(squares), units - 1, units, skewness)


def prediction_powered_bounds(found: PredictionPowered, alpha: float) -> Interval | None:
    """Each one-sided 1 − alpha bound of a mean of labels between 0 and 1.

    Student's t corrected for skewness, and never nearer than what the labels cannot show: mistakes
    of the judge as rare as none of its labelled samples had. Within 0 to 1.
    """
    shift = found.mean - found.rectifier
    hidden = unseen_bounds(found.rectifier, -found.tuning, 1.0, found.estimate.clusters, alpha)
    bounds = [one for one in (mean_bounds(found.estimate, alpha),) if one is not None]
    if hidden is not None:
        bounds.append(Interval(hidden.low + shift, hidden.high + shift))
    if not bounds:
        return None
    low, high = min(one.low for one in bounds), max(one.high for one in bounds)
    return Interval(max(0.0, low), min(1.0, high))


def prediction_powered_test(found: PredictionPowered, value: float) -> float:
    """Two-sided p of "the mean is `value`", of the tests whose bounds those above are."""
    rest, units = value - (found.mean - found.rectifier), found.estimate.clusters
    unseen_below = p_of_unseen(found.rectifier, rest, -found.tuning, units)
    unseen_above = p_of_unseen(-found.rectifier, -rest, -1.0, units)
    if not found.estimate.standard_error > 0:
        sides = unseen_below, unseen_above
    else:
        sides = (
            max(p_at_most(found.estimate, value), unseen_below),
            max(p_at_least(found.estimate, value), unseen_above),
        )
    return min(1.0, 2 * min(sides))
