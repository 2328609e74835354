"""Multiple choice by log-likelihood: is the right continuation the likeliest?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import failure, unscored

_METRICS = (
    Metric(name="accuracy", kind="binary"),
    Metric(name="accuracy_char", kind="binary"),
    Metric(name="accuracy_byte", kind="binary"),
    Metric(name="choice_probability", least=0.0, most=1.0),
)

LENGTHS: Mapping[str, Callable[[str], int]] = {
    "accuracy": lambda _choice: 1,
    "accuracy_char": len,
    "accuracy_byte": lambda choice: len(choice.encode()),
}
"""What each accuracy divides the log-likelihood of a choice by before the largest one wins."""


def choice_accuracy(_context: ScorerContext) -> Scorer:
    """Accuracy of the likeliest choice: raw, per character and per UTF-8 byte of the choice.

    These are lm-eval's acc, acc_norm and acc_bytes (lengths without the delimiter, the first of
    equals wins). `choice_probability` is the right choice's share, a softmax over the raw
    log-likelihoods: it moves before an answer flips.
    """
    return Scorer(name="choice_accuracy", metrics=_METRICS, score=_score, tasks=("choice",))


def _score(sample: Sample, completions: Sequence[Completion]) -> list[Score]:
    problem = failure(completions) or _mismatch(sample, completions)
    if problem:
        return unscored(sample, _METRICS, problem)
    likelihoods = np.array([completion.loglikelihood for completion in completions])
    if not np.isfinite(likelihoods).all():
        return unscored(sample, _METRICS, "a log-likelihood is not a finite number")
    shares = np.exp(likelihoods - likelihoods.max())
    lengths = [np.array([length(each) for each in sample.choices]) for length in LENGTHS.values()]
    values = [float(int((likelihoods / one).argmax()) == sample.answer) for one in lengths]
    values.append(float(shares[sample.answer] / shares.sum()))
    return [
        Score(sample_id=sample.id, scorer=metric.name, value=value)
        for metric, value in zip(_METRICS, values, strict=True)
    ]


def _mismatch(sample: Sample, completions: Sequence[Completion]) -> str:
    if sample.answer is None or not 0 <= sample.answer < len(sample.choices):
        return "the sample does not say which choice is right"
    if not all(sample.choices):
        return "a choice is empty"
    if len(completions) != len(sample.choices):
        return f"{len(completions)} completions for {len(sample.choices)} choices"
    return ""
