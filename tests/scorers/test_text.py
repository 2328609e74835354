"""Words, sentences, mentions and scripts."""

from __future__ import annotations

import pytest

from evalkit.scorers.text import EMOJI, language_of, mentions, normalize, sentences, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A well-known dog, isn't it?", ["A", "well-known", "dog", "isn't", "it"]),
        ("It costs 1,234.50 or 3.5", ["It", "costs", "1,234.50", "or", "3.5"]),
        ("我爱 New York。", ["我", "爱", "New", "York"]),
        ("喝了3杯latte", ["喝", "了", "3", "杯", "latte"]),
        ("🙂 … !", []),
    ],
)
def test_words_are_words_in_english_and_characters_in_chinese(
    text: str, expected: list[str]
) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("It is 3.5 metres long, e.g. like Dr. Green's car. Right?", 2),
        ("At 6 a.m. we left.", 1),
        ('He said "Stop!" Then he ran.', 2),
        ("今天下雨。我不出门！你呢？", 3),
        ("他说：“好。”然后走了。", 2),
        ("First line\nSecond line", 2),
        ("Wait... what?!", 2),
        ("1. Boil water.\n2. Add tea.", 2),
        ("no full stop", 1),
        ("🙂\n!!!", 0),
        ("", 0),
    ],
)
def test_sentences_of_both_languages_are_counted(text: str, count: int) -> None:
    assert len(sentences(text)) == count


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("The capital is PARIS.", "Paris", True),
        ("a comparison", "paris", False),
        ("parish", "paris", False),
        ("首都是北京市", "北京", True),
        ("It weighs 700 g", "70", False),
        ("It weighs 2.5 kg", "5", False),
        ("It weighs 2.5 kg", "2", False),
        ("costs 1,500 euros", "500", False),
        ("costs 1,500 euros", "1", False),
        ("1,2,3", "2", True),
        ("拿铁25 元", "25元", True),
        ("拿铁125元", "25元", False),
        ("I don’t know", "don't", True),
        ("ＡＢＣ１２", "abc12", True),
        ("No, never", "no,", True),
        ("anything", "", False),
    ],
)
def test_a_mention_is_of_whole_words_and_whole_numbers(text: str, phrase: str, found: bool) -> None:
    assert mentions(text, phrase) is found


def test_a_prefix_may_go_on_in_letters_but_never_in_digits() -> None:
    assert mentions("30 centimetres", "30 centimet", prefix=True)
    assert not mentions("pot 300", "pot 30", prefix=True)
    assert not mentions("submarine", "marine", prefix=True)


def test_normalising_drops_case_width_punctuation_articles_and_spaces() -> None:
    assert normalize("  The  U.S.  answer! ") == "us answer"
    assert normalize("答案是：Ａ 。") == normalize("答案是a")
    assert normalize("theatre") == "theatre"
    assert normalize("The A") == "a"
    assert normalize("?!") == "?!"
    assert normalize("well-known, COVID-19; 2020–21") == "wellknown covid19 2020-21"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("This is English, with 一 word", "en"),
        ("我用iPhone拍照", "zh"),
        ("42 !!! 🙂", None),
        ("", None),
    ],
)
def test_the_language_is_that_of_most_of_the_text(text: str, language: str | None) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "count"),
    [("1️⃣2️⃣", 2), ("👩‍🍳", 1), ("👍🏽", 1), ("🇫🇷🇩🇪", 2), ("❤️✨", 2), ("▶️", 1), ("▶ → © 5 #", 0)],
)
def test_an_emoji_counts_once_however_many_code_points_it_has(text: str, count: int) -> None:
    assert len(EMOJI.findall(text)) == count
