"""Pass@k and the vote of the majority, against all subsets counted one by one."""

from __future__ import annotations

from itertools import combinations

import pytest

from evalkit.records import Completion
from evalkit.scorers.sampling import majority_at, pass_at
from tests.scorers.examples import make_sample, make_scorer, scores, values


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int) -> None:
    for c in range(n + 1):
        right = [place < c for place in range(n)]
        for k in range(1, n + 1):
            subsets = list(combinations(right, k))
            share = sum(any(one) for one in subsets) / len(subsets)
            assert pass_at(k, right) == pytest.approx(share)


def test_pass_at_k_is_the_published_estimator() -> None:
    """Chen et al. 2021, figure 3: 1 − Π_{i=n−c+1..n} (1 − k/i)."""
    n, c, k = 200, 13, 10
    product = 1.0
    for i in range(n - c + 1, n + 1):
        product *= 1 - k / i
    assert pass_at(k, [place < c for place in range(n)]) == pytest.approx(1 - product)


def test_the_most_frequent_answer_wins_and_a_tie_is_a_lot() -> None:
    assert majority_at(3, ["7", "8", "7"], [True, False, True]).value == 1.0
    assert majority_at(3, ["8", "8", "7"], [False, False, True]).value == 0.0
    assert majority_at(2, ["8", "7", "7"], [False, True, True]).value == 0.5
    assert majority_at(3, [None, None, "7"], [False, False, True]).value == 1.0
    nothing = majority_at(2, [None, None], [False, False])
    assert (nothing.value, nothing.reason) == (0.0, "not extracted: no answer votes")


def test_the_scorers_give_both_beside_their_means() -> None:
    scorer = make_scorer("number", pass_at=[1, 2], majority_at=[3])
    assert [metric.name for metric in scorer.metrics] == [
        "accuracy", "extracted", "pass@1", "pass@2", "maj@3",
    ]  # fmt: skip
    found = values(scorer, make_sample("7"), "It is 7.", "It is 8.", "7.00")
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "extracted": 1.0,
        "pass@1": pytest.approx(2 / 3),
        "pass@2": 1.0,
        "maj@3": 1.0,
    }


def test_answers_vote_by_what_they_say_not_by_how_it_is_written() -> None:
    scorer = make_scorer("choice", majority_at=[3])
    assert values(scorer, make_sample("B"), "(b)", "答案：Ｂ", "Answer: C")["maj@3"] == 1.0


def test_too_few_answers_are_missing_and_not_wrong() -> None:
    found = scores(make_scorer("number", pass_at=[5]), make_sample("7"), "7", "7")["pass@5"]
    assert found.value is None
    assert "decoding.repeats" in found.reason


def test_an_answer_that_failed_is_left_out_of_all_of_them() -> None:
    scorer = make_scorer("number", pass_at=[1])
    done = [Completion(key="1", text="7", stop_reason="stop")]
    lost = [Completion(key="2", stop_reason="error", error="refused")]
    found = {one.scorer: one for one in scorer.score(make_sample("7"), done + lost)}
    assert found["accuracy"].value == 1.0
    assert "1 of 2 answers not scored" in found["accuracy"].reason
    assert found["pass@1"].value == 1.0
