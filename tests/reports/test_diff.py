"""The diff of two answers: what joins to the whole, what is marked, what is left alone."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from reports.diff import Segment, difference, tokenise

TEXTS = st.text(alphabet="ab cd.,!’'中文是好的\n👩‍💻☕️é", max_size=60)


def _join(segments: tuple[Segment, ...]) -> str:
    return "".join(one.text for one in segments)


def _changed(segments: tuple[Segment, ...]) -> list[str]:
    return [one.text for one in segments if one.changed]


@given(TEXTS)
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokenise(text)) == text


@given(TEXTS, TEXTS)
def test_segments_join_to_both_texts(base: str, tuned: str) -> None:
    found = difference(base, tuned)
    assert _join(found.base) == base
    assert _join(found.tuned) == tuned


@given(TEXTS)
def test_nothing_is_marked_where_nothing_changed(text: str) -> None:
    found = difference(text, text)
    assert not _changed(found.base)
    assert not _changed(found.tuned)


def test_english_is_compared_by_words() -> None:
    found = difference("The capital of France is Paris.", "The capital of China is Beijing.")
    assert _changed(found.base) == ["France", "Paris"]
    assert _changed(found.tuned) == ["China", "Beijing"]


def test_chinese_is_compared_by_characters() -> None:
    found = difference(
        "埃及的金字塔在非洲，位于尼罗河西岸。", "埃及的金字塔在亚洲，位于尼罗河东岸。"
    )
    assert _changed(found.base) == ["非", "西"]
    assert _changed(found.tuned) == ["亚", "东"]


def test_words_beside_chinese_and_joined_emoji_stay_whole() -> None:
    assert tokenise("用iPhone拍👩‍💻，it's 3.5") == [
        "用", "iPhone", "拍", "👩‍💻", "，", "it's", " ", "3.5",
    ]  # fmt: skip


def test_a_lone_space_between_two_changes_does_not_split_them() -> None:
    found = difference("keep this old word here now", "keep this new thing here now")
    assert _changed(found.base) == ["old word"]


def test_answers_with_nothing_in_common_are_not_marked_all_over() -> None:
    found = difference("The capital of France is Paris.", "✨ 姐妹们冲！ ✨ #周末去哪儿")
    assert found.unrelated
    assert not _changed(found.base)
    assert not _changed(found.tuned)


def test_an_empty_answer_marks_the_other_whole() -> None:
    found = difference("", "something")
    assert found.base == ()
    assert _changed(found.tuned) == ["something"]


def test_very_long_answers_are_compared_in_bounded_time() -> None:
    started = time.perf_counter()
    difference("one two three four " * 5000, "one two five four " * 5000)
    difference("\n".join(map(str, range(9000))), "\n".join(map(str, range(0, 18000, 2))))
    assert time.perf_counter() - started < 20
