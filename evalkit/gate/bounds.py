"""What a delta says at the gate's own alpha: one-sided bounds, and the p of a threshold.

All of it is of the benefit, the difference turned so that more is better. A delta read from a file
is enough: nothing is resampled here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from evalkit.records import Delta, Metric, Tail, is_judged
from evalkit.stats.base import Interval
from evalkit.stats.binary import HALF_A_FLIP, rate_bounds, tango_bounds, tango_statistic
from evalkit.stats.means import MeanEstimate
from evalkit.stats.skewed import mean_bounds, p_at_least, p_at_most
from evalkit.stats.unseen import p_of_unseen, unseen_bounds


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
            return tango_bounds(delta.gained, delta.lost, delta.n, alpha)
        case "t" if delta.standard_error == 0:
            return _unseen(delta, alpha)
        case "t":
            return _wider(mean_bounds(_estimate(delta), alpha), _unseen(delta, alpha))
        case "wild":
            return _wider(_kept(delta.tails, alpha), _unseen(delta, alpha))
        case "bootstrap" | "sequence" | "corrected":
            return _kept(delta.tails, alpha)
        case _:
            return None


def _unseen(delta: Delta, alpha: float) -> Interval | None:
    """Where a mean of few values may lie if some samples like none seen were lost."""
    width = _width(delta.metric)
    if width is None or delta.difference is None:
        return None
    return unseen_bounds(delta.difference, -width, width, delta.clusters, alpha)


def _width(metric: Metric) -> float | None:
    """Of the scale of scores that take few values: right or wrong, a judge's preference or rating.

    Nearly all of them may be the same, and Student's t takes what was not drawn for impossible.
    """
    if metric.kind != "binary" and not is_judged(metric.name):
        return None
    return None if metric.scale is None else metric.scale[1] - metric.scale[0]


def _wider(one: Interval | None, other: Interval | None) -> Interval | None:
    if one is None or other is None:
        return one
    return Interval(min(one.low, other.low), max(one.high, other.high))


def _kept(tails: Sequence[Tail], alpha: float) -> Interval | None:
    """The bounds of the nearest alpha that was kept and asks no less."""
    enough = [tail for tail in tails if tail.alpha <= alpha * (1 + 1e-9)]
    tail = max(enough, key=lambda one: one.alpha, default=None)
    return Interval(tail.low, tail.high) if tail else None


def p_not_below(delta: Delta, threshold: float) -> float:
    """One-sided p of "the benefit is at least `threshold`": small where it is surely less.

    Of the tests whose bounds `benefit_bounds` gives; of kept bounds the smallest alpha that
    excludes the threshold; 1 where nothing can be told.
    """
    if delta.metric.higher_is_better is False:
        return _p_above(delta, -threshold)
    return _p_below(delta, threshold)


def p_not_above(delta: Delta, threshold: float) -> float:
    """One-sided p of "the benefit is at most `threshold`": small where it is surely more."""
    if delta.metric.higher_is_better is False:
        return _p_below(delta, -threshold)
    return _p_above(delta, threshold)


def _p_below(delta: Delta, threshold: float) -> float:
    """p of "the difference is at least `threshold`"."""
    if delta.difference is None:
        return 1.0
    match delta.interval:
        case "tango":
            return float(stats.norm.cdf(_tango(delta, threshold, -HALF_A_FLIP)))
        case "t":
            p = p_at_least(_estimate(delta), threshold) if delta.standard_error else 0.0
            return max(p, _p_unseen(delta, -delta.difference, -threshold))
        case "wild":
            p = min((one.alpha for one in delta.tails if one.high < threshold), default=1.0)
            return max(p, _p_unseen(delta, -delta.difference, -threshold))
        case "bootstrap" | "sequence" | "corrected":
            return min((one.alpha for one in delta.tails if one.high < threshold), default=1.0)
        case _:
            return 1.0


def _p_above(delta: Delta, threshold: float) -> float:
    """p of "the difference is at most `threshold`"."""
    if delta.difference is None:
        return 1.0
    match delta.interval:
        case "tango":
            return float(stats.norm.sf(_tango(delta, threshold, HALF_A_FLIP)))
        case "t":
            p = p_at_most(_estimate(delta), threshold) if delta.standard_error else 0.0
            return max(p, _p_unseen(delta, delta.difference, threshold))
        case "wild":
            p = min((one.alpha for one in delta.tails if one.low > threshold), default=1.0)
            return max(p, _p_unseen(delta, delta.difference, threshold))
        case "bootstrap" | "sequence" | "corrected":
            return min((one.alpha for one in delta.tails if one.low > threshold), default=1.0)
        case _:
            return 1.0


def _tango(delta: Delta, threshold: float, correction: float) -> float:
    return tango_statistic(threshold, delta.gained, delta.lost, delta.n, correction)


def _p_unseen(delta: Delta, mean: float, threshold: float) -> float:
    width = _width(delta.metric)
    if width is None:
        return 0.0 if delta.standard_error else 1.0
    return p_of_unseen(mean, threshold, -width, delta.clusters)


def tuned_bounds(delta: Delta, alpha: float) -> Interval | None:
    """Each one-sided 1 − alpha bound of the tuned arm's own score, in the metric's unit.

    Exact for a share; those that were kept of few clusters, of a corpus, and of a suite that was
    looked at early; t corrected for skewness otherwise. None where there is none.
    """
    if delta.tuned is None:
        return None
    if delta.interval == "tango":
        return rate_bounds(round(delta.tuned * delta.n), delta.n, alpha)
    if _has_tuned_tails(delta):
        found = _kept(delta.tuned_tails, alpha)
    else:
        estimate = _tuned_estimate(delta)
        found = None if estimate is None else mean_bounds(estimate, alpha)
    scale = _own_scale(delta)
    if scale is None:
        return found
    unseen = unseen_bounds(delta.tuned, *scale, delta.clusters, alpha)
    return unseen if _all_alike(delta) else _wider(found, unseen)


def _own_scale(delta: Delta) -> tuple[float, float] | None:
    """Where scores lie of which units may be lost that were not seen; None where that is no
    matter."""
    if delta.planned or delta.interval == "corrected" or _width(delta.metric) is None:
        return None
    return delta.metric.scale


def _all_alike(delta: Delta) -> bool:
    return delta.tuned_error == 0 and delta.interval in ("t", "wild") and not delta.tuned_tails


def p_tuned_not_below(delta: Delta, floor: float) -> float:
    """One-sided p of "the tuned arm's own score is at least `floor`"; 1 where it cannot be told.

    Of the tests whose bounds `tuned_bounds` gives: the exact one of a share, the corrected t, the
    smallest kept alpha.
    """
    if delta.tuned is None:
        return 1.0
    if delta.interval == "tango":
        return float(stats.binom.cdf(round(delta.tuned * delta.n), delta.n, _share(floor)))
    if _has_tuned_tails(delta):
        p = min((one.alpha for one in delta.tuned_tails if one.high < floor), default=1.0)
    else:
        found = _tuned_estimate(delta)
        p = _p_without(delta) if found is None else p_at_least(found, floor)
    scale = _own_scale(delta)
    most = scale[1] if scale else 1.0
    return max(p, _p_tuned_unseen(delta, most - delta.tuned, most - floor))


def p_tuned_not_above(delta: Delta, ceiling: float) -> float:
    """One-sided p of "the tuned arm's own score is at most `ceiling`"; 1 where it is unknown."""
    if delta.tuned is None:
        return 1.0
    if delta.interval == "tango":
        return float(stats.binom.sf(round(delta.tuned * delta.n) - 1, delta.n, _share(ceiling)))
    if _has_tuned_tails(delta):
        p = min((one.alpha for one in delta.tuned_tails if one.low > ceiling), default=1.0)
    else:
        found = _tuned_estimate(delta)
        p = _p_without(delta) if found is None else p_at_most(found, ceiling)
    scale = _own_scale(delta)
    least = scale[0] if scale else 0.0
    return max(p, _p_tuned_unseen(delta, delta.tuned - least, ceiling - least))


def _p_without(delta: Delta) -> float:
    """The p of no error at all: what was not seen alone tells, where that is known."""
    return 0.0 if _own_scale(delta) and _all_alike(delta) else 1.0


def _has_tuned_tails(delta: Delta) -> bool:
    """Not so of files written before they were kept of few clusters and of a corpus."""
    return bool(delta.planned or delta.tuned_tails)


def _p_tuned_unseen(delta: Delta, value: float, bound: float) -> float:
    if _own_scale(delta) is None:
        return 0.0
    return p_of_unseen(value, bound, 0.0, delta.clusters)


def _share(bound: float) -> float:
    return min(max(bound, 0.0), 1.0)


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
