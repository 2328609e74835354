"""One difference estimated: which interval and which test the scores of a metric get.

| scores | interval | test |
|---|---|---|
| binary | Tango's score interval | exact McNemar |
| continuous | t, corrected for skewness (Hall) | sign-flip permutation |
| in clusters, 40 or more | the same, cluster-robust | the same, cluster-robust |
| in fewer clusters | wild cluster bootstrap | wild cluster bootstrap |
| means of several answers | as continuous | as continuous |
| ratios of sums over a corpus, BLEU, chrF, MCC | bootstrap of samples | approximate randomisation |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.stats import norm

from evalkit.components import answers_of, with_components
from evalkit.records import Delta, IntervalKind, Metric, MetricKind, Score, Tail, is_judged
from evalkit.stats.base import Interval, Reals
from evalkit.stats.binary import mcnemar, tango_interval, wilson_interval
from evalkit.stats.clusters import FEW_CLUSTERS, wild_bootstrap_intervals, wild_bootstrap_test
from evalkit.stats.corpus import (
    ScoreFunction,
    bleu_score,
    chrf_score,
    corpus_difference,
    corpus_draws,
    corpus_interval,
    mcc_score,
)
from evalkit.stats.means import (
    MeanEstimate,
    bootstrap_interval,
    mean_difference,
    sign_flip_test,
)
from evalkit.stats.perplexity import perplexity_difference, rate
from evalkit.stats.power import flips_needed
from evalkit.stats.skewed import mean_bounds, mean_test
from evalkit.stats.unseen import p_of_unseen, unseen_bounds

LEVEL = 0.95
CORPUS: frozenset[MetricKind] = frozenset(("ratio", "perplexity", "bleu", "chrf", "mcc"))
"""Kinds that are computed from sums over the corpus; every other is a mean over samples."""
ALPHAS = (0.1, 0.05, 0.025, 0.01, 0.005, 0.001)
"""Where one-sided bounds are kept of an interval that cannot be had from a few numbers again."""
SMALL_ALPHAS = (0.0005, 0.0002, 0.0001)
"""Kept too of what is resampled, for a fail that has to stand among hundreds of suites."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of both arms on the samples that have one in each [n], and their clusters."""

    base: Sequence[Score]
    tuned: Sequence[Score]
    clusters: Sequence[str]

    def values(self) -> tuple[Reals, Reals]:
        """The scores as numbers [n]."""
        return _numbers(self.base), _numbers(self.tuned)

    def statistics(self) -> tuple[Reals, Reals] | None:
        """Sufficient statistics [n, k] of both arms; None where a score lacks them."""
        both = _statistics((*self.base, *self.tuned))
        return None if both is None else (both[: len(self.base)], both[len(self.base) :])


def _statistics(scores: Sequence[Score]) -> Reals | None:
    """Sufficient statistics [n, k]; None where a score lacks them."""
    widths = {len(one.stats) for one in scores}
    if len(widths) != 1 or 0 in widths:
        return None
    return np.array([one.stats for one in scores], dtype=np.float64)


def _numbers(scores: Sequence[Score]) -> Reals:
    return np.array([one.value for one in scores], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Found:
    """An interval at LEVEL and a p value, how they were got, and the one-sided bounds kept."""

    kind: IntervalKind
    interval: Interval | None
    p_value: float | None
    method: str
    tails: tuple[Tail, ...] = ()


def grouped(clusters: Sequence[str]) -> list[str]:
    """Every sample's cluster, one of its own where it has none; empty where no sample has any."""
    return [name or f"\0{i}" for i, name in enumerate(clusters)] if any(clusters) else []


def alone(
    metric: Metric, scores: Sequence[Score], clusters: Sequence[str]
) -> tuple[float | None, Interval | None]:
    """One arm's own value, and its interval at LEVEL.

    Wilson's for a share, t for a mean, the wild bootstrap's of few clusters, the bootstrap's for a
    score of the whole corpus.
    """
    if not scores:
        return None, None
    values = _numbers(scores)
    groups = grouped(clusters)
    statistics = _statistics(scores) if metric.kind in CORPUS else None
    if statistics is not None:
        value = corpus_value(metric, [math.fsum(column) for column in statistics.T])
        found = corpus_interval(statistics, _score_of(metric), LEVEL, groups)
        return value, found if value is not None else None
    right_or_wrong = answers_of(scores) == 1 and bool(np.isin(values, (0, 1)).all())
    if metric.kind == "binary" and not groups and right_or_wrong:
        found = wilson_interval(int(values.sum()), len(values), LEVEL)
    elif groups and len(set(groups)) < FEW_CLUSTERS:
        found = wild_bootstrap_intervals(values, groups, [LEVEL])[0]
    else:
        found = _t_interval(mean_difference(values, groups))
    return math.fsum(values) / len(values), found


def corpus_value(metric: Metric, sums: Sequence[float]) -> float | None:
    """A score of the corpus from the sums [k] of its samples' statistics; None if there is none."""
    value = float(_score_of(metric)(np.array(sums, dtype=np.float64)))
    return value if math.isfinite(value) else None


def estimated(delta: Delta, scored: Scored, *, whole: bool = True) -> Delta:
    """The delta with its difference, bounds, test and counts; `note` says why one is lacking.

    Not `whole`: without what no gate decides on and takes most of the time, the BCa bootstrap and
    the sign-flip test of scores on a scale.
    """
    statistics = scored.statistics() if delta.metric.kind in CORPUS else None
    if statistics is not None:
        delta = replace(delta, completions=answers_of((*scored.base, *scored.tuned)))
        return _of_corpus(delta, *statistics, scored.clusters)
    bases, tuneds = scored.values()
    differences = _differences(bases, tuneds)
    delta = with_components(delta, scored.base, scored.tuned)
    mean = mean_difference(differences, scored.clusters)
    boot = bootstrap_interval(differences, LEVEL) if whole and not scored.clusters else None
    # The mean of several right or wrong answers is a share, even where all are 0 or 1 by chance.
    single = delta.metric.kind == "binary" and delta.completions == 1
    binary = single and bool(np.isin(differences, (-1, 0, 1)).all())
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    found = _found(differences, mean, scored.clusters, binary=binary, tested=whole)
    if not found.interval and is_judged(delta.metric.name):
        found = _unanimous(mean, delta.metric) or found
    own = mean_difference(tuneds, scored.clusters)
    few = found.kind == "wild"
    return replace(
        _bounded(delta, found),
        tuned_tails=_wild_tails(tuneds, scored.clusters)[1] if few else (),
        base=math.fsum(bases) / len(bases),
        tuned=math.fsum(tuneds) / len(tuneds),
        difference=mean.mean,
        boot_low=boot.low if boot else None,
        boot_high=boot.high if boot else None,
        standard_error=_known(mean.standard_error),
        tuned_error=_known(own.standard_error),
        skewness=_known(mean.skewness),
        tuned_skewness=_known(own.skewness),
        clusters=mean.clusters,
        gained=gained if binary else 0,
        lost=lost if binary else 0,
        note=_powerless(found, gained + lost, len(bases)) if found.interval else _lacking(mean),
    )


def _differences(bases: Reals, tuneds: Reals) -> Reals:
    """tuned − base [n]; those that differ by rounding alone are made equal.

    Else scores of .9 − .8 and .3 − .2 would have an interval, of next to no width.
    """
    differences = tuneds - bases
    scale = max(np.abs(bases).max(), np.abs(tuneds).max())
    if np.ptp(differences) <= 1e-12 * scale:
        return np.full_like(differences, np.median(differences))
    return differences


def _powerless(found: _Found, flips: int, n: int) -> str:
    """That so few samples flipped that the test could not have told any difference from none."""
    needed = flips_needed(1 - LEVEL)
    if found.kind != "tango" or flips >= needed:
        return ""
    return (
        f"{flips} of {n:,} flipped: below {needed} flips the test has no power, so a large p is no "
        "sign that nothing changed"
    )


def _found(
    differences: Reals,
    mean: MeanEstimate,
    clusters: Sequence[str],
    *,
    binary: bool,
    tested: bool,
) -> _Found:
    if binary and not clusters:
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        return _Found(
            "tango",
            tango_interval(gained, lost, len(differences), LEVEL),
            mcnemar(gained, lost),
            "Tango score interval, exact McNemar",
        )
    if clusters and mean.clusters < FEW_CLUSTERS:
        return _of_few_clusters(differences, clusters)
    interval = _t_interval(mean)
    method = "paired t" if math.isnan(mean.skewness) else "paired t, corrected for skewness"
    if clusters:
        return _Found("t", interval, mean_test(mean), f"{method}, clustered by sample group")
    test = sign_flip_test(differences) if interval and tested else None
    method = f"{method}; {test.method}" if test else method
    return _Found("t", interval, test.p if test else None, method)


def _unanimous(mean: MeanEstimate, metric: Metric) -> _Found | None:
    """Where judges say the same of every sample: how many that were not seen may be otherwise.

    They often do, where an answer's style was learned, and it is the clearest word there is. None
    where the differences are not all the same.
    """
    if metric.scale is None or mean.standard_error != 0 or mean.clusters < 2:
        return None
    width = metric.scale[1] - metric.scale[0]
    bounds = unseen_bounds(mean.mean, -width, width, mean.clusters, (1 - LEVEL) / 2)
    p = p_of_unseen(abs(mean.mean), 0.0, -width, mean.clusters)
    return _Found("t", bounds, min(1.0, 2 * p), "all alike: bounds of what was not seen")


def _t_interval(mean: MeanEstimate) -> Interval | None:
    return mean_bounds(mean, (1 - LEVEL) / 2)


def _of_few_clusters(differences: Reals, clusters: Sequence[str]) -> _Found:
    """Below 40 clusters the robust standard error is too small, and Student's t with it."""
    test = wild_bootstrap_test(differences, clusters)
    interval, tails = _wild_tails(differences, clusters)
    return _Found(
        "wild",
        interval,
        test.p if test else None,
        f"wild cluster bootstrap-t, fewer than {FEW_CLUSTERS} clusters",
        tails,
    )


def _wild_tails(values: Reals, clusters: Sequence[str]) -> tuple[Interval | None, tuple[Tail, ...]]:
    """The interval at LEVEL of the mean of values [n], and its one-sided bounds."""
    alphas = (*ALPHAS, *SMALL_ALPHAS)
    levels = [LEVEL, *(1 - 2 * alpha for alpha in alphas)]
    interval, *bounds = wild_bootstrap_intervals(values, clusters, levels)
    # A small alpha may have none.
    kept = zip(alphas, bounds, strict=True)
    return interval, tuple(Tail(alpha, one.low, one.high) for alpha, one in kept if one)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _lacking(mean: MeanEstimate) -> str:
    if mean.clusters < 2:
        return "too few samples"
    if not mean.standard_error > 0:
        return "every difference is the same"
    return f"too few clusters of samples for an interval at {LEVEL:.0%}".replace("%", " %")


def _of_corpus(delta: Delta, base: Reals, tuned: Reals, clusters: Sequence[str]) -> Delta:
    """A score of sums over the corpus: never a mean of the samples' own scores."""
    found = corpus_difference(base, tuned, _score_of(delta.metric), LEVEL, clusters)
    if found is None or not (math.isfinite(found.base) and math.isfinite(found.tuned)):
        return replace(delta, note="nothing to divide by")
    units = _unit(delta.metric)
    told = replace(
        delta,
        base=found.base,
        tuned=found.tuned,
        difference=found.difference,
        clusters=len(set(clusters)) if clusters else len(base),
    )
    if _by_token(delta.metric) and bool((base[:, 1] != tuned[:, 1]).any()):
        return replace(told, note=_OTHER_UNITS)
    bounds = _Found(
        "bootstrap",
        found.interval,
        found.randomisation_p,
        f"bootstrap of {units}, approximate randomisation",
        _tails(found.draws, found.difference, found.bounds),
    )
    own = corpus_draws(tuned, _score_of(delta.metric), clusters)
    return replace(
        _bounded(_with_ratio(told, base, tuned, clusters), bounds),
        standard_error=found.standard_error,
        tuned_tails=_tails(own.draws, found.tuned, own.bounds),
        note="" if found.interval else f"too few {units} for an interval, or all alike",
    )


def _with_ratio(delta: Delta, base: Reals, tuned: Reals, clusters: Sequence[str]) -> Delta:
    """Of a perplexity also how many times it is the base's, by a bootstrap of the logarithm."""
    if delta.metric.kind != "perplexity":
        return delta
    found = perplexity_difference(base, tuned, LEVEL, clusters)
    if found is None:
        return delta
    bounds = found.ratio_interval
    if bounds is None or not math.isfinite(bounds.high):
        return replace(delta, ratio=found.ratio)
    return replace(delta, ratio=found.ratio, ratio_low=bounds.low, ratio_high=bounds.high)


def _by_token(metric: Metric) -> bool:
    """Whether the scores are information per unit of text, of which both arms must count alike."""
    per_unit = metric.kind == "ratio" and metric.unit in ("nats", "bits")
    return per_unit or metric.kind == "perplexity"


_OTHER_UNITS = (
    "both arms count other units, as with two tokenizers, so their ratios cannot be compared: "
    "gate bits_per_byte"
)


def _tails(
    draws: Reals, value: float, bounds: Callable[[float], Interval | None]
) -> tuple[Tail, ...]:
    """One-sided bounds; beyond what the draws can tell, the farther of them and a normal tail."""
    pairs = [(alpha, bounds(1 - 2 * alpha)) for alpha in ALPHAS]
    tails = [Tail(alpha, one.low, one.high) for alpha, one in pairs if one is not None]
    if len(tails) < len(ALPHAS) or not np.isfinite(draws).all():
        return tuple(tails)
    error = float(np.std(draws, ddof=1))
    for alpha in SMALL_ALPHAS:
        reach = float(norm.isf(alpha)) * error
        last = tails[-1]
        low, high = min(last.low, value - reach), max(last.high, value + reach)
        tails.append(Tail(alpha, low, high))
    return tuple(tails)


def _unit(metric: Metric) -> str:
    return "segments" if metric.kind in ("bleu", "chrf") else "documents"


def _score_of(metric: Metric) -> ScoreFunction:
    match metric.kind:
        case "perplexity":
            return _perplexity
        case "bleu":
            return partial(bleu_score, effective_order=False)
        case "chrf":
            return chrf_score
        case "mcc":
            return mcc_score
        case _:
            return rate


def _perplexity(sums: Reals) -> Reals:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(rate(sums)))


def _bounded(delta: Delta, found: _Found) -> Delta:
    return replace(
        delta,
        low=found.interval.low if found.interval else None,
        high=found.interval.high if found.interval else None,
        p_value=found.p_value,
        # Five clusters have bounds on one side at .05, which decide, and no interval at LEVEL.
        interval=found.kind if found.interval or found.tails else "none",
        method=found.method,
        tails=found.tails,
    )
