"""Verifiable instructions: length, format, keywords, language."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeAlias, assert_never

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from evalkit.config import Strict
from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import (
    Language,
    characters,
    fold,
    language_of,
    lines,
    mentions,
    sentences,
    words,
)

_BULLET = re.compile(r"[-*•]\s*[^\s*-]")
_NUMBERED = re.compile(r"\d{1,3}\s*[.)、．）](?!\d)\s*\S")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_FENCE = re.compile(r"\A```\w*\s*\n(.*?)\n?\s*```\Z", re.DOTALL)
_QUOTES = frozenset(['""', "''", "“”", "‘’", "””", "「」", "『』", "«»"])
_FINAL = " \t\n.!?。！？…,，;；"


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


Texts: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Count(Strict):
    """So many of something, `min` and `max` included."""

    type: Literal["words", "characters", "sentences", "lines", "paragraphs", "bullets", "numbered"]
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def bounds_make_sense(self) -> Count:
        """A count without bounds, or with none between them, checks nothing."""
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Keywords(Strict):
    """Words that must all appear (`include`), or must not (`exclude`, whole words)."""

    type: Literal["include", "exclude"]
    texts: Texts


class Edge(Strict):
    """What the answer begins or ends with, in any case."""

    type: Literal["starts_with", "ends_with"]
    text: str = Field(min_length=1)


class Case(Strict):
    """All letters in one case."""

    type: Literal["case"]
    value: Literal["lower", "upper"]


class Json(Strict):
    """A JSON object that has these keys; a code fence around it is allowed."""

    type: Literal["json"]
    keys: tuple[str, ...] = ()


class Plain(Strict):
    """Constraints without parameters."""

    type: Literal["no_commas", "quoted"]


class InLanguage(Strict):
    """The language most of the answer is written in."""

    type: Literal["language"]
    value: Language


class Pattern(Strict):
    """A regular expression found anywhere in the answer."""

    type: Literal["regex"]
    pattern: Annotated[str, AfterValidator(_compilable)]


class OneOf(Strict):
    """The answer is one of these and nothing else, final punctuation and case aside."""

    type: Literal["one_of"]
    texts: Texts


Constraint: TypeAlias = Annotated[
    Count | Keywords | Edge | Case | Json | Plain | InLanguage | Pattern | OneOf,
    Field(discriminator="type"),
]

_CONSTRAINTS: TypeAdapter[tuple[Constraint, ...]] = TypeAdapter(tuple[Constraint, ...])


def constraints(context: ScorerContext) -> Scorer:
    """Whether every constraint of the sample is followed, and what share of them is.

    The row's `constraints` are mappings of a `type` and its parameters. An empty answer follows
    nothing, as in IFEval: silence keeps no promise. Samples without constraints are not scored.
    """
    metrics = (
        Metric(name="followed_all", kind="binary"),
        Metric(name="followed", unit="share", least=0.0, most=1.0),
    )
    parsed = {sample.id: parse(context.suite, sample) for sample in context.samples}

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        wanted = parsed[sample.id] if sample.id in parsed else parse(context.suite, sample)
        if not wanted:
            missing = Value(None, "the sample has no constraints")
            return missing, missing
        answer = text.strip()
        if not answer:
            return Value(0.0, "empty answer"), Value(0.0, "empty answer")
        broken = [constraint.type for constraint in wanted if not follows(constraint, answer)]
        reason = f"not followed: {', '.join(broken)}" if broken else ""
        return Value(float(not broken), reason), Value(1 - len(broken) / len(wanted), reason)

    return text_scorer("constraints", metrics, measure)


def parse(suite: str, sample: Sample) -> tuple[Constraint, ...]:
    """The sample's constraints, checked; raises SuiteError with every mistake in them."""
    raw = sample.fields.get("constraints", ())
    try:
        return _CONSTRAINTS.validate_python(raw)
    except ValidationError as error:
        mistakes = "; ".join(_mistake(raw, item["loc"], item["msg"]) for item in error.errors())
        raise SuiteError(f"Suite {suite!r}, sample {sample.id!r}: {mistakes}.") from None


def _mistake(raw: Any, place: tuple[int | str, ...], message: str) -> str:
    if not place or not isinstance(place[0], int):
        return f"`constraints` must be a list of mappings ({message})"
    inner = ".".join(map(str, place[2:]))
    return f"constraint {raw[place[0]]!r}{', ' + inner if inner else ''}: {message}"


def follows(constraint: Constraint, answer: str) -> bool:
    """Whether a stripped answer that is not empty keeps one constraint."""
    match constraint:
        case Count(type=kind, min=low, max=high):
            count = _count(kind, answer)
            return (low is None or count >= low) and (high is None or count <= high)
        case Keywords(type=kind, texts=texts):
            return _uses(kind, answer, texts)
        case Edge(type=kind, text=text):
            return _has_edge(kind, answer, text)
        case Case(value=value):
            cased = answer.lower() if value == "lower" else answer.upper()
            return answer == cased and any(character.isalpha() for character in answer)
        case Json(keys=keys):
            return _is_object(answer, keys)
        case Plain(type=kind):
            return _is_plain(kind, answer)
        case InLanguage(value=value):
            return language_of(answer) == value
        case Pattern(pattern=pattern):
            return re.search(pattern, answer) is not None
        case OneOf(texts=texts):
            return _bare(answer) in {_bare(text) for text in texts}
        case _:
            assert_never(constraint)


def _count(kind: str, answer: str) -> int:
    match kind:
        case "words":
            return len(words(answer))
        case "characters":
            return characters(answer)
        case "sentences":
            return len(sentences(answer))
        case "paragraphs":
            return sum(bool(part.strip()) for part in _BLANK_LINE.split(answer))
        case "bullets":
            return sum(bool(_BULLET.match(line)) for line in lines(answer))
        case "numbered":
            return sum(bool(_NUMBERED.match(line)) for line in lines(answer))
        case _:
            return len(lines(answer))


def _uses(kind: str, answer: str, texts: tuple[str, ...]) -> bool:
    if kind == "include":
        return all(fold(text) in fold(answer) for text in texts)
    return not any(mentions(answer, text) for text in texts)


def _is_plain(kind: str, answer: str) -> bool:
    if kind == "no_commas":
        return not {",", "，"} & set(answer)
    return len(answer) > 2 and answer[0] + answer[-1] in _QUOTES


def _has_edge(kind: str, answer: str, text: str) -> bool:
    said, wanted = fold(answer), fold(text)
    return said.startswith(wanted) if kind == "starts_with" else said.endswith(wanted)


def _is_object(answer: str, keys: tuple[str, ...]) -> bool:
    try:
        value = json.loads(unfenced(answer))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(key in value for key in keys)


def unfenced(answer: str) -> str:
    """What stands inside a Markdown code fence, where the whole answer is one."""
    found = _FENCE.match(answer.strip())
    return found[1] if found else answer


def _bare(text: str) -> str:
    return fold(text.strip(_FINAL))
