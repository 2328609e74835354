"""Deciding early: samples are asked in growing blocks, and a suite is left once it is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.canaries import answers_that_differ
from evalkit.compare import scored_pairs
from evalkit.config import GateConfig, HFModel
from evalkit.errors import UsageError
from evalkit.evaluate import Evaluation
from evalkit.gate.decide import UNJUDGED, alone_among, claims, policy_of, settles, why_whole
from evalkit.harnesses.base import Suite
from evalkit.models.base import Outline
from evalkit.planning import Plan
from evalkit.progress import Progress, Silent
from evalkit.records import Delta, EarlyStop, Pair, Run, SuiteInfo
from evalkit.sequences import in_order, of_slice, planned, watched
from evalkit.store.completions import CompletionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The blocks in which a suite's samples are asked (ids); `whole` says why there is but one."""

    info: SuiteInfo
    blocks: tuple[tuple[str, ...], ...]
    early: EarlyStop
    whole: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of samples in each block."""
        return tuple(map(len, self.blocks))


def make_schedules(plan: Plan) -> list[Schedule]:
    """How each suite of a plan is cut into blocks, by the base's seed and gate."""
    config = plan.arms[0].config
    return [_schedule(suite, config.gate, config.seed, plan) for suite in plan.suites]


def _schedule(suite: Suite, gate: GateConfig, seed: int, plan: Plan) -> Schedule:
    among = claims([one.info for one in plan.suites], gate)
    levels = sorted({gate.alpha, alone_among(gate.alpha, among)}, reverse=True)
    whole = UNJUDGED if suite.info.name in plan.waiting else why_whole(suite.info, gate)
    places = [list(range(len(suite.samples)))] if whole else in_order(suite.samples, seed)
    return Schedule(
        info=suite.info,
        blocks=tuple(tuple(suite.samples[place].id for place in block) for block in places),
        early=replace(
            planned(suite.samples, levels),
            metric=suite.info.metric,
            claims=("", *_declared(gate, suite.info.name)),
            absolute=policy_of(suite.info, gate) == "absolute",
        ),
        whole=whole,
    )


def check_sequential(plan: Plan) -> None:
    """UsageError where the arms cannot be asked in turns."""
    local = [
        engine
        for engine in plan.engines
        if any(arm.engine is engine and isinstance(arm.config.model, HFModel) for arm in plan.arms)
    ]
    if len(local) > 1:
        names = "; ".join(", ".join(engine.arms) for engine in local)
        raise UsageError(
            "--sequential asks all models in turns, block by block, so they must be loaded at "
            f"once, and these do not share one base: {names}. Compare adapters of one base, or "
            "models behind endpoints, or leave --sequential out."
        )


def evaluate_early(
    plan: Plan,
    store: CompletionStore,
    output: Path,
    *,
    fresh: bool = False,
    profile: bool = False,
    progress: Progress | None = None,
) -> list[Run]:
    """`evaluate`, but each suite is asked only until its verdict is settled for every tuned arm.

    The same answers give the same blocks, looks and stops: a killed run ends as it would have.
    """
    check_sequential(plan)
    progress = progress or Silent()
    work = Evaluation(plan, store, fresh=fresh, profile=profile, progress=progress)
    schedules = make_schedules(plan)
    for one in schedules:
        if one.whole:
            progress.say(f"{one.info.name} is asked as a whole: {one.whole}")
    asked: Counter[str] = Counter()  # blocks
    settled: set[str] = set()
    while wanted := _next_blocks(schedules, asked, settled):
        work.ask(plan.part(wanted))
        asked.update(wanted.keys())
        for one in schedules:
            if (
                one.info.name in wanted
                and not one.whole
                and _is_settled(plan, work, one, schedules)
            ):
                settled.add(one.info.name)
                count = sum(one.sizes[: asked[one.info.name]])
                progress.say(f"{one.info.name}: settled after {count:,} of {one.early.planned:,}")
    early = {
        one.info.name: _stopped(one, asked[one.info.name], plan, settled)
        for one in schedules
        if not one.whole
    }
    return work.write(output, early)


def _next_blocks(
    schedules: Sequence[Schedule], asked: Mapping[str, int], settled: Container[str]
) -> dict[str, Collection[str]]:
    """The next block of every suite that is not settled and not at its end."""
    return {
        one.info.name: frozenset(one.blocks[asked[one.info.name]])
        for one in schedules
        if one.info.name not in settled and asked[one.info.name] < len(one.blocks)
    }


def _is_settled(plan: Plan, work: Evaluation, one: Schedule, schedules: Sequence[Schedule]) -> bool:
    base, *tuned = plan.arms
    gate = base.config.gate
    among = claims([each.info for each in schedules], gate)
    for arm in tuned:
        pairs = _pairs(work, base.config.name, arm.config.name, one)
        # Two models that answer all alike end in an error, not in a verdict: see `canaries`.
        if not answers_that_differ(pairs):
            return False
        deltas = {part: _seen(one, pairs, part) for part in one.early.claims}
        if not settles(one.info, deltas, gate, among):
            return False
    return True


def _declared(gate: GateConfig, suite: str) -> tuple[str, ...]:
    own = gate.suites.get(suite)
    return own.must_not_regress if own else ()


def _pairs(work: Evaluation, base: str, tuned: str, one: Schedule) -> list[Pair]:
    """What was answered so far, in the order in which it was asked."""
    mine, theirs = work.results(base, one.info.name), work.results(tuned, one.info.name)
    order = (sample for block in one.blocks for sample in block)
    return [Pair(base=mine[each], tuned=theirs[each]) for each in order if each in mine]


def _seen(one: Schedule, pairs: Sequence[Pair], name: str) -> Delta:
    """The gated difference of the suite or of a slice, as it is known so far."""
    early = of_slice(one.early, name) if name else one.early
    if name:
        pairs = [pair for pair in pairs if name in pair.base.sample.slice_names]
    delta, scored = scored_pairs(one.info.name, one.info.gated, pairs)
    delta = replace(delta, planned=early.planned)
    if scored is None:
        return delta
    bases, tuneds = scored.values()
    known = replace(delta, difference=float((tuneds - bases).mean()), tuned=float(tuneds.mean()))
    return watched(known, scored, early, early.alphas)


def _stopped(one: Schedule, blocks: int, plan: Plan, settled: Container[str]) -> EarlyStop:
    """What is remembered of a suite; requests are those of one arm, which all are asked alike."""
    seen = {sample for block in one.blocks[:blocks] for sample in block}
    mine = [r.request for r in plan.arms[0].prepared if r.request.suite == one.info.name]
    return replace(
        one.early,
        asked=len(seen),
        settled=one.info.name in settled,
        planned_requests=len(mine),
        requests=sum(request.sample_id in seen for request in mine),
    )


def most_work(plan: Plan, known: Container[str]) -> list[Outline]:
    """What each engine has to do at most: every block, each with its own batches."""
    schedules = make_schedules(plan)
    found: list[list[Outline]] = []
    asked: Counter[str] = Counter()
    while wanted := _next_blocks(schedules, asked, ()):
        found.append(plan.part(wanted).outlines(known))
        asked.update(wanted.keys())
    return [_added(parts) for parts in zip(*found, strict=True)]


def _added(parts: Sequence[Outline]) -> Outline:
    times = [one.seconds for one in parts]
    known = [time for time in times if time is not None]
    return replace(
        parts[0],
        requests=sum(one.requests for one in parts),
        tokens=sum(one.tokens for one in parts),
        unique_tokens=sum(one.unique_tokens for one in parts),
        read_tokens=sum(one.read_tokens for one in parts),
        assumed=any(one.assumed for one in parts),
        packets=sum(one.packets for one in parts),
        flop=sum(one.flop for one in parts),
        seconds=sum(known) if len(known) == len(times) else None,
    )
