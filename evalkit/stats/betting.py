"""What a confidence sequence can show before it is run: the chance that it settles, what it needs.

The log of a gambler's capital grows by g a value, with variance v. After n values it is about
normal, so it has reached log(1/alpha) with the chance Φ((n·g − log(1/alpha))/√(n·v)) (Kelly 1956;
Waudby-Smith & Ramdas 2024, section 4.3). For small distances and no cap on the stake this is
`sequential.values_needed`. It leaves out what the largest capital so far adds and what not knowing
the variance takes away, which are about alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import optimize, stats

from evalkit.stats.base import Reals
from evalkit.stats.sequential import CUT, ConfidenceSequence


class Draw(NamedTuple):
    """A value on [0, 1] less the threshold m: what it can be [k], with which chance [k]; and m."""

    gains: Reals
    chances: Reals
    threshold: float


Drawn: TypeAlias = Callable[[float], Draw]
"""What is drawn where the truth lies so far, on the scale of [0, 1], above the threshold."""


def flips_drawn(flips: float) -> Drawn:
    """Differences of −1, 0 and 1 of two arms that are equally good, a share of which flips."""
    steps, chances = np.array([-0.5, 0.0, 0.5]), np.array([flips / 2, 1 - flips, flips / 2])
    return lambda distance: Draw(steps + distance, chances, 0.5 - distance)


def spread_drawn(deviation: float, threshold: float | None = None) -> Drawn:
    """Values of this deviation, all on the scale of [0, 1], as two that are as far from the mean.

    About a mean of one half, as differences of equally good arms have, or above the threshold.
    """
    steps, chances = np.array([-deviation, deviation]), np.array([0.5, 0.5])

    def drawn(distance: float) -> Draw:
        m = 0.5 - distance if threshold is None else threshold
        return Draw(np.maximum(steps + distance, -m), chances, m)

    return drawn


def chance_sequence(n: float, drawn: Drawn, distance: float, alpha: float) -> float:
    """The chance that n values settle that the mean is above a threshold so far below it."""
    growth, variance = _growth(drawn(distance))
    if not (n > 0 and growth > 0):
        return 0.0
    beyond = n * growth + math.log(alpha)
    return (
        float(stats.norm.cdf(beyond / math.sqrt(n * variance))) if variance else float(beyond > 0)
    )


def detectable_sequence(
    n: float, drawn: Drawn, alpha: float, power: float, most: float
) -> float | None:
    """The least distance, up to `most`, that n values settle with `power`; None where none is."""

    def lacking(distance: float) -> float:
        return chance_sequence(n, drawn, distance, alpha) - power

    if n <= 0 or lacking(most) < 0:
        return None
    return float(optimize.brentq(lacking, 0.0, most, xtol=1e-9))


def needed_sequence(drawn: Drawn, distance: float, alpha: float, power: float) -> int | None:
    """Values with which that chance is `power`; None where the distance is not positive."""
    growth, variance = _growth(drawn(distance))
    if not growth > 0:
        return None
    # n·g − z·√(n·v) = log(1/alpha), solved for √n.
    spread = float(stats.norm.ppf(power)) * math.sqrt(variance)
    root = (spread + math.sqrt(spread**2 - 4 * growth * math.log(alpha))) / (2 * growth)
    return math.ceil(root**2)


@cache
def least_distance(n: int, alpha: float) -> float | None:
    """The least margin that n differences in [−1, 1] could ever meet: with not one change in them.

    What the sequence's own bound is then; None for n = 0.
    """
    if n <= 0:
        return None
    sequence = ConfidenceSequence(-1.0, 1.0, alpha, n)
    sequence.add(np.zeros(n))
    bounds = sequence.one_sided
    return 1.0 if bounds is None else -bounds.low


def _growth(draw: Draw) -> tuple[float, float]:
    """Mean and variance of the log of the factor that the best allowed stake has for one value."""
    gains, chances, threshold = draw
    cap = CUT / threshold if threshold > 0 else 1e6

    def slope(stake: float) -> float:
        return float(np.sum(chances * gains / (1 + stake * gains)))

    if slope(0.0) <= 0:
        return 0.0, 0.0
    stake = cap if slope(cap) >= 0 else float(optimize.brentq(slope, 0.0, cap))
    logs = np.log1p(stake * gains)
    growth = float(np.sum(chances * logs))
    return growth, max(float(np.sum(chances * logs**2)) - growth**2, 0.0)
