"""From a measure of one text to a scorer of its completion: errors and missing values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.folding import Fold, folding
from evalkit.thinking import unfinished


@dataclass(frozen=True, slots=True)
class Value:
    """One metric of one text; None when it could not be measured, and then `reason` says why."""

    value: float | None
    reason: str = ""
    stats: tuple[float, ...] = ()


Measure: TypeAlias = Callable[[Sample, str], Sequence[Value]]
"""A sample and one generated text to one value per metric, in the order of the metrics."""


def text_scorer(
    name: str,
    metrics: tuple[Metric, ...],
    measure: Measure,
    notes: tuple[str, ...] = (),
    *,
    fold: Fold = "none",
) -> Scorer:
    """A scorer that measures one generated text (`score_each` averages several of a sample).

    With `fold` the measure sees answer and targets in one Chinese script.
    """
    if fold != "none":
        measure = _folded(measure, folding(fold))

    def score(sample: Sample, completions: Sequence[Completion]) -> list[Score]:
        problem = failure(completions)
        if problem:
            return unscored(sample, metrics, problem)
        (completion,) = completions
        found = measure(sample, completion.text)
        return [
            Score(
                sample_id=sample.id,
                scorer=metric.name,
                value=one.value,
                reason=one.reason,
                stats=one.stats,
            )
            for metric, one in zip(metrics, found, strict=True)
        ]

    return Scorer(name=name, metrics=metrics, score=score, notes=notes, tasks=("generate",))


def _folded(measure: Measure, convert: Callable[[str], str]) -> Measure:
    def folded(sample: Sample, text: str) -> Sequence[Value]:
        targets = tuple(map(convert, sample.targets))
        return measure(replace(sample, targets=targets), convert(text))

    return folded


def failure(completions: Sequence[Completion]) -> str:
    """Why completions cannot be scored, or an empty string."""
    if not completions:
        return "no completion"
    for completion in completions:
        if completion.error or completion.stop_reason == "error":
            return f"the model failed: {completion.error or 'no reason given'}"
        if completion.stop_reason == "thinking":
            return unfinished(completion)
    return ""


def unusable(completion: Completion) -> str:
    """Why there is nothing to score in a completion: its error, or that it never came to answer."""
    return completion.error or unfinished(completion)


def unscored(sample: Sample, metrics: Sequence[Metric], reason: str) -> list[Score]:
    """Every metric answered with None and the same reason."""
    return [
        Score(sample_id=sample.id, scorer=metric.name, value=None, reason=reason)
        for metric in metrics
    ]
