"""What the modules of this package share: arrays, intervals, test results, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Interval(NamedTuple):
    """Bounds of a two-sided interval."""

    low: float
    high: float


class NamedInterval(NamedTuple):
    """Bounds of a two-sided interval and the method that gave them, in words for a report."""

    low: float
    high: float
    method: str


class PValue(NamedTuple):
    """A two-sided p value and the method that gave it, in words for a report."""

    p: float
    method: str


def number(names: Sequence[str]) -> tuple[list[str], Codes]:
    """The distinct names, sorted, and for each name its place among them."""
    distinct = sorted(set(names))
    places = {name: place for place, name in enumerate(distinct)}
    return distinct, np.fromiter((places[name] for name in names), np.int64, len(names))
