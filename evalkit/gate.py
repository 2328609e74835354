"""Decide: pass, fail or inconclusive, from a comparison and margins declared before the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.asked import Asked, asked_of, nearest
from evalkit.asked import check_gate as check_gate
from evalkit.bounds import (
    benefit_bounds,
    benefit_of,
    p_not_above,
    p_not_below,
    p_tuned_not_above,
    p_tuned_not_below,
    tuned_bounds,
)
from evalkit.config import GateConfig
from evalkit.declared import departures
from evalkit.errors import ExitCode
from evalkit.records import (
    Comparison,
    Delta,
    Ground,
    Outcome,
    Policy,
    SuiteInfo,
    SuiteVerdict,
    Verdict,
)
from evalkit.sequences import obstacle
from evalkit.settling import available, prospect
from evalkit.stats.base import Interval
from evalkit.stats.multiple import holm

_EXIT: dict[Outcome, ExitCode] = {
    "pass": ExitCode.PASS,
    "fail": ExitCode.FAIL,
    "inconclusive": ExitCode.INCONCLUSIVE,
}
MEANING: dict[ExitCode, str] = {
    ExitCode.PASS: "pass: every suite passed its gate",
    ExitCode.FAIL: "fail: at least one suite did not pass its gate, or a canary failed",
    ExitCode.USAGE: "usage: the command or a configuration file is wrong",
    ExitCode.INCONCLUSIVE: "inconclusive: the samples cannot settle it either way",
    ExitCode.INCOMPLETE: "incomplete: the run could not be completed",
    ExitCode.INTERRUPTED: "interrupted",
}


def decide(comparison: Comparison, gate: GateConfig) -> Verdict:
    """The verdict on one tuned arm: all suites and declared slices must pass.

    Missing data fails closed. Raises UsageError where the gate asks what the suites do not have.
    """
    check_gate(comparison.base.suites, gate)
    asked = [one for info in comparison.base.suites for one in asked_of(info, gate)]
    alone = [_decide_one(comparison, one, gate) for one in asked]
    among = _corrected(alone, gate.alpha)
    suites = tuple(
        _with_prospect(comparison, one, each, gate, len(alone) if one is not first else 1)
        for one, first, each in zip(among, alone, asked, strict=True)
    )
    broken = [check for check in comparison.checks if check.status == "failed"]
    outcomes = [one.outcome for one in suites]
    outcome: Outcome = "pass"
    if broken or "fail" in outcomes:
        outcome = "fail"
    elif "inconclusive" in outcomes:
        outcome = "inconclusive"
    return Verdict(
        outcome=outcome,
        exit_code=_exit_code(outcome, gate),
        suites=suites,
        checks=comparison.checks,
        advice=_advice(comparison, suites, [check.name for check in broken], gate),
        departures=departures(comparison, gate),
    )


def meaning(verdict: Verdict) -> str:
    """What the verdict's exit code says, in words; an open gate may end like a pass or a fail."""
    if verdict.outcome == "inconclusive" and verdict.exit_code != ExitCode.INCONCLUSIVE:
        like = "a pass" if verdict.exit_code == ExitCode.PASS else "a fail"
        return f"{MEANING[ExitCode.INCONCLUSIVE]}; the gate ends like {like} then"
    return MEANING[verdict.exit_code]


def _exit_code(outcome: Outcome, gate: GateConfig) -> ExitCode:
    if outcome != "inconclusive":
        return _EXIT[outcome]
    asked = {"fail": ExitCode.FAIL, "pass": ExitCode.PASS, "exit3": ExitCode.INCONCLUSIVE}
    return asked[gate.on_inconclusive]


def claims(suites: Sequence[SuiteInfo], gate: GateConfig) -> int:
    """The most fails that may have to stand among each other (see `_corrected`)."""
    return sum(len(asked_of(info, gate)) for info in suites)


def settles(info: SuiteInfo, deltas: Mapping[str, Delta], gate: GateConfig, among: int) -> bool:
    """Whether the suite's verdict stands, whatever the others': for a look before its end.

    `deltas` are those of its gated metric, by slice ("" for the whole suite). A fail has to stand
    at alpha divided by the number of claims it is `among`: then it stands by Holm's rule, too.
    """
    return all(
        _stands(deltas[asked.slice], asked, gate, among)
        for asked in asked_of(info, gate)
        if asked.slice in deltas
    )


def policy_of(info: SuiteInfo, gate: GateConfig) -> Policy:
    """The policy by which a suite is gated."""
    return asked_of(info, gate)[0].policy


def why_whole(info: SuiteInfo, gate: GateConfig) -> str:
    """Why a suite is asked as a whole, whatever is settled; empty where it is looked at early."""
    if policy_of(info, gate) == "point":
        return "policy point holds nothing against a bound"
    return obstacle(info.gated)


def _stands(delta: Delta, asked: Asked, gate: GateConfig, among: int) -> bool:
    gone = delta.missing + delta.unscored
    if gone and gone / (delta.n + delta.missing) > gate.max_missing:
        return False
    outcome = _placed(delta, asked, gate.alpha).outcome
    if outcome == "fail":
        outcome = _placed(delta, asked, alone_among(gate.alpha, among)).outcome
    return outcome != "inconclusive"


def alone_among(alpha: float, claims: int) -> float:
    """The level at which one of several claims stands by itself (Bonferroni 1936).

    A hair below alpha/m: m times it must not exceed alpha by rounding.
    """
    return alpha / claims * (1 - 1e-9)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that speaks for several tuned arms: the one hardest to ship."""
    order: list[Outcome] = ["pass", "inconclusive", "fail"]
    return max(verdicts, key=lambda verdict: order.index(verdict.outcome))


def _decide_one(comparison: Comparison, asked: Asked, gate: GateConfig) -> SuiteVerdict:
    delta = _measured(comparison, asked)

    def verdict(
        outcome: Outcome, reason: str, ground: Ground, bounds: Interval | None = None
    ) -> SuiteVerdict:
        return SuiteVerdict(
            suite=asked.suite,
            slice=asked.slice,
            outcome=outcome,
            policy=asked.policy,
            margin=asked.margin,
            threshold=asked.threshold,
            floor=asked.floor,
            ceiling=asked.ceiling,
            delta=delta,
            reason=reason,
            ground=ground,
            low=bounds.low if bounds else None,
            high=bounds.high if bounds else None,
        )

    if delta is None:
        return verdict("fail", _absence(comparison, asked), "absent")
    missing = _missing_share(comparison, delta)
    if missing > gate.max_missing or not delta.n:
        what = "answers" if delta.unscored else "samples"
        reason = f"{missing:.1%} of the {what} are missing a score in one arm"
        # What is missing must not hide what the rest says.
        if delta.n and (there := _placed(delta, asked, gate.alpha)).outcome == "fail":
            reason += f"; those that are there: {there.reason}"
        return verdict("fail", reason, "missing")
    return verdict(*_placed(delta, asked, gate.alpha))


def _measured(comparison: Comparison, asked: Asked) -> Delta | None:
    """The delta that is asked for; None where the tuned arm has none."""
    if not any(asked.suite == theirs.name for theirs in comparison.tuned.suites):
        return None
    wanted = (asked.suite, asked.metric, asked.slice)
    deltas = {(one.suite, one.metric.name, one.slice): one for one in comparison.deltas}
    return deltas.get(wanted)


def _absence(comparison: Comparison, asked: Asked) -> str:
    name = asked.suite
    if not asked.slice or all(name != theirs.name for theirs in comparison.tuned.suites):
        return f"{comparison.tuned.name} was not evaluated on it"
    told = "no sample of this slice is in both runs"
    if asked.info.slices is not None:  # then it is a slice of the suite, for all were checked
        return told
    known = {one.slice for one in comparison.deltas if one.suite == name and one.slice}
    hint = nearest(asked.slice, known)
    return f"{told}.{hint}" if hint else told


def _with_prospect(
    comparison: Comparison, one: SuiteVerdict, asked: Asked, gate: GateConfig, tests: int
) -> SuiteVerdict:
    """An open verdict with the samples that would settle it; `tests` are those that a fail, which
    the correction took back, has to stand among."""
    if one.outcome != "inconclusive" or one.delta is None:
        return one
    held = available(comparison.base, one.suite, one.slice)
    found = prospect(one.delta, asked, held, alpha=gate.alpha / tests, power=gate.power)
    return replace(one, samples_needed=found.needed, reachable=found.reachable)


class _Placed(NamedTuple):
    """What bounds say, and the bounds; None where there are none, or none are asked."""

    outcome: Outcome
    reason: str
    ground: Ground
    bounds: Interval | None = None


def _placed(delta: Delta, asked: Asked, alpha: float) -> _Placed:
    """Where the bounds lie; `point` alone has none."""
    if asked.policy == "point":
        return _Placed(*_naive(delta, asked.margin), "value")
    absolute = asked.policy == "absolute"
    bounds = tuned_bounds(delta, alpha) if absolute else benefit_bounds(delta, alpha)
    if bounds is None:
        return _Placed("inconclusive", delta.note or "no interval can be given", "absent")
    outcome, reason = _within_asked(bounds, asked)
    return _Placed(outcome, f"{reason} ({_told(bounds, asked, alpha)})", "bounds", bounds)


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


def _corrected(suites: Sequence[SuiteVerdict], alpha: float) -> tuple[SuiteVerdict, ...]:
    """Fails that still stand among all that was asked (Holm 1979); the others are inconclusive.

    A pass needs no correction: all suites must pass, so the chance of a wrong one is alpha at
    most (intersection–union, Berger 1982). A fail needs it: one wrong one is enough.
    """
    chances = [_p_of_fail(one) for one in suites]
    tested = [index for index, p in enumerate(chances) if p is not None]
    adjusted = dict(zip(tested, holm([p for p in chances if p is not None]), strict=True))
    found = list(suites)
    among = f"{len(tested)} {'suites and slices' if any(one.slice for one in suites) else 'suites'}"
    for index, p in adjusted.items():
        if suites[index].outcome == "fail" and p > alpha:
            found[index] = replace(
                suites[index],
                outcome="inconclusive",
                reason=f"{suites[index].reason} alone, but not among {among} (Holm)",
            )
    return tuple(found)


def _p_of_fail(one: SuiteVerdict) -> float | None:
    """p of what a fail claims; None where none is claimed from samples."""
    delta = one.delta
    if delta is None or one.ground != "bounds":
        return None
    if one.threshold is None:
        below = 1.0 if one.floor is None else p_tuned_not_below(delta, one.floor)
        above = 1.0 if one.ceiling is None else p_tuned_not_above(delta, one.ceiling)
        return min(below, above)
    below = p_not_below(delta, one.threshold)
    if one.policy == "equivalence":
        return min(below, p_not_above(delta, one.margin))
    return below


def _missing_share(comparison: Comparison, delta: Delta) -> float:
    # Where it is not known which slice they are of, any of them may be of this one.
    of_suite = len(comparison.unpaired.get(delta.suite, ()))
    alone = of_suite if not delta.slice or delta.unpaired is None else delta.unpaired
    total = delta.n + delta.missing + alone
    return (delta.missing + alone + delta.unscored) / total if total else 1.0


def _advice(
    comparison: Comparison, suites: Sequence[SuiteVerdict], broken: list[str], gate: GateConfig
) -> str:
    name = comparison.tuned.name
    if broken:
        return f"Do not trust this comparison: {', '.join(broken)} failed. Mend that and run again."
    failed = [one for one in suites if one.outcome == "fail"]
    if failed:
        labels = ", ".join(one.label for one in failed)
        return f"Do not ship {name}: {labels} failed. {_mending(failed)}"
    open_ones = [one for one in suites if one.outcome == "inconclusive"]
    if open_ones:
        if gate.on_inconclusive == "pass":
            return f"The gate is told to let an open verdict on {name} pass: {_wishes(open_ones)}"
        return f"Do not ship {name} yet: {_wishes(open_ones)}"
    every = "suite and slice" if any(one.slice for one in suites) else "suite"
    return f"Ship {name}: every {every} passed its gate."


_MENDING: dict[Ground, str] = {
    "bounds": "Read the answers that changed in the report, mend the recipe or the data.",
    "missing": "Give the answers that are missing (the report names them), or raise "
    "gate.max_missing.",
    "absent": "Evaluate both arms on what was not: the same suites, and no or a higher --limit.",
}


def _mending(failed: Sequence[SuiteVerdict]) -> str:
    """What to do about each ground on which something failed."""
    grounds = ["bounds" if one.ground == "value" else one.ground for one in failed]
    return " ".join(text for ground, text in _MENDING.items() if ground in grounds)


def _wishes(suites: Sequence[SuiteVerdict]) -> str:
    """What open suites would need to be settled."""
    hopeless = [one.label for one in suites if one.reachable is False and not one.samples_needed]
    asks = [_wish(one) for one in suites if one.label not in hopeless]
    told = []
    if asks:
        told.append(f"{', '.join(asks)} would need more samples to be settled.")
    if hopeless:
        told.append(f"{', '.join(hopeless)} came out at the margin, which no samples settle.")
    return " ".join(told)


def _wish(one: SuiteVerdict) -> str:
    if not one.samples_needed:
        return one.label
    beyond = ", more than there are" if one.reachable is False else ""
    return f"{one.label} (about {one.samples_needed:,} samples{beyond})"
