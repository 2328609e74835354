"""What to do about a verdict, in words."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.config import GateConfig
from evalkit.records import Comparison, SuiteVerdict, is_judged


def advice_on(
    comparison: Comparison, suites: Sequence[SuiteVerdict], broken: list[str], gate: GateConfig
) -> str:
    """One or two sentences for whoever has to decide; `broken` are the checks that failed."""
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


_MENDING: dict[str, str] = {
    "bounds": "Read the answers that changed in the report, mend the recipe or the data.",
    "missing": "Give the answers that are missing (the report names them), or raise "
    "gate.max_missing.",
    "unjudged": "Ask the judge again, give it more budget, or take another: the report tells by "
    "reason what it did not judge.",
    "absent": "Evaluate both arms on what was not: the same suites, and no or a higher --limit.",
}


def _mending(failed: Sequence[SuiteVerdict]) -> str:
    """What to do about each ground on which something failed."""
    grounds = {_ground(one) for one in failed}
    return " ".join(text for ground, text in _MENDING.items() if ground in grounds)


def _ground(one: SuiteVerdict) -> str:
    if one.ground == "missing" and one.delta is not None and is_judged(one.delta.metric.name):
        return "unjudged"
    return "bounds" if one.ground == "value" else one.ground


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
