"""What a note looks like, counted: emoji, hashtags, title, sentences, address, lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import EMOJI, Language, characters, lines, sentences, words

# #x and #x[话题]#, alone or one after another; not "C#", a link's anchor, "#1" or "# heading".
_TAG = re.compile(r"#(?!\d+(?!\w))[^\s#\[\]，。！？、,.!?;:；：)）\"”]+(?:\[话题\]#?)?")
_TAGS = re.compile(rf"(?<![A-Za-z0-9&/#])(?:{_TAG.pattern})+#?")
_BULLET = re.compile(r"(?:[-*•·▪►✔☑]|\d{1,2}[.)、．）](?!\d)|[0-9]\ufe0f?\u20e3|[①-⑳])\s*\S")
_MARKUP = re.compile(r"^#{1,6}\s+|\*\*|__")
_ENDS_LIKE_PROSE = re.compile(r"[.。,，:：;；、]$")
_TITLE_LIMIT: Mapping[Language, int] = {"en": 70, "zh": 30}  # characters that are not white space
_FIRST_PERSON: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"i|i['’]\w+|me|my|mine|myself|we|we['’]\w+|us|our|ours|ourselves"),
    "zh": re.compile("[我咱俺]"),
}
_SECOND_PERSON: Mapping[Language, re.Pattern[str]] = {
    "en": re.compile(r"you|you['’]\w+|your|yours|yourself|yourselves"),
    "zh": re.compile("[你您]"),
}


@dataclass(frozen=True, slots=True)
class Note:
    """A text taken apart once, for all features. `prose` is all of it but the hashtags."""

    text: str
    language: Language
    lines: tuple[str, ...]
    tags: tuple[str, ...]
    title: str
    prose: str
    sentences: tuple[str, ...]
    words: tuple[str, ...]


def take_apart(text: str, language: Language) -> Note:
    """The parts of a text; Markdown's marks for headings and bold are left out."""
    rows = tuple(row for line in lines(text) if (row := _MARKUP.sub("", line).strip()))
    clean = "\n".join(rows)
    prose = _TAGS.sub("", clean).strip()
    return Note(
        text=clean,
        language=language,
        lines=rows,
        tags=tuple(hashtags(clean)),
        title=_title(rows, language),
        prose=prose,
        sentences=tuple(sentences(prose)),
        words=tuple(word.casefold() for word in words(prose)),
    )


def hashtags(text: str) -> list[str]:
    """The hashtags of a text, `#x` and `#x[话题]#`, without their marks."""
    return [
        tag.group().lstrip("#").removesuffix("#").removesuffix("[话题]")
        for run in _TAGS.finditer(text)
        for tag in _TAG.finditer(run.group())
    ]


def _title(rows: tuple[str, ...], language: Language) -> str:
    """A short first line with more after it that neither lists, tags nor ends like prose."""
    if len(rows) < 2 or _is_tags(rows[1]):
        return ""
    first = rows[0]
    if characters(first) > _TITLE_LIMIT[language] or _TAGS.search(first):
        return ""
    if not words(first) or (_BULLET.match(first) and _BULLET.match(rows[1])):
        return ""
    return "" if _ENDS_LIKE_PROSE.search(EMOJI.sub("", first).strip()) else first


def _is_tags(line: str) -> bool:
    return not words(_TAGS.sub("", line)) and _TAGS.search(line) is not None


def _in_order(note: Note) -> float:
    """1 where a title opens, a body follows and the hashtags, all of them, close the text."""
    if not note.title or not note.tags:
        return 0.0
    first_tag = _TAGS.search(note.text)
    assert first_tag is not None
    after = _TAGS.sub("", note.text[first_tag.start() :])
    body = note.text[len(note.title) : first_tag.start()]
    return float(not words(after) and bool(words(body)))


def _share(note: Note, test: Callable[[str], object]) -> float | None:
    body = [line for line in note.lines if not _is_tags(line)]
    return sum(bool(test(line)) for line in body) / len(body) if body else None


def _per_100(count: int, total: int) -> float | None:
    return 100 * count / total if total else None


def _rate(note: Note, patterns: Mapping[Language, re.Pattern[str]]) -> float | None:
    pattern = patterns[note.language]
    return _per_100(sum(bool(pattern.fullmatch(word)) for word in note.words), len(note.words))


def _exclamations(note: Note) -> float | None:
    if not note.sentences:
        return None
    return sum(bool(re.search(r"[!！]\W*$", s)) for s in note.sentences) / len(note.sentences)


def _sentence_length(note: Note) -> float | None:
    return len(note.words) / len(note.sentences) if note.sentences else None


Measured: TypeAlias = Callable[[Note], float | None]


@dataclass(frozen=True, slots=True)
class Feature:
    """One countable trait; `grain` is the smallest difference a reader would notice."""

    name: str
    unit: str
    grain: float
    measure: Measured

    @property
    def metric(self) -> str:
        """The name of the metric that describes it."""
        return f"style.{self.name}"


FEATURES = (
    Feature(
        "emoji", "per 100 characters", 0.5,
        lambda note: _per_100(len(EMOJI.findall(note.text)), characters(note.text)),
    ),
    Feature("emoji_lines", "share of lines", 0.1, lambda note: _share(note, EMOJI.match)),
    Feature("hashtags", "count", 1.0, lambda note: float(len(note.tags))),
    Feature("title", "share", 0.5, lambda note: float(bool(note.title))),
    Feature(
        "title_length", "characters", 5.0,
        lambda note: float(characters(note.title)) if note.title else None,
    ),
    Feature("order", "share", 0.5, _in_order),
    Feature("sentence_length", "words", 2.0, _sentence_length),
    Feature("exclamations", "share of sentences", 0.1, _exclamations),
    Feature("first_person", "per 100 words", 1.0, lambda note: _rate(note, _FIRST_PERSON)),
    Feature("second_person", "per 100 words", 1.0, lambda note: _rate(note, _SECOND_PERSON)),
    Feature("bullets", "share of lines", 0.1, lambda note: _share(note, _BULLET.match)),
    Feature("length", "characters", 20.0, lambda note: float(characters(note.text))),
)  # fmt: skip


def style_features(context: ScorerContext) -> Scorer:
    """Every feature as a metric `style.<feature>`: described, never judged (more is not better).

    Words are words in English and characters in Chinese.
    """
    metrics = tuple(
        Metric(name=feature.metric, higher_is_better=None, unit=feature.unit)
        for feature in FEATURES
    )

    def measure(sample: Sample, text: str) -> list[Value]:
        if not text.strip():
            return [Value(None, "empty answer")] * len(FEATURES)
        note = take_apart(text, context.language_for(sample, text))
        return [_value(feature, note) for feature in FEATURES]

    return text_scorer("style_features", metrics, measure)


def _value(feature: Feature, note: Note) -> Value:
    measured = feature.measure(note)
    return Value(measured, "" if measured is not None else f"no {feature.name} to measure")
