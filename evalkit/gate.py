"""Decide: pass, fail or inconclusive, from a comparison and margins declared before the run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence

from scipy import stats

from evalkit.config import GateConfig
from evalkit.errors import ExitCode, UsageError
from evalkit.records import (
    Comparison,
    Delta,
    Outcome,
    Policy,
    SuiteInfo,
    SuiteVerdict,
    Verdict,
)
from evalkit.stats import paired

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
    suites = tuple(_decide_suite(comparison, info, gate) for info in comparison.base.suites)
    broken = [check for check in comparison.checks if check.status == "failed"]
    outcomes = [one.outcome for one in suites]
    outcome: Outcome = "pass"
    if broken or "fail" in outcomes:
        outcome = "fail"
    elif "inconclusive" in outcomes:
        outcome = "inconclusive"
    return Verdict(
        outcome=outcome,
        exit_code=_EXIT[outcome],
        suites=suites,
        checks=comparison.checks,
        advice=_advice(comparison, suites, [check.name for check in broken]),
    )


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


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that speaks for several tuned arms: the one hardest to ship."""
    order: list[Outcome] = ["pass", "inconclusive", "fail"]
    return max(verdicts, key=lambda verdict: order.index(verdict.outcome))


def _decide_suite(comparison: Comparison, info: SuiteInfo, gate: GateConfig) -> SuiteVerdict:
    own = gate.suites.get(info.name)
    metric = (own and own.metric) or info.metric
    policy: Policy = (own and own.policy) or gate.policy or info.policy
    margins = (own.margin if own else None, gate.margin, info.margin)
    margin = next(value for value in margins if value is not None)
    evaluated = any(info.name == theirs.name for theirs in comparison.tuned.suites)
    wanted = (info.name, metric, "")
    deltas = {(one.suite, one.metric.name, one.slice): one for one in comparison.deltas}
    delta = deltas.get(wanted) if evaluated else None

    def verdict(outcome: Outcome, reason: str, needed: int | None = None) -> SuiteVerdict:
        return SuiteVerdict(
            suite=info.name,
            outcome=outcome,
            policy=policy,
            margin=margin,
            delta=delta,
            reason=reason,
            samples_needed=needed,
        )

    if delta is None:
        return verdict("fail", f"{comparison.tuned.name} was not evaluated on it")
    missing = _missing_share(comparison, info, delta)
    if missing > gate.max_missing:
        return verdict("fail", f"{missing:.1%} of the samples are missing a score in one arm")
    bounds = one_sided_bounds(delta, gate.alpha)
    if bounds is None:
        return verdict("inconclusive", delta.note or "no interval can be given")
    threshold = margin if policy == "superiority" else -margin
    outcome, reason = _place(bounds, threshold, policy)
    needed = _needed(delta, threshold, gate.alpha) if outcome == "inconclusive" else None
    return verdict(outcome, reason, needed)


def one_sided_bounds(delta: Delta, alpha: float) -> paired.Interval | None:
    """Each one-sided 1 − alpha bound of the benefit (positive is better); None if unknown."""
    if delta.difference is None:
        return None
    level = 1 - 2 * alpha
    interval: paired.Interval | None
    if delta.interval == "tango":
        interval = paired.tango_interval(delta.gained, delta.lost, delta.n, level)
    elif delta.interval == "t" and delta.standard_error:
        reach = float(stats.t.ppf(1 - alpha, delta.clusters - 1)) * delta.standard_error
        interval = paired.Interval(delta.difference - reach, delta.difference + reach)
    else:
        interval = None
    if interval is None or delta.metric.higher_is_better is not False:
        return interval
    return paired.Interval(-interval.high, -interval.low)


def _place(bounds: paired.Interval, threshold: float, policy: Policy) -> tuple[Outcome, str]:
    allowed = f"{threshold:+.3f}"
    if bounds.low > threshold:
        if policy == "superiority":
            return "pass", f"better by more than {allowed}"
        if bounds.low > 0:
            return "pass", "better"
        if bounds.high < 0:
            return "pass", f"worse, within the margin of {allowed}"
        return "pass", f"not worse than {allowed}"
    if bounds.high < threshold:
        if policy == "superiority":
            return "fail", f"not better by {allowed}"
        return "fail", f"worse than the margin of {allowed}"
    return "inconclusive", f"the interval reaches across {allowed}"


def _needed(delta: Delta, threshold: float, alpha: float) -> int | None:
    """Samples that would settle it if the truth is what was seen; None where none would."""
    assert delta.difference is not None
    sign = -1.0 if delta.metric.higher_is_better is False else 1.0
    distance = abs(sign * delta.difference - threshold)
    if not delta.standard_error or distance < 1e-9:
        return None
    deviation = delta.standard_error * math.sqrt(delta.n)
    return max(delta.n + 1, paired.samples_needed(deviation, distance, alpha))


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
