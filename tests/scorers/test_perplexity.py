"""Perplexities against lm-eval's aggregations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from evalkit.records import Completion, Score
from tests.scorers.examples import make_sample, make_scorer

TEXTS = [
    ("The cat sat on the mat.", [-1.5, -0.2, -3.0, -0.1]),
    ("naïve café 🙂", [-4.0, -2.5]),
    ("今天下雨。", [-2.0, -1.0, -0.5]),
]


def score(text: str, logprobs: Sequence[float], language: str = "en") -> dict[str, Score]:
    """The scores of one text by metric."""
    completion = Completion(key="k", logprobs=tuple(logprobs))
    found = make_scorer("perplexity", language=language).score(make_sample(text=text), [completion])
    return {item.scorer: item for item in found}


def test_the_corpus_values_from_the_statistics_are_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    found = [score(text, logprobs) for text, logprobs in TEXTS]
    sizes = [(sum(logprobs), len(text.encode())) for text, logprobs in TEXTS]
    counts = [(sum(logprobs), len(text.split())) for text, logprobs in TEXTS]

    def ratio(name: str) -> float:
        total, units = np.sum([item[name].stats for item in found], axis=0)
        return float(total / units)

    assert ratio("bits_per_byte") == pytest.approx(metrics.bits_per_byte(sizes))
    bytewise = metrics.weighted_perplexity(sizes)
    assert math.exp(ratio("byte_perplexity")) == pytest.approx(bytewise)
    wordwise = metrics.weighted_perplexity(counts)
    assert math.exp(ratio("word_perplexity")) == pytest.approx(wordwise)


def test_the_values_of_one_text_by_hand() -> None:
    found = score("ab cd", [-1.0, -2.0])
    assert found["nll_per_token"].value == pytest.approx(1.5)
    assert found["token_perplexity"].value == pytest.approx(math.exp(1.5))
    assert found["word_perplexity"].value == pytest.approx(math.exp(1.5))
    assert found["bits_per_byte"].value == pytest.approx(3 / 5 / math.log(2))


def test_chinese_has_no_words_to_divide_by() -> None:
    found = score("今天下雨。", [-2.0], language="zh")
    assert found["word_perplexity"].value is None
    assert found["word_perplexity"].reason == "nothing to divide by"
    assert found["byte_perplexity"].value == pytest.approx(math.exp(2 / 15))


@pytest.mark.parametrize(
    ("text", "logprobs"), [("", [-1.0]), ("a", [math.nan]), ("a", [-math.inf])]
)
def test_what_has_no_likelihood_is_not_scored(text: str, logprobs: list[float]) -> None:
    assert {item.value for item in score(text, logprobs).values()} == {None}


def test_a_perplexity_too_large_to_write_is_not_infinity() -> None:
    found = score("a", [-2000.0])
    assert found["token_perplexity"].value is None
    assert found["nll_per_token"].value == 2000.0
