"""Numbers as models write them: 1,234.5, １２３, 一百二十三, 3/4, 50%, −3, $18, 5 million, 5万."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from evalkit.scorers.extraction.found import (
    AMBIGUOUS,
    NOT_EXTRACTED,
    Found,
    Strategy,
    Which,
    chosen,
)
from evalkit.scorers.extraction.statements import Statement, plain, statements
from evalkit.scorers.numerals import DIGITS, MYRIADS, NUMERAL, UNITS, parse_numeral

Percent: TypeAlias = Literal["number", "share"]
"""What 50% is: 50, or a half."""

_LONGEST = 400  # digits; more are no number that anybody means
_BEFORE = 30  # characters before a number that may hold its sign in a word
_WORDS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_GLYPHS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅛": "1/8"}

# A thousands separator is a comma with exactly three digits after it, or two where the thousands
# are counted in lakhs (1,00,000); a minus belongs to the number unless it stands between two terms
# ("10-3"). What stands behind a ^ is a power of something else ("36 cm^2").
_UNSIGNED = (
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d\d)+,\d{3}(?!,?\d)|\d+)(?:\.\d+)?"
    r"|(?<!\.)\.\d+)"
)
_NUMBER = re.compile(
    r"(?<!\d)(?<!\d\.)(?<!\d/)(?<!\^)(?<!\^[{-])(?<!\^\{-)(?P<sign>(?:(?<![\w)\]])-)?(?:(?<=-)[$€£¥￥]\s?)?|[负負]|[$€£¥￥]-)"
    r"(?:百分之\s?(?P<hundredth>\d+(?:\.\d+)?)|(?P<n>\d+)\s?分之\s?(?P<m>\d+)"
    rf"|\\[dt]?frac\s*\{{\s*(?P<above>{_UNSIGNED})\s*\}}\s*\{{\s*(?P<below>{_UNSIGNED})\s*\}}"
    rf"|(?P<whole>\d+)\s+(?P<top>\d+)/(?P<bottom>\d+)(?![\d/])"
    r"|10\s?(?:\^|\*\*)\s?\{?(?P<zeros>[+-]?\d{1,2})(?!\d)\}?"
    rf"|(?P<number>{_UNSIGNED})"
    r"(?:\s?/\s?(?P<under>\d+(?:\.\d+)?)(?![\d/]|\.\d)"
    r"|[eE](?P<power>[+-]?\d{1,2})(?![\d.])"
    r"|\s?(?:×|x|\\times|\*)\s?10\s?(?:\^|\*\*)\s?\{?(?P<ten>[+-]?\d{1,2})\}?"
    rf"|\s?(?P<word>thousand|million|billion|trillion)\b"
    rf"|\s?(?P<myriad>[{MYRIADS}]+|[{UNITS}](?![米克瓦卡分里升帕伏安赫位])(?![{UNITS}]))[{MYRIADS}]*)?)"
    r"(?P<percent>\s?\\?%|\s?％|\s?(?:percent|per\s+cent)\b)?"
)
# Behind a number: it is only the beginning of a term that is not worked out here.
_GOES_ON = re.compile(
    r"\s?(?:\^|\*\*?|/|×|÷|·|\+|x|\\times|\\div|\\cdot)\s?\{?[-+]?\.?\d", re.IGNORECASE
)
_MINUS_WORD = re.compile(
    r"(?:\bnegative|(?:^|[:(]|\b(?:is|was|be|equals|about|approximately|exactly|roughly))\s*\bminus)"
    r"\s[€£¥￥]?$",
    re.IGNORECASE,
)
_SPACED = re.compile(r"(?<![\d.,/])\d{1,3}(?: \d{3})+(?! ?\d|,\d|-)")
# Words that hold a numeral and say no number.
_NO_NUMBER = re.compile(
    rf"(?<![{DIGITS}{UNITS}{MYRIADS}分第])(?:"
    "一[共起些下样定般直旦切边方面味律致向再时会步]|[万统]一|唯一|十分|千万|[一三]番|百般|万分|一一|之一|"
    "[星礼]期[一二三四五六]|周[一二三四五六])|第[一二三四五六七八九十]+"
)
_BETWEEN = re.compile(
    r"\s*(?:[$€£¥￥%]|[a-z]{1,12}|[元个块只米])?\s*(?:or|and|to|-|~|～|或者?|和|与|到|至)\s*[$€£¥￥]?\s*"
)


class Number(NamedTuple):
    """A number and where it stands in the plain text; `cut` where a longer term begins with it."""

    value: Fraction
    start: int
    end: int
    cut: bool = False

    @property
    def found(self) -> Found[Fraction]:
        """It as an answer. Of 2^10 or 5/10/2020 there is none: nothing is guessed."""
        return Found(None, AMBIGUOUS) if self.cut else Found(self.value)


def numbers(text: str) -> list[Fraction]:
    """The numbers of a text in order; Chinese numerals where there are no digits."""
    return [one.value for one in _all(_spaced(_with_glyphs(plain(text))), "number")]


def parse_number(text: str, percent: Percent = "number") -> Fraction:
    """A text that is one number, perhaps with a currency or a percent sign; raises ValueError."""
    shown = _joined(_with_glyphs(plain(text))).strip().lstrip("$€£¥￥+ ")
    found = list(_arabic(shown, percent)) or list(_chinese(shown, percent))
    if len(found) != 1 or shown[: found[0].start].strip() or shown[found[0].end :].strip():
        raise ValueError(f"its target {text!r} is not a number")
    return found[0].value


def number_in(
    text: str,
    *,
    extract: Sequence[Strategy] = ("stated", "any"),
    which: Which = "last",
    percent: Percent = "number",
) -> Found[Fraction]:
    """The number an answer comes to: the last that is stated, else the last there is.

    A statement of two numbers ("3 or 5", "3 到 5") is not extracted. In one with an equals sign,
    what stands behind the last one counts.
    """
    shown = _spaced(_with_glyphs(plain(text)))
    for strategy in extract:
        if strategy == "any":
            every = [one.found for one in _all(shown, percent)]
        else:
            told = (_stated(one, percent) for one in statements(shown, strategy))
            every = [one for one in told if one is not None]
        if every:
            return chosen(every, which)
    return Found(None, NOT_EXTRACTED)


def _stated(one: Statement, percent: Percent) -> Found[Fraction] | None:
    said = _joined(re.split(r"[=＝≈]", one.text)[-1])
    found = _all(said, percent)
    if not found:
        return None
    first = found[0]
    if len(found) > 1 and found[1].value != first.value:
        between = said[first.end : found[1].start]
        if one.exact or _BETWEEN.fullmatch(between):
            return Found(None, AMBIGUOUS)
    if said[: first.start].strip() == "-" and first.value > 0:  # - 5
        first = first._replace(value=-first.value)
    return first.found


def _joined(text: str) -> str:
    """Thousands that spaces part, put together: 1 000 000."""
    return _SPACED.sub(lambda match: match[0].replace(" ", ""), text)


def _spaced(text: str) -> str:
    """The same where it is certain: no number begins with a zero, and 100 200 may be two."""
    return _SPACED.sub(
        lambda match: match[0].replace(" ", "") if " 0" in match[0] else match[0], text
    )


def _with_glyphs(text: str) -> str:
    return re.sub("(\\d?)([½¼¾⅓⅔⅕⅛])", lambda m: (m[1] and m[1] + " ") + _GLYPHS[m[2]], text)


def _all(text: str, percent: Percent) -> list[Number]:
    return list(_arabic(text, percent)) or list(_chinese(text, percent))


def _arabic(text: str, percent: Percent) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        if match.end() - match.start() > _LONGEST:
            continue
        value = _value(match, percent)
        if value is None:
            continue
        start, end = match.span()
        if value > 0 and _MINUS_WORD.search(text, max(0, start - _BEFORE), start):
            value = -value
        yield Number(value, start, end, cut=_GOES_ON.match(text, end) is not None)


def _value(match: re.Match[str], percent: Percent) -> Fraction | None:
    value = _magnitude(match)
    if value is None:
        return None
    if (match["percent"] or match["hundredth"]) and percent == "share":
        value /= 100
    return -value if match["sign"] and set(match["sign"]) & set("-负負") else value


def _magnitude(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    if part["hundredth"]:
        return Fraction(part["hundredth"])
    for above, below in (("above", "below"), ("m", "n"), ("number", "under")):
        if part[above] and part[below]:
            under = _plain(part[below])
            return _plain(part[above]) / under if under else None
    if part["zeros"]:
        return Fraction(10) ** int(part["zeros"])
    if part["whole"]:
        denominator = int(part["bottom"])
        return (
            Fraction(part["whole"]) + Fraction(int(part["top"]), denominator)
            if denominator
            else None
        )
    value = _plain(part["number"])
    exponent = part["power"] or part["ten"]
    if exponent:
        return value * Fraction(10) ** int(exponent)
    if part["word"]:
        return value * _WORDS[part["word"]]
    if part["myriad"]:
        signs = match[0][match.start("myriad") - match.start() :].rstrip("%％ ")
        return value * (parse_numeral(f"1{signs}") or 1)
    return value


def _plain(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _chinese(text: str, percent: Percent) -> Iterator[Number]:
    """Numerals in words; "百分之二十" is 20 where a percentage is the number before its sign."""
    hidden = _NO_NUMBER.sub(lambda match: "·" * len(match[0]), text)
    for match in NUMERAL.finditer(hidden):
        value = parse_numeral(match[0])
        if value is None:
            continue
        hundredths = "百分之" in match[0] and percent == "number"
        yield Number(value * 100 if hundredths else value, match.start(), match.end())
