"""From an evaluator's number to values of its rows, from log-probabilities to perplexities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evalkit.harnesses.opencompass.inside.values import found_in, numbers_of
from evalkit.harnesses.opencompass.likelihoods import loglikelihood, perplexity, tokens_of
from evalkit.records import Completion


def never(_: int) -> dict[str, Any]:
    raise AssertionError("an evaluator that tells of its samples is not asked about each")


def flags(right: list[bool], key: str = "correct") -> list[dict[str, Any]]:
    return [{"pred": ["x"], key: [yes]} for yes in right]


def test_flags_that_give_the_number_are_the_values() -> None:
    result = {"accuracy": 75.0, "details": flags([True, False, True, True])}
    (found,) = found_in(result, (None, None), 4, never).values()
    assert found.values == [1.0, 0.0, 1.0, 1.0]
    assert found.share
    assert found.number == 75.0


def test_details_of_an_object_are_read_in_their_order() -> None:
    told: dict[str, Any] = {str(n): {"correct": n == 11} for n in reversed(range(12))}
    result = {"score": 100 / 12, "details": {"type": "GEN", **told}}
    assert found_in(result, (None, None), 12, never)["score"].values == [0.0] * 11 + [1.0]


def test_without_flags_what_was_compared_tells() -> None:
    compared = (["A", "B", "C"], ["A", "B", 3])
    found = found_in({"accuracy": 200 / 3}, compared, 3, never)
    assert found["accuracy"].values == [1.0, 1.0, 0.0]
    assert found["accuracy"].share


def test_other_numbers_of_the_samples_are_no_shares() -> None:
    details = [{"f1": 0.25}, {"f1": 0.5}]
    found = found_in({"f1": 37.5, "details": details}, (None, None), 2, lambda _: {})
    assert found["f1"].values == [0.25, 0.5]
    assert not found["f1"].share


def test_an_evaluator_without_details_is_asked_about_each_row() -> None:
    asked = [{"rouge1": 10.0, "bleu": 3.0}, {"rouge1": 30.0, "bleu": 5.0}]
    found = found_in({"rouge1": 20.0, "bleu": 9.0}, (["x", "y"], ["a", "b"]), 2, asked.__getitem__)
    assert found["rouge1"].values == [10.0, 30.0]
    assert "bleu" not in found  # a number of the corpus is not the mean of its samples'


def test_an_evaluator_that_fails_on_one_row_leaves_its_number_out() -> None:
    def fails(_: int) -> dict[str, Any]:
        raise ZeroDivisionError

    assert found_in({"rouge1": 20.0}, (None, None), 2, fails) == {}


def test_the_number_that_a_summary_shows_comes_first() -> None:
    told = {"extra": 1, "accuracy": 2.0, "score": 3.0, "type": "GEN", "ok": True, "details": []}
    assert list(numbers_of(told)) == ["score", "accuracy", "extra"]


def whole(*logprobs: float) -> Completion:
    return Completion(key="", logprobs=logprobs)


def theirs(logprobs: list[float], mask: int | None) -> float:
    """`HuggingFaceBaseModel.get_ppl` of OpenCompass 0.5.4 for one text, in its own steps."""
    loss = [-one for one in logprobs]  # of the tokens from the second on
    length = len(logprobs) + 1
    if mask is not None:
        kept = [0.0] * len(loss)
        for place in range(mask - 1, len(loss)):
            kept[place] = 1.0
        loss = [one * keep for one, keep in zip(loss, kept, strict=True)]
        length -= mask
    return math.fsum(loss) / length


@pytest.mark.parametrize("mask", [None, 0, 1, 2, 4])
def test_a_perplexity_is_the_mean_that_opencompass_computes(mask: int | None) -> None:
    logprobs = [-0.5, -1.25, -3.0, -0.125, -2.0]
    assert perplexity(whole(*logprobs), mask or 0) == pytest.approx(theirs(logprobs, mask))


def test_a_log_likelihood_leaves_out_as_many_first_tokens_as_its_continuation_has() -> None:
    text, rest = whole(-0.5, -1.25, -3.0, -0.125), whole(-1.0, -1.0)
    assert tokens_of(text) == 5
    assert loglikelihood(text, rest) == pytest.approx(-theirs([-0.5, -1.25, -3.0, -0.125], 2))


def test_nothing_is_left_of_a_text_that_is_masked_as_a_whole() -> None:
    assert math.isnan(perplexity(whole(-1.0), 2))
