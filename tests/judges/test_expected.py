"""The mean rating over token probabilities, worked out by hand."""

from __future__ import annotations

from math import log

import pytest

from evalkit.judges.reading import expected_rating
from evalkit.judges.rubrics import open_rubric

RATING = open_rubric("helpful", "en")
CHECKLIST = open_rubric("spots-trick", "en")


def tokens(*written: str, **chances: dict[str, float]) -> list[dict[str, float]]:
    """Alternatives of tokens that were sure, but for those named in `chances` ("t5")."""
    found = [{token: 0.0} for token in written]
    for name, each in chances.items():
        found[int(name[1:])] = {token: log(chance) for token, chance in each.items()}
    return found


def test_the_mean_is_over_the_digits() -> None:
    written = ('{"', "rationale", '":', ' "', "ok", '",', ' "', "rating", '":', " ", "4", "}")
    weighed = {"4": 0.5, "3": 0.3, "5": 0.2}
    got = expected_rating(tokens(*written, t10=weighed), "".join(written), RATING)
    assert got == pytest.approx(4 * 0.5 + 3 * 0.3 + 5 * 0.2)


def test_what_is_no_rating_is_left_out_of_the_mean() -> None:
    written = ('{"rationale": "ok", "rating":', " 4", "}", "<|im_end|>")
    weighed = {" 4": 0.6, " 2": 0.2, ' "': 0.2}
    text = "".join(written[:-1])
    got = expected_rating(tokens(*written, t1=weighed), text, RATING)
    assert got == pytest.approx((4 * 0.6 + 2 * 0.2) / 0.8)


def test_half_characters_before_it_do_not_matter() -> None:
    text = '{"rationale": "好。", "rating": 2}'
    found = [
        {'{"': 0.0},
        {"\\xe5\\xa5": 0.0},
        {"\ufffd": 0.0},
        *tokens('",', ' "', "rating", '":', " ", "2", "}"),
    ]
    found[8] = {"2": log(0.75), "1": log(0.25)}
    assert expected_rating(found, text, RATING) == pytest.approx(1.75)


def test_tokens_that_could_be_read_otherwise_are_told_apart_by_the_rest() -> None:
    # '": 4' could be one token or three; only the likelier way fits the text before.
    written = ('"rating', '":', " ", "4", "}")
    found = tokens(*written, t3={"4": 0.9, " 4": 0.1})
    assert expected_rating(found, "".join(written), RATING) == pytest.approx(4.0)


def test_a_digit_in_the_rationale_is_not_taken_for_the_rating() -> None:
    written = ('{"rationale": "', "2", ' of 5 hold", "rating": ', "4", "}")
    found = tokens(*written, t1={"2": 0.5, "1": 0.5}, t3={"4": 0.8, "5": 0.2})
    assert expected_rating(found, "".join(written), RATING) == pytest.approx(4.2)


def test_a_checklist_is_the_mean_of_its_items() -> None:
    written = (
        '{"rationale": "x", "item_1": "',
        "yes",
        '", "item_2": "',
        "no",
        '", "item_3": "',
        "yes",
        '"}',
    )
    found = tokens(*written, t1={"yes": 0.8, "no": 0.2}, t3={"no": 1.0}, t5={"yes": 0.6, "no": 0.4})
    assert expected_rating(found, "".join(written), CHECKLIST) == pytest.approx(1.4 / 3)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], '{"rating": 4}'),
        (tokens("nothing", " here"), "nothing here"),
        (tokens('{"rating": ', "4", "}", t1={"4": 0.2, "x": 0.8}), '{"rating": 4}'),
        (tokens("other", "text"), '{"rating": 4}'),
        ([{}, {}, {}], '{"rating": 4}'),
    ],
)
def test_where_the_place_cannot_be_found_there_is_no_mean(
    found: list[dict[str, float]], text: str
) -> None:
    assert expected_rating(found, text, RATING) is None
