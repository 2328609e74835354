"""Corpus metrics (BLEU, chrF, MCC): paired differences of scores that are no mean over samples.

Statistics are [segments, k] arrays as sacrebleu extracts them (`Score.stats`), the rows of both
arms in the same order. A score function turns sums of rows, [..., k], into scores, [...].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from evalkit.stats.base import Interval, Reals
from evalkit.stats.resampling import (
    FEWEST_UNITS,
    percentile_interval,
    picked_sums,
    resampled_sums,
    units,
)

ScoreFunction: TypeAlias = Callable[[Reals], Reals]

_BOOTSTRAP_SEED = 20260103
_BOOTSTRAP_DRAWS = 2000
_SWAP_SEED = 20260104
_SWAP_DRAWS = 10_000


class CorpusEstimate(NamedTuple):
    """Scores of both arms over the corpus, the interval of their difference, and two tests of it.

    `units` is the number of rows resampled: segments, clusters, or blocks of them. `draws` are
    the bootstrap differences, in the order drawn.
    """

    base: float
    tuned: float
    difference: float
    interval: Interval | None
    bootstrap_p: float | None
    randomisation_p: float | None
    units: int
    draws: Reals

    @property
    def standard_error(self) -> float:
        """Standard deviation of the bootstrap differences."""
        return float(np.std(self.draws, ddof=1))

    def bounds(self, level: float) -> Interval | None:
        """The two-sided interval at another level, from the same draws."""
        return percentile_interval(self.draws, self.units, level)


def corpus_difference(
    base: Reals,
    tuned: Reals,
    score: ScoreFunction,
    level: float,
    clusters: Sequence[str] = (),
) -> CorpusEstimate | None:
    """Difference tuned − base of a corpus score, by resampling segments with shared indices.

    Interval: percentiles of 2,000 bootstrap differences (Koehn 2004; see `percentile_interval`).
    `bootstrap_p` and `randomisation_p` are the two-sided tests of sacrebleu's paired-bs and
    paired-ar (Koehn 2004; Riezler & Maxwell 2005), with its +1, but a draw as far off as what was
    seen counts as such: sacrebleu's strict > gives p = 1/(draws + 1) to an arm compared with itself
    and to a single segment. `bootstrap_p` is given for comparison with sacrebleu only: once |d| is
    clear of zero it is a one-sided p, so that at .05 it finds a difference in one of ten pairs of
    equal arms; decide by the interval or by `randomisation_p`. Segments of one cluster are drawn
    together. None without segments; no interval and no bootstrap_p below 10 units or where all
    draws agree. ValueError for arms of different shape.
    """
    if base.shape != tuned.shape or base.ndim != 2:
        raise ValueError(f"arms of shapes {base.shape} and {tuned.shape} are not paired")
    if not len(base):
        return None
    width = base.shape[1]
    rows = units(np.hstack([base, tuned]), clusters)
    sums = rows.sum(axis=0)
    scores = float(score(sums[:width])), float(score(sums[width:]))
    difference = scores[1] - scores[0]
    drawn = resampled_sums(rows, _BOOTSTRAP_DRAWS, _BOOTSTRAP_SEED)
    draws = score(drawn[:, width:]) - score(drawn[:, :width])
    interval = percentile_interval(draws, len(rows), level)
    tested = len(rows) >= FEWEST_UNITS and float(np.ptp(draws)) > 0
    return CorpusEstimate(
        *scores,
        difference,
        interval,
        _bootstrap_p(draws, difference) if tested else None,
        _randomisation_p(rows, score, difference),
        len(rows),
        draws,
    )


class CorpusDraws(NamedTuple):
    """Bootstrap scores of one arm, in the order drawn, from so many resampled rows."""

    draws: Reals
    units: int

    def bounds(self, level: float) -> Interval | None:
        """Their percentiles (see `percentile_interval`, which says where there are none)."""
        return percentile_interval(self.draws, self.units, level)


def corpus_draws(
    statistics: Reals, score: ScoreFunction, clusters: Sequence[str] = ()
) -> CorpusDraws:
    """One arm's own score on 2,000 bootstrap samples of its segments [segments, k], at least one.

    The samples are those of `corpus_difference`.
    """
    rows = units(statistics, clusters)
    return CorpusDraws(score(resampled_sums(rows, _BOOTSTRAP_DRAWS, _BOOTSTRAP_SEED)), len(rows))


def corpus_interval(
    statistics: Reals, score: ScoreFunction, level: float, clusters: Sequence[str] = ()
) -> Interval | None:
    """The interval of one arm's own score from `corpus_draws`; None without segments."""
    if not len(statistics):
        return None
    return corpus_draws(statistics, score, clusters).bounds(level)


def _bootstrap_p(draws: Reals, difference: float) -> float:
    """P that |d*| − mean|d*| reaches |d|, d* the bootstrap differences (sacrebleu's paired-bs)."""
    sizes = np.abs(draws)
    return _share_beyond(sizes - sizes.mean(), difference)


def _randomisation_p(rows: Reals, score: ScoreFunction, difference: float) -> float:
    """P that swapping the arms of random units gives as large a difference (paired-ar)."""
    width = rows.shape[1] // 2
    base, tuned = rows[:, :width], rows[:, width:]
    moved = picked_sums(tuned - base, _SWAP_DRAWS, _SWAP_SEED)
    one, other = base.sum(axis=0) + moved, tuned.sum(axis=0) - moved
    return _share_beyond(np.abs(score(other) - score(one)), difference)


def _share_beyond(sizes: Reals, difference: float) -> float:
    # A hair below: draws that equal what was seen differ from it by rounding.
    seen = abs(difference) - 1e-9 * max(1.0, abs(difference))
    # Not `>=`: a NaN draw, which had no score, speaks for no difference.
    return (int(np.count_nonzero(~(sizes < seen))) + 1) / (len(sizes) + 1)


def bleu_score(statistics: Reals, *, effective_order: bool = True) -> Reals:
    """BLEU, 0 to 100, of summed statistics [..., 2 + 2N]: two lengths, N matches, N totals.

    Papineni et al. (2002), with exponential smoothing of orders without a match:
    sacrebleu's `smooth_method="exp"`. With its `effective_order` over the orders that occur at all;
    without, as is usual for a corpus, one that does not occur (texts too short) makes it 0.
    """
    orders = (statistics.shape[-1] - 2) // 2
    length, reference = statistics[..., 0], statistics[..., 1]
    correct, total = statistics[..., 2 : 2 + orders], statistics[..., 2 + orders :]
    occurs = np.logical_and.accumulate(total > 0, axis=-1)
    missed = occurs & (correct == 0)
    halvings = np.cumsum(missed, axis=-1)
    matches = np.where(missed, 0.5**halvings, correct)
    logs = np.log(np.where(occurs, matches / np.where(occurs, total, 1), 1))
    mean = logs.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    short = np.minimum(0.0, 1 - reference / np.maximum(length, 1))
    scored = (correct > 0).any(axis=-1) & (effective_order | occurs.all(axis=-1))
    return np.asarray(np.where(scored, 100 * np.exp(short + mean), 0.0))


def chrf_score(statistics: Reals, beta: float = 2.0) -> Reals:
    """chrF, 0 to 100, of summed statistics [..., 3N]: n-grams of hypothesis, reference, both.

    F_β of the precision and recall averaged over the orders that occur in both texts (Popović
    2015, as sacrebleu ≥ 2.0 computes it); chrF++ with word orders appended.
    """
    counts = statistics.reshape(*statistics.shape[:-1], -1, 3)
    hypothesis, reference, both = counts[..., 0], counts[..., 1], counts[..., 2]
    occurs = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(occurs.sum(axis=-1), 1)
    precision = np.where(occurs, both / np.maximum(hypothesis, 1), 0).sum(axis=-1) / orders
    recall = np.where(occurs, both / np.maximum(reference, 1), 0).sum(axis=-1) / orders
    weighted = beta**2 * precision + recall
    product = (1 + beta**2) * precision * recall
    return np.asarray(100 * product / np.where(weighted > 0, weighted, 1))


def mcc_score(statistics: Reals) -> Reals:
    """Matthews' correlation of summed confusion matrices, flat [..., K * K], rows the right class.

    For K classes by Gorodkin (2004), as scikit-learn's `matthews_corrcoef`; 0 where either side
    names one class alone.
    """
    classes = math.isqrt(statistics.shape[-1])
    matrix = statistics.reshape(*statistics.shape[:-1], classes, classes)
    right, said = matrix.sum(axis=-1), matrix.sum(axis=-2)
    total, hits = matrix.sum(axis=(-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    together = hits * total - (right * said).sum(axis=-1)
    spread = (total**2 - (said**2).sum(axis=-1)) * (total**2 - (right**2).sum(axis=-1))
    return np.asarray(np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1)), 0))
