"""How much of what both arms wrote could be read: answers extracted, and thinking that ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from evalkit.records import Extraction, Metric, Pair, Result, SuiteInfo, Truncation


def extractions(info: SuiteInfo, pairs: Sequence[Pair]) -> Iterator[Extraction]:
    """For each metric of a suite that tells of extraction; none where no pair has a score."""
    for metric in info.metrics:
        if metric.extraction_of:
            found = _extraction(info.name, metric, pairs)
            if found is not None:
                yield found


def _extraction(suite: str, metric: Metric, pairs: Sequence[Pair]) -> Extraction | None:
    rows = [
        tuple(_value(r, name) for r in (pair.base, pair.tuned) for name in _names(metric))
        for pair in pairs
    ]
    scored = [row for row in rows if None not in row]
    known = [[one for one in row if one is not None] for row in scored]
    if not known:
        return None
    # All answers of a sample were extracted where there are several.
    both = [row for row in known if row[0] == row[2] == 1.0]
    return Extraction(
        suite=suite,
        metric=metric.extraction_of,
        n=len(known),
        lost_base=1 - _mean([row[0] for row in known]),
        lost_tuned=1 - _mean([row[2] for row in known]),
        both=len(both),
        both_base=_mean([row[1] for row in both]) if both else None,
        both_tuned=_mean([row[3] for row in both]) if both else None,
    )


def _names(metric: Metric) -> tuple[str, str]:
    return metric.name, metric.extraction_of


def _value(result: Result, scorer: str) -> float | None:
    value = next((one.value for one in result.scores if one.scorer == scorer), None)
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def truncation(suite: str, pairs: Sequence[Pair]) -> Truncation | None:
    """How many answers were cut off while the model was still thinking; None where none was."""
    base = [one.stop_reason == "thinking" for pair in pairs for one in pair.base.completions]
    tuned = [one.stop_reason == "thinking" for pair in pairs for one in pair.tuned.completions]
    if not any(base) and not any(tuned):
        return None
    return Truncation(
        suite=suite, base=sum(base), of_base=len(base), tuned=sum(tuned), of_tuned=len(tuned)
    )
