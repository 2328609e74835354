"""What will be asked of whom: suites and arms become requests, before anything heavy is loaded."""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from evalkit.config import GateConfig, RunConfig, SuiteGate
from evalkit.errors import DataError, SuiteError
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import suite_folders
from evalkit.harnesses.opening import open_named
from evalkit.harnesses.sets import expanded
from evalkit.models.base import Batch, Engine, Outline, Prepared
from evalkit.models.opening import open_models
from evalkit.progress import Progress, Silent
from evalkit.records import Request, Sample, SuiteInfo
from evalkit.scorers.code.sandbox import walls


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """One arm's work: what it is asked, as its engine will see it, and how it is cut."""

    config: RunConfig
    engine: Engine
    prepared: tuple[Prepared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlan:
    """What one suite costs one arm; tokens are 0 where the engine takes text."""

    arm: str
    suite: str
    samples: int
    requests: int
    tokens: int
    new_tokens: int
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that will be asked, before anything heavy is loaded.

    The verdict on `waiting` suites is a judge's, so that none of them is settled while it is asked.
    """

    arms: tuple[ArmPlan, ...]
    suites: tuple[Suite, ...]
    engines: tuple[Engine, ...]
    notes: tuple[str, ...] = ()
    tokenise_seconds: float = 0.0
    waiting: frozenset[str] = frozenset()

    def costs(self, known: set[str]) -> list[SuitePlan]:
        """The cost of every (arm, suite); `known` are the keys that are already stored."""
        rows = []
        for arm in self.arms:
            mine = by_suite(arm)
            rows += [_cost(arm, suite, mine[suite.info.name], known) for suite in self.suites]
        return rows

    def work(self, engine: Engine) -> dict[str, Prepared]:
        """What an engine is asked, each key once."""
        return {one.key: one for arm in self.arms if arm.engine is engine for one in arm.prepared}

    def outlines(self, known: Container[str]) -> list[Outline]:
        """What each engine has to do for the answers that are not `known` yet."""
        with uncollected():
            return [
                engine.outline(missing_of(engine.batches(list(self.work(engine).values())), known))
                for engine in self.engines
            ]

    def part(self, wanted: Mapping[str, Collection[str]]) -> Plan:
        """What is asked of some samples alone, by suite; engines, arms and notes stay."""
        suites = tuple(
            replace(suite, samples=tuple(s for s in suite.samples if s.id in ids))
            for suite in self.suites
            if (ids := wanted.get(suite.info.name))
        )
        arms = tuple(
            replace(
                arm,
                prepared=tuple(
                    one
                    for one in arm.prepared
                    if one.request.sample_id in wanted.get(one.request.suite, ())
                ),
            )
            for arm in self.arms
        )
        return replace(self, arms=arms, suites=suites)

    def keys(self) -> set[str]:
        """The key of every answer that is needed."""
        return {one.key for arm in self.arms for one in arm.prepared}


def open_suites(
    config: RunConfig, *, allow_code_execution: bool = False, scored: bool = True
) -> list[Suite]:
    """The suites of a comparison, which are the base's, each with its limit and its gated metric.

    Raises one SuiteError with what is wrong in any of them. Suites that run what a model writes
    are refused without `allow_code_execution`, unless no answer of theirs is to be `scored`.
    """
    suites, mistakes = [], []
    for name, aspect in expanded(config.suites, suite_folders(), config.data).items():
        try:
            opened = open_named(name, config, allow_code_execution=allow_code_execution)
        except SuiteError as error:
            mistakes.append(str(error))
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        else:
            suites += [_as_asked(suite, aspect, config.gate) for suite in opened]
    if scored:
        suites, refusals = _sandboxed(suites, allowed=allow_code_execution)
        mistakes += refusals
    counts = Counter(suite.info.name for suite in suites)
    mistakes += [f"{name!r} is named twice, once by its tag or group, and would be gated twice."
                 for name, count in counts.items() if count > 1]  # fmt: skip
    if mistakes:
        raise SuiteError("\n".join(dict.fromkeys(mistakes)))
    return suites


def _sandboxed(suites: list[Suite], *, allowed: bool) -> tuple[list[Suite], list[str]]:
    """The suites, where those that run programs say in which sandbox; and why they may not."""
    running = [one.info.name for one in suites if any(each.runs_code for each in one.scorers)]
    if not running:
        return suites, []
    which = f"{', '.join(running)} {'runs' if len(running) == 1 else 'run'} what the models write"
    if not allowed:
        refusal = (
            f"{which}, in a sandbox. If that is meant, give --allow-code-execution; "
            "docs/scorers.md tells what the sandbox keeps from doing harm, and what it does not."
        )
        return suites, [refusal]
    found = walls()
    if not found.usable:
        refusal = (
            f"{which}, and this machine grants no sandbox for it ({found.lacking}). It takes Linux "
            "on x86_64 or aarch64 with seccomp, as nearly all have; `evalkit doctor` tries again."
        )
        return suites, [refusal]
    note = f"programs are run in a sandbox of {found.made_of}"
    noted = [
        replace(one, notes=(*one.notes, note)) if one.info.name in running else one
        for one in suites
    ]
    return noted, []


def _as_asked(suite: Suite, aspect: str, gate: GateConfig) -> Suite:
    info = replace(suite.info, aspect=aspect)
    return replace(suite, info=gated(info, gate.suites.get(info.name)))


def gated(info: SuiteInfo, gate: SuiteGate | None) -> SuiteInfo:
    """The suite with the metric its gate names: what is decided is what is to be explained.

    A metric it does not have is left for `check_gate` to refuse.
    """
    wanted = gate.metric if gate is not None else None
    if wanted is None or wanted not in {metric.name for metric in info.metrics}:
        return info
    meant = "" if wanted == info.metric else info.metric
    return replace(info, metric=wanted, margin_metric=meant)


def open_plan(
    configs: Sequence[RunConfig],
    suites: Sequence[Suite],
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Open every arm's source and plan; the weights are not loaded yet."""
    progress = progress or Silent()
    notes = [f"{suite.info.name}: {note}" for suite in suites for note in suite.notes]
    for note in notes:
        progress.say(note)
    engines = open_models(configs, offline=offline, progress=progress)
    return make_plan(configs, suites, engines, notes)


def make_plan(
    configs: Sequence[RunConfig],
    suites: Sequence[Suite],
    engines: Sequence[Engine],
    notes: Sequence[str] = (),
) -> Plan:
    """Turn suites into requests for every arm and let each arm's engine prepare them."""
    started = time.perf_counter()
    opened = {name: engine for engine in reversed(engines) for name in engine.arms}
    prepared: dict[str, tuple[Prepared, ...]] = {}
    with uncollected():
        for engine in engines:
            mine = [config for config in configs if opened[config.name] is engine]
            prepared |= _prepared(engine, mine, suites)
    arms = tuple(
        ArmPlan(config=config, engine=opened[config.name], prepared=prepared[config.name])
        for config in configs
    )
    return Plan(
        arms=arms,
        suites=tuple(suites),
        engines=tuple(engines),
        notes=tuple(notes),
        tokenise_seconds=time.perf_counter() - started,
    )


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would walk millions of records over and over; they are
    no rubbish, and hold no cycles."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _prepared(
    engine: Engine, configs: Sequence[RunConfig], suites: Sequence[Suite]
) -> dict[str, tuple[Prepared, ...]]:
    """What each arm of an engine is asked; prepared together, for they see the same tokens."""
    requests: list[Request] = []
    ends = {}
    for config in configs:
        for suite in suites:
            requests += _requests(config, suite)
        ends[config.name] = len(requests)
    prepared = engine.prepare(requests)
    starts = (0, *ends.values())
    return {
        name: tuple(prepared[start:end])
        for (name, end), start in zip(ends.items(), starts, strict=False)
    }


def _requests(config: RunConfig, suite: Suite) -> Iterator[Request]:
    limits = config.decoding.with_limits(suite.max_new_tokens, suite.stop, config.seed)
    decoding = replace(limits, thinking=config.thinking)
    asked = partial(Request, arm=config.name, suite=suite.info.name)
    for sample in suite.samples:
        if suite.asks:
            for index, one in enumerate(suite.asks[sample.id]):
                yield asked(
                    sample_id=sample.id,
                    kind=one.kind,
                    prompt=one.prompt,
                    continuation=one.continuation,
                    decoding=one.decoding,
                    index=index,
                )
            continue
        match suite.task:
            case "choice":
                for index, choice in enumerate(sample.choices):
                    yield asked(
                        sample_id=sample.id,
                        kind="loglikelihood",
                        prompt=sample.prompt,
                        continuation=suite.delimiter + choice,
                        index=index,
                    )
            case "generate":
                # An engine draws each index from a stream of its own, so that a later run with
                # more repeats finds these in the store.
                for index in range(config.decoding.repeats):
                    yield asked(
                        sample_id=sample.id,
                        kind="generate",
                        prompt=sample.prompt,
                        decoding=decoding,
                        index=index,
                    )
            case "perplexity":
                yield asked(
                    sample_id=sample.id, kind="rolling", prompt="", continuation=_text(sample)
                )
            case _:
                assert_never(suite.task)


def _text(sample: Sample) -> str:
    assert isinstance(sample.prompt, str)
    return sample.prompt


def by_suite(arm: ArmPlan) -> dict[str, list[Prepared]]:
    """What an arm is asked, by suite."""
    found: dict[str, list[Prepared]] = defaultdict(list)
    for one in arm.prepared:
        found[one.request.suite].append(one)
    return found


def _cost(arm: ArmPlan, suite: Suite, mine: Sequence[Prepared], known: set[str]) -> SuitePlan:
    # What a later turn asks is not known before the answer to the one before: it counts as a
    # request, without the tokens of its prompt.
    later = sum(len(sample.then) for sample in suite.samples) * arm.config.decoding.repeats
    longest = max((one.decoding.max_new_tokens for one in mine if one.decoding), default=0)
    return SuitePlan(
        arm=arm.config.name,
        suite=suite.info.name,
        samples=len(suite.samples),
        requests=len(mine) + later,
        tokens=sum(len(one.prompt_ids) + len(one.continuation_ids) for one in mine),
        new_tokens=sum(one.decoding.max_new_tokens for one in mine if one.decoding)
        + later * longest,
        stored=sum(one.key in known for one in mine),
    )


def missing_of(batches: Iterable[Batch], known: Container[str]) -> list[Batch]:
    """The batches without what is known, where anything is left."""
    # Cutting everything, stored or not, gives the same batches after a kill as before it, and for
    # a later arm as for an earlier one.
    return [left for batch in batches if (left := batch.without(known))]
