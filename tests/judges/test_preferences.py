"""From calls to samples: both orders must agree, and what is missing stays apart."""

from __future__ import annotations

import pytest

from evalkit.judges.preferences import preferences, ratings, utilities
from evalkit.records import Judgement
from tests.judges.said import both, call, rating

KEY = ("chat", "helpful", "s")


def _one(judgements: list[Judgement]) -> tuple[float | None, str, str]:
    (found,) = preferences(judgements)
    return found.value, found.outcome, found.reason


@pytest.mark.parametrize(
    ("first", "second", "value", "outcome"),
    [
        (1.0, 1.0, 1.0, "tuned"),
        (0.0, 0.0, 0.0, "base"),
        (0.5, 0.5, 0.5, "tie"),
        (1.0, 0.0, 0.5, "flip"),
        (0.0, 1.0, 0.5, "flip"),
        (1.0, 0.5, 0.5, "wavered"),
        (0.5, 0.0, 0.5, "wavered"),
    ],
)
def test_both_orders_must_name_the_same_winner(
    first: float, second: float, value: float, outcome: str
) -> None:
    assert _one(both("s", first, second)) == (value, outcome, "")


def test_probabilities_count_with_the_mean_of_both_orders() -> None:
    """A judge that leans to the first answer by .3 in both orders: the lean cancels."""
    assert _one(both("s", 0.375, 0.875)) == (0.625, "flip", "")
    assert _one(both("s", 0.625, 0.875)) == (0.75, "tuned", "")


@pytest.mark.parametrize("status", ["unparsed", "refused", "error", "unasked"])
def test_a_missing_order_makes_the_sample_missing(status: str) -> None:
    silent = call("s", None, "tuned_first", status=status)
    assert _one([call("s", 1.0, "base_first"), silent]) == (None, "missing", status)


def test_an_order_that_nobody_asked_is_unasked() -> None:
    assert _one([call("s", 1.0, "tuned_first")]) == (None, "missing", "unasked")


def test_repeats_are_averaged_before_the_orders_are_compared() -> None:
    first = [call("s", one, "base_first", repeat=i) for i, one in enumerate((1.0, 1.0, 1.0, 0.0))]
    second = [call("s", one, "tuned_first", repeat=i) for i, one in enumerate((1.0, 1.0))]
    assert _one([*first, *second]) == (0.875, "tuned", "")
    undecided = [call("s", value, "tuned_first", repeat=i) for i, value in enumerate((0.0, 1.0))]
    assert _one([*first, *undecided]) == (0.5, "wavered", "")


def test_a_repeat_that_is_missing_is_left_out() -> None:
    first = [call("s", 1.0), call("s", None, repeat=1)]
    assert _one([*first, call("s", 1.0, "tuned_first")]) == (1.0, "tuned", "")


def test_the_most_frequent_reason_is_told() -> None:
    said = [call("s", None, repeat=i, status=s) for i, s in enumerate(("error", "refused"))]
    said += [call("s", None, repeat=2, status="refused"), call("s", 1.0, "tuned_first")]
    assert _one(said) == (None, "missing", "refused")


def test_a_log_without_orders_is_taken_at_its_word() -> None:
    assert _one([call("s", 0.8, "")]) == (0.8, "tuned", "")
    assert _one([call("s", 0.5, "")]) == (0.5, "tie", "")


def test_stripped_answers_are_judged_apart() -> None:
    said = both("s", 1.0, 1.0) + both("s", 0.0, 0.0, stripped=True)
    assert _one(said) == (1.0, "tuned", "")
    (stripped,) = preferences(said, stripped=True)
    assert stripped.outcome == "base"


def test_a_jury_counts_with_the_mean_of_those_who_spoke() -> None:
    said = both("s", 1.0, 1.0) + both("s", 1.0, 0.0, judge="k") + both("s", None, 1.0, judge="l")
    assert utilities(preferences(said)) == {KEY: (0.75, "")}


def test_where_no_judge_spoke_the_first_ones_reason_stands() -> None:
    said = [*both("s", None, 1.0), call("s", None, judge="k", status="refused")]
    assert utilities(preferences(said)) == {KEY: (None, "unparsed")}


def test_suites_and_rubrics_are_kept_apart() -> None:
    said = both("s", 1.0, 1.0) + both("s", 0.0, 0.0, rubric="funny") + both("s", 1, 1, suite="x")
    assert len(utilities(preferences(said))) == 3


def test_ratings_are_means_over_repeats_and_then_judges() -> None:
    said = [
        rating("s", "tuned", 5.0),
        rating("s", "tuned", 4.0, repeat=1),
        rating("s", "tuned", 2.5, judge="k"),
        rating("s", "base", None, status="refused"),
        rating("s", "base", 1.0, stripped=True),
    ]
    assert ratings(said) == {
        (*KEY, "tuned"): (3.5, ""),
        (*KEY, "base"): (None, "refused"),
    }
