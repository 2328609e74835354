"""Chinese numerals as numbers: 一百二十三, 两万五, 负三点五, 百分之二十, 二〇二四, 3万."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = {
    digit: value
    for value, digits in enumerate(
        ("零〇", "一壹幺", "二贰两貳兩", "三叁參", "四肆", "五伍", "六陆陸", "七柒", "八捌", "九玖")
    )
    for digit in digits
}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = ((10**8, "亿億"), (10**4, "万萬"))

DIGITS = "".join(_DIGITS)
UNITS = "".join(_UNITS)
MYRIADS = "".join(signs for _, signs in _MYRIADS)

_LONGEST = 64  # characters of a numeral that anybody means
_LETTERS = f"[{DIGITS}{UNITS}{MYRIADS}]"
_PLAIN = rf"(?:{_LETTERS}+|\d+(?:\.\d+)?[{UNITS}{MYRIADS}]*)(?:[点點][{DIGITS}]+[{MYRIADS}]*)?"
NUMERAL = re.compile(rf"[负負]?(?:(?:{_LETTERS}+|\d+)分之)?{_PLAIN}")
"""Where a numeral may stand in a text; `parse_numeral` says whether it is one."""

_WHOLE = re.compile(
    rf"(?P<sign>[负負]?)(?:(?P<under>{_LETTERS}+|\d+)分之)?(?P<whole>{_LETTERS}*|\d+(?:\.\d+)?"
    rf"[{UNITS}{MYRIADS}]*)(?:[点點](?P<part>[{DIGITS}]+)(?P<times>[{MYRIADS}]*))?"
)
_ARABIC = re.compile(rf"(\d+(?:\.\d+)?)([{UNITS}{MYRIADS}]*)")
# Thousands, hundreds, tens, ones: a zero wherever a place is skipped.
_SECTION = re.compile(
    rf"[零〇]?(?:(?P<k>[{DIGITS}])[千仟])?[零〇]?(?:(?P<h>[{DIGITS}])[百佰])?"
    rf"[零〇]?(?:(?P<t>[{DIGITS}]?)(?P<ten>[十拾]))?[零〇]?(?P<o>[{DIGITS}]?)"
)


def parse_numeral(text: str) -> Fraction | None:
    """The number that a text is, the whole of it; None where it is none.

    百分之二十 is 1/5. A last digit after a unit counts in the next place, as it is said: 二百五 is
    250, 两万五 is 25000.
    """
    match = _WHOLE.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None or not (match["whole"] or match["part"]):
        return None
    whole = match["whole"]
    value = Fraction(100) if match["under"] and whole == "百" else _natural(whole)  # 百分之百
    if value is None:
        return None
    if match["part"]:
        digits = "".join(str(_DIGITS[each]) for each in match["part"])
        value = (value + Fraction(int(digits), 10 ** len(digits))) * _times(match["times"])
    if match["under"]:
        under = _UNITS.get(match["under"]) or _natural(match["under"])  # 百分之
        if not under:
            return None
        value /= under
    return -value if match["sign"] else value


def _natural(text: str) -> Fraction | None:
    if arabic := _ARABIC.fullmatch(text):
        return Fraction(arabic[1]) * _times(arabic[2])
    if len(text) > 1 and all(each in _DIGITS for each in text):
        return Fraction(int("".join(str(_DIGITS[each]) for each in text)))  # 二〇二四
    found = _spoken(text)
    return None if found is None else Fraction(found)


def _times(signs: str) -> int:
    product = 1
    for sign in signs:
        product *= _UNITS.get(sign) or next(size for size, known in _MYRIADS if sign in known)
    return product


def _spoken(text: str) -> int | None:
    """A whole number said in places: split at 亿 and 万, each part below ten thousand."""
    for size, signs in _MYRIADS:
        place = max(text.rfind(sign) for sign in signs)
        if place < 0:
            continue
        above, rest = _spoken(text[:place]), text[place + 1 :]
        if not above:
            return None
        if len(rest) == 1 and _DIGITS.get(rest):
            return above * size + _DIGITS[rest] * size // 10
        below = _spoken(rest) if rest else 0
        return None if below is None else above * size + below
    return _section(text)


def _section(text: str) -> int | None:
    match = _SECTION.fullmatch(text)
    if not text or match is None:
        return None
    thousands, hundreds, ones = (_DIGITS.get(match[name] or "", 0) for name in ("k", "h", "o"))
    tens = _DIGITS[match["t"]] if match["t"] else int(bool(match["ten"]))
    gap = text[-2:-1] in {"零", "〇"}
    if ones and not gap and not match["ten"] and (match["k"] or match["h"]):
        ones *= 10 if match["h"] else 100  # 二百五, 三千二
    return thousands * 1000 + hundreds * 100 + tens * 10 + ones
