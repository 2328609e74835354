"""Calls fold into samples: repeats first, then both orders, then the judges of a jury."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from evalkit.records import Judgement, MissingReason, Order, Preference, PreferenceOutcome, Side

BOTH: tuple[Order, Order] = ("base_first", "tuned_first")
_DIGITS = 12  # a mean of repeats that is a tie but for rounding is a tie
_WORDS = (0.0, 0.5, 1.0)
_OUTCOMES: Mapping[int, PreferenceOutcome] = {1: "tuned", 0: "tie", -1: "base"}

SampleKey: TypeAlias = tuple[str, str, str]
"""Suite, rubric, sample id."""
AnswerKey: TypeAlias = tuple[str, str, str, Side]
"""Suite, rubric, sample id, arm."""


class Valued(NamedTuple):
    """A sample's number over all judges, or None and why there is none."""

    value: float | None
    reason: MissingReason | Literal[""] = ""


def winner(value: float) -> int:
    """1 where a utility prefers the tuned arm, −1 where it prefers the base, 0 for a tie."""
    away = round(value - 0.5, _DIGITS)
    return (away > 0) - (away < 0)


def preferences(
    judgements: Iterable[Judgement], *, stripped: bool = False
) -> tuple[Preference, ...]:
    """Each judge's word on each sample, in the order in which samples and judges come.

    Of the pairwise judgements of the answers as they are, or of those `stripped` of emoji and
    markup. Repeats of one order are averaged first. Where every call gave a plain verdict (0, ½ or
    1), both orders must name the same winner, else the sample counts ½; a judge that gives
    probabilities counts with the mean of both orders, in which a position bias cancels. An order
    without a number makes the sample missing. A judge that tells no order at all ("") is taken at
    that word.
    """
    calls: dict[tuple[str, str, str, str], list[Judgement]] = defaultdict(list)
    for one in judgements:
        if one.protocol == "pairwise" and one.stripped == stripped:
            calls[one.suite, one.rubric, one.sample_id, one.judge].append(one)
    return tuple(_folded(found) for found in calls.values())


def _folded(calls: Sequence[Judgement]) -> Preference:
    first = calls[0]
    value, outcome, reason = _word(calls)
    return Preference(
        suite=first.suite,
        sample_id=first.sample_id,
        judge=first.judge,
        rubric=first.rubric,
        value=value,
        outcome=outcome,
        reason=reason,
    )


def _word(
    calls: Sequence[Judgement],
) -> tuple[float | None, PreferenceOutcome, MissingReason | Literal[""]]:
    orders: dict[str, list[Judgement]] = defaultdict(list)
    for one in calls:
        orders[one.order].append(one)
    wanted: Sequence[str] = BOTH if any(order in orders for order in BOTH) else ("",)
    means = [_mean(orders[order]) for order in wanted]
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        lacking = [
            one for o, m in zip(wanted, means, strict=True) if m is None for one in orders[o]
        ]
        return None, "missing", _reason(lacking)
    winners = {winner(mean) for mean in known}
    mean = math.fsum(known) / len(known)
    if len(winners) == 1:
        return mean, _OUTCOMES[winners.pop()], ""
    value = 0.5 if all(one.value in _WORDS for one in calls if one.value is not None) else mean
    return value, "wavered" if 0 in winners else "flip", ""


def _mean(calls: Sequence[Judgement]) -> float | None:
    known = [one.value for one in calls if one.value is not None]
    return math.fsum(known) / len(known) if known else None


def _reason(calls: Sequence[Judgement]) -> MissingReason:
    """The most frequent reason; of equally many the first. An order nobody asked is unasked."""
    reasons: Counter[MissingReason] = Counter(one.status for one in calls if one.status != "judged")
    return max(reasons, key=lambda status: reasons[status], default="unasked")


def utilities(found: Iterable[Preference]) -> dict[SampleKey, Valued]:
    """Each sample's mean utility for the tuned arm over its judges, each weighing the same.

    A judge whose word is missing is left out; where all are, the first one's reason stands.
    """
    juries: dict[SampleKey, list[Preference]] = defaultdict(list)
    for one in found:
        juries[one.suite, one.rubric, one.sample_id].append(one)
    return {
        key: _jury([Valued(one.value, one.reason) for one in jury]) for key, jury in juries.items()
    }


def ratings(judgements: Iterable[Judgement]) -> dict[AnswerKey, Valued]:
    """Each answer's mean rating on the rubric's scale: over a judge's repeats, then the judges.

    Of the pointwise judgements of the answers as they are; missing as in `utilities`.
    """
    calls: dict[AnswerKey, dict[str, list[Judgement]]] = defaultdict(lambda: defaultdict(list))
    for one in judgements:
        if one.protocol == "pointwise" and not one.stripped and one.arm:
            calls[one.suite, one.rubric, one.sample_id, one.arm][one.judge].append(one)
    return {
        key: _jury([_rated(found) for found in judges.values()]) for key, judges in calls.items()
    }


def _rated(calls: Sequence[Judgement]) -> Valued:
    mean = _mean(calls)
    return Valued(mean, "" if mean is not None else _reason(calls))


def _jury(words: Sequence[Valued]) -> Valued:
    known = [value for value, _ in words if value is not None]
    if known:
        return Valued(math.fsum(known) / len(known))
    return words[0]
