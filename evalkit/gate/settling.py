"""How many samples would settle what is open, and whether the suite holds them."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.stats import norm

from evalkit.gate.asked import Asked
from evalkit.gate.bounds import benefit_bounds, benefit_of, tuned_bounds
from evalkit.records import Delta, Manifest
from evalkit.stats.base import Interval
from evalkit.stats.power import samples_needed, samples_without_flip
from evalkit.stats.sequential import values_needed

_TOUCHING = 1e-9  # a difference this close to the threshold lies on it


class Prospect(NamedTuple):
    """Samples that would settle it, and whether the suite holds them; None where not known."""

    needed: int | None
    reachable: bool | None


class _Aim(NamedTuple):
    """What one sample adds in noise, how far the threshold is, samples needed at the least, and
    how far the bound towards the threshold lies now (None where there is none)."""

    deviation: float
    distance: float
    least: float
    reach: float | None


def prospect(
    delta: Delta, asked: Asked, available: int | None, *, alpha: float, power: float
) -> Prospect:
    """The samples with which it is settled with this power, if the truth is what was seen.

    By the normal approximation (`samples_needed`; `values_needed` of a suite that is looked at
    after every block): the standard error falls with the root of the number of samples, with that
    of like clusters too. Where it calls the samples there were enough, which they were not, the
    gate's own bound is taken instead, to fall as the error does. A share also needs the samples
    with which its bound could clear the threshold without a single flip. Where what was seen lies
    on the threshold no number will do: needed is None and reachable False.
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
    if wanted is not None and wanted <= delta.n and aim.least <= delta.n:
        wanted = _by_bound(aim, delta.n, power)
    if wanted is None and not aim.least:
        return Prospect(None, None)  # nothing is known of the noise
    needed = max(delta.n + 1, wanted or 0, math.floor(aim.least) + 1)
    return Prospect(needed, None if available is None else needed <= available)


def _by_bound(aim: _Aim, n: int, power: float) -> int | None:
    """n·((reach + z_power·SE)/distance)²: the bound's own reach in place of z_{1−α}·SE."""
    if aim.reach is None:
        return None
    error = aim.deviation / math.sqrt(n)
    return math.ceil(n * ((aim.reach + float(norm.ppf(power)) * error) / aim.distance) ** 2)


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
    threshold = asked.threshold
    if asked.policy == "equivalence":
        threshold = math.copysign(asked.margin, benefit)
    distance = abs(benefit - threshold)
    reach = _reach(benefit_bounds(delta, alpha), benefit, threshold)
    if delta.interval == "tango":
        spread = (delta.gained + delta.lost) / delta.n - benefit**2
        least = samples_without_flip(asked.margin, alpha) if asked.margin else 0.0
        return _Aim(math.sqrt(max(spread, 0.0)), distance, least, reach)
    if not delta.standard_error:
        return None
    deviation = delta.standard_error * math.sqrt(delta.n)
    return _Aim(deviation, distance, _enough_clusters(delta, alpha), reach)


def _reach(bounds: Interval | None, value: float, threshold: float) -> float | None:
    if bounds is None:
        return None
    return value - bounds.low if value > threshold else bounds.high - value


def _absolute_aim(delta: Delta, asked: Asked, alpha: float) -> _Aim | None:
    """The bound that is nearest to the tuned arm's own score is the one to be settled."""
    bounds = [one for one in (asked.floor, asked.ceiling) if one is not None]
    if delta.tuned is None or not bounds:
        return None
    value = delta.tuned
    bound = min(bounds, key=lambda one: abs(value - one))
    reach = _reach(tuned_bounds(delta, alpha), value, bound)
    if delta.interval == "tango":
        least = _without_failure(1 - bound if value > bound else bound, alpha)
        return _Aim(math.sqrt(value * (1 - value)), abs(value - bound), least, reach)
    if not delta.tuned_error:
        return None
    deviation = delta.tuned_error * math.sqrt(delta.n)
    return _Aim(deviation, abs(value - bound), _enough_clusters(delta, alpha), reach)


def _without_failure(share: float, alpha: float) -> float:
    """The n at which the exact bound of a share of 0 falls to `share`; 0 where that says nothing.

    (1 − share)ⁿ = alpha (Clopper & Pearson 1934).
    """
    return math.log(alpha) / math.log1p(-share) if 0 < share < 1 else 0.0


def _enough_clusters(delta: Delta, alpha: float) -> float:
    """Samples in the fewest clusters with which the wild bootstrap has a bound: 2^(1 − G) ≤ 2α."""
    if delta.interval != "none" or not delta.clusters:
        return 0.0
    clusters = 1 + math.ceil(-math.log2(2 * alpha))
    return clusters * delta.n / delta.clusters - 1 if clusters > delta.clusters else 0.0
