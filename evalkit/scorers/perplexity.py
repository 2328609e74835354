"""How well a model predicts given texts: per token, per word, per byte."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import failure, unscored

_METRICS = (
    Metric(name="bits_per_byte", higher_is_better=False, kind="ratio", unit="bits"),
    Metric(name="nll_per_token", higher_is_better=False, kind="ratio", unit="nats"),
    Metric(name="token_perplexity", higher_is_better=False, kind="perplexity"),
    Metric(name="word_perplexity", higher_is_better=False, kind="perplexity"),
    Metric(name="byte_perplexity", higher_is_better=False, kind="perplexity"),
)


def perplexity(context: ScorerContext) -> Scorer:
    """Perplexities and bits per byte of each sample's text, from its rolling log-likelihood.

    `stats` are (negative log-likelihood, units): bits and bytes for `bits_per_byte`, nats and
    tokens, words or bytes for the others. Over a corpus, sum both and divide; a perplexity is
    the exponential of that quotient. Words are split at white space, as in lm-eval, so Chinese
    has none. Compare models of different tokenizers by bytes, never by tokens.
    """

    def score(sample: Sample, completions: Sequence[Completion]) -> list[Score]:
        text = _text(sample)
        problem = failure(completions)
        if not problem and not text:
            problem = "the sample has no text"
        if problem:
            return unscored(sample, _METRICS, problem)
        nll = -completions[0].loglikelihood
        if not math.isfinite(nll):
            return unscored(sample, _METRICS, "the log-likelihood is not a finite number")
        size = len(text.encode())
        spaced = context.language_for(sample, text) != "zh"
        count = len(re.split(r"\s+", text)) if spaced else 0
        tokens = len(completions[0].logprobs)
        return [
            _ratio(sample, "bits_per_byte", nll / math.log(2), size),
            _ratio(sample, "nll_per_token", nll, tokens),
            _exponential(sample, "token_perplexity", nll, tokens),
            _exponential(sample, "word_perplexity", nll, count),
            _exponential(sample, "byte_perplexity", nll, size),
        ]

    return Scorer(name="perplexity", metrics=_METRICS, score=score, tasks=("perplexity",))


def _text(sample: Sample) -> str:
    text = sample.fields.get("text")
    if isinstance(text, str):
        return text
    return sample.prompt if isinstance(sample.prompt, str) else ""


def _ratio(sample: Sample, name: str, total: float, units: int) -> Score:
    if units == 0:
        return Score(sample_id=sample.id, scorer=name, value=None, reason="nothing to divide by")
    return Score(sample_id=sample.id, scorer=name, value=total / units, stats=(total, float(units)))


def _exponential(sample: Sample, name: str, total: float, units: int) -> Score:
    score = _ratio(sample, name, total, units)
    if score.value is None:
        return score
    try:
        value = math.exp(score.value)
    except OverflowError:
        return Score(sample_id=sample.id, scorer=name, value=None, reason="too large to write")
    return Score(sample_id=sample.id, scorer=name, value=value, stats=score.stats)
