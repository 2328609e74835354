"""Which statistic a logged aggregate is of the logged values: found out by computing it again.

A log of lm-eval holds what each sample gave to a metric and the metric's number, but not how the
one became the other. A way of reading the values is taken only if it gives the number that the log
has; so every number of an imported run is the other tool's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from evalkit.estimates import corpus_value
from evalkit.imports.base import number
from evalkit.records import Metric, MetricKind

_CLOSE = 1e-9  # the order of summation alone differs


class Value(NamedTuple):
    """What one sample gave to a metric; `value` None where it gave nothing that counts."""

    value: float | None
    stats: tuple[float, ...] = ()


class Column(NamedTuple):
    """A metric's values, one for each sample, and how they make its number."""

    kind: MetricKind
    values: list[Value]
    unit: str = ""


def read_column(logged: Sequence[Any], aggregate: float | None) -> Column | None:
    """The reading of the logged values whose number is the aggregate; None if there is none.

    Where no aggregate was logged, plain numbers are taken for what a mean is made of.
    """
    known = [one for one in logged if one is not None]
    if not known:
        return None
    readings: Iterable[Callable[[Sequence[Any]], Column | None]]
    if all(isinstance(one, (bool, int, float)) for one in known):
        readings = (_mean, _perplexity) if aggregate is not None else (_mean,)
    elif aggregate is None:
        return None
    else:
        readings = (_weighted_perplexity, _bits, _f1, *_overlaps(known))
    for reading in readings:
        column = reading(logged)
        if column and (aggregate is None or _close(_number_of(column), aggregate)):
            return column
    return None


def _close(found: float | None, aggregate: float) -> bool:
    return found is not None and math.isclose(found, aggregate, rel_tol=_CLOSE, abs_tol=1e-12)


def _number_of(column: Column) -> float | None:
    """The metric's number over all samples, as `evalkit.estimates` has it."""
    if column.kind == "continuous":
        values = [one.value for one in column.values if one.value is not None]
        return math.fsum(values) / len(values) if values else None
    rows = [one.stats for one in column.values if one.stats]
    sums = [math.fsum(each) for each in zip(*rows, strict=True)]
    return corpus_value(Metric(name="", kind=column.kind), sums)


def _mean(logged: Sequence[Any]) -> Column:
    return Column("continuous", [Value(number(one)) for one in logged])


def _perplexity(logged: Sequence[Any]) -> Column:
    """The exponential of minus the mean log-likelihood of a sample."""
    return Column("perplexity", [_rate(one, 1.0, exponential=True) for one in logged])


def _weighted_perplexity(logged: Sequence[Any]) -> Column | None:
    pairs = _pairs(logged)
    if pairs is None:
        return None
    return Column("perplexity", [_rate(*one, exponential=True) for one in pairs])


def _bits(logged: Sequence[Any]) -> Column | None:
    pairs = _pairs(logged)
    if pairs is None:
        return None
    per_bit = [(nats / math.log(2) if nats is not None else None, size) for nats, size in pairs]
    return Column("ratio", [_rate(*one) for one in per_bit], "bits")


def _pairs(logged: Sequence[Any]) -> list[tuple[float | None, float]] | None:
    """(log-likelihood, units) of each sample; None where the values are something else."""
    found: list[tuple[float | None, float]] = []
    for one in logged:
        if one is None:
            found.append((None, 0.0))
            continue
        if not isinstance(one, list) or len(one) != 2 or number(one[1]) is None:
            return None
        if not isinstance(one[0], (int, float)):
            return None
        found.append((number(one[0]), float(one[1])))
    return found


def _rate(total: object, units: float, *, exponential: bool = False) -> Value:
    """Minus a sum of log-likelihoods over its units; nothing where it is not finite."""
    known = number(total)
    if known is None or units <= 0:
        return Value(None)
    rate = -known / units
    try:
        return Value(math.exp(rate) if exponential else rate, (-known, units))
    except OverflowError:
        return Value(None)


def _f1(logged: Sequence[Any]) -> Column | None:
    """(right class, said class) of 0 and 1: F1 is 2tp / (2tp + fp + fn), a ratio of sums."""
    values = []
    for one in logged:
        if one is None:
            values.append(Value(None))
            continue
        if not isinstance(one, list) or len(one) != 2 or not all(each in (0, 1) for each in one):
            return None
        right, said = one
        stats = (2.0 * (right and said), float(right + said))
        values.append(Value(float(right == said), stats))
    return Column("ratio", values)


def _overlaps(known: Sequence[Any]) -> Iterator[Callable[[Sequence[Any]], Column | None]]:
    """Readings by sacrebleu of (reference or references, text), as lm-eval calls it."""
    if not all(isinstance(one, list) and len(one) == 2 for one in known):
        return
    if not all(_texts(one[0]) and _texts(one[1]) for one in known):
        return
    from sacrebleu.metrics import BLEU, CHRF, TER

    scales: list[tuple[MetricKind, Any]] = [
        ("bleu", BLEU()),
        ("chrf", CHRF()),
        ("chrf", CHRF(word_order=2)),
        ("ratio", TER()),
    ]
    for kind, metric in scales:
        yield partial(_overlap, kind, metric)


def _overlap(kind: MetricKind, metric: Any, logged: Sequence[Any]) -> Column:
    from evalkit.scorers.overlap import sentence_value

    values = []
    for one in logged:
        if one is None:
            values.append(Value(None))
            continue
        found = sentence_value(metric, _texts(one[1])[0], _texts(one[0]))
        values.append(Value(found.value, _percent(found.stats) if kind == "ratio" else found.stats))
    return Column(kind, values, "0–100")


def _percent(stats: tuple[float, ...]) -> tuple[float, float]:
    """TER: edits of the references' mean length, in percent."""
    edits, length = stats
    return 100 * edits, length


def _texts(value: object) -> tuple[str, ...]:
    """A text or several; empty where it is neither."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    return ()
