"""Generated answers against targets: exact, normalised, contained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.folding import Fold
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import find_mention, fold, mentions, normalize

NO_TARGET = Value(None, "the sample has no target")


def exact_match(_context: ScorerContext, *, fold: Fold = "none") -> Scorer:
    """1 where the answer, white space around it aside, is one of the targets."""
    return _one_of("exact_match", str.strip, fold)


def normalized_match(_context: ScorerContext, *, fold: Fold = "none") -> Scorer:
    """1 where answer and target agree but for case, width, punctuation, articles and spacing."""
    return _one_of("normalized_match", normalize, fold)


def _one_of(name: str, form: Callable[[str], str], fold: Fold) -> Scorer:
    def measure(sample: Sample, text: str) -> tuple[Value]:
        if not sample.targets:
            return (NO_TARGET,)
        return (Value(float(form(text) in {form(target) for target in sample.targets})),)

    return text_scorer(name, (Metric(name=name, kind="binary"),), measure, fold=fold)


def contains(
    _context: ScorerContext,
    *,
    match: Literal["word", "prefix"] = "word",
    fold: Fold = "none",
) -> Scorer:
    """1 where the answer names any of the targets: whole words, or plain text in Chinese.

    `match: prefix` lets a target go on ("centimet" finds "centimetres").
    """

    def measure(sample: Sample, text: str) -> tuple[Value]:
        if not sample.targets:
            return (NO_TARGET,)
        hit = any(mentions(text, target, prefix=match == "prefix") for target in sample.targets)
        return (Value(float(hit)),)

    return text_scorer("contains", (Metric(name="contains", kind="binary"),), measure, fold=fold)


def answers(_context: ScorerContext) -> Scorer:
    """Does it answer the question, or go on asking, as a raw base model does?

    `answered`: a target is named before any question is asked. `asks_instead`: a question is
    asked before any target is named. The question repeated at the start counts for neither.
    """
    metrics = (
        Metric(name="answered", kind="binary"),
        Metric(name="asks_instead", higher_is_better=False, kind="binary"),
    )

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        if not sample.targets:
            return NO_TARGET, NO_TARGET
        reply = _without_echo(fold(text), fold(sample.asked))
        before, asked, _ = reply.partition("?")
        named = any(find_mention(before, target) >= 0 for target in sample.targets)
        return Value(float(named)), Value(float(bool(asked) and not named))

    return text_scorer("answers", metrics, measure)


def _without_echo(reply: str, question: str) -> str:
    return reply[len(question) :] if question and reply.startswith(question) else reply
