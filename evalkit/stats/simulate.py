"""Made-up paired data whose true mean difference is known: what the gate is calibrated on.

Every function draws a batch [simulations, n] of differences tuned − base in [−1, 1]; the mean of
the population they come from is exactly the difference asked for. Impossible requests (a
difference larger than the share of samples that flip, …) are ValueErrors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalkit.stats.base import Reals


class Batch(NamedTuple):
    """Differences [simulations, n] and, where samples belong together, their clusters [n]."""

    differences: Reals
    clusters: tuple[str, ...] = ()


def binary(
    n: int,
    *,
    base_rate: float,
    difference: float,
    discordance: float,
    rng: np.random.Generator,
    simulations: int,
) -> Batch:
    """Differences of right (1) and wrong (0) answers: 1 gained, −1 lost, 0 the same.

    `discordance` is the share of samples that flip; (discordance + difference)/2 of all samples
    are gained, which the base must have wrong, (discordance − difference)/2 are lost, which it
    must have right.
    """
    gained = _gained(difference, discordance)
    lost = discordance - gained
    if gained > 1 - base_rate + 1e-12 or lost > base_rate + 1e-12:
        raise ValueError(
            f"A base rate of {base_rate:.3g} cannot gain {gained:.3g} and lose {lost:.3g}."
        )
    return Batch(_flips(rng.random((simulations, n)), gained, lost))


def continuous(
    n: int,
    *,
    difference: float,
    spread: float,
    rng: np.random.Generator,
    simulations: int,
    shape: tuple[float, float] = (2.0, 2.0),
) -> Batch:
    """Differences of scores: `difference` + spread·(B − E B), B from the Beta distribution `shape`.

    E B = a/(a + b). A shape of (0.5, 4) gives a long upper tail, the mirrored one a long lower
    tail, the default is symmetric. The support has the length `spread`, in [−1, 1].
    """
    a, b = shape
    centre = a / (a + b)
    if difference - spread * centre < -1 or difference + spread * (1 - centre) > 1:
        raise ValueError("The differences would leave [-1, 1].")
    return Batch(difference + spread * (rng.beta(a, b, (simulations, n)) - centre))


def clustered(
    n: int,
    *,
    difference: float,
    discordance: float,
    correlation: float,
    size: int | Sequence[int],
    rng: np.random.Generator,
    simulations: int,
) -> Batch:
    """Flips as in `binary`, of samples that come in clusters of `size` (the last may be smaller).

    Several sizes are shares: the n samples are dealt to as many clusters in proportion.

    With probability √correlation a sample does as its cluster does, else as it likes, both with
    the same chances: two samples of a cluster then correlate by `correlation` exactly, and each
    alone is distributed as in `binary`.
    """
    if not (0 <= correlation <= 1 and np.min(size) >= 1):
        raise ValueError("The correlation must be in [0, 1] and clusters must not be empty.")
    gained = _gained(difference, discordance)
    if isinstance(size, int):
        places = np.arange(n) // size
    else:
        ends = np.cumsum(size) * n // sum(size)
        places = np.searchsorted(ends, np.arange(n), side="right")
    groups = int(places[-1]) + 1
    lost = discordance - gained
    common = _flips(rng.random((simulations, groups)), gained, lost)[:, places]
    alone = _flips(rng.random((simulations, n)), gained, lost)
    follows = rng.random((simulations, n)) < np.sqrt(correlation)
    return Batch(np.where(follows, common, alone), tuple(f"cluster {place}" for place in places))


def repeated(
    n: int,
    *,
    difference: float,
    completions: int,
    rng: np.random.Generator,
    simulations: int,
    shape: tuple[float, float] = (0.5, 0.5),
) -> Batch:
    """Differences of the mean of K right-or-wrong completions of each sample and arm.

    Each sample has its own chance p of a right answer of the base and p + `difference` of the
    tuned model; p follows the Beta distribution `shape` (by default many samples are easy or
    hard) on the part of [0, 1] where both are chances.
    """
    if not (-1 <= difference <= 1 and completions >= 1):
        raise ValueError("The difference must be in [-1, 1], and one completion is needed.")
    floor = max(0.0, -difference)
    chance = floor + (1 - abs(difference)) * rng.beta(*shape, (simulations, n))
    base = rng.binomial(completions, chance)
    # Rounding may carry a chance past 1.
    tuned = rng.binomial(completions, np.clip(chance + difference, 0.0, 1.0))
    return Batch((tuned - base) / completions)


def rarely_lost(
    n: int,
    *,
    difference: float,
    completions: int,
    rng: np.random.Generator,
    simulations: int,
    gaining: float = 0.1,
) -> Batch:
    """Differences of the mean of K answers with next to no noise: nearly all answers stay.

    A share `gaining` of the samples has one right answer more; as many are lost altogether as
    make the mean `difference`, which the samples hold few of.
    """
    lost = gaining / completions - difference
    if not (lost >= 0 and gaining + lost <= 1):
        raise ValueError(f"A difference of {difference:.3g} cannot be had by lost samples.")
    uniform = rng.random((simulations, n))
    gains = np.where(uniform < lost + gaining, 1 / completions, 0.0)
    return Batch(np.where(uniform < lost, -1.0, gains))


def split(scores: Reals, *, rng: np.random.Generator, simulations: int) -> Batch:
    """An A/A comparison of a real model: scores [n, K] of its own completions, split in two.

    In each simulation the completions of each sample are dealt at random to two arms of ⌊K/2⌋, so
    their true difference is 0, as is its expectation given the scores. The samples stay the same,
    so only the variance within samples is tried: it is what differs in a comparison of a model
    with itself. ValueError below two completions.
    """
    n, completions = scores.shape
    half = completions // 2
    if half < 1:
        raise ValueError("Two completions of each sample are needed to split them.")
    batch = np.broadcast_to(scores, (simulations, n, completions))
    dealt = rng.permuted(batch, axis=2)
    arms = dealt[:, :, : 2 * half].reshape(simulations, n, 2, half).mean(axis=3)
    return Batch(arms[:, :, 0] - arms[:, :, 1])


def _gained(difference: float, discordance: float) -> float:
    if not (abs(difference) <= discordance + 1e-12 and discordance <= 1):
        raise ValueError(
            f"A difference of {difference:.3g} needs more flips than {discordance:.3g}."
        )
    return min((discordance + difference) / 2, discordance)


def _flips(uniform: Reals, gained: float, lost: float) -> Reals:
    return np.where(uniform < gained, 1.0, np.where(uniform < gained + lost, -1.0, 0.0))
