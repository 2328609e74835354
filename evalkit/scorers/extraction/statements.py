"""Where a text says "this is the answer": phrases, boxes, JSON and markers, English and Chinese."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from evalkit.scorers.extraction.found import Strategy

# Full-width letters, digits and signs as half-width ones. Not the comma: "３，400" are two numbers.
_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if code != 0xFF0C}
_SIGNS = str.maketrans(
    {"\u3000": " ", "\u00a0": " ", "\u202f": " ", "−": "-", "–": "-", "⁄": "/",
     "【": "[", "】": "]", "〔": "(", "〕": ")"}
)  # fmt: skip
# Bold and italics, code, mathematics; but not the sign of a product.
_MARKS = re.compile(
    r"\*\*|__|`|\\?\$|\\[()\[\]]|(?<![\w)\s])\*(?=\w)|(?<![^\s])\*(?=\w)|(?<=[\w.)])\*(?![\w(])"
)

# Spaces that part the thousands of one number: 1 000 as printers set it, 1\,000 in LaTeX.
_GROUPS = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f]|\\[,;: ])(?=\d{3}(?!\d))")
_TENS = re.compile("(?<=10)[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_BULLET = re.compile(r"[ \t:]*\n\s*[-•]\s+")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s*\n")

_TAIL = 400  # characters of a statement that are read
_EDGE = 32  # statements of a kind that are read from the beginning, and from the end

_ENGLISH = (
    r"\banswers?(?:\s+(?:choice|option|letter|key))?(?:\s+to\s+(?:the|this|that)\s+(?:question|problem))?"
    r"(?:\s+(?:here|therefore|then|thus))?(?:\s+(?:is|are|was|would\s+be|should\s+be|must\s+be|will\s+be)\b"
    r"(?!\s+(?:not|neither|wrong|incorrect)\b)\s*:?|\s*[:=]|\s*\n)"
    r"|\b(?:correct|right|best)\s+(?:option|choice|letter)\s+(?:is|would\s+be|should\s+be)\b"
    r"(?!\s+not\b)\s*:?|\b(?:in)?(?:correct|true|false|wrong)\s+(?:statement|sentence|claim)\s+is\b"
    r"(?!\s+not\b)\s*:?|\b(?:final|correct)\s+result\s*(?:is\b|:)"
)
_CHINESE = (
    r"(?<!错误)(?:答案|答)(?:选项)?(?:应该|应当|应|就|只能|显然)?(?:是|为|選|选|即|:|=|\s*\n)+(?!不|否|什么|多少|几)\s*:?"
    r"|(?:正确|最佳)(?:的)?(?:选项|答案|选择|一项)(?:应该|应当|应)?(?:是|为|:)+\s*:?"
    r"|(?:最终|最后)?结果(?:是|为|:|等于)+"
)
_PHRASE = re.compile(f"(?:{_ENGLISH})|(?:{_CHINESE})", re.IGNORECASE)
_MARKER = re.compile(r"^\s*####\s*(.+)$", re.M)
_TAGGED = re.compile(r"<(answer|final_answer|答案)>(.{0,400}?)</\1>", re.I | re.S)
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{")
_KEYS = frozenset(
    ("answer", "final_answer", "finalanswer", "final answer", "choice", "answer_choice", "option",
     "result", "答案", "最终答案", "选项", "选择", "正确答案")
)  # fmt: skip
_SENTENCE = re.compile(r"[。！？；\n]|[.!?;](?=\s|$)")


class Statement(NamedTuple):
    """Where it begins, what it says, and whether that is the answer and nothing else."""

    start: int
    text: str
    exact: bool


def plain(text: str) -> str:
    """The text in half width and without the marks of Markdown and of mathematics."""
    text = _TENS.sub(lambda match: "^" + match[0].translate(_RAISED), _GROUPS.sub(",", text))
    half = text.translate(_WIDTH).translate(_SIGNS).replace("{,}", ",")
    # One space at most, also for the time that patterns take with many.
    return _LINES.sub("\n\n", _SPACES.sub(" ", _MARKS.sub("", half)))


def statements(text: str, strategy: Strategy) -> list[Statement]:
    """The statements of a plain text in order."""
    found: list[Statement] = []
    if strategy in {"stated", "boxed"}:
        found += _boxes(text)
    if strategy in {"stated", "json"}:
        found += _objects(text)
    if strategy in {"stated", "phrase"}:
        found += _phrases(text)
    return sorted(found)


def _edges(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """The first and the last matches: whoever says thousands is not read for as long as that."""
    found = list(pattern.finditer(text))
    return found if len(found) <= 2 * _EDGE else found[:_EDGE] + found[-_EDGE:]


def _phrases(text: str) -> Iterator[Statement]:
    for match in _edges(_MARKER, text):
        yield Statement(match.start(), sentence(match[1]), exact=False)
    for match in _edges(_TAGGED, text):
        yield Statement(match.start(), match[2].strip(), exact=True)
    for match in _edges(_PHRASE, text):
        begin = match.end() - match[0].endswith("\n")  # a line break may announce a list
        yield Statement(match.start(), sentence(text[begin : begin + _TAIL]), exact=False)


def sentence(tail: str) -> str:
    """The first sentence of a text; where its line says nothing, that of the next."""
    tail = _BULLET.sub("", tail, count=1) if _BULLET.match(tail) else tail.lstrip(" \t:\n")
    end = _SENTENCE.search(tail)
    return tail[: end.start()] if end else tail


def _boxes(text: str) -> Iterator[Statement]:
    for match in _edges(_BOX, text):
        depth, end = 1, match.end()
        while end < len(text) and depth and end - match.end() < _TAIL:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if not depth:
            yield Statement(match.start(), text[match.end() : end - 1].strip(), exact=True)


def _objects(text: str) -> Iterator[Statement]:
    """What the answers' keys hold in the JSON objects of a text."""
    decoder = json.JSONDecoder()
    end = 0
    for match in _edges(re.compile(r'\{\s*"'), text):
        place = match.start()
        if place < end:
            continue  # inside of one that was read
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        for key, said in value.items():
            if key.strip().casefold() in _KEYS and _is_plain(said):
                yield Statement(place, _written(said), exact=True)


def _is_plain(said: Any) -> bool:
    if isinstance(said, list):
        return all(isinstance(one, str | int | float) for one in said)
    return isinstance(said, str | int | float) and not isinstance(said, bool)


def _written(said: Any) -> str:
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)
