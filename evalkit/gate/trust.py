"""Whether judged numbers can be trusted, and what that means for a gate that goes by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from evalkit.errors import UsageError
from evalkit.gate.asked import Asked
from evalkit.gate.declared import declared_judge
from evalkit.records import Check, Comparison, Judging, corrected_name

NAME = "judge results"
FLAGGED = 0.02
"""The share of the tuned arm's answers that may look like attempts on the judge: the detection errs
now and then, and a few answers of a hundred decide no verdict."""


def trust_checks(comparison: Comparison, asked: Sequence[Asked]) -> tuple[Check, ...]:
    """A check for each judging that is not trustworthy: failed where the gate goes by its metric.

    Elsewhere it is a warning. Where all can be trusted, one check says so; none without a judge.
    """
    gated = {(one.suite, one.metric) for one in asked}
    checks = [
        Check(
            name=NAME,
            status="failed" if decides(one, gated) else "warning",
            message=f"judge results not trustworthy: {one.metric} of {one.suite}: {'; '.join(why)}",
        )
        for one in comparison.judgings
        if (why := reasons(comparison, one))
    ]
    if checks or not comparison.judgings:
        return tuple(checks)
    return (Check(name=NAME, status="ok", message="nothing was found that speaks against them"),)


def decides(judging: Judging, gated: Collection[tuple[str, str]]) -> bool:
    """Whether a gate goes by what was judged, or by what people's labels made of it.

    `gated` holds the suites and metrics that it goes by.
    """
    names = (judging.metric, corrected_name(judging.rubric))
    return any((judging.suite, name) in gated for name in names)


def reasons(comparison: Comparison, judging: Judging) -> tuple[str, ...]:
    """Why a judging's results are not trustworthy, each reason once; empty where none was found."""
    return tuple(dict.fromkeys((*judging.untrusted, *_attacks(comparison, judging))))


def _attacks(comparison: Comparison, judging: Judging) -> Iterator[str]:
    """That too many answers of the tuned arm speak to the judge, or are all the same.

    Of the base they are a warning's matter: what they win there, the tuned arm loses.
    """
    flagged = judging.flagged.get("tuned", {})
    deltas = comparison.deltas
    found = next((d for d in deltas if _is_whole(judging, d.suite, d.metric.name, d.slice)), None)
    total = max(len(flagged), found.n + found.missing if found else 0)
    if not flagged or len(flagged) / total <= FLAGGED:
        return
    kinds = Counter(kind for found in flagged.values() for kind in found)
    most = ", ".join(kind for kind, _ in kinds.most_common(3))
    yield (
        f"{len(flagged):,} of {total:,} answers of {comparison.tuned.name} look like attempts on "
        f"the judge ({most})"
    )


def _is_whole(judging: Judging, suite: str, metric: str, name: str) -> bool:
    return (suite, metric, name) == (judging.suite, judging.metric, "")


def check_demand(comparison: Comparison, asked: Sequence[Asked]) -> None:
    """UsageError for slices gated on a judged metric where corrected numbers are demanded."""
    for one in asked:
        if one.slice and demands_correction(comparison, one):
            raise UsageError(NO_SLICES.format(suite=one.suite, metric=one.metric))


def demands_correction(comparison: Comparison, asked: Asked) -> bool:
    """Whether what is asked of a judge's preference is to be decided by the corrected number."""
    judged = {(one.suite, one.metric) for one in comparison.judgings if one.protocol == "pairwise"}
    if (asked.suite, asked.metric) not in judged:
        return False
    judge = declared_judge(comparison.base)
    return judge is not None and judge.demand == "corrected"


NO_SLICES = (
    "judge.demand: corrected gates on numbers set right by people's labels, which are too few to "
    "tell slices apart, and gate.suites.{suite}.must_not_regress gates slices on {metric}. Leave "
    "must_not_regress out, or demand: judged."
)
