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

from evalkit.components import answers_of
from evalkit.estimates import ALPHAS, CORPUS, LEVEL, Scored, corpus_value, estimated
from evalkit.records import Delta, EarlyStop, Metric, Sample, Tail
from evalkit.stats.base import Reals
from evalkit.stats.sequential import ConfidenceSequence, blocks, by_cluster

# The level for which bets are made where a run does not tell at which it was looked at.
_ALPHA = 0.05
_TWO_SIDED = min(ALPHAS, key=lambda alpha: abs(1 - 2 * alpha - LEVEL))


def in_order(samples: Sequence[Sample], seed: int) -> list[list[int]]:
    """Positions of a suite's samples in blocks, in the order in which they are asked.

    The order is by id and seed, whole clusters together; so any part of it, in whatever order it
    comes, is put into the same order again. A sample's place is the same whether or not the
    part has a sample with a cluster in it.
    """
    return blocks([one.id for one in samples], seed, _clusters(samples))


def planned(samples: Sequence[Sample], alphas: Sequence[float]) -> EarlyStop:
    """What must be known of a suite before its first sample is asked."""
    sizes = Counter(_clusters(samples))
    slices = Counter(name for one in samples for name in one.slice_names)
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
    return replace(
        early,
        planned=size,
        draws=0 if _clustered(early) else size,
        claims=("",) if name in early.claims else (),
        absolute=False,
    )


def _clustered(early: EarlyStop) -> bool:
    """Whether some samples belong together, be it not those at hand."""
    return early.draws != early.planned


def followed(delta: Delta, scored: Scored, early: EarlyStop) -> Delta:
    """The delta with its difference and counts, and bounds that hold at every look.

    `scored` is in the order of `in_order`. There is no test: its p would be of a fixed n. What
    the gate asks for is bounded at every level that is kept, all else at the one shown.
    """
    found = replace(
        _of_corpus(delta, scored) or estimated(delta, scored, whole=False),
        low=None, high=None, boot_low=None, boot_high=None, p_value=None,
        interval="none", method="", tails=(), tuned_tails=(), planned=early.planned,
    )  # fmt: skip
    if found.difference is None:
        return found
    asked = "" in early.claims and early.metric in ("", delta.metric.name)
    alphas = sorted({*ALPHAS, *early.alphas}, reverse=True) if asked else [_TWO_SIDED]
    return watched(found, scored, early, alphas)


def _of_corpus(delta: Delta, scored: Scored) -> Delta | None:
    """The difference of a score of the corpus, without the bootstrap that no look may go by."""
    found = scored.statistics() if delta.metric.kind in CORPUS else None
    if found is None:
        return None
    base, tuned = (corpus_value(delta.metric, arm.sum(axis=0).tolist()) for arm in found)
    if base is None or tuned is None:
        return replace(delta, note="nothing to divide by")
    return replace(
        delta,
        base=base,
        tuned=tuned,
        difference=tuned - base,
        clusters=len(set(scored.clusters)) or delta.n,
        completions=answers_of((*scored.base, *scored.tuned)),
    )


def watched(delta: Delta, scored: Scored, early: EarlyStop, alphas: Sequence[float]) -> Delta:
    """The delta with bounds at these one-sided levels, the largest first.

    Those of the difference and, where the gate asks for it, of the tuned arm's own mean. `note`
    says why there are none.
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
    own = early.absolute and early.metric in ("", delta.metric.name)
    both = next((tail for tail in tails if tail.alpha <= _TWO_SIDED), None)
    return replace(
        delta,
        low=both.low if both else None,
        high=both.high if both else None,
        interval="sequence",
        method=f"betting confidence sequence{', by cluster' if _clustered(early) else ''}",
        tails=tails,
        tuned_tails=_tails(tuneds, scored.clusters, scale, early, alphas) if own else (),
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
    those of the next smaller one then hold for it, too.

    All are of one sequence, made for the level at which the gate looks: they are nested, so that
    the least that excludes a value is its p. The bets differ little in what they win at another.
    """
    weights = None
    if _clustered(early):
        groups = clusters or [str(place) for place in range(len(values))]
        values, weights = by_cluster(values, groups, early.largest)
    sequence = ConfidenceSequence(*scale, max(early.alphas, default=_ALPHA), early.draws or None)
    sequence.add(values, weights)
    pairs = zip(alphas, sequence.one_sided_at(alphas), strict=True)
    return tuple(Tail(alpha, one.low, one.high) for alpha, one in pairs if one is not None)
