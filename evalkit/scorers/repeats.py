"""Several answers to one question: each is scored by itself, and the sample gets their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.records import Completion, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.generated import unscored, unusable


def score_each(scorer: Scorer, sample: Sample, completions: Sequence[Completion]) -> list[Score]:
    """One Score per metric, over all of a sample's generated answers."""
    if scorer.pooled:
        return scorer.score(sample, completions)
    rows = [_scores(scorer, sample, completion) for completion in completions]
    return [averaged(scores) for scores in zip(*rows, strict=True)]


def _scores(scorer: Scorer, sample: Sample, completion: Completion) -> Sequence[Score]:
    if problem := unusable(completion):
        return unscored(sample, scorer.metrics, problem)
    return scorer.score(sample, [completion])


def averaged(scores: Sequence[Score]) -> Score:
    """The scores of one metric on one sample's answers, as one Score, in whatever order they come.

    `value` is the mean of those that have one, `stats` the sums of theirs; an answer without a
    value is left out, never zero, and `reason` says how many were and why.
    """
    first = scores[0]
    if len(scores) == 1:
        return first
    known = [(one, value) for one in scores if (value := _value(one)) is not None]
    reasons = "; ".join(sorted({one.reason for one in scores if one.reason}))
    if 0 < len(known) < len(scores):
        lacking = f"{len(scores) - len(known)} of {len(scores)} answers not scored"
        reasons = f"{lacking}: {reasons}" if reasons else lacking
    return Score(
        sample_id=first.sample_id,
        scorer=first.scorer,
        value=math.fsum(value for _, value in known) / len(known) if known else None,
        reason=reasons,
        stats=tuple(map(math.fsum, zip(*(one.stats for one, _ in known), strict=True))),
        values=tuple(value for _, value in known),
    )


def _value(score: Score) -> float | None:
    usable = score.value is not None and math.isfinite(score.value)
    return score.value if usable else None
