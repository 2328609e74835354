"""Where the bounds of a difference lie: within what is asked, beyond it, or across."""

from __future__ import annotations

import math
from typing import NamedTuple

from evalkit.gate.asked import Asked
from evalkit.gate.bounds import benefit_bounds, benefit_of, tuned_bounds
from evalkit.records import Delta, Ground, Outcome
from evalkit.stats.base import Interval


class Placed(NamedTuple):
    """What bounds say, and the bounds; None where there are none, or none are asked."""

    outcome: Outcome
    reason: str
    ground: Ground
    bounds: Interval | None = None


def placed(delta: Delta, asked: Asked, alpha: float) -> Placed:
    """Where the bounds lie; `point` alone has none."""
    if asked.policy == "point":
        return Placed(*_naive(delta, asked.margin), "value")
    absolute = asked.policy == "absolute"
    bounds = tuned_bounds(delta, alpha) if absolute else benefit_bounds(delta, alpha)
    if bounds is None:
        return Placed("inconclusive", delta.note or "no interval can be given", "absent")
    outcome, reason = _within_asked(bounds, asked)
    return Placed(outcome, f"{reason} ({_told(bounds, asked, alpha)})", "bounds", bounds)


def _told(bounds: Interval, asked: Asked, alpha: float) -> str:
    """The bounds in words: what is shown beside them is two-sided, whatever alpha is."""
    sign = "" if asked.policy == "absolute" else "+"
    level = f"{100 * (1 - alpha):.4g}"
    return f"one-sided {level} % bounds {bounds.low:{sign}.3f} and {bounds.high:{sign}.3f}"


def _within_asked(bounds: Interval, asked: Asked) -> tuple[Outcome, str]:
    match asked.policy:
        case "absolute":
            return _within(bounds, asked.floor, asked.ceiling)
        case "equivalence":
            return _equivalent(bounds, asked.margin)
        case "superiority":
            return _superior(bounds, asked.margin)
        case _:
            return _not_inferior(bounds, -asked.margin)


def _not_inferior(bounds: Interval, threshold: float) -> tuple[Outcome, str]:
    allowed = f"{threshold:+.3f}"
    if bounds.low > threshold:
        if bounds.low > 0:
            return "pass", "better"
        if bounds.high < 0:
            return "pass", f"worse, within the margin of {allowed}"
        return "pass", f"not worse than {allowed}"
    if bounds.high < threshold:
        return "fail", f"worse than the margin of {allowed}"
    return "inconclusive", f"the interval reaches across {allowed}"


def _superior(bounds: Interval, margin: float) -> tuple[Outcome, str]:
    wanted = f"{margin:+.3f}"
    if bounds.low > margin:
        return "pass", f"better by more than {wanted}"
    if bounds.high < margin:
        return "fail", f"not better by {wanted}"
    return "inconclusive", f"the interval reaches across {wanted}"


def _equivalent(bounds: Interval, margin: float) -> tuple[Outcome, str]:
    """Two one-sided tests (Schuirmann 1987): each at alpha, and both must hold."""
    if bounds.low > -margin and bounds.high < margin:
        return "pass", f"the same to within {margin:.3f}"
    if bounds.high < -margin:
        return "fail", f"worse than the margin of {-margin:+.3f}"
    if bounds.low > margin:
        return "fail", f"better by more than {margin:+.3f}, which is not the same"
    return "inconclusive", f"the interval reaches across {margin:.3f} on one side"


def _within(bounds: Interval, floor: float | None, ceiling: float | None) -> tuple[Outcome, str]:
    low, high = -math.inf if floor is None else floor, math.inf if ceiling is None else ceiling
    words = [("at least", floor), ("at most", ceiling)]
    asked = " and ".join(f"{word} {value:g}" for word, value in words if value is not None)
    if bounds.low > low and bounds.high < high:
        return "pass", f"its own score is {asked}"
    if bounds.high < low or bounds.low > high:
        return "fail", f"its own score is not {asked}"
    return "inconclusive", f"its own score may be {asked} or not"


def _naive(delta: Delta, margin: float) -> tuple[Outcome, str]:
    benefit = benefit_of(delta)
    if benefit is None:
        return "inconclusive", delta.note or "no difference is known"
    outcome: Outcome = "pass" if benefit >= -margin else "fail"
    return outcome, f"by a bare threshold of {-margin:+.3f}, which takes no account of noise"
