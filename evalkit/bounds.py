"""What a delta says at the gate's own alpha: one-sided bounds, and the p of a threshold.

All of it is of the benefit, the difference turned so that more is better. A delta read from a file
is enough: nothing is resampled here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from evalkit.records import Delta, Tail
from evalkit.stats.base import Interval
from evalkit.stats.binary import tango_interval, tango_statistic, wilson_interval
from evalkit.stats.means import MeanEstimate
from evalkit.stats.skewed import mean_bounds, p_at_least, p_at_most


def benefit_of(delta: Delta) -> float | None:
    """The difference, turned so that more is better."""
    if delta.difference is None:
        return None
    return -delta.difference if delta.metric.higher_is_better is False else delta.difference


def benefit_bounds(delta: Delta, alpha: float) -> Interval | None:
    """Each one-sided 1 − alpha bound of the benefit; None where it cannot be told."""
    found = _difference_bounds(delta, alpha)
    if found is None or delta.metric.higher_is_better is not False:
        return found
    return Interval(-found.high, -found.low)


def _difference_bounds(delta: Delta, alpha: float) -> Interval | None:
    if delta.difference is None:
        return None
    match delta.interval:
        case "tango":
            return tango_interval(delta.gained, delta.lost, delta.n, 1 - 2 * alpha)
        case "t":
            return mean_bounds(_estimate(delta), alpha)
        case "wild" | "bootstrap" | "sequence":
            return _kept(delta.tails, alpha)
        case _:
            return None


def _kept(tails: Sequence[Tail], alpha: float) -> Interval | None:
    """The bounds of the nearest alpha that was kept and asks no less."""
    enough = [tail for tail in tails if tail.alpha <= alpha * (1 + 1e-9)]
    tail = max(enough, key=lambda one: one.alpha, default=None)
    return Interval(tail.low, tail.high) if tail else None


def p_not_below(delta: Delta, threshold: float) -> float:
    """One-sided p of "the benefit is at least `threshold`": small where it is surely less.

    Tango's score test, t corrected for skewness, or the smallest kept alpha whose bound excludes
    the threshold; 1 where nothing can be told.
    """
    benefit = benefit_of(delta)
    if benefit is None:
        return 1.0
    match delta.interval:
        case "tango":
            better, worse = delta.gained, delta.lost
            if delta.metric.higher_is_better is False:
                better, worse = worse, better
            return float(stats.norm.cdf(tango_statistic(threshold, better, worse, delta.n)))
        case "t" if delta.metric.higher_is_better is False:
            return p_at_most(_estimate(delta), -threshold)
        case "t":
            return p_at_least(_estimate(delta), threshold)
        case "wild" | "bootstrap" | "sequence":
            tails = [(tail.alpha, benefit_bounds(delta, tail.alpha)) for tail in delta.tails]
            return min((a for a, one in tails if one and one.high < threshold), default=1.0)
        case _:
            return 1.0


def p_not_above(delta: Delta, threshold: float) -> float:
    """One-sided p of "the benefit is at most `threshold`": small where it is surely more."""
    match delta.interval:
        case "tango":
            return 1.0 - p_not_below(delta, threshold)
        case "t" if delta.metric.higher_is_better is False:
            return p_at_least(_estimate(delta), -threshold)
        case "t":
            return p_at_most(_estimate(delta), threshold)
        case "wild" | "bootstrap" | "sequence":
            tails = [(tail.alpha, benefit_bounds(delta, tail.alpha)) for tail in delta.tails]
            return min((a for a, one in tails if one and one.low > threshold), default=1.0)
        case _:
            return 1.0


def tuned_bounds(delta: Delta, alpha: float) -> Interval | None:
    """Each one-sided 1 − alpha bound of the tuned arm's own score, in the metric's unit.

    Wilson's for a share, t corrected for skewness otherwise, those that were kept where the suite
    was looked at early; None for a score that is no mean of samples.
    """
    if delta.tuned is None:
        return None
    if delta.planned:
        return _kept(delta.tuned_tails, alpha)
    if delta.interval == "tango":
        return wilson_interval(round(delta.tuned * delta.n), delta.n, 1 - 2 * alpha)
    found = _tuned_estimate(delta)
    return None if found is None else mean_bounds(found, alpha)


def p_tuned_not_below(delta: Delta, floor: float) -> float:
    """One-sided p of "the tuned arm's own score is at least `floor`"; 1 where it cannot be told.

    The test whose inversion is `tuned_bounds`: the score test of a share, the corrected t, or the
    smallest kept alpha of a suite that was looked at early.
    """
    if delta.planned:
        return min((one.alpha for one in delta.tuned_tails if one.high < floor), default=1.0)
    if delta.interval == "tango":
        return _p_of_share(delta, floor, 1.0)
    found = _tuned_estimate(delta)
    return 1.0 if found is None else p_at_least(found, floor)


def p_tuned_not_above(delta: Delta, ceiling: float) -> float:
    """One-sided p of "the tuned arm's own score is at most `ceiling`"; 1 where it is unknown."""
    if delta.planned:
        return min((one.alpha for one in delta.tuned_tails if one.low > ceiling), default=1.0)
    if delta.interval == "tango":
        return _p_of_share(delta, ceiling, -1.0)
    found = _tuned_estimate(delta)
    return 1.0 if found is None else p_at_most(found, ceiling)


def _p_of_share(delta: Delta, bound: float, sign: float) -> float:
    if delta.tuned is None:
        return 1.0
    far = sign * (delta.tuned - bound)
    if not 0 < bound < 1:  # no share lies beyond it, and a share at it has no spread
        return 0.0 if far < 0 else 1.0
    return float(stats.norm.cdf(far / math.sqrt(bound * (1 - bound) / delta.n)))


def _tuned_estimate(delta: Delta) -> MeanEstimate | None:
    if delta.tuned is None or not delta.tuned_error or not math.isfinite(delta.tuned_error):
        return None
    return _mean(delta.tuned, delta.tuned_error, delta.tuned_skewness, delta.clusters)


def _estimate(delta: Delta) -> MeanEstimate:
    assert delta.difference is not None
    return _mean(delta.difference, delta.standard_error, delta.skewness, delta.clusters)


def _mean(mean: float, error: float | None, skewness: float | None, units: int) -> MeanEstimate:
    """As it was estimated; files written before the skewness was kept have Student's bounds."""
    known = [math.nan if value is None else value for value in (error, skewness)]
    return MeanEstimate(mean, known[0], units - 1, units, known[1])
