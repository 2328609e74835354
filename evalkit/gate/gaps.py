"""How much is missing of what was asked, and whether that is too much to decide by the rest."""

from __future__ import annotations

from evalkit.config import GateConfig, JudgeConfig
from evalkit.gate.declared import declared_judge
from evalkit.records import Comparison, Delta, corrected_name

MAX_MISSING: float = JudgeConfig.model_fields["max_missing"].default


def too_much_missing(comparison: Comparison, delta: Delta, gate: GateConfig) -> str:
    """Why what is missing forbids a verdict, in words; empty where it does not."""
    judged = _as_judged(comparison, delta)
    if judged is not None:
        return _unjudged(comparison, judged, gate)
    alone = _alone(comparison, delta)
    total = delta.n + delta.missing + alone
    share = (delta.missing + alone + delta.unscored) / total if total else 1.0
    if share <= gate.max_missing and delta.n:
        return ""
    what = "answers" if delta.unscored else "samples"
    return f"{share:.1%} of the {what} are missing a score in one arm"


def _as_judged(comparison: Comparison, delta: Delta) -> Delta | None:
    """A judged delta, also that which a corrected one was made of; None for others."""
    name = delta.metric.name
    for one in comparison.judgings:
        if one.suite == delta.suite and name in (one.metric, corrected_name(one.rubric)):
            wanted = (one.suite, one.metric, delta.slice)
            found = (d for d in comparison.deltas if (d.suite, d.metric.name, d.slice) == wanted)
            return next(found, delta)
    return None


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
    judge = declared_judge(comparison.base)
    ceiling = MAX_MISSING if judge is None else judge.max_missing
    missing = max(delta.missing_base, delta.missing_tuned)
    if missing / total <= ceiling:
        return ""
    whose = ""
    if delta.missing_base != delta.missing_tuned:
        more = delta.missing_base > delta.missing_tuned
        whose = f" of {comparison.base.name if more else comparison.tuned.name}"
    return (
        f"{missing / total:.1%} of the answers{whose} have no judgement, and judge.max_missing "
        f"allows {ceiling:.1%}"
    )
