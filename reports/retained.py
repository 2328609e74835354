"""What a tuned model has kept and what it has lost, suite by suite of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.records import Comparison, Delta
from reports.flips import better_and_worse
from reports.wording import decimals, interval, metric_label, number, signed

HEADS = (
    "Ability", "Suite", "Metric", "Right in both", "Lost", "Gained", "Wrong in both", "Retained",
    "Difference, 95 % interval",
)  # fmt: skip
NOTE = (
    "Retained: of what the base got right, the share that the tuned model gets right too; where "
    "answers are not right or wrong, the tuned score as a share of the base's, or the other way "
    "round if lower is better."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """One suite of a set. The four counts are None where answers are not right or wrong; `share`
    is None where the base had nothing to retain."""

    aspect: str
    delta: Delta
    both: int | None = None
    lost: int | None = None
    gained: int | None = None
    neither: int | None = None
    share: float | None = None


def retained(comparison: Comparison) -> tuple[Retained, ...]:
    """The gated metric of each suite that stands for an ability, in the order of the suites."""
    wanted = {(info.name, info.metric): info.aspect for info in comparison.base.suites}
    return tuple(
        _of(aspect, delta)
        for delta in comparison.deltas
        if not delta.slice and (aspect := wanted.get((delta.suite, delta.metric.name)))
    )


def _of(aspect: str, delta: Delta) -> Retained:
    # Several answers to a question make it right by halves, which no count tells.
    if delta.metric.kind != "binary" or delta.completions > 1 or delta.base is None:
        return Retained(aspect=aspect, delta=delta, share=_share(delta))
    hits = round(delta.base * delta.n)
    right = delta.n - hits if delta.metric.higher_is_better is False else hits
    gained, lost = better_and_worse(delta)
    return Retained(
        aspect=aspect,
        delta=delta,
        both=right - lost,
        lost=lost,
        gained=gained,
        neither=delta.n - right - gained,
        share=(right - lost) / right if right else None,
    )


def _share(delta: Delta) -> float | None:
    if delta.base is None or delta.tuned is None:
        return None
    part, whole = delta.tuned, delta.base
    if delta.metric.higher_is_better is False:
        part, whole = whole, part
    return part / whole if whole > 0 and part >= 0 else None


def cells(one: Retained) -> list[str]:
    """A row under HEADS; what does not apply is a dash, never 0."""
    delta = one.delta
    digits = decimals(delta.base, delta.tuned)
    apart = f"{signed(delta.difference, digits)} {interval(delta.low, delta.high, digits)}"
    counts = ["–" if count is None else f"{count:,}" for count in
              (one.both, one.lost, one.gained, one.neither)]  # fmt: skip
    share = "–" if one.share is None else f"{number(100 * one.share, 1)} %"
    return [one.aspect, delta.suite, metric_label(delta.metric), *counts, share, apart]


def rows(comparison: Comparison) -> Sequence[list[str]]:
    """The whole matrix as cells; empty where no set was asked."""
    return [cells(one) for one in retained(comparison)]
