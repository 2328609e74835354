"""Decide: pass, fail or inconclusive, from a comparison and margins declared before the run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.bounds import benefit_bounds, benefit_of, p_not_above, p_not_below, tuned_bounds
from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import ExitCode, UsageError
from evalkit.records import (
    Comparison,
    Delta,
    Metric,
    Outcome,
    Policy,
    SuiteInfo,
    SuiteVerdict,
    Verdict,
)
from evalkit.stats.base import Interval
from evalkit.stats.multiple import holm
from evalkit.stats.power import samples_needed
from evalkit.stats.sequential import values_needed

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
    """The verdict on one tuned arm. All suites must pass; missing data fails closed."""
    check_gate(comparison.base.suites, gate)
    asked = [_asked(info, gate) for info in comparison.base.suites]
    alone = [_decide_suite(comparison, one, gate) for one in asked]
    suites = _corrected(alone, gate.alpha)
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
        advice=_advice(comparison, suites, [check.name for check in broken]),
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


def check_gate(suites: Sequence[SuiteInfo], gate: GateConfig) -> None:
    """UsageError with all that these suites cannot answer; to be asked before the work."""
    infos = {info.name: info for info in suites}
    strangers = [name for name in gate.suites if name not in infos]
    mistakes = []
    if strangers:
        names, are = ", ".join(map(repr, strangers)), "is" if len(strangers) == 1 else "are"
        mistakes.append(
            f"gate.suites names {names}, which {are} not among the suites: {', '.join(infos)}."
        )
    for info in suites:
        own = gate.suites.get(info.name)
        mistakes += _metric_mistakes(info, (own and own.metric) or info.metric)
        mistakes += _expectation_mistakes(info, own)
        if _asked(info, gate).policy == "absolute" and (own is None or own.policy != "absolute"):
            mistakes.append(
                f"gate.suites: {info.name} is gated by policy absolute, which needs a floor or a "
                "ceiling of its own."
            )
    if mistakes:
        raise UsageError("\n".join(mistakes))


def _metric_mistakes(info: SuiteInfo, name: str) -> Iterator[str]:
    found = next((metric for metric in info.metrics if metric.name == name), None)
    if found is None:
        known = [one.name for one in info.metrics if one.higher_is_better is not None]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(known)}."
        yield f"gate.suites: {info.name} has no metric {name!r} to gate.{hint}"
    elif found.higher_is_better is None:
        yield (
            f"gate.suites: {name!r} of {info.name} only describes: more of it is neither better "
            "nor worse, so it cannot be gated."
        )


def _expectation_mistakes(info: SuiteInfo, own: SuiteGate | None) -> Iterator[str]:
    """What is expected of a suite must fit its scores, or it would say nothing, unnoticed."""
    name = (own and own.metric) or info.metric
    metric = next((one for one in info.metrics if one.name == name), None)
    if own is None or own.expect is None or metric is None:
        return
    if own.policy == "absolute":
        yield (
            f"gate.suites: {info.name} is gated by policy absolute, on the tuned score itself, and "
            "expect is of differences. Leave it out."
        )
        return
    binary = metric.kind == "binary"
    wrong, right = ("deviation", "flips") if binary else ("flips", "deviation")
    if getattr(own.expect, wrong) is not None:
        yield (
            f"gate.suites: expect.{wrong} of {info.name} says nothing of {name!r}, which is "
            f"{'right or wrong' if binary else 'not right or wrong'}. Declare expect.{right}."
        )


def claims(suites: Sequence[SuiteInfo], gate: GateConfig) -> int:
    """The most fails that may have to stand among each other (see `_corrected`)."""
    return len(suites) + sum(len(one.must_not_regress) for one in gate.suites.values())


def settles(info: SuiteInfo, deltas: Mapping[str, Delta], gate: GateConfig, among: int) -> bool:
    """Whether the suite's verdict stands, whatever the others': for a look before its end.

    `deltas` are those of its gated metric, by slice ("" for the whole suite). A fail has to stand
    at alpha divided by the number of claims it is `among`: then it stands by Holm's rule, too.
    """
    asked = _asked(info, gate)
    return all(_stands(delta, one, gate, among) for delta, one in _decisive(deltas, asked, gate))


def policy_of(info: SuiteInfo, gate: GateConfig) -> Policy:
    """The policy by which a suite is gated."""
    return _asked(info, gate).policy


def _decisive(
    deltas: Mapping[str, Delta], asked: _Asked, gate: GateConfig
) -> Iterator[tuple[Delta, _Asked]]:
    """The deltas that decide on a suite, each with what is asked of it."""
    yield deltas[""], asked
    own = gate.suites.get(asked.info.name) or SuiteGate()
    margin = asked.margin if own.slice_margin is None else own.slice_margin
    for name in own.must_not_regress:
        if name in deltas:
            yield deltas[name], replace(asked, policy="non_inferiority", margin=margin)


def _stands(delta: Delta, asked: _Asked, gate: GateConfig, among: int) -> bool:
    gone = delta.missing / (delta.n + delta.missing) if delta.missing else 0.0
    if gone > gate.max_missing:
        return False
    outcome = _placed(delta, asked, gate.alpha)[0]
    if outcome == "fail":
        outcome = _placed(delta, asked, alone_among(gate.alpha, among))[0]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked of one suite: what its own gate says, then the default, then the suite."""

    info: SuiteInfo
    metric: str
    policy: Policy
    margin: float
    floor: float | None = None
    ceiling: float | None = None

    @property
    def threshold(self) -> float | None:
        """What the benefit is held against."""
        if self.policy == "absolute":
            return None
        return self.margin if self.policy == "superiority" else -self.margin


def _asked(info: SuiteInfo, gate: GateConfig) -> _Asked:
    own = gate.suites.get(info.name) or SuiteGate()
    margins = (own.margin, gate.margin, info.margin)
    return _Asked(
        info=info,
        metric=own.metric or info.metric,
        policy=own.policy or gate.policy or info.policy,
        margin=next(value for value in margins if value is not None),
        floor=own.floor,
        ceiling=own.ceiling,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the gate asks of a suite, or of one slice of it, before there is any answer.

    `threshold` is what the benefit is held against; None where the tuned score itself is, against
    `floor` and `ceiling`.
    """

    suite: str
    slice: str = ""
    metric: Metric
    policy: Policy
    margin: float
    threshold: float | None
    floor: float | None = None
    ceiling: float | None = None


def questions(info: SuiteInfo, gate: GateConfig) -> list[Question]:
    """What is asked of a suite: of the whole, then of each slice that must not regress.

    Of a gate that `check_gate` let pass.
    """
    asked, own = _asked(info, gate), gate.suites.get(info.name) or SuiteGate()
    whole = Question(
        suite=info.name,
        metric=next(one for one in info.metrics if one.name == asked.metric),
        policy=asked.policy,
        margin=asked.margin,
        threshold=asked.threshold,
        floor=asked.floor,
        ceiling=asked.ceiling,
    )
    margin = asked.margin if own.slice_margin is None else own.slice_margin
    part = replace(
        whole,
        policy="non_inferiority",
        margin=margin,
        threshold=-margin,
        floor=None,
        ceiling=None,
    )
    return [whole, *(replace(part, slice=name) for name in own.must_not_regress)]


def _decide_suite(comparison: Comparison, asked: _Asked, gate: GateConfig) -> SuiteVerdict:
    info = asked.info
    evaluated = any(info.name == theirs.name for theirs in comparison.tuned.suites)
    wanted = (info.name, asked.metric, "")
    deltas = {(one.suite, one.metric.name, one.slice): one for one in comparison.deltas}
    delta = deltas.get(wanted) if evaluated else None

    def verdict(outcome: Outcome, reason: str, needed: int | None = None) -> SuiteVerdict:
        return SuiteVerdict(
            suite=info.name,
            outcome=outcome,
            policy=asked.policy,
            margin=asked.margin,
            threshold=asked.threshold,
            delta=delta,
            reason=reason,
            samples_needed=needed,
        )

    if delta is None:
        return verdict("fail", f"{comparison.tuned.name} was not evaluated on it")
    missing = _missing_share(comparison, info, delta)
    if missing > gate.max_missing:
        return verdict("fail", f"{missing:.1%} of the samples are missing a score in one arm")
    outcome, reason = _placed(delta, asked, gate.alpha)
    needed = _needed(delta, asked, gate.alpha) if outcome == "inconclusive" else None
    return verdict(outcome, reason, needed)


def _placed(delta: Delta, asked: _Asked, alpha: float) -> tuple[Outcome, str]:
    """Where the bounds lie; `point` alone has none."""
    if asked.policy == "point":
        return _naive(delta, asked.margin)
    absolute = asked.policy == "absolute"
    bounds = tuned_bounds(delta, alpha) if absolute else benefit_bounds(delta, alpha)
    if bounds is None:
        return "inconclusive", delta.note or "no interval can be given"
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
    """Fails that still stand among all suites (Holm 1979); the others are inconclusive.

    A pass needs no correction: all suites must pass, so the chance of a wrong one is alpha at
    most (intersection–union, Berger 1982). A fail needs it: one wrong one is enough.
    """
    chances = [_p_of_fail(one) for one in suites]
    tested = [index for index, p in enumerate(chances) if p is not None]
    adjusted = dict(zip(tested, holm([p for p in chances if p is not None]), strict=True))
    found = list(suites)
    for index, p in adjusted.items():
        if suites[index].outcome == "fail" and p > alpha:
            found[index] = replace(
                suites[index],
                outcome="inconclusive",
                reason=f"{suites[index].reason} alone, but not among {len(tested)} suites (Holm)",
            )
    return tuple(found)


def _p_of_fail(one: SuiteVerdict) -> float | None:
    """p of what a fail claims; None where none is claimed from samples."""
    by_bounds = one.policy in ("non_inferiority", "superiority", "equivalence")
    if one.delta is None or one.threshold is None or not by_bounds or "missing" in one.reason:
        return None
    below = p_not_below(one.delta, one.threshold)
    if one.policy == "equivalence":
        return min(below, p_not_above(one.delta, one.margin))
    return below


def _needed(delta: Delta, asked: _Asked, alpha: float) -> int | None:
    """Samples that would settle it if the truth is what was seen; None where none would."""
    benefit = benefit_of(delta)
    if benefit is None or asked.threshold is None or not delta.standard_error:
        return None
    distance = abs(benefit - asked.threshold)
    if asked.policy == "equivalence":
        distance = abs(asked.margin - abs(benefit))
    if distance < 1e-9:
        return None
    deviation = delta.standard_error * math.sqrt(delta.n)
    rule = values_needed if delta.interval == "sequence" else samples_needed
    needed = rule(deviation, distance, alpha)
    return None if needed is None else max(delta.n + 1, needed)


def _missing_share(comparison: Comparison, info: SuiteInfo, delta: Delta) -> float:
    alone = len(comparison.unpaired.get(info.name, ()))
    gone = delta.missing + alone
    total = delta.n + gone
    return gone / total if total else 1.0


def _advice(comparison: Comparison, suites: Sequence[SuiteVerdict], broken: list[str]) -> str:
    name = comparison.tuned.name
    if broken:
        return f"Do not trust this comparison: {', '.join(broken)} failed. Mend that and run again."
    failed = [one.suite for one in suites if one.outcome == "fail"]
    if failed:
        return (
            f"Do not ship {name}: {', '.join(failed)} failed. "
            "Read the answers that changed in the report, mend the recipe or the data."
        )
    open_ones = [one for one in suites if one.outcome == "inconclusive"]
    if open_ones:
        asks = [
            f"{one.suite} (about {one.samples_needed:,} samples)"
            if one.samples_needed
            else one.suite
            for one in open_ones
        ]
        return f"Do not ship {name} yet: {', '.join(asks)} would need more samples to be settled."
    return f"Ship {name}: every suite passed its gate."
