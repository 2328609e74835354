"""From what an evaluator says of the whole to a value of each row, which must give it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Column = list[float | None]

_FLAGS = ("correct", "is_correct", "cascade_correct")
_NO_METRICS = ("bp", "sys_len", "ref_len", "type", "details")
_FIRST = ("score", "auc_score", "accuracy", "exact_match", "f1", "rouge1")
_ROUNDED = 0.005  # percent; some evaluators write two digits


class Found(NamedTuple):
    """A metric: its number for the whole, a value of each row, and how they were had.

    `share`: the rows are right or wrong, as 1 or 0, whatever scale the number has.
    """

    number: float
    values: Column
    share: bool


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """What an evaluator measured, in the order in which OpenCompass's summary prefers it."""
    found = {
        key: float(one)
        for key, one in result.items()
        if key not in _NO_METRICS and isinstance(one, (int, float)) and not isinstance(one, bool)
    }
    order = {key: place for place, key in enumerate(_FIRST)}
    return dict(sorted(found.items(), key=lambda one: order.get(one[0], len(order))))


def found_in(
    result: Mapping[str, Any],
    compared: tuple[list[Any] | None, Any],
    size: int,
    alone: Callable[[int], Mapping[str, Any]],
) -> dict[str, Found]:
    """Every metric whose number is the mean of values that its rows have."""
    found: dict[str, Found] = {}
    columns = list(_columns(_details(result.get("details"), size), compared, size))
    singles: list[dict[str, float]] | None = None
    for key, number in numbers_of(result).items():
        match = next(((column, flag) for column, flag in columns if _gives(column, number)), None)
        if match is not None:
            found[key] = Found(number, *match)
            continue
        if singles is None:
            singles = _each(alone, size)
        column = [one.get(key) for one in singles]
        if _gives(column, number):
            found[key] = Found(number, column, False)
    return found


def _gives(column: Sequence[float | None], number: float) -> bool:
    """Whether the mean of the rows is the number. Most count in percent; here a share is one."""
    known = [one for one in column if one is not None]
    if len(known) != len(column) or not known:
        return False
    mean = math.fsum(known) / len(known)
    return abs(100 * mean - number) <= _ROUNDED or math.isclose(mean, number, rel_tol=1e-6)


def _columns(
    details: Sequence[Mapping[str, Any]], compared: tuple[list[Any] | None, Any], size: int
) -> Iterator[tuple[Column, bool]]:
    """What may have made a number: right or wrong first, then other numbers of the evaluator."""
    keys = dict.fromkeys(key for one in details for key in one)
    for key in (key for key in _FLAGS if key in keys):
        yield [_flag(one.get(key)) for one in details], True
    predictions, references = compared
    if predictions is not None and references is not None and len(references) == size:
        pairs = zip(predictions, references, strict=True)
        yield [float(str(one) == str(gold)) for one, gold in pairs], True
    for key in (key for key in keys if key not in _FLAGS):
        yield [_number(one.get(key)) for one in details], False


def _details(told: Any, size: int) -> list[Mapping[str, Any]]:
    """What is said of each row: a list, or an object with "0", "1" … and others; values may stand
    in lists of one."""
    if isinstance(told, Mapping):
        told = [told[str(place)] for place in range(size) if str(place) in told]
    if not isinstance(told, list) or len(told) != size:
        return []
    return [one for one in told if isinstance(one, Mapping)]


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _flag(value: Any) -> float | None:
    value = _single(value)
    return float(value) if isinstance(value, bool) or value in (0, 1) else None


def _number(value: Any) -> float | None:
    value = _single(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _each(alone: Callable[[int], Mapping[str, Any]], size: int) -> list[dict[str, float]]:
    """The evaluator asked about each row by itself; it may not be able to."""
    try:
        return [numbers_of(alone(place)) for place in range(size)]
    except Exception:  # an evaluator is a stranger's program
        return [{} for _ in range(size)]
