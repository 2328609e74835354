"""How many samples would settle what is open, and whether the suite holds them."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import stats

from evalkit.asked import Asked
from evalkit.bounds import benefit_of
from evalkit.records import Delta, Manifest
from evalkit.stats.power import samples_needed
from evalkit.stats.sequential import values_needed

_TOUCHING = 1e-9  # a difference this close to the threshold lies on it


class Prospect(NamedTuple):
    """Samples that would settle it, and whether the suite holds them; None where not known."""

    needed: int | None
    reachable: bool | None


class _Aim(NamedTuple):
    """What one sample adds in noise, how far the threshold is, and samples needed at the least."""

    deviation: float
    distance: float
    least: float


def prospect(
    delta: Delta, asked: Asked, available: int | None, *, alpha: float, power: float
) -> Prospect:
    """The samples with which it is settled with this power, if the truth is what was seen.

    By the normal approximation (`samples_needed`; `values_needed` of a suite that is looked at
    after every block): the standard error falls with the root of the
    number of samples, with that of like clusters too. A share also needs the samples with which
    its score bound could clear the threshold without a single flip. Where what was seen lies on
    the threshold no number will do: needed is None and reachable False.
    """
    aim = (
        _absolute_aim(delta, asked, alpha) if asked.threshold is None else _aim(delta, asked, alpha)
    )
    if aim is None:
        return Prospect(None, None)
    if aim.distance < _TOUCHING:
        return Prospect(None, False)
    rule = values_needed if delta.interval == "sequence" else samples_needed
    wanted = rule(aim.deviation, aim.distance, alpha, power)
    if wanted is None and not aim.least:
        return Prospect(None, None)  # nothing is known of the noise
    needed = max(delta.n + 1, wanted or 0, math.floor(aim.least) + 1)
    return Prospect(needed, None if available is None else needed <= available)


def available(base: Manifest, suite: str, name: str = "") -> int | None:
    """Samples that a whole suite holds, or one slice of it; None where the run does not tell."""
    info = next((one for one in base.suites if one.name == suite), None)
    if info is None:
        return None
    if name:
        return info.slices.get(name) if info.slices is not None else None
    if info.available is not None:
        return info.available
    # Runs of earlier versions: without a limit all of the suite was asked.
    return info.samples if base.config.get("limit") is None else None


def _aim(delta: Delta, asked: Asked, alpha: float) -> _Aim | None:
    benefit = benefit_of(delta)
    if benefit is None or asked.threshold is None:
        return None
    distance = abs(benefit - asked.threshold)
    if asked.policy == "equivalence":
        distance = abs(asked.margin - abs(benefit))
    if delta.interval == "tango":
        # Tango's bound with no discordant pair is z²/(n + z²): see `least_margin_binary`.
        spread = (delta.gained + delta.lost) / delta.n - benefit**2
        return _Aim(math.sqrt(max(spread, 0.0)), distance, _odds_against(asked.margin, alpha))
    if not delta.standard_error:
        return None
    return _Aim(delta.standard_error * math.sqrt(delta.n), distance, _enough_clusters(delta, alpha))


def _absolute_aim(delta: Delta, asked: Asked, alpha: float) -> _Aim | None:
    """The bound that is nearest to the tuned arm's own score is the one to be settled."""
    bounds = [one for one in (asked.floor, asked.ceiling) if one is not None]
    if delta.tuned is None or not bounds:
        return None
    value = delta.tuned
    bound = min(bounds, key=lambda one: abs(value - one))
    if delta.interval == "tango":
        # Wilson's bound of a share of 0 or 1, the surest there is, is as far off as Tango's.
        least = _odds_against(1 - bound if value > bound else bound, alpha)
        return _Aim(math.sqrt(value * (1 - value)), abs(value - bound), least)
    if not delta.tuned_error:
        return None
    deviation = delta.tuned_error * math.sqrt(delta.n)
    return _Aim(deviation, abs(value - bound), _enough_clusters(delta, alpha))


def _odds_against(share: float, alpha: float) -> float:
    """The n at which z²/(n + z²) falls to `share`; 0 where that says nothing."""
    z2 = float(stats.norm.ppf(1 - alpha)) ** 2
    return z2 * (1 - share) / share if 0 < share < 1 else 0.0


def _enough_clusters(delta: Delta, alpha: float) -> float:
    """Samples in the fewest clusters with which the wild bootstrap has a bound: 2^(1 − G) ≤ 2α."""
    if delta.interval != "none" or not delta.clusters:
        return 0.0
    clusters = 1 + math.ceil(-math.log2(2 * alpha))
    return clusters * delta.n / delta.clusters - 1 if clusters > delta.clusters else 0.0
