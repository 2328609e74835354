"""Corrections for many tests at once: families of p-values and what still stands among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from evalkit.stats.base import Reals


def holm(p_values: Sequence[float] | Reals) -> Reals:
    """Holm's adjusted p-values, in the order given; none given, none returned.

    Rejecting those ≤ α keeps the chance of any wrong rejection at most α, however the tests
    depend on each other. With p sorted, p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) · p_(j))
    (Holm 1979). ValueError for a p outside 0 to 1.
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def benjamini_hochberg(p_values: Sequence[float] | Reals) -> Reals:
    """Benjamini and Hochberg's adjusted p-values, in the order given; none given, none returned.

    Of those ≤ q at most a share q is expected to be wrong, where the tests are independent or
    positively dependent: p̃_(i) = min_{j ≥ i} min(1, m · p_(j) / j) (Benjamini & Hochberg 1995).
    ValueError for a p outside 0 to 1.
    """
    values = _checked(p_values)
    if not len(values):
        return values
    return np.asarray(stats.false_discovery_control(values, method="bh"), dtype=np.float64)


def _checked(p_values: Sequence[float] | Reals) -> Reals:
    values = np.asarray(p_values, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):  # NaN fails this too
        raise ValueError("p-values lie between 0 and 1; leave out the tests that gave none")
    return values
