"""Arms that are checkpoints of one training run: their steps, and which of them speaks for it.

A user who compares checkpoints asks which one to ship: the early ones are expected to be bad, so
the best of a training run speaks for it, and only arms that speak decide on the exit code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from evalkit.gate.decide import worst
from evalkit.records import Comparison, Manifest, Outcome, SuiteVerdict, Verdict
from reports.wording import benefit, one_line

_NAMED = re.compile(r".+-step-([0-9]+)")
_ORDER: list[Outcome] = ["fail", "inconclusive", "pass"]
_FAR = 10.0  # half-widths from the threshold: beyond it a suite is settled, and no more is gained


class Step(NamedTuple):
    """One moment of a training run."""

    run: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The checkpoints of one training run by rising step; `best` is the place of the one to ship.

    `names` are the suites in the order of the base's gate.
    """

    run: str
    steps: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    best: int

    @property
    def suites(self) -> list[str]:
        """Every suite and gated slice that was decided on, once."""
        return list(dict.fromkeys(one.label for each in self.verdicts for one in each.suites))

    def of_suite(self, name: str) -> list[SuiteVerdict | None]:
        """The gate's word on one suite, step by step."""
        return [
            next((one for one in each.suites if one.label == name), None) for each in self.verdicts
        ]


def training_step(manifest: Manifest) -> Step | None:
    """The training run (its folder) and step an arm is a checkpoint of; None for any other arm.

    `evalkit compare --checkpoints` names such an arm RUN-step-N over the adapter in
    checkpoints/checkpoint-N, or at the end of the run in adapter/. Both are in the manifest's
    configuration, so they are known wherever the run is. An arm that a user described in a file
    of its own is not taken for one: it was asked for by itself.
    """
    model = manifest.config.get("model") or {}
    named = _NAMED.fullmatch(manifest.name)
    if named is None or not model.get("adapter"):
        return None
    folder, number = PurePath(model["adapter"]), int(named[1])
    if folder.name == "adapter":
        return Step(str(folder.parent), number)
    if folder.parent.name == "checkpoints" and folder.name == f"checkpoint-{number}":
        return Step(str(folder.parent.parent), number)
    return None


def curves(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[Curve]:
    """Each training run of which checkpoints were compared, in the order of the command."""
    found: dict[str, list[tuple[int, Comparison, Verdict]]] = {}
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        step = training_step(comparison.tuned)
        if step is not None:
            found.setdefault(step.run, []).append((step.number, comparison, verdict))
    return [_curve(run, sorted(rows, key=lambda row: row[0])) for run, rows in found.items()]


def _curve(run: str, rows: Sequence[tuple[int, Comparison, Verdict]]) -> Curve:
    verdicts = tuple(verdict for _, _, verdict in rows)
    # Of equals the earliest: it has moved least from the base.
    best = max(range(len(rows)), key=lambda place: (_quality(verdicts[place]), -place))
    return Curve(
        run=one_line(PurePath(run).name),
        steps=tuple(step for step, _, _ in rows),
        comparisons=tuple(comparison for _, comparison, _ in rows),
        verdicts=verdicts,
        best=best,
    )


def _quality(verdict: Verdict) -> tuple[int, int, int, float]:
    """What one would ship rather: by outcome, suites failed, suites passed, distance to spare."""
    outcomes = [one.outcome for one in verdict.suites]
    return (
        _ORDER.index(verdict.outcome),
        -outcomes.count("fail"),
        outcomes.count("pass"),
        _clearance(verdict.suites),
    )


def _clearance(suites: Sequence[SuiteVerdict]) -> float:
    """Mean distance of the gated differences from their thresholds, in half-widths of their
    intervals, better is more: so that metrics of different units can be put together."""
    found = [far for one in suites if (far := _distance(one)) is not None]
    return math.fsum(found) / len(found) if found else -_FAR


def _distance(one: SuiteVerdict) -> float | None:
    gain = benefit(one.delta) if one.delta is not None else None
    if one.delta is None or gain is None or one.threshold is None:
        return None
    if one.delta.low is None or one.delta.high is None:
        return None
    spare = gain - one.threshold
    reach = (one.delta.high - one.delta.low) / 2
    if reach <= 0:
        return math.copysign(_FAR, spare)
    return max(-_FAR, min(_FAR, spare / reach))


def speaking(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]
) -> list[tuple[Comparison, Verdict]]:
    """The arms that decide: each asked for by itself, and of each training run the best."""
    best = [curve.comparisons[curve.best] for curve in curves(comparisons, verdicts)]
    return [
        (comparison, verdict)
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        if training_step(comparison.tuned) is None or any(comparison is one for one in best)
    ]


def deciding(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]
) -> tuple[Comparison, Verdict]:
    """The arm whose verdict is the command's: of those that speak, the one hardest to ship."""
    arms = speaking(comparisons, verdicts)
    last = worst(verdict for _, verdict in arms)
    return next(arm for arm in arms if arm[1] is last)


def caution(curve: Curve) -> str:
    """Which checkpoint is the best, and what choosing it does to its numbers."""
    name = one_line(curve.comparisons[curve.best].tuned.name)
    best = f"{name} is the best of {len(curve.steps)} checkpoints"
    if curve.verdicts[curve.best].outcome != "pass":
        return f"{best}."
    return (
        f"{best}, chosen on these very samples, which flatters it: confirm it on samples that "
        "took no part in the choice."
    )
