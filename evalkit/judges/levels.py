"""The words that judges use for a verdict, a rating and a yes or no, in English and Chinese."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

LEVELS = ("much_better", "better", "tie", "worse", "much_worse")
UTILITIES: Mapping[str, float] = MappingProxyType(
    {"much_better": 1.0, "better": 1.0, "tie": 0.5, "worse": 0.0, "much_worse": 0.0}
)
"""Of the answer shown first."""
_OPPOSITE = dict(zip(LEVELS, reversed(LEVELS), strict=True))

_MUCH = r"(?:very )?much|far|significantly|considerably|substantially|clearly|strongly|a lot|vastly"
_LITTLE = r"slightly|a (?:little )?bit|a little|somewhat|marginally|moderately|just"
_MUCH_ZH = r"明显|显著|远远|大大|大幅|远|非常|绝对|好太|差太"
_LITTLE_ZH = r"略微|稍微|略|稍稍|稍|比较|较为|较|更加|更为|更|轻微|小幅|相对"
_GOOD_ZH = r"好|佳|优|胜|强|优秀|出色"
_BAD_ZH = r"差|劣|逊色|糟|坏|弱"
_BY_MUCH_ZH = r"得多|很多|许多|太多|多了|多"
_BY_LITTLE_ZH = r"一点点|一点儿|一点|一些|些|一筹"
# In this order: what is much better is not merely better.
_SAYS: Mapping[str, tuple[str, ...]] = {
    "much_better": (
        rf"(?:{_MUCH}) (?:better|superior)",
        rf"(?:{_MUCH_ZH})更?(?:{_GOOD_ZH})",
        rf"更?(?:{_GOOD_ZH})(?:{_BY_MUCH_ZH})",
        "完胜",
    ),
    "much_worse": (
        rf"(?:{_MUCH}) (?:worse|inferior)",
        rf"(?:{_MUCH_ZH})更?(?:{_BAD_ZH})",
        rf"更?(?:{_BAD_ZH})(?:{_BY_MUCH_ZH})",
        "远不如|完败",
    ),
    "better": (
        rf"(?:(?:{_LITTLE}) )?(?:better|superior)",
        rf"(?:{_LITTLE_ZH})?(?:{_GOOD_ZH})(?:{_BY_LITTLE_ZH})?",
        "wins?|preferred|胜出|占优|略胜一筹",
    ),
    "worse": (
        rf"(?:(?:{_LITTLE}) )?(?:worse|inferior)",
        rf"(?:{_LITTLE_ZH})?(?:{_BAD_ZH})(?:{_BY_LITTLE_ZH})?",
        "loses|不如|落败|略逊一筹",
    ),
    "tie": (
        "(?:it's |it is )?(?:a )?(?:tie|tied|draw)|equally (?:good|bad)|neither(?: is better)?",
        "(?:about |roughly |nearly )?(?:the )?(?:same|equal)|no difference|comparable|on par",
        "平局?|打平|平手|持平|相当|相同|同样(?:好|差)|一样(?:好|差)?|差不多|旗鼓相当",
        "不(?:相上下|分上下|分高下)|(?:难分|分不出)(?:高下|伯仲|胜负)",
        "(?:没有?|无)(?:差别|区别|差异)",
    ),
}
_LEVEL = {level: re.compile("|".join(says)) for level, says in _SAYS.items()}

_ANSWER = (
    r"(?:the )?(?:(?:answer|response|output|assistant|candidate|回答|答案|回复) ?"
    r"(?P<{0}>[12ab一二甲乙])"
    r"|(?P<{0}_nth>first|second)(?: (?:answer|response|one|output))?"
    r"|第(?P<{0}_zh>[一二])个?(?:回答|答案|回复)?|(?P<{0}_bare>[ab]))(?![a-z0-9])"
)
_SUBJECT = re.compile(_ANSWER.format("who"))
_OTHER = _ANSWER.format("other")
_AGAINST = re.compile(rf"^(?:比|与|和|跟) ?{_OTHER} ?(?:相比)?")
_THAN = re.compile(rf" (?:than|as|to) {_OTHER}$")
_OVER_ZH = re.compile(rf"(?:于|过)? ?{_OTHER}$")
_IS = re.compile(r"^ ?(?:is|was|wins|是|:)? ?")
_SECOND = frozenset("2b二乙") | {"second"}

_NUMBER = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|[一二两三四五]|one|two|three|four|five)"
    r"(?: ?/ ?(?:5|五)(?:\.0)?| ?分| (?:out of|of) (?:5|five)| ?stars?| ?星)?"
)
_NAMED = {
    **dict(zip("一二三四五", range(1, 6), strict=True)),
    **dict(zip(("one", "two", "three", "four", "five"), range(1, 6), strict=True)),
    "两": 2,
}
_YES = frozenset(("yes", "y", "true", "是", "是的", "对", "有", "成立", "符合", "满足"))
_NO = frozenset(
    ("no", "n", "false", "否", "不是", "不", "没有", "无", "不成立", "不符合", "不满足")
)
_AROUND = " \t\n\"'`*.,;:!?()[]{}<>“”‘’「」『』。，；：！？、（）【】《》"


def level_of(value: object) -> str:
    """The level that a verdict names, said of answer 1; "" where it names none.

    The whole of it must name one: what only begins like a verdict is none.
    """
    if not isinstance(value, str) or len(value) > 200:
        return ""
    text = folded(value)
    found = _plain_level(text)
    if found:
        return found
    subject = _SUBJECT.match(text)
    if subject is None:
        return ""
    rest = _IS.sub("", text[subject.end() :], count=1)
    rest = _AGAINST.sub("", _THAN.sub("", rest), count=1).strip()
    found = "better" if not rest else _plain_level(rest) or _plain_level(_OVER_ZH.sub("", rest))
    return _OPPOSITE[found] if found and _is_second(subject) else found


def rating_of(value: object) -> float | None:
    """The rating that a value is, from 1 to 5; None where it is none."""
    if isinstance(value, str):
        if len(value) > 40:
            return None
        match = _NUMBER.fullmatch(folded(value))
        if match is None:
            return None
        number = match["number"]
        value = _NAMED[number] if number in _NAMED else float(number)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Compared first: a whole number may be too large to be a float.
    return float(value) if 1 <= value <= 5 and math.isfinite(value) else None


def yes_of(value: object) -> bool | None:
    """Whether a value says yes or no; None where it says neither."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or len(value) > 40:
        return None
    word = folded(value)
    return True if word in _YES else False if word in _NO else None


def folded(text: str) -> str:
    """Half width, lower case, one space between words, no marks around it."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s_\-]+", " ", plain).strip(_AROUND)


def _plain_level(text: str) -> str:
    return next((level for level, says in _LEVEL.items() if says.fullmatch(text)), "")


def _is_second(subject: re.Match[str]) -> bool:
    return any(each in _SECOND for each in subject.groups() if each)
