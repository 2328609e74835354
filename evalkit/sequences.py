"""Deltas of suites that were looked at early: bounds that hold at every look, and no others.

Whoever looks at an interval for a fixed number of samples after every block, and stops when it
says what is wanted, errs far more often than it promises. So a suite that could be stopped has
confidence sequences in its place, whether it was stopped or not, and where a score has no bounds,
none at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evalkit.estimates import ALPHAS, LEVEL, Scored, estimated
from evalkit.records import Delta, EarlyStop, Metric, Sample, Tail
from evalkit.stats.base import Reals
from evalkit.stats.sequential import ConfidenceSequence, blocks, by_cluster

_TWO_SIDED = min(ALPHAS, key=lambda alpha: abs(1 - 2 * alpha - LEVEL))


def in_order(samples: Sequence[Sample], seed: int) -> list[list[int]]:
    """Positions of a suite's samples in blocks, in the order in which they are asked.

    The order is by id and seed, whole clusters together; so any first part of it, in whatever
    order it comes, is put into the same order again.
    """
    clusters = _clusters(samples) if any(one.cluster for one in samples) else []
    return blocks([one.id for one in samples], seed, clusters)


def planned(samples: Sequence[Sample], alphas: Sequence[float]) -> EarlyStop:
    """What must be known of a suite before its first sample is asked."""
    sizes = Counter(_clusters(samples))
    slices = Counter(f"{key}={value}" for one in samples for key, value in one.slices.items())
    return EarlyStop(
        planned=len(samples),
        draws=len(sizes),
        largest=max(sizes.values(), default=1),
        slices=dict(sorted(slices.items())),
        alphas=tuple(alphas),
    )


def _clusters(samples: Sequence[Sample]) -> list[str]:
    return [one.cluster or f"\0{one.id}" for one in samples]


def of_slice(early: EarlyStop, name: str) -> EarlyStop:
    """The same of one slice; how many clusters it has was not counted, and need not be known."""
    size = early.slices.get(name, 0)
    return replace(early, planned=size, draws=size if early.draws == early.planned else 0)


def followed(delta: Delta, scored: Scored, early: EarlyStop) -> Delta:
    """The delta with its difference and counts, and bounds that hold at every look.

    `scored` is in the order of `in_order`. There is no test: its p would be of a fixed n.
    """
    found = replace(
        estimated(delta, scored),
        low=None, high=None, boot_low=None, boot_high=None, p_value=None,
        interval="none", method="", tails=(), planned=early.planned,
    )  # fmt: skip
    if found.difference is None:
        return found
    alphas = sorted({*ALPHAS, *early.alphas}, reverse=True)
    return watched(found, scored, early, alphas)


def watched(delta: Delta, scored: Scored, early: EarlyStop, alphas: Sequence[float]) -> Delta:
    """The delta with bounds at these one-sided levels, the largest first.

    Those of the difference, and of the tuned arm's own mean. `note` says why there are none.
    """
    scale = delta.metric.scale
    if scale is None:
        why = obstacle(delta.metric)
        return replace(delta, note=f"{why}, so no interval allows for looking early")
    bases, tuneds = scored.values()
    if not all(_within(scores, scale) for scores in (bases, tuneds)):
        least, most = scale
        return replace(delta, note=f"a score lies outside of {least:g} to {most:g}")
    width = scale[1] - scale[0]
    tails = _tails(tuneds - bases, scored.clusters, (-width, width), early, alphas)
    both = next((tail for tail in tails if tail.alpha <= _TWO_SIDED), None)
    return replace(
        delta,
        low=both.low if both else None,
        high=both.high if both else None,
        interval="sequence",
        method=f"betting confidence sequence{', by cluster' if scored.clusters else ''}",
        tails=tails,
        tuned_tails=_tails(tuneds, scored.clusters, scale, early, alphas),
        note="",
    )


def obstacle(metric: Metric) -> str:
    """Why a suite that is gated by this metric cannot be stopped early; empty where it can."""
    if metric.kind in ("binary", "continuous"):
        return "" if metric.scale else f"the scores of {metric.name} have no bounds"
    return f"{metric.name} is one number of the whole corpus"


def _within(scores: Reals, scale: tuple[float, float]) -> bool:
    # A mean of values at a bound may miss it by rounding.
    slack = 1e-9 * (scale[1] - scale[0])
    return bool(np.all((scores >= scale[0] - slack) & (scores <= scale[1] + slack)))


def _tails(
    values: Reals,
    clusters: Sequence[str],
    scale: tuple[float, float],
    early: EarlyStop,
    alphas: Sequence[float],
) -> tuple[Tail, ...]:
    """One-sided bounds at each level; a level at which they crossed, as they seldom may, has none:
    those of the next smaller one then hold for it, too."""
    weights = None
    if clusters:
        values, weights = by_cluster(values, clusters, early.largest)
    found = []
    for alpha in alphas:
        sequence = ConfidenceSequence(*scale, alpha, early.draws or None)
        sequence.add(values, weights)
        bounds = sequence.one_sided
        if bounds is not None:
            found.append(Tail(alpha, bounds.low, bounds.high))
    return tuple(found)
