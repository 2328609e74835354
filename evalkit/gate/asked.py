"""What a gate asks of each suite and of each slice declared in it, and what it cannot ask."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import UsageError
from evalkit.records import Metric, Policy, Sample, SuiteInfo, is_judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of one suite, or of one slice of it."""

    info: SuiteInfo
    slice: str = ""
    metric: str
    policy: Policy
    margin: float
    floor: float | None = None
    ceiling: float | None = None

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.info.name

    @property
    def scored(self) -> Metric:
        """What `metric` names; of a gate that `check_gate` let pass."""
        return next(one for one in self.info.metrics if one.name == self.metric)

    @property
    def threshold(self) -> float | None:
        """What the benefit is held against; None where the tuned score itself is held against
        `floor` and `ceiling`."""
        if self.policy == "absolute":
            return None
        return self.margin if self.policy == "superiority" else -self.margin


def asked_of(info: SuiteInfo, gate: GateConfig) -> list[Asked]:
    """The suite, then its declared slices: its own gate says it, or the default, or the suite."""
    own = gate.suites.get(info.name) or SuiteGate()
    margins = (own.margin, gate.margin, info.margin)
    margin = next(value for value in margins if value is not None)
    metric = own.metric or info.metric
    whole = Asked(
        info=info,
        metric=metric,
        policy=own.policy or gate.policy or info.policy,
        margin=margin,
        floor=own.floor,
        ceiling=own.ceiling,
    )
    sliced = [
        Asked(
            info=info,
            slice=name,
            metric=metric,
            policy="non_inferiority",
            margin=margin if own.slice_margin is None else own.slice_margin,
        )
        for name in own.must_not_regress
    ]
    return [whole, *sliced]


def check_gate(suites: Sequence[SuiteInfo], gate: GateConfig) -> None:
    """UsageError with all that these suites cannot answer; to be asked before the work."""
    infos = {info.name: info for info in suites}
    strangers = [name for name in gate.suites if name not in infos]
    mistakes = []
    if strangers:
        names, are = ", ".join(map(repr, strangers)), "is" if len(strangers) == 1 else "are"
        mistakes.append(
            f"gate.suites names {names}, which {are} not among the suites: {', '.join(infos)}."
        )
    for info in suites:
        own = gate.suites.get(info.name)
        mistakes += _metric_mistakes(info, (own and own.metric) or info.metric)
        mistakes += _expectation_mistakes(info, own, asked_of(info, gate)[0].policy)
        mistakes += _margin_mistakes(info, own, gate)
        mistakes += _slice_mistakes(info, own) if own else ()
        policy = asked_of(info, gate)[0].policy
        if policy == "absolute" and (own is None or own.policy != "absolute"):
            mistakes.append(
                f"gate.suites: {info.name} is gated by policy absolute, which needs a floor or a "
                "ceiling of its own."
            )
    if mistakes:
        raise UsageError("\n".join(mistakes))


def check_slices(asked: Iterable[tuple[SuiteInfo, Sequence[Sample]]], gate: GateConfig) -> None:
    """UsageError for declared slices of which a limit leaves no sample to ask.

    They would fail, whatever the tuned arm answers; of the gate itself `check_gate` has spoken.
    """
    mistakes = []
    for info, samples in asked:
        held = {name for sample in samples for name in sample.slice_names}
        own = gate.suites.get(info.name) or SuiteGate()
        for name in own.must_not_regress:
            if name not in held:
                whole = (info.slices or {}).get(name)
                of_all = f" ({whole:,} of all {info.available:,} are)" if whole else ""
                mistakes.append(
                    f"gate.suites: none of the {len(samples):,} samples of {info.name} that are "
                    f"asked is in {name}, which must not regress{of_all}. Raise --limit (`limit` "
                    "in the base's file), or leave it out."
                )
    if mistakes:
        raise UsageError("\n".join(mistakes))


def _metric_mistakes(info: SuiteInfo, name: str) -> Iterator[str]:
    found = next((metric for metric in info.metrics if metric.name == name), None)
    if found is None and is_judged(name) and not any(is_judged(m.name) for m in info.metrics):
        yield (
            f"gate.suites: {info.name} is gated on {name!r}, and no judge was asked of it. Judged "
            "numbers stand in a comparison's folder (runs/compare/…), not in those of its runs; "
            "they come of `judge` in the base's file, without --no-judge."
        )
    elif found is None:
        known = [one.name for one in info.metrics if one.higher_is_better is not None]
        hint = nearest(name, known, f" It has: {', '.join(known)}.")
        yield f"gate.suites: {info.name} has no metric {name!r} to gate.{hint}"
    elif found.higher_is_better is None:
        yield (
            f"gate.suites: {name!r} of {info.name} only describes: more of it is neither better "
            "nor worse, so it cannot be gated."
        )


def _margin_mistakes(info: SuiteInfo, own: SuiteGate | None, gate: GateConfig) -> Iterator[str]:
    """A margin in another unit allows anything, and everything passes: five points are 0.05."""
    asked = asked_of(info, gate)[0]
    metric = next((one for one in info.metrics if one.name == asked.metric), None)
    if metric is None:
        return
    declared = gate.margin if own is None or own.margin is None else own.margin
    meant = info.margin_metric or info.metric
    scales = {one.name: one.scale for one in info.metrics}
    alike = metric.scale is not None and metric.scale == scales.get(meant)
    if asked.metric != meant and not alike and declared is None and asked.policy != "absolute":
        yield (
            f"gate.suites: the margin of {info.name} was declared for {meant!r}; to gate it "
            f"on {asked.metric!r}, declare a margin in that unit: suites.{info.name}.margin."
        )
    if metric.scale is None:
        return
    least, most = metric.scale
    hint = " Five points are 0.05." if most - least == 1 else ""
    margins = {one.margin for one in asked_of(info, gate) if one.policy != "absolute"}
    for margin in sorted(margins):
        if margin >= most - least:
            yield (
                f"gate: a margin of {margin:g} allows any difference there can be in {info.name}: "
                f"{asked.metric!r} lies between {least:g} and {most:g}.{hint}"
            )
    for bound in (asked.floor, asked.ceiling):
        if bound is not None and not least <= bound <= most:
            yield (
                f"gate.suites: {asked.metric!r} of {info.name} lies between {least:g} and "
                f"{most:g}, so {bound:g} is no bound of it.{hint}"
            )


def _expectation_mistakes(info: SuiteInfo, own: SuiteGate | None, policy: Policy) -> Iterator[str]:
    """What is expected of a suite must fit its scores, or it would say nothing, unnoticed."""
    name = (own and own.metric) or info.metric
    metric = next((one for one in info.metrics if one.name == name), None)
    if own is None or own.expect is None or metric is None:
        return
    if policy in ("absolute", "point"):
        on = "on the tuned score itself" if policy == "absolute" else "which knows no noise"
        yield (
            f"gate.suites: {info.name} is gated by policy {policy}, {on}, and expect is of the "
            "noise of differences. Leave it out."
        )
        return
    binary = metric.kind == "binary"
    wrong, right = ("deviation", "flips") if binary else ("flips", "deviation")
    if getattr(own.expect, wrong) is not None:
        yield (
            f"gate.suites: expect.{wrong} of {info.name} says nothing of {name!r}, which is "
            f"{'right or wrong' if binary else 'not right or wrong'}. Declare expect.{right}."
        )


_LISTED = 12  # slices named in a message


def _slice_mistakes(info: SuiteInfo, own: SuiteGate) -> Iterator[str]:
    """Slices that the suite does not have; a run that does not tell its slices is not asked."""
    if info.slices is not None:
        for name in own.must_not_regress:
            if name not in info.slices:
                hint = nearest(name, info.slices, _listed(info.slices))
                yield f"gate.suites: {info.name} has no slice {name!r}.{hint}"
    if own.must_not_regress and own.metric not in (None, info.metric):
        yield (
            f"gate.suites: the slices of {info.name} were compared on {info.metric!r}; to gate "
            f"them on {own.metric!r}, declare that in the base's file and compare again."
        )


def _listed(slices: Collection[str]) -> str:
    if not slices:
        return " It has no slices: its suite.yaml names the fields of samples that make them."
    more = f" and {len(slices) - _LISTED:,} more" if len(slices) > _LISTED else ""
    return f" It has: {', '.join(sorted(slices)[:_LISTED])}{more}."


def nearest(name: str, known: Collection[str], otherwise: str = "") -> str:
    """A hint at the name that was meant, or else the other text."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else otherwise
