"""How much is missing of what was asked, and whether that is too much to decide by the rest."""

from __future__ import annotations

from evalkit.config import GateConfig
from evalkit.declared import declared_judge
from evalkit.records import Comparison, Delta


def too_much_missing(comparison: Comparison, delta: Delta, gate: GateConfig) -> str:
    """Why what is missing forbids a verdict, in words; empty where it does not."""
    judgings = comparison.judgings
    if any((one.suite, one.metric) == (delta.suite, delta.metric.name) for one in judgings):
        return _unjudged(comparison, delta, gate)
    alone = _alone(comparison, delta)
    total = delta.n + delta.missing + alone
    share = (delta.missing + alone + delta.unscored) / total if total else 1.0
    if share <= gate.max_missing and delta.n:
        return ""
    what = "answers" if delta.unscored else "samples"
    return f"{share:.1%} of the {what} are missing a score in one arm"


def _alone(comparison: Comparison, delta: Delta) -> int:
    """Samples that one run alone has."""
    # Where it is not known which slice they are of, any of them may be of this one.
    of_suite = len(comparison.unpaired.get(delta.suite, ()))
    return of_suite if not delta.slice or delta.unpaired is None else delta.unpaired


def _unjudged(comparison: Comparison, delta: Delta, gate: GateConfig) -> str:
    """A judge has a ceiling of its own, for each arm; samples that one run lacks have the gate's.

    A judge that refuses one answer in a hundred is no broken run, as a sample without an answer is.
    """
    alone = _alone(comparison, delta)
    total = delta.n + delta.missing
    if not delta.n:
        return "no sample was judged in both arms"
    if alone / (total + alone) > gate.max_missing:
        return f"{alone / (total + alone):.1%} of the samples are in one run alone"
    ceiling = declared_judge(comparison.base).max_missing
    sides = [
        (comparison.base.name, delta.missing_base),
        (comparison.tuned.name, delta.missing_tuned),
    ]
    name, missing = max(sides, key=lambda side: side[1])
    if missing / total <= ceiling:
        return ""
    return (
        f"{missing / total:.1%} of the samples of {name} have no judgement, and judge.max_missing "
        f"allows {ceiling:.1%}"
    )
