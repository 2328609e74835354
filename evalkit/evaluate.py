"""evaluate(): arms and suites become runs; nothing is computed twice, and a killed one resumes."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import evalkit
from evalkit.errors import ModelError
from evalkit.harnesses.base import Suite
from evalkit.models.base import Engine, Outline, Prepared
from evalkit.planning import (
    ArmPlan,
    Plan,
    SuitePlan,
    by_suite,
    make_plan,
    missing_of,
    open_plan,
    open_suites,
    uncollected,
)
from evalkit.progress import Progress, Silent
from evalkit.records import Completion, EarlyStop, Manifest, Result, Run
from evalkit.scorers.generated import unusable
from evalkit.scoring import Answered, score_suite
from evalkit.store.completions import CompletionStore
from evalkit.store.runs import SCHEMA_VERSION, write_run
from evalkit.store.shelf import Shelf
from evalkit.thinking import answer_only
from evalkit.turns import Said, last_answers, next_turn

__all__ = [
    "Plan",
    "SuitePlan",
    "evaluate",
    "make_plan",
    "open_plan",
    "open_suites",
]  # all that a run takes

_VERSIONS = ("evalkit-compare", "torch", "transformers", "tokenizers", "peft", "bitsandbytes",
             "numpy", "scipy", "scikit-learn", "sacrebleu", "openai", "lm_eval")  # fmt: skip

_START = 8  # first token ids that are kept of a prompt, to be shown with the canaries


def evaluate(
    plan: Plan,
    store: CompletionStore,
    output: Path,
    *,
    fresh: bool = False,
    profile: bool = False,
    progress: Progress | None = None,
) -> list[Run]:
    """Answer what is not stored yet, score everything, write one run folder per arm.

    `profile` also measures what the machine could do, for the manifests.
    """
    work = Evaluation(plan, store, fresh=fresh, profile=profile, progress=progress)
    # One engine after the other: two models need not fit beside each other.
    work.ask(plan, close=len(plan.engines) > 1)
    return work.write(output)


class Evaluation:
    """A plan on its way to runs: part after part of it is asked and scored, then all is written."""

    def __init__(
        self,
        plan: Plan,
        store: CompletionStore,
        *,
        fresh: bool = False,
        profile: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """`fresh`: what is stored is asked again; `profile`: the machine is measured, too."""
        self._plan = plan
        self._store = store
        self._fresh = fresh
        self._profile = profile
        self._progress = progress or Silent()
        self._started, self._clock = _now(), time.perf_counter()
        self._costs: dict[str, dict[str, float]] = {one.config.name: {} for one in plan.arms}
        self._results: dict[str, dict[tuple[str, str], Result]] = {name: {} for name in self._costs}
        self._notes: dict[str, list[str]] = {name: [] for name in self._costs}

    def ask(self, part: Plan, *, close: bool = False) -> None:
        """Answer a part of the plan and score it; `close` each engine that has done its own.

        Raises ModelError where not one request was answered so far.
        """
        failed: dict[str, Completion] = {}
        later: list[ArmPlan] = []
        for engine in part.engines:
            asked: Plan | None = part
            turn = 0
            while asked is not None:
                answered = _answer(engine, asked, self._store, self._fresh, self._progress)
                failed |= answered.failed
                self._spend(engine, answered.measures)
                turn += 1
                asked = next_turn(asked, engine, turn, self._said(failed))
                later += asked.arms if asked is not None else ()
            if close:
                engine.close()
        for arm in (_with_turns(arm, later) for arm in part.arms):
            mine = self._results[arm.config.name]
            for result in _results(arm, part.suites, self._store, failed, self._progress):
                mine[result.sample.suite, result.sample.id] = result
            self._notes[arm.config.name] += [
                f"{suite.info.name}: {note}" for suite in part.suites for note in suite.remarks()
            ]
            _refuse_silence(arm, mine.values())

    def _spend(self, engine: Engine, measures: Mapping[str, float]) -> None:
        for name in engine.arms:
            spent = self._costs[name]
            for what, cost in measures.items():
                spent[what] = spent.get(what, 0.0) + cost

    def _said(self, failed: Mapping[str, Completion]) -> Said:
        """What was answered, as it is scored: a later turn follows the same words."""

        def said(one: Prepared) -> str | None:
            if one.key in failed:
                return None
            answer = _restored(one, self._store.get([one.key])[one.key])
            return None if unusable(answer) else answer.text

        return said

    def results(self, arm: str, suite: str) -> dict[str, Result]:
        """An arm's results of a suite so far, by sample."""
        return {one: found for (name, one), found in self._results[arm].items() if name == suite}

    def write(self, output: Path, early: Mapping[str, EarlyStop] | None = None) -> list[Run]:
        """Write the runs; `early` says how far each suite went that could be stopped.

        The results are in the order of the suites, whatever was asked first.
        """
        machine = {  # measured once for each engine
            name: dict(engine.profile()) if self._profile else {}
            for engine in self._plan.engines
            for name in engine.arms[:1]
        }
        runs = []
        for arm in self._plan.arms:
            mine = self._results[arm.config.name]
            keys = ((s.info.name, one.id) for s in self._plan.suites for one in s.samples)
            results = [mine[key] for key in keys if key in mine]
            spent = {
                **self._costs[arm.config.name],
                "tokenise_seconds": self._plan.tokenise_seconds,
                **machine[arm.engine.arms[0]],
                "seconds": time.perf_counter() - self._clock,
            }
            told = self._notes[arm.config.name]
            manifest = _manifest(arm, self._plan, results, self._started, spent, early or {}, told)
            runs.append(write_run(output / manifest.run_id, manifest, results))
        return runs


class _Answered(NamedTuple):
    """The completions that failed, which are not stored, so that the next start asks for them
    again; and what planning and storing cost."""

    failed: dict[str, Completion]
    measures: dict[str, float]


def _answer(
    engine: Engine, plan: Plan, store: CompletionStore, fresh: bool, progress: Progress
) -> _Answered:
    """Run one engine's batches, as far as their answers are not stored."""
    started = time.perf_counter()
    failed: dict[str, Completion] = {}
    with uncollected():
        work = plan.work(engine)
        known = set() if fresh else store.known(work)
        parts = _begin(engine, plan, known, progress)
        batches = missing_of(engine.batches(list(work.values())), known) if parts else []
        measures = _outlined(engine.outline(batches)) if batches else {}
    measures["plan_seconds"] = time.perf_counter() - started
    with Shelf(store) as shelf:
        for batch in batches:
            left = {one.key for one in batch}
            for answer in engine.complete(batch):
                left.remove(answer.key)
                if answer.error:
                    failed[answer.key] = answer
                else:
                    shelf.put(answer)
                for part in parts[answer.key]:
                    progress.advance(part)
            assert not left, "an engine lost a request"
            shelf.keep()
    measures["store_seconds"] = shelf.seconds
    return _Answered(failed, measures)


def _begin(
    engine: Engine, plan: Plan, known: Container[str], progress: Progress
) -> dict[str, tuple[str, ...]]:
    """Show what an engine's arms are asked; gives each missing answer's parts of the progress."""
    parts: dict[str, tuple[str, ...]] = {}
    for arm in plan.arms:
        if arm.engine is not engine:
            continue
        mine = by_suite(arm)
        for suite in plan.suites:
            part = f"{arm.config.name} · {suite.info.name}"
            asked = mine[suite.info.name]
            missing = [one.key for one in asked if one.key not in known]
            progress.start(part, len(asked), len(asked) - len(missing))
            alone = (part,)
            for key in missing:  # one answer may serve several requests
                parts[key] = parts[key] + alone if key in parts else alone
    return parts


def _outlined(outline: Outline) -> dict[str, float]:
    """What had to be done, as it was planned, for the manifest."""
    planned = {"packets": float(outline.packets)}
    if outline.tokens:
        planned["tokens_asked"] = float(outline.tokens)
        planned["tokens_unique"] = float(outline.unique_tokens)
        planned["flop_unique"] = outline.flop
    if outline.seconds is not None:
        planned["estimated_seconds"] = outline.seconds
    return planned


def _results(
    arm: ArmPlan,
    suites: Sequence[Suite],
    store: CompletionStore,
    failed: Mapping[str, Completion],
    progress: Progress,
) -> list[Result]:
    by_sample: dict[tuple[str, str], list[Prepared]] = defaultdict(list)
    for one in arm.prepared:
        by_sample[one.request.suite, one.request.sample_id].append(one)
    with uncollected():
        answered_keys = (one.key for one in arm.prepared if one.key not in failed)
        stored = dict(failed) | store.get_all(answered_keys)
    results = []
    for suite in suites:
        part = f"{arm.config.name} · {suite.info.name} · scores"
        progress.start(part, len(suite.samples))
        answered, completions = list[Answered](), []
        for sample in suite.samples:
            asked = by_sample[suite.info.name, sample.id]
            completions.append(tuple(_restored(one, stored[one.key]) for one in asked))
            last = last_answers(sample, asked, completions[-1], arm.config.decoding.repeats)
            answered.append((sample, last))
        with closing(score_suite(suite, answered)) as scored:
            for (sample, _), said, scores in zip(answered, completions, scored, strict=True):
                results.append(Result(sample=sample, completions=said, scores=scores))
                progress.advance(part)
    return results


def _with_turns(arm: ArmPlan, later: Sequence[ArmPlan]) -> ArmPlan:
    """The arm with what it was asked in later turns, turn after turn."""
    mine = [one for each in later if each.config is arm.config for one in each.prepared]
    return replace(arm, prepared=(*arm.prepared, *mine))


def _refuse_silence(arm: ArmPlan, results: Collection[Result]) -> None:
    if results and all(one.error for result in results for one in result.completions):
        first = next(one.error for result in results for one in result.completions)
        raise ModelError(f"{arm.config.name}: not one request could be answered. {first}")


def _restored(asked: Prepared, completion: Completion) -> Completion:
    if asked.decoding is not None:
        completion = answer_only(completion, asked.decoding.thinking, asked.prompt_text)
    return replace(
        completion,
        prompt_text=asked.prompt_text,
        prompt_hash=asked.prompt_hash,
        prompt_start=asked.prompt_ids[:_START],
        truncated=asked.truncated,
    )


def _manifest(
    arm: ArmPlan,
    plan: Plan,
    results: Sequence[Result],
    started: str,
    spent: Mapping[str, float],
    early: Mapping[str, EarlyStop],
    told: Sequence[str],
) -> Manifest:
    config = arm.config.model_dump(mode="json")
    fingerprints = dict(arm.engine.fingerprints(arm.config.name))
    infos = tuple(suite.info for suite in plan.suites)
    completions = [one for result in results for one in result.completions]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=_run_id(arm, plan, together=bool(early)),
        name=arm.config.name,
        config=config,
        fingerprints=fingerprints,
        suites=infos,
        versions=_versions(),
        git_commit=_git_commit(),
        seed=arm.config.seed,
        started=started,
        finished=_now(),
        counts={
            "samples": len(results),
            "completions": len(completions),
            "errors": sum(bool(one.error) for one in completions),
            "truncated_prompts": sum(bool(one.truncated) for one in completions),
            "truncated_thinking": sum(one.stop_reason == "thinking" for one in completions),
            "tokens_in": sum(one.tokens_in for one in completions),
            "tokens_out": sum(one.tokens_out for one in completions),
        },
        checks=arm.engine.checks(arm.config.name),
        measures={**spent, **arm.engine.measures(arm.config.name)},
        notes=(
            *plan.notes,
            *(f"{s.info.name}: {note}" for s in plan.suites for k in s.scorers for note in k.notes),
            *told,
        ),
        early=dict(early),
    )


def _run_id(arm: ArmPlan, plan: Plan, *, together: bool) -> str:
    """A folder's name, another for other answers.

    How many samples a suite was stopped after depends on all arms `together`: a run that could be
    stopped is that of one comparison, and never takes the folder of a whole one.
    """

    def told(one: ArmPlan) -> list[Any]:
        fingerprints = dict(one.engine.fingerprints(one.config.name))
        # Who judges the answers makes no other answers.
        return [one.config.model_dump(mode="json", exclude={"judge"}), fingerprints]

    suites = [suite.info.fingerprint for suite in plan.suites]
    parts = [*told(arm), suites, evalkit.__version__]
    if together:
        parts.append([told(one) for one in plan.arms])
    identity = json.dumps(parts, sort_keys=True, default=str)
    return f"{arm.config.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str:
    """The commit of the working folder, so that a run can be traced to its suites and recipes."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
