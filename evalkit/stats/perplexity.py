"""Perplexity of two arms on the same documents: ratios of sums, never means of ratios.

Statistics are [documents, 2] arrays (negative log-likelihood, units) as the perplexity scorer keeps
them in `Score.stats`: nats and tokens, words or bytes; or bits and bytes for bits per byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.stats.base import Interval, Reals
from evalkit.stats.corpus import corpus_difference


class RatioEstimate(NamedTuple):
    """Corpus rates Σ nll / Σ units of both arms, their difference, its interval and its tests."""

    base: float
    tuned: float
    difference: float
    interval: Interval | None
    bootstrap_p: float | None
    randomisation_p: float | None
    documents: int


class PerplexityEstimate(NamedTuple):
    """Perplexities of both arms and the logarithm of tuned/base with its interval and tests."""

    base: float
    tuned: float
    log_ratio: float
    interval: Interval | None
    bootstrap_p: float | None
    randomisation_p: float | None
    documents: int

    @property
    def ratio(self) -> float:
        """tuned/base."""
        return _exponential(self.log_ratio)

    @property
    def ratio_interval(self) -> Interval | None:
        """The interval of the ratio tuned/base: 1 is no change, below 1 the tuned arm is better."""
        if self.interval is None:
            return None
        return Interval(_exponential(self.interval.low), _exponential(self.interval.high))


def rate(sums: Reals) -> Reals:
    """Σ nll / Σ units [...] of summed statistics [..., 2]; NaN where there are no units."""
    # A draw may hold only documents without units: it has no rate, and NaN says so.
    return np.asarray(sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan))


def rate_difference(
    base: Reals, tuned: Reals, level: float, clusters: Sequence[str] = ()
) -> RatioEstimate | None:
    """Difference tuned − base of Σ nll / Σ units, by a bootstrap over documents.

    With (bits, bytes) this is bits per byte, which holds also where the tokenizers of the arms
    differ: both count the same bytes. Interval and tests are those of `corpus_difference`, with
    indices shared by the arms; documents of one cluster are drawn together. None without units in
    either arm. ValueError for statistics that are not paired or have negative units.
    """
    found = _checked(base, tuned)
    if not found:
        return None
    estimate = corpus_difference(base, tuned, rate, level, clusters)
    assert estimate is not None
    return RatioEstimate(*estimate[:6], len(base))


def perplexity_difference(
    base: Reals, tuned: Reals, level: float, clusters: Sequence[str] = ()
) -> PerplexityEstimate | None:
    """exp(Σ nll / Σ units) of both arms and a document bootstrap of the log of their ratio.

    ln(PPL_t / PPL_b) = Σ nll_t / Σ units_t − Σ nll_b / Σ units_b, nll in nats. ValueError where a
    document has different units in the two arms: their tokenizers differ, and the perplexities
    are then not of the same thing (compare bits per byte by `rate_difference`).
    """
    if base.shape == tuned.shape and not np.array_equal(base[:, 1], tuned[:, 1]):
        raise ValueError("the arms count different units: their tokenizers differ; compare bytes")
    rates = rate_difference(base, tuned, level, clusters)
    if rates is None:
        return None
    return PerplexityEstimate(_exponential(rates.base), _exponential(rates.tuned), *rates[2:])


def bits_and_bytes(nats: Reals, sizes: Reals) -> Reals:
    """Statistics for bits per byte, [documents, 2], from nats and the documents' UTF-8 bytes."""
    return np.stack([nats / math.log(2), sizes], axis=1)


def _checked(base: Reals, tuned: Reals) -> bool:
    """Whether there is something to divide by in both arms."""
    if base.shape != tuned.shape or base.ndim != 2 or base.shape[1] != 2:
        raise ValueError(f"statistics of shapes {base.shape} and {tuned.shape} are not paired")
    if (base[:, 1] < 0).any() or (tuned[:, 1] < 0).any():
        raise ValueError("a document cannot have fewer than no units")
    return bool(base[:, 1].any() and tuned[:, 1].any())


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
