"""What `run` and `compare` do, stage by stage: plan, evaluate, judge, compare; or show the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from evalkit.cli.options import Manner, Results, working

if TYPE_CHECKING:
    from evalkit.config import RunConfig
    from evalkit.evaluate import Plan
    from evalkit.judging.arms import Compared
    from evalkit.judging.docket import Docket
    from evalkit.models.base import Outline
    from evalkit.noise import Pilot
    from evalkit.progress import Progress
    from evalkit.records import Run
    from evalkit.sequential import Schedule
    from evalkit.store.completions import CompletionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a comparison is made, beyond what its files say."""

    sequential: bool = False
    pilot: Path | None = None
    allow_code: bool = False
    judged: bool = True


class Done(NamedTuple):
    """The runs, and each tuned arm compared with the base; both empty after a dry run."""

    runs: list[Run]
    compared: list[Compared]


def evaluate_arms(
    configs: Sequence[RunConfig], results: Results, manner: Manner, wishes: Wishes
) -> Done:
    """Plan, evaluate all arms, and have each tuned one judged and compared with the base.

    Nothing comes back from a dry run, which only shows the plan.
    """
    from evalkit.cli.power import read_pilot
    from evalkit.evaluate import open_plan, open_suites
    from evalkit.gate.asked import check_slices
    from evalkit.gate.decide import check_gate
    from evalkit.home import home
    from evalkit.judging.arms import compare_arms
    from evalkit.judging.docket import make_docket
    from evalkit.judging.foreseen import check_judges
    from evalkit.needs import naming_what_is_missing
    from evalkit.store.completions import CompletionStore
    from evalkit.store.runs import check_writable

    known_noise = read_pilot(wishes.pilot) if wishes.pilot else None
    comparing = len(configs) > 1
    with working(manner) as progress, CompletionStore(home() / "completions.sqlite") as store:
        with naming_what_is_missing(configs, offline=manner.offline):
            suites = open_suites(configs[0], allow_code_execution=wishes.allow_code)
            docket = make_docket(suites, configs[0], wanted=wishes.judged)
            check_gate([suite.info for suite in docket.suites], configs[0].gate)
            if comparing:
                check_judges(
                    docket,
                    store,
                    offline=manner.offline,
                    several=len(configs) > 2,
                    progress=progress,
                )
                check_slices([(one.info, one.samples) for one in suites], configs[0].gate)
            if not results.dry_run:
                check_writable(results.output)
            plan = open_plan(configs, suites, offline=manner.offline, progress=progress)
        plan = docket.planned(plan)
        if results.dry_run:
            _show_plan(plan, docket, store, known_noise, results, manner, wishes, progress)
            return Done([], [])
        runs = _evaluated(plan, store, results, wishes, progress)
        if not comparing:
            return Done(runs, [])
        for note in docket.notes:
            progress.say(note)
        compared = compare_arms(
            docket,
            runs,
            store,
            offline=manner.offline,
            fresh=results.fresh,
            progress=progress,
        )
        return Done(runs, compared)


def _evaluated(
    plan: Plan, store: CompletionStore, results: Results, wishes: Wishes, progress: Progress
) -> list[Run]:
    """The runs; the engines are closed then, so that a local judge finds room."""
    from evalkit.evaluate import evaluate
    from evalkit.sequential import check_sequential, evaluate_early

    try:
        if wishes.sequential:
            check_sequential(plan)
        return (evaluate_early if wishes.sequential else evaluate)(
            plan,
            store,
            results.output,
            fresh=results.fresh,
            profile=results.profile,
            progress=progress,
        )
    finally:
        for engine in plan.engines:
            engine.close()


class _Outlook(NamedTuple):
    """What would have to be done: keys that are stored, each engine's work, blocks of suites."""

    known: set[str]
    outlines: Sequence[Outline]
    schedules: Sequence[Schedule]


def _outlook(plan: Plan, store: CompletionStore, results: Results, wishes: Wishes) -> _Outlook:
    from evalkit.sequential import check_sequential, make_schedules, most_work

    try:
        if wishes.sequential:
            check_sequential(plan)
        known = set() if results.fresh else store.known(plan.keys())
        outlines = most_work(plan, known) if wishes.sequential else plan.outlines(known)
        return _Outlook(known, outlines, make_schedules(plan) if wishes.sequential else ())
    finally:
        for engine in plan.engines:
            engine.close()


def _show_plan(
    plan: Plan,
    docket: Docket,
    store: CompletionStore,
    pilot: Pilot | None,
    results: Results,
    manner: Manner,
    wishes: Wishes,
    progress: Progress,
) -> None:
    """What would be asked and, of a comparison, what its judges would be and what its gate could
    decide by it."""
    from evalkit.judging.foreseen import foresee
    from evalkit.power import power_of
    from reports.machine import plan_json
    from reports.terminal import print_plan, print_power

    config, comparing = plan.arms[0].config, len(plan.arms) > 1
    known, outlines, schedules = _outlook(plan, store, results, wishes)
    judges = foresee(
        docket, plan, store, offline=manner.offline, fresh=results.fresh, progress=progress
    )
    power = (
        power_of(
            docket.suites,
            config.gate,
            pilot,
            config.decoding.repeats,
            sequential=bool(schedules),
        )
        if comparing
        else []
    )
    if results.as_json:
        typer.echo(plan_json(plan.costs(known), outlines, power, config.gate, schedules, judges))
        return
    notes = (*plan.notes, *(docket.notes if comparing else ()))
    print_plan(plan.costs(known), outlines, notes, schedules=schedules, judges=judges)
    if power:
        print_power(power, config.gate)
