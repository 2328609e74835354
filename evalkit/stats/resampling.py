"""Resampling sums: bootstrap and approximate randomisation over rows of sufficient statistics.

A row holds what one unit (segment, document, sample, or a cluster of them) adds to the sums that a
corpus score is computed from. One draw costs a row of weights times the matrix, no text is touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from evalkit.stats.base import Interval, Reals

FEWEST_UNITS = 10  # below this, resampling cannot show the tails
MOST_UNITS = 2_000
_CELLS = 2_000_000  # weights held at once: 16 MB
_BLOCK_SEED = 20260102


def units(rows: Reals, clusters: Sequence[str] = ()) -> Reals:
    """The rows to resample: in an order of their own, added up by cluster, at most MOST_UNITS.

    Sorted by content, so that results do not depend on the order of the samples. More than
    MOST_UNITS rows are dealt at random into that many blocks, which are resampled in their place:
    blocks of independent rows are independent too and give the same variance of the sums, up to a
    relative error of 1/√(2 · MOST_UNITS), less than 2 %, in the standard error.
    """
    if clusters:
        order = np.lexsort(rows.T[::-1])  # also within a cluster: sums round by order
        rows = _added(rows[order], np.unique(np.asarray(clusters)[order], return_inverse=True)[1])
    rows = rows[np.lexsort(rows.T[::-1])]
    if len(rows) <= MOST_UNITS:
        return rows
    dealt = np.random.default_rng(_BLOCK_SEED).permutation(len(rows)) % MOST_UNITS
    return _added(rows, dealt)


def _added(rows: Reals, labels: npt.NDArray[np.intp]) -> Reals:
    columns = [np.bincount(labels, weights=column) for column in rows.T]
    return np.stack(columns, axis=1)


def resampled_sums(rows: Reals, draws: int, seed: int) -> Reals:
    """Sums over `draws` bootstrap samples of the rows: [draws, columns].

    The columns of one draw share their indices: what lies side by side in a row stays paired.
    """

    def weights(rng: np.random.Generator, count: int) -> Reals:
        picked = rng.integers(0, len(rows), size=(count, len(rows)))
        picked += np.arange(count)[:, None] * len(rows)
        times = np.bincount(picked.ravel(), minlength=count * len(rows))
        return times.reshape(count, len(rows)).astype(np.float64)

    return _weighted(rows, draws, seed, weights)


def picked_sums(rows: Reals, draws: int, seed: int) -> Reals:
    """Sums over `draws` random halves, each row in or out by a fair coin: [draws, columns]."""

    def weights(rng: np.random.Generator, count: int) -> Reals:
        return rng.integers(0, 2, size=(count, len(rows)), dtype=np.int8).astype(np.float64)

    return _weighted(rows, draws, seed, weights)


def _weighted(
    rows: Reals, draws: int, seed: int, weights: Callable[[np.random.Generator, int], Reals]
) -> Reals:
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(1, len(rows)))
    starts = range(0, draws, chunk)
    parts = [weights(rng, min(chunk, draws - start)) @ rows for start in starts]
    return np.concatenate(parts)


def percentile_interval(draws: Reals, count: int, level: float) -> Interval | None:
    """Percentile interval of bootstrap draws from `count` units, widened for few of them.

    The tails are Φ(−t_{count−1} · √(count/(count − 1))), t the Student quantile of the level:
    the expanded percentile interval of Hesterberg (2015), which a plain percentile interval
    equals as the units grow. A NaN draw had no estimate and counts as beyond both bounds. None
    below FEWEST_UNITS units, where a bound is infinite, and for bounds of no width.
    """
    if count < FEWEST_UNITS or not len(draws):
        return None
    reach = float(stats.t.ppf(0.5 + level / 2, count - 1)) * math.sqrt(count / (count - 1))
    beyond = math.floor(float(stats.norm.cdf(-reach)) * len(draws))
    lacking = np.isnan(draws)
    low = float(np.sort(np.where(lacking, -np.inf, draws))[beyond])
    high = float(np.sort(np.where(lacking, np.inf, draws))[-1 - beyond])
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        return None
    return Interval(low, high)
