"""Answers that are first taken out of what was written: a number, a choice, a pattern's find."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from evalkit.errors import SuiteError
from evalkit.records import Completion, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.extraction import (
    Found,
    Strategy,
    choice_in,
    number_in,
    parse_number,
    pattern_in,
)
from evalkit.scorers.generated import failure
from evalkit.scorers.match import NO_TARGET
from evalkit.scorers.reading import Counts, Read, reading_scorer
from evalkit.scorers.text import normalize

Tolerance: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

Strategies: TypeAlias = Annotated[Sequence[Strategy], Field(min_length=1)]

_STATED: tuple[Strategy, ...] = ("stated", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How one kind of answer is read and judged; answers that vote for the same are equal."""

    extract: Callable[[Sample, str], Found[Any]]
    is_right: Callable[[Sample, Any], bool]


def number(
    context: ScorerContext,
    *,
    which: Literal["last", "first"] = "last",
    tolerance: Tolerance = 0.0,
    extract: Strategies = _STATED,
    percent: Literal["number", "share"] = "number",
    pass_at: Counts = (),
    majority_at: Counts = (),
) -> Scorer:
    """1 where the number the answer comes to is a target's (within `tolerance`, absolute).

    The last number that is stated as the answer counts, else the last there is. An answer without
    a number has not answered: `accuracy` 0 with the reason "not extracted", and `extracted` 0 keeps
    that apart from a wrong number.
    """
    expected = {sample.id: _numbers(context, sample, percent) for sample in context.samples}

    def read(_sample: Sample, text: str) -> Found[Fraction]:
        return number_in(text, extract=extract, which=which, percent=percent)

    def right(sample: Sample, answer: Fraction) -> bool:
        wanted = expected.get(sample.id) or _numbers(context, sample, percent)
        return any(abs(answer - target) <= Fraction(str(tolerance)) for target in wanted)

    reading = _Reading(extract=read, is_right=right)
    return _scorer("number", ("accuracy", "extracted"), reading, pass_at, majority_at)


def _numbers(
    context: ScorerContext, sample: Sample, percent: Literal["number", "share"]
) -> list[Fraction]:
    try:
        return [parse_number(target, percent) for target in sample.targets]
    except ValueError as error:
        raise SuiteError(
            f"Sample {sample.id!r} of suite {context.suite!r} is scored by `number`, but {error}. "
            "Give a number as its target."
        ) from None


def choice(
    context: ScorerContext,
    *,
    letters: Annotated[str, Field(pattern="^[A-Z]{2,26}$")] = "ABCD",
    which: Literal["last", "first"] = "last",
    extract: Strategies = _STATED,
    several: bool = False,
    pass_at: Counts = (),
    majority_at: Counts = (),
) -> Scorer:
    """1 where the letter of the choice the answer takes is a target's ("B", or "AC" if `several`).

    A row's own `choices` say how many letters there are; else `letters` are. An answer that takes
    none, or two where one is wanted, scores 0 as "not extracted".
    """
    for sample in context.samples:
        _check_letters(context, sample, _letters_of(sample, letters), several=several)

    def read(sample: Sample, text: str) -> Found[str]:
        known = _letters_of(sample, letters)
        return choice_in(text, known, extract=extract, which=which, several=several)

    def right(sample: Sample, answer: str) -> bool:
        return answer in {_sorted(target) for target in sample.targets}

    reading = _Reading(extract=read, is_right=right)
    return _scorer("choice", ("accuracy", "extracted"), reading, pass_at, majority_at)


def _letters_of(sample: Sample, letters: str) -> str:
    count = len(sample.choices)
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:count] if 2 <= count <= 26 else letters


def _sorted(target: str) -> str:
    return "".join(sorted(target.strip().strip("()").upper()))


def _check_letters(context: ScorerContext, sample: Sample, known: str, *, several: bool) -> None:
    for target in map(_sorted, sample.targets):
        if not target or set(target) - set(known) or (len(target) > 1 and not several):
            raise SuiteError(
                f"Sample {sample.id!r} of suite {context.suite!r} is scored by `choice`, but its "
                f"target {target!r} is not one of the letters {known}"
                + ("." if several else "; `several: true` allows more than one.")
            )


def regex(
    context: ScorerContext,
    *,
    pattern: str,
    group: int | str | None = None,
    which: Literal["last", "first"] = "last",
    ignore_case: bool = True,
    pass_at: Counts = (),
    majority_at: Counts = (),
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

    def read(_sample: Sample, text: str) -> Found[str]:
        found = pattern_in(text, compiled, chosen, which)
        return found if found.answer is None else Found(normalize(found.answer))

    def right(sample: Sample, answer: str) -> bool:
        return answer in {normalize(target) for target in sample.targets}

    reading = _Reading(extract=read, is_right=right)
    names = ("regex_match", "regex_extracted")
    return _scorer("regex", names, reading, pass_at, majority_at)


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


def _scorer(
    name: str,
    names: tuple[str, str],
    reading: _Reading,
    passes: Sequence[int],
    majorities: Sequence[int],
) -> Scorer:
    def read_all(answers: Iterable[tuple[Sample, Completion]]) -> Generator[Read, None, None]:
        return (_read(reading, sample, one) for sample, one in answers)

    return reading_scorer(
        name,
        names,
        read_all,
        passes=passes,
        majorities=majorities,
        unasked=lambda sample: "" if sample.targets else NO_TARGET.reason,
    )


def _read(reading: _Reading, sample: Sample, completion: Completion) -> Read:
    problem = failure([completion])
    if problem or not sample.targets:
        return Read(None, None, problem or NO_TARGET.reason)
    answer, reason = reading.extract(sample, completion.text)
    right = answer is not None and reading.is_right(sample, answer)
    return Read(answer, right, reason)
