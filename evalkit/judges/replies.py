"""A judge's reply taken apart: the JSON objects in it, whole, broken or cut off, and the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

MOST_READ = 200_000
"""Of a longer reply only the end is read: the verdict comes last."""
_MOST_TRIED = 300  # opening braces that lead nowhere
_MOST_MENDED = 20

RATIONALE = r"rationale|reason|reasoning|explanation|理由|依据|原因"
VERDICT = r"(?:final[ _-])?verdict|最终裁决|裁决|判定"
RATING = r"(?:final[ _-])?rating|最终评分|评分"
ITEM = r"item[ _-]?\d{1,2}"
"""Keys, as patterns."""
_QUOTE = "[\"'“”‘’＂＇]"
_BARE = "\\s\"'“”‘’＂＇,，、;；{}｛｝\\[\\]"
_VALUE = rf"{_QUOTE}[^\"“”＂\n]{{0,100}}?{_QUOTE}|[^{_BARE}]{{1,40}}"
_SETS = r"\s{0,8}[:：]\s{0,8}"  # bounded, so that a run of spaces is not gone over again and again
_NEXT = r"\s{0,8}[,，、;；]?\s{0,40}"
_THEN = r"\s{0,8}[,，、;；\n]\s{0,40}"
_OPENS = re.compile(rf"[{{｛]\s*{_QUOTE}?(?:{RATIONALE}){_QUOTE}?\s*[:：]", re.I)
_ENDS_THINKING = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.I)
_STARTS_THINKING = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.I)
_DECODER = json.JSONDecoder(strict=False)


class Reply(NamedTuple):
    """What a reply is made of: its objects in their order, and the text around them.

    `unfinished`: after the last whole object another begins, with a rationale, and has no end.
    """

    objects: tuple[Mapping[str, object], ...]
    prose: str
    unfinished: bool


def answered(text: str) -> str | None:
    """The reply behind its thinking; None where it never came to an end of that."""
    text = text[-MOST_READ:]
    ends = list(_ENDS_THINKING.finditer(text))
    if ends:
        return text[ends[-1].end() :].strip()
    return None if _STARTS_THINKING.match(text) else text.strip()


def taken_apart(text: str, keys: str, count: int) -> Reply:
    """The objects of a reply and its prose.

    An object that is no JSON (quotes that nobody escaped, full-width marks, a missing end) is
    mended where it holds `count` pairs whose keys match `keys`, after its rationale or at its
    start.
    """
    scan = _Scan(text, _broken(keys, count), _pair(keys))
    objects, prose, at, unfinished = list[Mapping[str, object]](), list[str](), 0, False
    for start in scan.openings():
        found = scan.whole(start) or scan.mended(start)
        if found is None:
            unfinished = unfinished or _OPENS.match(text, start) is not None
            continue
        content, end = found
        objects.append(content)
        unfinished = unfinished and not _has_rationale(content)
        prose.append(text[at:start])
        scan.at = at = end
    return Reply(tuple(objects), "\n".join([*prose, text[at:]]).strip(), unfinished)


def loose_pairs(prose: str, keys: str) -> Iterator[tuple[str, object]]:
    """Keys with values, in quotes, that stand in no object."""
    for match in _pair(keys).finditer(prose):
        if match["quoted"]:
            yield match["key"], _bare(match["value"])


def places(text: str, keys: str) -> Iterator[tuple[str, int]]:
    """The keys' values wherever they stand, and where each begins, its quote left out."""
    for match in _pair(keys).finditer(text):
        value = match["value"]
        yield match["key"], match.start("value") + (value[0] in "\"'“”‘’＂＇")


def lines(prose: str, keys: str) -> Iterator[tuple[str, object]]:
    """Lines such as "**Verdict:** better"."""
    for match in _line(keys).finditer(prose):
        yield match["key"], match["value"].strip()


def is_key(keys: str, key: str) -> bool:
    """Whether an object's key is one of those."""
    return re.fullmatch(keys, key.strip(), re.I) is not None


def _has_rationale(content: Mapping[str, object]) -> bool:
    return any(is_key(RATIONALE, key) for key in content)


@dataclass(slots=True)
class _Scan:
    """One pass over a reply; what is tried in vain is counted, so that it ends in time."""

    text: str
    broken: re.Pattern[str]
    pair: re.Pattern[str]
    at: int = 0
    tried: int = field(default=0)
    tried_to_mend: int = field(default=0)

    def openings(self) -> Iterator[int]:
        """Where an object may begin that is in none of those found so far."""
        for opening in re.finditer(r"[{｛]", self.text):
            if self.tried == _MOST_TRIED:
                return
            if opening.start() >= self.at:
                yield opening.start()

    def whole(self, start: int) -> tuple[Mapping[str, object], int] | None:
        if self.text[start] != "{":
            return None
        try:
            content, end = _DECODER.raw_decode(self.text, start)
        except (ValueError, RecursionError):
            self.tried += 1
            return None
        return content, end

    def mended(self, start: int) -> tuple[Mapping[str, object], int] | None:
        if self.tried_to_mend == _MOST_MENDED:
            return None
        match = self.broken.match(self.text, start)
        if match is None:
            self.tried_to_mend += _OPENS.match(self.text, start) is not None
            return None
        content: dict[str, object] = {}
        if match["rationale"] is not None:
            content["rationale"] = match["rationale"]
        for pair in self.pair.finditer(match["pairs"]):
            content[pair["key"]] = _bare(pair["value"])
        return content, match.end()


@lru_cache(maxsize=16)
def _pair(keys: str) -> re.Pattern[str]:
    key = rf"(?P<quoted>{_QUOTE})?(?<![\w‹])(?P<key>{keys})(?![\w›]){_QUOTE}?"
    return re.compile(rf"(?<!\\){key}{_SETS}(?P<value>{_VALUE})", re.I)


@lru_cache(maxsize=16)
def _broken(keys: str, count: int) -> re.Pattern[str]:
    rationale = rf"{_QUOTE}?(?:{RATIONALE}){_QUOTE}?{_SETS}{_QUOTE}(?P<rationale>.*){_QUOTE}{_THEN}"
    pair = rf"{_QUOTE}?(?:{keys}){_QUOTE}?{_SETS}(?:{_VALUE}){_NEXT}"
    return re.compile(
        rf"[{{｛]\s{{0,40}}(?:{rationale})?(?P<pairs>(?:{pair}){{{count}}})[}}｝]?", re.I | re.S
    )


@lru_cache(maxsize=16)
def _line(keys: str) -> re.Pattern[str]:
    start, sets = r"^[ \t*_#>\-]{0,12}", r"[ \t*_]{0,8}[:：][ \t*_]{0,8}"
    return re.compile(rf"{start}(?P<key>{keys}){sets}(?P<value>[^\n]{{1,120}})$", re.I | re.M)


def _bare(value: str) -> object:
    return value.strip("\"'“”‘’＂＇")
