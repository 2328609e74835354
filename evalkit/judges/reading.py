"""What a judge replied, read tolerantly: verdicts, ratings, refusals, and why nothing was found.

A verdict is looked for in objects first, the last complete one with a rationale winning, then in
pairs that stand in no object, then in a line that says "Verdict: …". A weaker form never overrules
a stronger one, so that what a judge quotes of an answer does not pass for its own word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.judges import levels
from evalkit.judges.expected import expected_rating
from evalkit.judges.refusals import refuses
from evalkit.judges.replies import (
    ITEM,
    RATING,
    RATIONALE,
    VERDICT,
    Reply,
    answered,
    is_key,
    lines,
    loose_pairs,
    taken_apart,
)
from evalkit.judges.rubrics import RATINGS, Rubric
from evalkit.records import JudgementStatus

__all__ = [
    "Reading",
    "expected_rating",
    "pairwise_schema",
    "pointwise_schema",
    "read_pairwise",
    "read_pointwise",
]

_MOST_KEPT = 4_000  # characters of a rationale


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply amounts to.

    `value` is pairwise the utility of the first answer (1, ½, 0), pointwise the rating (of a
    checklist the share of items that hold); None unless `status` is judged. `level` is the verdict
    in canonical words. `error` says why there is none.
    """

    status: JudgementStatus
    level: str = ""
    value: float | None = None
    rationale: str = ""
    error: str = ""


def read_pairwise(text: str) -> Reading:
    """The verdict in a reply to a pairwise question."""
    return _read(text, _VERDICT)


def read_pointwise(text: str, rubric: Rubric) -> Reading:
    """The rating in a reply about one answer, or the share of a checklist's items that hold."""
    return _read(text, _RATING if rubric.scale == "rating" else _items(len(rubric.items)))


def pairwise_schema() -> dict[str, Any]:
    """The JSON schema of a pairwise reply: rationale first, then the verdict on five levels."""
    return _schema({"verdict": {"type": "string", "enum": list(levels.LEVELS)}})


def pointwise_schema(rubric: Rubric) -> dict[str, Any]:
    """The JSON schema of a reply about one answer: rationale first, then rating or items."""
    if rubric.scale == "rating":
        return _schema({"rating": {"type": "integer", "enum": list(RATINGS)}})
    yes_no = {"type": "string", "enum": ["yes", "no"]}
    return _schema({f"item_{place}": yes_no for place in range(1, len(rubric.items) + 1)})


def _schema(properties: dict[str, Any]) -> dict[str, Any]:
    whole = {"rationale": {"type": "string"}, **properties}
    return {
        "type": "object",
        "properties": whole,
        "required": list(whole),
        "additionalProperties": False,
    }


class _Value(NamedTuple):
    """What some pairs of keys and values say, or why they say nothing that can be used."""

    level: str
    value: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for: the keys that may hold it, how many of them, how they are read."""

    name: str
    keys: str
    count: int
    read: Callable[[Mapping[str, object]], _Value]


def _read_verdict(found: Mapping[str, object]) -> _Value:
    said = list(found.values())[-1]
    level = levels.level_of(said)
    if level:
        return _Value(level, levels.UTILITIES[level])
    return _Value("", None, f"the verdict {_shown(said)} is none of {', '.join(levels.LEVELS)}")


def _read_rating(found: Mapping[str, object]) -> _Value:
    said = list(found.values())[-1]
    rating = levels.rating_of(said)
    if rating is not None:
        return _Value(f"{rating:g}", rating)
    return _Value("", None, f"the rating {_shown(said)} is no number from 1 to 5")


_VERDICT = _Wanted("verdict", VERDICT, 1, _read_verdict)
_RATING = _Wanted("rating", RATING, 1, _read_rating)


def _items(count: int) -> _Wanted:
    def read(found: Mapping[str, object]) -> _Value:
        said = {int(re.sub(r"\D", "", key) or 0): value for key, value in found.items()}
        answers = [levels.yes_of(said.get(place)) for place in range(1, count + 1)]
        if None not in answers:
            held = sum(map(bool, answers))
            return _Value(f"{held}/{count}", held / count)
        missing = [str(place) for place, one in enumerate(answers, start=1) if one is None]
        return _Value("", None, f"neither yes nor no for item {', '.join(missing)} of {count}")

    return _Wanted("item_1", ITEM, count, read)


class _Found(NamedTuple):
    """What was found somewhere; `rank` says how strong a form it has there."""

    value: _Value
    rationale: str
    rank: int


def _read(text: str, wanted: _Wanted) -> Reading:
    said = answered(text)
    if said is None:
        return Reading(status="unparsed", error="it ended while it was thinking")
    if not said:
        return Reading(status="unparsed", error="the reply is empty")
    reply = taken_apart(said, wanted.keys, wanted.count)
    found = [*_in_objects(reply, wanted), *_in_prose(reply, wanted)]
    usable = [one for one in found if one.value.value is not None]
    if usable:
        rank = max(one.rank for one in usable)
        last = [one for one in usable if one.rank == rank][-1]
        # Where its own object was cut off, a bare verdict may be what it quotes.
        if rank == _WITH_RATIONALE or not reply.unfinished:
            return Reading(
                status="judged",
                level=last.value.level,
                value=last.value.value,
                rationale=_clean(last.rationale or reply.prose),
            )
    return _without_verdict(said, reply, found, wanted)


_WITH_RATIONALE, _OBJECT, _PAIR, _LINE = 3, 2, 1, 0


def _in_objects(reply: Reply, wanted: _Wanted) -> Iterator[_Found]:
    for content in reply.objects:
        # Some wrap it up: {"judgement": {"rationale": …, "verdict": …}}.
        inner = [one for one in content.values() if isinstance(one, dict)]
        for one in (*inner, content):
            pairs = _pairs(one, wanted)
            if pairs:
                rationale = _rationale(one) or _rationale(content)
                rank = _WITH_RATIONALE if rationale else _OBJECT
                yield _Found(wanted.read(pairs), rationale, rank)


def _in_prose(reply: Reply, wanted: _Wanted) -> Iterator[_Found]:
    for rank, pairs in ((_PAIR, loose_pairs), (_LINE, lines)):
        if wanted.count == 1:
            for key, value in pairs(reply.prose, wanted.keys):
                yield _Found(wanted.read({key: value}), "", rank)
        elif every := dict(pairs(reply.prose, wanted.keys)):
            yield _Found(wanted.read(every), "", rank)
    if wanted.count == 1 and not reply.objects:
        yield _Found(wanted.read({wanted.name: reply.prose}), "", _LINE)


def _pairs(content: Mapping[str, object], wanted: _Wanted) -> dict[str, object]:
    """The wanted ones of an object's keys; a checklist may come as a list of as many answers."""
    found = {key: value for key, value in content.items() if is_key(wanted.keys, key)}
    if found or wanted.count == 1:
        return found
    for value in content.values():
        if isinstance(value, list) and len(value) == wanted.count:
            return {f"item_{place}": one for place, one in enumerate(value, start=1)}
    return {}


def _rationale(content: Mapping[str, object]) -> str:
    for key, value in content.items():
        if is_key(RATIONALE, key) and isinstance(value, str):
            return value.strip()
    return ""


def _without_verdict(said: str, reply: Reply, found: list[_Found], wanted: _Wanted) -> Reading:
    rationales = [_rationale(content) for content in reply.objects]
    if any(map(refuses, (said, *rationales))):
        return Reading(status="refused", rationale=_clean(said), error="it declined to judge")
    wrong = [one.value.error for one in found if one.rank > _LINE]
    if reply.unfinished or (said.startswith("{") and not reply.objects):
        error = f"it was cut off before the {wanted.name}"
    elif wrong:
        error = wrong[-1]
    elif reply.objects:
        keys = ", ".join(map(str, reply.objects[-1])) or "nothing"
        error = f"its JSON has no {wanted.name!r}, but {_clean(keys[:80])}"
    else:
        error = f"there is no {wanted.name} in it"
    return Reading(status="unparsed", rationale=_clean(said), error=_clean(error))


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "that is an object" if isinstance(value, dict) else "that is a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _clean(text: str) -> str:
    """What can be written to a file: no half characters, and not endless."""
    kept = text.strip()[:_MOST_KEPT]
    return kept.encode("utf-8", "replace").decode("utf-8")
