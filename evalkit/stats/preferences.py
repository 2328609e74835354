"""Pairwise preferences: how often a judge prefers the tuned arm, over orders and judges.

A utility is 1 where the tuned arm is preferred, 0 where the other is, ½ for a tie; a judge that
gives probabilities may give anything between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from evalkit.stats.base import Interval, Reals
from evalkit.stats.binary import mcnemar
from evalkit.stats.means import cluster_sums, mean_difference

_DIGITS = 12  # an average over judges that is a tie but for rounding is a tie


class Utilities(NamedTuple):
    """One utility per sample, 0 to 1, in the order of the samples' ids."""

    samples: tuple[str, ...]
    values: Reals


class WinRate(NamedTuple):
    """Mean utility (a tie counts half) with its error, the outcomes of samples, and a sign test."""

    rate: float
    standard_error: float
    interval: Interval | None
    wins: int
    ties: int
    losses: int
    sign_p: float
    clusters: int


def sample_utilities(
    samples: Sequence[str], judges: Sequence[str], utilities: Sequence[float] | Reals
) -> Utilities:
    """Utility of each sample: the mean over its judges of each judge's mean over the orders.

    One entry per judgement; judgements of one sample by one judge are its orders (and repeats).
    Averaging comes before any count, since judgements of one sample are no samples of their own.
    ValueError for lists of unequal length or utilities outside 0 to 1.
    """
    values = np.asarray(utilities, dtype=np.float64)
    if not len(samples) == len(judges) == len(values):
        raise ValueError("as many samples, judges and utilities are needed")
    _check(values)
    orders: dict[tuple[str, str], list[float]] = {}
    for sample, judge, value in zip(samples, judges, values.tolist(), strict=True):
        orders.setdefault((sample, judge), []).append(value)
    juries: dict[str, list[float]] = {}
    for (sample, _judge), found in orders.items():
        juries.setdefault(sample, []).append(math.fsum(found) / len(found))
    names = tuple(sorted(juries))
    means = [math.fsum(juries[name]) / len(juries[name]) for name in names]
    return Utilities(names, np.array(means, dtype=np.float64))


def win_rate(utilities: Reals, level: float, clusters: Sequence[str] = ()) -> WinRate:
    """Mean utility with a (cluster-robust) standard error, score interval, and exact sign test.

    A sample is a win above ½, a loss below, a tie at ½. The standard error is that of
    `mean_difference`, the interval that of `utility_interval`. The sign test is the binomial test
    of wins among wins and losses (Dixon & Mood 1946); with clusters, of the clusters whose mean
    is above ½ among those not at ½. ValueError for utilities outside 0 to 1.
    """
    _check(utilities)
    estimate = mean_difference(utilities, clusters)
    wins, ties, losses = _outcomes(utilities)
    signs = wins, losses
    if clusters:
        better, _even, worse = _outcomes(cluster_sums(utilities - 0.5, clusters)[0] + 0.5)
        signs = better, worse
    return WinRate(
        estimate.mean,
        estimate.standard_error,
        utility_interval(estimate.mean, estimate.standard_error, estimate.clusters, level),
        wins,
        ties,
        losses,
        mcnemar(*signs),
        estimate.clusters,
    )


def utility_interval(
    mean: float, standard_error: float, clusters: int, level: float
) -> Interval | None:
    """Wilson's (1927) interval of a mean between 0 and 1, at the sample size its error is worth.

    n* = x̄(1 − x̄)/SE² takes the place of n and t_{G−1} that of z, G the clusters (the effective
    sample size of Korn & Graubard 1998; Franco et al. 2019 compare it with others). It stays
    within 0 to 1 and is not symmetric near them, where the t interval covers too seldom. Where
    every utility is 0, or every one 1, n* = G, and the interval still has a width. None below two
    clusters, and where all are equal in between, which says nothing of those not seen.
    """
    if clusters < 2:
        return None
    worth = float(clusters)
    if 0 < mean < 1:
        if not standard_error > 0:
            return None
        worth = mean * (1 - mean) / standard_error**2
    z = float(stats.t.ppf(0.5 + level / 2, clusters - 1))
    centre = (mean + z * z / (2 * worth)) / (1 + z * z / worth)
    spread = mean * (1 - mean) / worth + (z / (2 * worth)) ** 2
    reach = z * math.sqrt(spread) / (1 + z * z / worth)
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def win_flips(base: Reals, tuned: Reals) -> tuple[int, int]:
    """Samples won by the tuned arm alone and by the base alone, both judged against a third model.

    A tie is no win. The counts are those of an exact McNemar test; the mean of tuned − base and
    its standard error are those of `mean_difference`.
    """
    won, before = np.round(tuned - 0.5, _DIGITS) > 0, np.round(base - 0.5, _DIGITS) > 0
    return int(np.sum(won & ~before)), int(np.sum(before & ~won))


def _outcomes(utilities: Reals) -> tuple[int, int, int]:
    signs = np.sign(np.round(utilities - 0.5, _DIGITS))
    return int(np.sum(signs > 0)), int(np.sum(signs == 0)), int(np.sum(signs < 0))


def _check(utilities: Reals) -> None:
    if not np.all((utilities >= 0) & (utilities <= 1)):  # NaN fails this too
        raise ValueError("utilities lie between 0 and 1; leave out what could not be judged")
