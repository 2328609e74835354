"""Distinct n-grams, repetition and loops, counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scorers.diversity import longest_loop
from tests.scorers.examples import make_sample, make_scorer, scores, values


def test_counts_by_hand() -> None:
    # 8 words, 4 different; pairs: 7, different: ab bc cd da = 4; fours: 5, different: 4.
    found = values(make_scorer("diversity"), make_sample(), "a b c d. A b c d!")
    assert found["distinct_1"] == pytest.approx(4 / 8)
    assert found["distinct_2"] == pytest.approx(4 / 7)
    assert found["repetition"] == pytest.approx(1 / 5)
    assert found["loop"] == 0.0


def test_chinese_counts_characters() -> None:
    found = values(make_scorer("diversity", language="zh"), make_sample(), "哈哈哈哈，好。")
    assert found["distinct_1"] == pytest.approx(2 / 5)
    assert found["repetition"] == 0.0
    assert found["loop"] == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("a b a b a b c", 6), ("x a b c a b c a b c a", 10), ("a b a b", 0), ("a a a", 3), ("", 0)],
)
def test_a_loop_is_one_piece_three_times_in_a_row(text: str, tokens: int) -> None:
    assert longest_loop(text.split()) == tokens


@given(st.text("ab", max_size=24))
def test_loops_are_those_found_by_trying_everything(text: str) -> None:
    spans = [
        stop - start
        for start in range(len(text))
        for stop in range(start + 1, len(text) + 1)
        for period in range(1, (stop - start) // 3 + 1)
        if all(text[i] == text[i - period] for i in range(start + period, stop))
    ]
    assert longest_loop(text) == max(spans, default=0)


def test_a_text_without_words_is_not_scored() -> None:
    for text in ("", "🙂 !"):
        found = scores(make_scorer("diversity"), make_sample(), text)
        assert {score.value for score in found.values()} == {None}
    assert values(make_scorer("diversity"), make_sample(), "one")["distinct_2"] is None
