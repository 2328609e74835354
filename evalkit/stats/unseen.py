"""What a sample cannot show: units that would be lost altogether, of which none was drawn.

The mean of several right-or-wrong answers, and of the answers of a cluster, has little noise where
nearly all stay the same, and Student's t then takes a loss of whole units that it has not seen
for impossible. If a share of more than 1 − α^(1/G) of the units were such, one of G would have
been drawn with probability 1 − α at least (the exact bound of a rate with no success, Clopper &
Pearson 1934).
"""

from __future__ import annotations

from evalkit.stats.base import Interval


def unseen_bounds(
    mean: float, least: float, most: float, units: int, alpha: float
) -> Interval | None:
    """Where a mean in [least, most] may lie if as many units as can hide are at either end.

    Units are samples, or clusters. None without any.
    """
    if units < 1:
        return None
    hidden = 1 - alpha ** (1 / units)
    return Interval(mean + hidden * (least - mean), mean + hidden * (most - mean))


def p_of_unseen(mean: float, threshold: float, least: float, units: int) -> float:
    """The alpha at which the lower one of `unseen_bounds` is the threshold; 1 from the mean on."""
    if mean <= threshold or units < 1:
        return 1.0
    if threshold <= least:
        return 0.0
    hidden = (mean - threshold) / (mean - least)
    return float((1 - hidden) ** units)
