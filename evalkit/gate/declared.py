"""The gate that was declared before the run, and how another one departs from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from evalkit.config import GateConfig, JudgeConfig, RunConfig
from evalkit.errors import UsageError
from evalkit.gate.asked import Asked, asked_of
from evalkit.records import Comparison, Manifest


def declared_gate(base: Manifest) -> GateConfig:
    """The gate that stands in the base's file; UsageError where it is none by today's rules."""
    try:
        return GateConfig.model_validate(base.config.get("gate", {}))
    except ValidationError as error:
        said = "; ".join(one["msg"] for one in error.errors())
        raise UsageError(
            f"The gate that {base.name!r} was evaluated with is no valid gate: {said}. Give "
            "another with --gate FILE."
        ) from None


def declared_judge(base: Manifest) -> JudgeConfig | None:
    """The judge that stands in the base's file; None where others judged, as in imported logs.

    UsageError where it is none by today's rules.
    """
    told = base.config.get("judge")
    if told is None:
        return None
    try:
        return JudgeConfig.model_validate(told)
    except ValidationError as error:
        said = "; ".join(one["msg"] for one in error.errors())
        raise UsageError(
            f"The comparison of {base.name!r} has judged numbers, and the judge declared with it "
            f"cannot be read: {said}. Compare again."
        ) from None


def departures(comparison: Comparison, gate: GateConfig) -> tuple[str, ...]:
    """How a gate is another than the base declares, thing by thing; empty where it is the same.

    A margin is worth something because it was declared before the run, so this is to be told.
    """
    if "gate" not in comparison.base.config:
        return ()
    declared = declared_gate(comparison.base)
    if declared == gate:
        return ()
    return tuple(_changes(comparison.base, declared, gate))


def _changes(base: Manifest, declared: GateConfig, gate: GateConfig) -> Iterator[str]:
    before, after = _questions(base, declared), _questions(base, gate)
    for name, asked in before.items():
        if name not in after:
            yield f"left out: {name}"
        elif (old := _words(asked)) != (new := _words(after[name])):
            yield f"{name}: {old} → {new}"
    yield from (f"added: {name}" for name in after if name not in before)
    for key in ("alpha", "max_missing", "on_inconclusive"):
        old, new = getattr(declared, key), getattr(gate, key)
        if old != new:
            yield f"{key}: {old} → {new}"


def _questions(base: Manifest, gate: GateConfig) -> dict[str, Asked]:
    return {
        f"{one.suite}[{one.slice}]" if one.slice else one.suite: one
        for info in base.suites
        for one in asked_of(info, gate)
    }


def _words(asked: Asked) -> str:
    bounds = [("floor", asked.floor), ("ceiling", asked.ceiling)]
    own = [f"{name} {value:g}" for name, value in bounds if value is not None]
    metric = "" if asked.metric == asked.info.metric else f" of {asked.metric}"
    return f"{asked.policy} {' '.join(own) or f'{asked.margin:g}'}{metric}"


def gate_override(text: str) -> str:
    """A --set of a gate: `gate.margin=…`, as it stands in a run's file, means `margin=…`."""
    return text.removeprefix("gate.")


def run_override(text: str) -> str:
    """A --set of a run's file: `margin=…`, as it stands in a gate's file, means `gate.margin=…`."""
    key = text.partition("=")[0]
    first = key.partition(".")[0]
    of_gate = first in GateConfig.model_fields and first not in RunConfig.model_fields
    return f"gate.{text}" if of_gate or key.startswith("suites.") else text


def check_effect(gate: GateConfig, suites: Sequence[str], overrides: Sequence[str]) -> None:
    """UsageError for a --set of a default that every suite overrides: it would change nothing."""
    for text in overrides:
        key, _, value = gate_override(text).partition("=")
        if key not in ("margin", "policy"):
            continue
        own = [gate.suites.get(name) for name in suites]
        if own and all(one is not None and getattr(one, key) is not None for one in own):
            every = "every suite declares" if len(own) > 1 else f"{suites[0]} declares"
            raise UsageError(
                f"--set {text} changes nothing: {every} a {key} of its own. Write "
                f"--set {text.partition(key)[0]}suites.{suites[0]}.{key}={value}."
            )
