"""A rate of wins set right by how often the judge recognises them, of each arm by itself.

Rogan & Gladen (1978), "Estimating prevalence from the results of a screening test", American
Journal of Epidemiology 107:71–76; of judges that are models, Lee et al. (2025), "How to correctly
report LLM-as-a-judge evaluations". It needs the judge to err as often on the labelled samples of
each kind as on all samples of that kind, but not that the kinds are as frequent there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from evalkit.stats.base import Interval, Reals

FEWEST_OF_EACH = 5


class Recognised(NamedTuple):
    """The judge's mean word on some samples, its variance, and their number."""

    mean: float
    variance: float
    samples: int


class Misclassification(NamedTuple):
    """A corrected rate of wins, 0 to 1, and what it rests on.

    `won`, `lost`: what the judge says of the samples that people say were won, or lost (of binary
    words its sensitivity, and 1 − its specificity); `others`: what it says of the unlabelled ones.
    """

    rate: float
    won: Recognised
    lost: Recognised
    others: Recognised


def misclassification(won: Reals, lost: Reals, others: Reals) -> Misclassification | None:
    """The rate θ with mean(others) = θ · mean(won) + (1 − θ) · mean(lost).

    `won` and `lost` are the judge's words (0 to 1, ½ a tie) on the samples that people call won or
    lost by the tuned arm, `others` those on samples without a label. Of words that are 0 or 1 it is
    Rogan and Gladen's (p + q₀ − 1)/(q₀ + q₁ − 1). None with fewer than FEWEST_OF_EACH samples of a
    kind, and where the judge says as much of the lost ones as of the won.
    """
    if min(len(won), len(lost), len(others)) < FEWEST_OF_EACH:
        return None
    kinds = [_recognised(one) for one in (won, lost, others)]
    apart = kinds[0].mean - kinds[1].mean
    if abs(apart) < 1e-9:
        return None
    rate = (kinds[2].mean - kinds[1].mean) / apart
    return Misclassification(min(1.0, max(0.0, rate)), *kinds)


def _recognised(words: Reals) -> Recognised:
    """The mean, and its variance as if one 0 and one 1 more had been seen (Agresti & Coull 1998).

    So no judge that made no mistake on a few samples is taken for one that makes none.
    """
    n = len(words)
    ordered = np.sort(words)
    centre = (math.fsum(ordered) + 1) / (n + 2)
    spread = (math.fsum(ordered**2) + 1) / (n + 2) - centre**2
    return Recognised(math.fsum(ordered) / n, spread / (n + 2), n)


def misclassification_bounds(found: Misclassification, alpha: float) -> Interval:
    """Each one-sided 1 − alpha bound of the corrected rate, within 0 to 1.

    The rates that a test of mean(others) − θ · mean(won) − (1 − θ) · mean(lost) = 0 does not reject
    (Fieller 1954). Where the labels do not show that the judge tells won from lost, all rates.
    """
    quantile = float(stats.norm.ppf(1 - alpha)) ** 2
    apart, above = found.won.mean - found.lost.mean, found.others.mean - found.lost.mean
    won, lost, others = found.won.variance, found.lost.variance, found.others.variance
    a = apart**2 - quantile * (won + lost)
    b = -2 * (above * apart - quantile * lost)
    c = above**2 - quantile * (others + lost)
    within = b * b - 4 * a * c
    if a <= 0 or within < 0:
        return Interval(0.0, 1.0)
    ends = [(-b + side * math.sqrt(within)) / (2 * a) for side in (-1.0, 1.0)]
    low, high = (min(1.0, max(0.0, one)) for one in ends)
    return Interval(low, high)
