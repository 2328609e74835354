"""Chinese numerals, against cases and against a writer of them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scorers.numerals import parse_numeral


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("零", 0), ("〇", 0), ("一", 1), ("两", 2), ("十", 10), ("十五", 15), ("二十", 20),
        ("二十一", 21), ("一百", 100), ("一百零五", 105), ("一百〇五", 105), ("一百一", 110),
        ("一百一十", 110), ("一百一十五", 115), ("二百五", 250), ("两百五十", 250), ("三千", 3000),
        ("三千二", 3200), ("三千零五", 3005), ("三千零五十", 3050), ("三千零二十一", 3021),
        ("一万", 10_000), ("两万五", 25_000), ("两万零五", 20_005), ("一万二千三百四十五", 12_345),
        ("十万", 100_000), ("一百二十万", 1_200_000), ("一千万", 10_000_000), ("一亿", 10**8),
        ("一亿三千万", 130_000_000), ("三亿五", 350_000_000), ("十三亿", 1_300_000_000),
        ("一万亿", 10**12), ("二〇二四", 2024), ("一九四九", 1949), ("幺二三", 123),
        ("壹佰贰拾叁", 123), ("叁仟", 3000), ("伍萬", 50_000), ("兩億", 200_000_000),
        ("三点一四", "3.14"), ("零点五", "0.5"), ("一百点零一", "100.01"), ("一点五万", 15_000),
        ("负五", -5), ("負三點五", "-3.5"), ("百分之二十", "1/5"), ("百分之十二点五", "1/8"),
        ("百分之百", 1), ("千分之三", "0.003"), ("三分之二", "2/3"), ("负二分之一", "-1/2"),
        ("3万", 30_000), ("1.5亿", 150_000_000), ("3百", 300), ("12", 12), ("百分之50", "1/2"),
        ("3分之2", "2/3"),
    ],
)  # fmt: skip
def test_a_numeral_is_the_number_that_is_said(text: str, value: int | str) -> None:
    assert parse_numeral(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "点",
        "负",
        "个",
        "百",
        "万",
        "十十",
        "一十百",
        "三个",
        "零分之一",
        "一点",
        "百百",
        "点五个",
    ],
)
def test_what_is_no_numeral_is_none(text: str) -> None:
    assert parse_numeral(text) is None


def test_an_endless_numeral_is_none() -> None:
    assert parse_numeral("万" * 100_000) is None


_DIGITS = "零一二三四五六七八九"


def _section(number: int) -> str:
    """Below ten thousand, as it is written out."""
    text, gap = "", False
    for size, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // size % 10
        if digit:
            text += ("零" if gap and text else "") + _DIGITS[digit] + unit
        gap = not digit
    return text


def _written(number: int) -> str:
    """A number in full: its parts of four digits, with 零 where one begins with a zero."""
    text = ""
    for size, unit in ((10**8, "亿"), (10**4, "万"), (1, "")):
        part = number // size % 10**4
        if part:
            text += ("零" if text and part < 1000 else "") + _section(part) + unit
        elif text and not text.endswith("零") and number % size:
            text += "零"
    return text.replace("零零", "零") or "零"


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_whatever_is_written_out_is_read_back(number: int) -> None:
    text = _written(number)
    assert parse_numeral(text) == number
    if text.startswith("一十"):
        assert parse_numeral(text[1:]) == number
    assert parse_numeral(f"负{text}") == -number
