"""Which statistic a logged aggregate is of the logged values: found out by computing it again.

A log of lm-eval holds what each sample gave to a metric and the metric's number, but not how the
one became the other. A way of reading the values is taken only if it gives the number that the log
has; so every number of an imported run is the other tool's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.estimates import corpus_value
from evalkit.imports.base import number
from evalkit.records import Metric, MetricKind
from evalkit.scorers.addends import pair_of, uneven, way_of
from evalkit.scorers.generated import Value

_CLOSE = 1e-9  # the order of summation alone differs
_SHORTENED = 1e-6  # of an array lm-eval logs what numpy prints, which is eight digits
_CLASSES = 100  # a confusion matrix has as many squares

_NAMES: Mapping[str, str] = {
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "f1": "f1_score",
    "mcc": "matthews_corrcoef",
    "chrf++": "chrfpp",
}
"""lm-eval's function for a metric, or for an aggregation of a task file, where it is another."""
_OF_PAIRS = ("weighted_perplexity", "bits_per_byte", "f1_score", "matthews_corrcoef")
_OF_TEXTS = ("bleu", "chrf", "chrfpp", "ter")


class Column(NamedTuple):
    """A metric's values, one for each sample, and how they make its number."""

    kind: MetricKind
    values: list[Value]
    unit: str = ""


def read_column(
    logged: Sequence[Any], aggregate: float | None, called: str = "", classes: int = 0
) -> Column | None:
    """The reading of the logged values whose number is the aggregate; None if there is none.

    Where two give it, that of the metric or aggregation of lm-eval's that is so `called`; `classes`
    is how many there are to tell apart, 0 where that is unknown. Where no aggregate was logged,
    plain numbers are taken for what a mean is made of.
    """
    known = [one for one in logged if one is not None]
    if not known:
        return None
    if aggregate is None:
        return _mean(logged) if all(map(_is_number, known)) else None
    meant = _NAMES.get(called, called)
    names = sorted(_possible(known, classes), key=lambda one: one != meant)
    for name in names:
        column = _column(name, logged, known, classes)
        close = _SHORTENED if name == "brier_score" else _CLOSE
        if _is_close(_number_of(column), aggregate, close):
            return column
    return None


def _possible(known: Sequence[Any], classes: int) -> Iterable[str]:
    """What values of this form may have been made into a number by."""
    if all(map(_is_number, known)):
        return ("mean", "perplexity")
    if not all(isinstance(one, list) and len(one) == 2 for one in known):
        return ()
    if all(_is_number(one[0]) and _is_number(one[1]) for one in known):
        return _OF_PAIRS if 0 < classes <= _CLASSES else _OF_PAIRS[:3]
    if all(isinstance(one[0], int) and _shares(one[1]) for one in known):
        return ("brier_score",)
    if all(_is_text(one[0]) and _is_text(one[1]) for one in known):
        return _OF_TEXTS
    return ()


def _column(name: str, logged: Sequence[Any], known: Sequence[Any], classes: int) -> Column:
    if name == "mean":
        return _mean(logged)
    if name == "brier_score":
        logged = [one and [one[0], _shares(one[1])] for one in logged]
    counts = (len(pair_of(one)[0]) for one in known) if name in _OF_TEXTS else ()
    way = way_of(name, classes=classes, references=uneven(counts))
    assert way is not None, "every name is one of lm-eval's functions"
    return Column(way.kind, _each(way.read, logged), way.unit)


def _mean(logged: Sequence[Any]) -> Column:
    return Column("continuous", _each(lambda one: Value(number(one)), logged))


def _each(read: Callable[[Any], Value], logged: Sequence[Any]) -> list[Value]:
    return [Value(None) if one is None else read(one) for one in logged]


def _is_close(found: float | None, aggregate: float, close: float) -> bool:
    return found is not None and math.isclose(found, aggregate, rel_tol=close, abs_tol=1e-12)


def _number_of(column: Column) -> float | None:
    """The metric's number over all samples, as `evalkit.estimates` has it."""
    if column.kind == "continuous":
        values = [one.value for one in column.values if one.value is not None]
        return math.fsum(values) / len(values) if values else None
    rows = [one.stats for one in column.values if one.stats]
    if not rows:
        return None
    sums = [math.fsum(each) for each in zip(*rows, strict=True)]
    return corpus_value(Metric(name="", kind=column.kind), sums)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 64)


def _is_text(value: object) -> bool:
    """A text, or one or several in a list."""
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(isinstance(one, str) for one in texts)


def _shares(value: object) -> list[float]:
    """Probabilities: numbers, or an array as numpy prints it; empty for anything else."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = value[1:-1].split()
    if not isinstance(value, list):
        return []
    try:
        found = [float(one) for one in value]
    except (TypeError, ValueError):
        return []
    return found if all(map(math.isfinite, found)) else []
