"""lm-eval's metrics as ours: what one document adds, and how the whole is computed from that.

What lm-eval averages is averaged; what it computes from all documents at once (perplexities, BLEU,
chrF, TER, F1, MCC) is computed from the sums of what each adds, which is the same number and can be
resampled. A metric with an aggregation of the task's own can be neither: it is left out, and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeAlias

from evalkit.records import Metric, MetricKind
from evalkit.scorers.addends import Way, pair_of, uneven, way_of
from evalkit.scorers.generated import Value

Key: TypeAlias = tuple[str, str]
"""lm-eval's metric and the filter its answers went through."""
Read: TypeAlias = Callable[[Any], Value]

_RIGHT_OR_WRONG = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One metric: where lm-eval gives it, what it is here, and how a document's value is read.

    `averaged`: the whole is the plain mean over the documents. `overlap` names lm-eval's
    aggregation where it compares texts with references.
    """

    key: Key
    metric: Metric
    read: Read
    averaged: bool = False
    overlap: str = ""


def label(key: Key) -> str:
    """A metric's name: with its filter, unless that is lm-eval's "none"."""
    name, filtered = key
    return name if filtered == "none" else f"{name},{filtered}"


def readings(
    task: Any, tried: Mapping[Key, Any] | None, notes: dict[str, None]
) -> tuple[Reading, ...]:
    """The metrics of a task, in its order; `tried` are the values of documents, if any could be.

    What cannot be read is told in `notes`.
    """
    aggregations = dict(task.aggregation())
    filters = [one.name for one in task._filters]
    names = dict.fromkeys([*aggregations, *(name for name, _ in tried or {})])
    found = []
    for key in ((name, filtered) for name in names for filtered in filters):
        if tried is not None and key not in tried:
            notes[f"{label(key)} is left out: no document gives it"] = None
            continue
        example = tried[key] if tried is not None else None
        aggregation = aggregations.get(key[0])
        way = _way(task, key[0], aggregation, example)
        if way is None:
            notes[f"{label(key)} is left out: {_why(aggregation)}"] = None
            continue
        higher = task.higher_is_better().get(key[0])
        metric = Metric(
            name=label(key),
            higher_is_better=higher if isinstance(higher, bool) else None,
            kind=way.kind,
            unit=way.unit,
        )
        reading = Reading(
            key=key,
            metric=metric,
            read=way.read,
            averaged=way.averaged,
            overlap=_named(aggregation) if way.overlap else "",
        )
        found.append(reading)
    return tuple(found)


def with_even_references(
    found: Sequence[Reading], tried: Iterable[Mapping[Key, Any]], notes: dict[str, None]
) -> tuple[Reading, ...]:
    """The readings, those of texts with no more references than lm-eval itself compares with.

    `tried` are the values of every document.
    """
    documents = list(tried)
    even = []
    for one in found:
        counts = (_references(each[one.key]) for each in documents if one.key in each)
        most = uneven(counts) if one.overlap else None
        way = way_of(one.overlap, references=most)
        if most is None or way is None:
            even.append(one)
            continue
        notes[
            f"{label(one.key)}: some documents have more references than others, and lm-eval "
            f"compares with the first {most} of each"
        ] = None
        even.append(replace(one, read=way.read))
    return tuple(even)


def _references(given: Any) -> int:
    try:
        return len(pair_of(given)[0])
    except Exception:  # what a task gives may be anything; its scores will say so
        return 0


def _named(aggregation: Any) -> str:
    return str(getattr(aggregation, "__name__", None) or type(aggregation).__name__)


def _why(aggregation: Any) -> str:
    called = _named(aggregation)
    return f"the task computes it from all documents in a way of its own ({called})"


def _way(task: Any, name: str, aggregation: Any, example: Any) -> Way | None:
    from lm_eval.api import metrics as theirs

    called = _named(aggregation)
    if aggregation is getattr(theirs, called, None):
        if aggregation is theirs.bypass_agg:
            return Way(kind="continuous", read=_unmeasured)
        classes = _classes(task) if aggregation is theirs.matthews_corrcoef else 0
        found = way_of(called, classes=classes)
        if found is not None:
            return found
    if aggregation not in (None, theirs.mean, theirs.nanmean):
        return None
    if example is not None and not _is_number(example):
        return None
    whole = aggregation is not theirs.nanmean
    kind: MetricKind = "binary" if whole and _is_right_or_wrong(task, name, example) else (
        "continuous"
    )  # fmt: skip
    return Way(kind=kind, read=_number, averaged=whole)


def _classes(task: Any) -> int:
    return max(len(task.doc_to_choice(document)) for document in task.eval_docs)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or getattr(value, "shape", None) == ()


def _is_right_or_wrong(task: Any, name: str, example: Any) -> bool:
    """Whether every document is 0 or 1: by lm-eval's own scoring, or as far as a task tells."""
    if not callable(task.config.process_results):
        return name in _RIGHT_OR_WRONG
    if isinstance(example, bool) or type(example).__name__ == "bool_":
        return True
    return isinstance(example, int) and name in _RIGHT_OR_WRONG


def _number(given: Any) -> Value:
    value = float(given)
    return Value(value) if math.isfinite(value) else Value(None, f"lm-eval says {value}")


def _unmeasured(_given: Any) -> Value:
    return Value(None, "lm_eval.predict_only: answers alone were asked for")
