"""Which of the lettered choices an answer takes: 答案：Ｂ, 选（C）, "the answer is (b)"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from evalkit.scorers.extraction.found import (
    AMBIGUOUS,
    NOT_EXTRACTED,
    Found,
    Strategy,
    Which,
    chosen,
)
from evalkit.scorers.extraction.statements import plain, sentence, statements

_GO_ON = (
    "because|as|since|and|or|which|is|but|for|with|due|by|given|if|in|the|not"
    r"|over|rather(?=\s+than)|instead(?=\s+of)"
)
"""What may follow a letter that is a choice; "A dog" is none."""

_WORD_AFTER = re.compile(rf"\s+(?!(?:{_GO_ON})\b)[a-z]")
_LABEL = re.compile(
    r"(?:\b(?:vitamin|plan|grade|hepatitis|type|class|group|point|section|team|appendix|figure|table|part|"
    r"side|person|city|town|train|box|company|country|player|angle|line|set|event|variable|series)|"
    "维生素|维他命|型|类|点|组|班|级|图|表|车|城|人|公司|角|线|集合|肝)\\s?$",
    re.IGNORECASE,
)
"""What a letter behind it names, which is no choice: vitamin C, point A."""
_DENIED = re.compile(
    r"[)\]}>\"'”’」]{0,4}(?:\s*(?:选项|项)?(?:的?(?:说法|表述|描述))?\s*(?:也|都|均|则)?"
    "(?:是?不(?:正确|对|符合|合|成立|选|能选|可能|准确|恰当)|是?错|有误)"
    r"|\s+(?:(?:is|are|was|were|seems|looks|would\s+be)\s+(?:(?:clearly|also|definitely)\s+)?"
    r"(?:not|never|incorrect|inaccurate|invalid|wrong|false|untrue|ruled|eliminated|excluded)"
    r"|isn['’]t|aren['’]t|can['’]t|cannot|does\s+not|doesn['’]t)\b)",
    re.IGNORECASE,
)
"""What stands behind a letter that is rejected, or that a question for the wrong one takes."""


class _Patterns(NamedTuple):
    """Everything that is looked for, for one set of letters."""

    start: re.Pattern[str]
    strong: re.Pattern[str]
    exact: re.Pattern[str]
    says: tuple[re.Pattern[str], ...]
    judges: tuple[re.Pattern[str], ...]
    line: re.Pattern[str]
    listed: re.Pattern[str]
    alone: re.Pattern[str]


@cache
def _patterns(letters: str) -> _Patterns:
    upper, any_case = f"[{letters}]", f"[{letters}{letters.lower()}]"
    joint = r"\s*(?:,|、|，|/|&|\+|和|与|或|及|and\b|or\b)?\s*"
    opening, closing = r"[(\[{<\"'“‘「]{0,4}", r"[)\]}>\"'”’」]{0,4}"
    # Letters that are no words: in capitals and not part of one, or small in brackets.
    lone = rf"(?<![A-Za-z\d'’]){upper}(?![A-Za-z\d'’])"
    # Atomic: "A or C" is never taken for an A.
    several = rf"(?>{upper}(?:{joint}{closing}{opening}{upper}(?![a-z])){{0,12}})(?![A-Za-z\d'’])"
    word = (
        r"(?:(?i:either|both|option|choice|letter|clearly|probably|likely|definitely|选项|选)"
        r"\s*:?\s*){0,4}"
    )
    text = r"(?:\\(?:text|mathrm|mathbf|textbf|rm)\s*\{?\s*)?"
    return _Patterns(
        start=re.compile(
            rf"[-\s:]*{word}{text}{opening}(?P<some>{several}|{any_case}(?=\s*[)\]}}.:,;\"'”’]|\s*$))"
            rf"(?!\s+(?!(?:{_GO_ON})\b)[a-z])"
        ),
        strong=re.compile(
            rf"[(\[](?P<a>{any_case})[)\]]|(?:option|choice|选项|选)\s*{opening}(?P<b>{upper})(?![A-Za-z\d])"
            rf"|(?<![A-Za-z\d'’])(?P<c>{upper})(?=[).:、])|(?<=[\u4e00-\u9fff\s])(?P<d>{upper})(?=\s*$)"
        ),
        exact=re.compile(
            rf"{word}{text}{opening}(?P<some>{any_case}(?:{joint}{closing}{opening}{any_case}){{0,12}})"
            rf"{closing}(?:[.:)、]\s*.*|\s*)\}}?",
            re.DOTALL,
        ),
        says=(
            re.compile(
                rf"(?<![不可待备挑筛候被别未勿])(?:故|应|应该|则|可|我|就|只能|因此|所以)?(?:选择|选取|选)(?:择)?"
                rf"(?:答案|选项)?\s*(?:是|为)?\s*:?\s*{opening}(?P<some>{several})"
            ),
            re.compile(
                rf"\bI(?:'d|\s+would|\s+will|'ll)?\s+(?:choose|pick|select|go\s+with|say)\s+{word}{opening}"
                rf"(?P<some>{several})(?!\s+(?!(?:{_GO_ON})\b)[a-z])"
            ),
        ),
        judges=(
            re.compile(
                rf"(?<![A-Za-z\d])(?P<some>{several})\s*{closing}\s*(?:选项|项)?(?:的说法|的表述|的描述|说法)?"
                r"\s*(?:是|为|才是|就是)?\s*(?:唯一)?(?:正确|对(?=[的了吧]?\s*(?:[,，。;!?、)]|$))|最佳|符合题意|最合适|最恰当)"
            ),
            re.compile(
                rf"{lone.replace(upper, f'(?P<some>{upper})')}{closing}"
                r"\s+is\s+(?:the\s+)?(?:only\s+)?(?:correct|right|best|most\s+\w+)\b"
            ),
        ),
        line=re.compile(
            rf"\s*(?:[-]\s+)?{word}{text}{opening}(?P<some>{upper}(?:{joint}{upper}){{0,12}}|{any_case}(?=[).\]]))"
            rf"{closing}\s*[.。)、]?\s*"
        ),
        listed=re.compile(rf"^\s*(?:[-]\s+)?[(\[]?(?P<a>{upper})\s*(?:[)\].:、,，]|$)", re.M),
        alone=re.compile(rf"{lone}|[(\[]{any_case}[)\]]"),
    )


def choice_in(
    text: str,
    letters: str = "ABCD",
    *,
    extract: Sequence[Strategy] = ("stated", "any"),
    which: Which = "last",
    several: bool = False,
) -> Found[str]:
    """The letter an answer takes, in capitals; with `several` any number of them, sorted.

    `any` is the letter the answer begins with, or the only one in it; "A" and "I" that could be
    words do not count. Two letters where one is wanted are not extracted.
    """
    patterns, shown = _patterns(letters.upper()), plain(text)
    for strategy in extract:
        if strategy == "any":
            found = _anywhere(shown, patterns, several=several)
        else:
            said = _stated(shown, patterns, strategy, several=several)
            found = chosen(said, which) if said else Found(None, NOT_EXTRACTED)
        if found.answer is not None or found.reason == AMBIGUOUS:
            return found
    return Found(None, NOT_EXTRACTED)


def _stated(
    text: str, patterns: _Patterns, strategy: Strategy, *, several: bool
) -> list[Found[str]]:
    placed: list[tuple[int, Found[str]]] = []
    for one in statements(text, strategy):
        some = _exact(one.text, patterns) if one.exact else _of_sentence(one.text, patterns)
        if some:
            placed.append((one.start, _found(some, several=several)))
    if strategy in {"stated", "phrase"}:
        for pattern in patterns.says:
            placed += [
                (match.start(), _found(match["some"], several=several))
                for match in pattern.finditer(text)
            ]
        placed += _judged(text, patterns, several=several)
        placed += _own_line(text, patterns, several=several)
    return [found for _, found in sorted(placed, key=lambda row: row[0])]


def _exact(said: str, patterns: _Patterns) -> str:
    match = patterns.exact.fullmatch(said.strip())
    return match["some"] if match else ""


def _of_sentence(said: str, patterns: _Patterns) -> str:
    """The letters a statement begins with, else those that stand out in it."""
    start = patterns.start.match(said)
    if start:
        return start["some"]
    return "".join(part for match in patterns.strong.finditer(said) for part in match.groups(""))


def _judgements(text: str, patterns: _Patterns) -> list[tuple[int, str]]:
    """Where letters are called right, and which."""
    found = [
        (match.start(), _letters(match["some"]))
        for pattern in patterns.judges
        for match in pattern.finditer(text)
    ]
    return sorted(found)


def _judged(text: str, patterns: _Patterns, *, several: bool) -> list[tuple[int, Found[str]]]:
    """The letter that is called right. Whoever calls one after the other right chooses none of
    them, but where several are asked for, all."""
    found = _judgements(text, patterns)
    letters = _letters("".join(some for _, some in found))
    if len({some for _, some in found}) > 1 and not several:
        return []
    return [(found[-1][0], _found(letters, several=several))] if found else []


def _own_line(text: str, patterns: _Patterns, *, several: bool) -> list[tuple[int, Found[str]]]:
    """The first or the last line, where it is nothing but a letter."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return []
    first, last = (patterns.line.fullmatch(line) for line in (lines[0], lines[-1]))
    if first and last and _letters(first["some"]) != _letters(last["some"]):
        return []  # the choices themselves, one a line
    placed = [(len(text), last)] if last else [(0, first)]
    return [(at, _found(match["some"], several=several)) for at, match in placed if match]


def _anywhere(text: str, patterns: _Patterns, *, several: bool) -> Found[str]:
    listed = {match["a"] for match in patterns.listed.finditer(text)}
    listed |= {letter for _, some in _judgements(text, patterns) for letter in some}
    first = sentence(text)
    opening = patterns.start.match(first)
    if opening and len(listed) <= 1 and not several and not _DENIED.match(first, opening.end()):
        letters = _letters(opening["some"])
        if len(letters) == 1:
            return Found(letters)
    some = [match for match in patterns.alone.finditer(text) if not _may_be_word(text, match)]
    found = _found("".join(match.group() for match in some), several=several)
    if found.answer is not None and not several:  # the only one, and it may be rejected
        return found if not any(map(_is_denied, some)) else Found(None, NOT_EXTRACTED)
    return found


def _is_denied(match: re.Match[str]) -> bool:
    return _DENIED.match(match.string, match.end()) is not None


def _may_be_word(text: str, match: re.Match[str]) -> bool:
    """ "A dog", "I think", "vitamin C", but not "A." or "(A)"."""
    if _LABEL.search(text[max(0, match.start() - 16) : match.start()]):
        return True
    return match.group() in {"A", "I"} and _WORD_AFTER.match(text, match.end()) is not None


def _found(some: str, *, several: bool) -> Found[str]:
    letters = _letters(some)
    if not letters:
        return Found(None, NOT_EXTRACTED)
    if len(letters) > 1 and not several:
        return Found(None, AMBIGUOUS)
    return Found(letters)


def _letters(some: str) -> str:
    """The letters in `some`, which may be joined by "and" and the like, sorted."""
    without = re.sub(r"\b(?:and|or)\b", " ", some)
    return "".join(sorted(set(re.findall("[A-Z]", without.upper()))))
