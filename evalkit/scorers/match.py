"""Generated answers against targets: exact, normalised, contained, a number, a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Literal

from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import find_mention, fold, mentions, normalize

NO_TARGET = Value(None, "the sample has no target")
NOT_EXTRACTED = "not extracted"

# A thousands separator is a comma with exactly three digits after it; a minus belongs to the
# number unless it stands between two terms ("10-3").
_NUMBER = re.compile(
    r"(?<!\d)(?<!\d\.)(?:(?<![\w)\]])-)?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\.)\.\d+)"
)
_WIDTH = str.maketrans("０１２３４５６７８９．－−–", "0123456789.---")


def exact_match(_context: ScorerContext) -> Scorer:
    """1 where the answer, white space around it aside, is one of the targets."""
    return _one_of("exact_match", str.strip)


def normalized_match(_context: ScorerContext) -> Scorer:
    """1 where answer and target agree but for case, width, punctuation, articles and spacing."""
    return _one_of("normalized_match", normalize)


def _one_of(name: str, form: Callable[[str], str]) -> Scorer:
    def measure(sample: Sample, text: str) -> tuple[Value]:
        if not sample.targets:
            return (NO_TARGET,)
        return (Value(float(form(text) in {form(target) for target in sample.targets})),)

    return text_scorer(name, (Metric(name=name, kind="binary"),), measure)


def contains(_context: ScorerContext, *, match: Literal["word", "prefix"] = "word") -> Scorer:
    """1 where the answer names any of the targets: whole words, or plain text in Chinese.

    `match: prefix` lets a target go on ("centimet" finds "centimetres").
    """

    def measure(sample: Sample, text: str) -> tuple[Value]:
        if not sample.targets:
            return (NO_TARGET,)
        hit = any(mentions(text, target, prefix=match == "prefix") for target in sample.targets)
        return (Value(float(hit)),)

    return text_scorer("contains", (Metric(name="contains", kind="binary"),), measure)


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
        reply = _without_echo(fold(text), fold(_question(sample)))
        before, asked, _ = reply.partition("?")
        named = any(find_mention(before, target) >= 0 for target in sample.targets)
        return Value(float(named)), Value(float(bool(asked) and not named))

    return text_scorer("answers", metrics, measure)


def _question(sample: Sample) -> str:
    return sample.prompt if isinstance(sample.prompt, str) else sample.prompt[-1].content


def _without_echo(reply: str, question: str) -> str:
    return reply[len(question) :] if question and reply.startswith(question) else reply


def number(
    context: ScorerContext, *, which: Literal["last", "first"] = "last", tolerance: float = 0.0
) -> Scorer:
    """1 where the answer's last number is a target's number (within `tolerance`, absolute).

    An answer without a number has not answered: `accuracy` 0 with the reason "not extracted",
    and `extracted` 0 keeps that apart from a wrong number.
    """
    expected = {sample.id: _expected_numbers(context, sample) for sample in context.samples}
    metrics = (
        Metric(name="accuracy", kind="binary"),
        Metric(name="extracted", kind="binary"),
    )

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        if not sample.targets:
            return NO_TARGET, NO_TARGET
        found = numbers(text)
        if not found:
            return Value(0.0, NOT_EXTRACTED), Value(0.0)
        said = found[-1 if which == "last" else 0]
        wanted = expected.get(sample.id) or _expected_numbers(context, sample)
        near = any(abs(said - target) <= Decimal(str(tolerance)) for target in wanted)
        return Value(float(near)), Value(1.0)

    return text_scorer("number", metrics, measure)


def _expected_numbers(context: ScorerContext, sample: Sample) -> list[Decimal]:
    try:
        return [parse_number(target) for target in sample.targets]
    except ValueError as error:
        raise SuiteError(
            f"Sample {sample.id!r} of suite {context.suite!r} is scored by `number`, but {error}. "
            "Give a number as its target."
        ) from None


def numbers(text: str) -> list[Decimal]:
    """The numbers of a text in order: full-width digits, "1,234.5" and negative ones too."""
    plain = text.translate(_WIDTH)
    return [Decimal(found.group().replace(",", "")) for found in _NUMBER.finditer(plain)]


def parse_number(text: str) -> Decimal:
    """A text that is one number and nothing else; raises ValueError."""
    try:
        value = Decimal(text.translate(_WIDTH).strip().replace(",", ""))
    except InvalidOperation:
        raise ValueError(f"its target {text!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"its target {text!r} is not a number")
    return value


def regex(
    context: ScorerContext,
    *,
    pattern: str,
    group: int | str | None = None,
    which: Literal["last", "first"] = "last",
    ignore_case: bool = True,
) -> Scorer:
    """1 where what `pattern` extracts equals a target after normalisation.

    `group` (default: the first one, or the whole match where there is none) is compared; an
    answer the pattern does not match scores 0 as "not extracted".
    """
    compiled = _compiled(context, pattern, ignore_case)
    chosen = group if group is not None else min(1, compiled.groups)
    if chosen not in compiled.groupindex and not _is_numbered(chosen, compiled.groups):
        raise SuiteError(
            f"Scorer 'regex' of suite {context.suite!r}: option group: the pattern "
            f"{pattern!r} has no group {group!r}."
        )
    metrics = (
        Metric(name="regex_match", kind="binary"),
        Metric(name="regex_extracted", kind="binary"),
    )

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        if not sample.targets:
            return NO_TARGET, NO_TARGET
        found = [match[chosen] for match in compiled.finditer(text) if match[chosen] is not None]
        if not found:
            return Value(0.0, NOT_EXTRACTED), Value(0.0)
        said = normalize(found[-1 if which == "last" else 0])
        return Value(float(said in {normalize(target) for target in sample.targets})), Value(1.0)

    return text_scorer("regex", metrics, measure)


def _is_numbered(group: int | str, groups: int) -> bool:
    return isinstance(group, int) and 0 <= group <= groups


def _compiled(context: ScorerContext, pattern: str, ignore_case: bool) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise SuiteError(
            f"Scorer 'regex' of suite {context.suite!r}: option pattern: {pattern!r} is not a "
            f"regular expression ({error})."
        ) from None
