"""What changed between two answers: words where words are written, characters in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

# One CJK character; a word with its apostrophes and inner points; a run of white space; an emoji
# with its modifiers and joined partners; any other single character.
_CJK = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"[{_CJK}\U00020000-\U0003ffff]"
    rf"|(?:(?![{_CJK}])\w)+(?:['’.-](?:(?![{_CJK}])\w)+)*"
    r"|\s+"
    r"|.[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]*(?:\u200d.[\ufe0f\U0001f3fb-\U0001f3ff]*)*",
    re.DOTALL,
)
_LARGEST = 2_000_000  # cells of the alignment table; beyond it lines are compared, not words
_ISLAND = 2  # fewer characters than this between two changes only disturb the eye
_UNRELATED = 0.2  # share in common below which marking single words explains nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of one answer; `changed` where the other answer does not have it."""

    text: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Both answers in segments that join to the whole text.

    `unrelated`: they have so little in common that nothing is marked.
    """

    base: tuple[Segment, ...]
    tuned: tuple[Segment, ...]
    unrelated: bool = False


def tokenise(text: str) -> list[str]:
    """Words, single CJK characters, whole emoji, white space, punctuation; joined, the text."""
    return _TOKEN.findall(text)


def difference(base: str, tuned: str) -> Difference:
    """Align two texts and say which stretches of each the other lacks."""
    if base == tuned or not base.strip() or not tuned.strip():
        changed = base != tuned
        return Difference(base=_whole(base, changed), tuned=_whole(tuned, changed))
    mine, theirs = tokenise(base), tokenise(tuned)
    if len(mine) * len(theirs) > _LARGEST:
        mine, theirs = base.splitlines(keepends=True), tuned.splitlines(keepends=True)
    if len(mine) * len(theirs) > _LARGEST:
        return Difference(base=_whole(base, False), tuned=_whole(tuned, False), unrelated=True)
    blocks = _aligned(mine, theirs)
    common = sum(_weight(mine[a:b]) for equal, a, b, _, _ in blocks if equal)
    if 2 * common < _UNRELATED * (_weight(mine) + _weight(theirs)):
        return Difference(base=_whole(base, False), tuned=_whole(tuned, False), unrelated=True)
    return Difference(
        base=_segments((equal, "".join(mine[a:b])) for equal, a, b, _, _ in blocks),
        tuned=_segments((equal, "".join(theirs[c:d])) for equal, _, _, c, d in blocks),
    )


_Block = tuple[bool, int, int, int, int]


def _aligned(mine: Sequence[str], theirs: Sequence[str]) -> list[_Block]:
    """Equal and unequal stretches in turn; tiny equal ones between changes count as changed."""
    codes = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    blocks: list[_Block] = []
    for index, (tag, *bounds) in enumerate(codes):
        shared = mine[bounds[0] : bounds[1]]
        inner = 0 < index < len(codes) - 1
        island = inner and len("".join(shared).strip()) < _ISLAND
        equal = tag == "equal" and not island
        if blocks and blocks[-1][0] == equal:
            _, bounds[0], _, bounds[2], _ = blocks.pop()
        a, b, c, d = bounds
        blocks.append((equal, a, b, c, d))
    return blocks


def _weight(tokens: Sequence[str]) -> int:
    return sum(len(token.strip()) for token in tokens)


def _whole(text: str, changed: bool) -> tuple[Segment, ...]:
    return (Segment(text=text, changed=changed),) if text else ()


def _segments(pieces: Iterable[tuple[bool, str]]) -> tuple[Segment, ...]:
    return tuple(Segment(text=text, changed=not equal) for equal, text in pieces if text)
