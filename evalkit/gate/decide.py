"""Decide: pass, fail or inconclusive, from a comparison and margins declared before the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from evalkit.config import GateConfig
from evalkit.errors import ExitCode
from evalkit.gate.advice import advice_on
from evalkit.gate.asked import Asked, asked_of, nearest
from evalkit.gate.asked import check_gate as check_gate
from evalkit.gate.bounds import (
    p_not_above,
    p_not_below,
    p_tuned_not_above,
    p_tuned_not_below,
)
from evalkit.gate.declared import departures
from evalkit.gate.gaps import too_much_missing
from evalkit.gate.placing import placed
from evalkit.gate.settling import available, prospect
from evalkit.gate.trust import check_demand, demands_correction, trust_checks
from evalkit.records import (
    Comparison,
    Delta,
    Ground,
    Outcome,
    Policy,
    SuiteInfo,
    SuiteVerdict,
    Verdict,
    corrected_name,
    is_judged,
    metric_name,
)
from evalkit.sequences import obstacle
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
    check_demand(comparison, asked)
    alone = [_decide_one(comparison, one, gate) for one in asked]
    among = _corrected(alone, gate.alpha)
    suites = tuple(
        _with_prospect(comparison, one, each, gate, len(alone) if one is not first else 1)
        for one, first, each in zip(among, alone, asked, strict=True)
    )
    checks = (*comparison.checks, *trust_checks(comparison, asked))
    broken = [check.name for check in checks if check.status == "failed"]
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
        checks=checks,
        advice=advice_on(comparison, suites, broken, gate),
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


UNJUDGED = "a judge decides, who is asked once all answers are there"


def why_whole(info: SuiteInfo, gate: GateConfig) -> str:
    """Why a suite is asked as a whole, whatever is settled; empty where it is looked at early."""
    if policy_of(info, gate) == "point":
        return "policy point holds nothing against a bound"
    if is_judged(asked_of(info, gate)[0].metric):
        return UNJUDGED
    return obstacle(info.gated)


def _stands(delta: Delta, asked: Asked, gate: GateConfig, among: int) -> bool:
    gone = delta.missing + delta.unscored
    if gone and gone / (delta.n + delta.missing) > gate.max_missing:
        return False
    outcome = placed(delta, asked, gate.alpha).outcome
    if outcome == "fail":
        outcome = placed(delta, asked, alone_among(gate.alpha, among)).outcome
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
    if reason := too_much_missing(comparison, delta, gate):
        # What is missing must not hide what the rest says.
        if delta.n and (there := placed(delta, asked, gate.alpha)).outcome == "fail":
            reason += f"; those that are there: {there.reason}"
        return verdict("fail", reason, "missing")
    return verdict(*placed(delta, asked, gate.alpha))


def _measured(comparison: Comparison, asked: Asked) -> Delta | None:
    """The delta that is asked for; None where the tuned arm has none."""
    if not any(asked.suite == theirs.name for theirs in comparison.tuned.suites):
        return None
    metric = asked.metric
    if demands_correction(comparison, asked):
        metric = corrected_name(metric.removeprefix(metric_name("", "pairwise")))
    wanted = (asked.suite, metric, asked.slice)
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
