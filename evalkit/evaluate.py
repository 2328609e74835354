"""evaluate(): arms and suites become runs; nothing is computed twice, and a killed one resumes."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import assert_never

import evalkit
from evalkit.config import RunConfig, SuiteGate
from evalkit.errors import ModelError, SuiteError
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import limited, open_suite
from evalkit.models.base import Engine, Prepared
from evalkit.models.opening import open_models
from evalkit.progress import Progress, Silent
from evalkit.records import Completion, Manifest, Request, Result, Run, Sample, Score
from evalkit.store.completions import CompletionStore
from evalkit.store.runs import SCHEMA_VERSION, write_run

_VERSIONS = ("evalkit-compare", "torch", "transformers", "tokenizers", "peft", "bitsandbytes",
             "numpy", "scipy", "scikit-learn", "sacrebleu", "openai")  # fmt: skip

_START = 8  # first token ids that are kept of a prompt, to be shown with the canaries


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
    """All that will be asked, before anything heavy is loaded."""

    arms: tuple[ArmPlan, ...]
    suites: tuple[Suite, ...]
    engines: tuple[Engine, ...]
    notes: tuple[str, ...] = ()

    def costs(self, known: set[str]) -> list[SuitePlan]:
        """The cost of every (arm, suite); `known` are the keys that are already stored."""
        rows = []
        for arm in self.arms:
            for suite in self.suites:
                mine = [one for one in arm.prepared if one.request.suite == suite.info.name]
                rows.append(_cost(arm.config.name, suite, mine, known))
        return rows

    def seconds(self, known: set[str]) -> float | None:
        """About how long what is not stored takes at most; None where an engine cannot know."""
        total = 0.0
        for engine in self.engines:
            mine = {
                one.key: one for arm in self.arms if arm.engine is engine for one in arm.prepared
            }
            batches = [
                [one for one in batch if one.key not in known]
                for batch in engine.batches(list(mine.values()))
            ]
            needed = engine.seconds([batch for batch in batches if batch])
            if needed is None:
                return None
            total += needed
        return total

    def keys(self) -> set[str]:
        """The key of every answer that is needed."""
        return {one.key for arm in self.arms for one in arm.prepared}

    def unique_tokens(self) -> int:
        """Tokens left when every prefix shared by an arm's prompts is counted once."""
        return sum(_unique_tokens(arm.prepared) for arm in self.arms)


def open_suites(config: RunConfig) -> list[Suite]:
    """The suites of a comparison, which are the base's, each with its limit and its gated metric.

    Raises one SuiteError with what is wrong in any of them.
    """
    suites, mistakes = [], []
    for name in config.suites:
        try:
            suite = limited(open_suite(name, config), config.limit, config.seed)
        except SuiteError as error:
            mistakes.append(str(error))
        else:
            suites.append(_gated(suite, config.gate.suites.get(name)))
    if mistakes:
        raise SuiteError("\n".join(dict.fromkeys(mistakes)))
    return suites


def _gated(suite: Suite, gate: SuiteGate | None) -> Suite:
    """The suite with the metric its gate names: what is decided is what is to be explained.

    A metric it does not have is left for `check_gate` to refuse.
    """
    wanted = gate.metric if gate is not None else None
    if wanted is None or wanted not in {metric.name for metric in suite.info.metrics}:
        return suite
    return replace(suite, info=replace(suite.info, metric=wanted))


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
    arms = []
    for config in configs:
        engine = next(engine for engine in engines if config.name in engine.arms)
        requests = [r for suite in suites for r in _requests(config, suite)]
        arms.append(ArmPlan(config=config, engine=engine, prepared=tuple(engine.prepare(requests))))
    return Plan(arms=tuple(arms), suites=tuple(suites), engines=tuple(engines), notes=tuple(notes))


def evaluate(
    plan: Plan,
    store: CompletionStore,
    output: Path,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[Run]:
    """Answer what is not stored yet, score everything, write one run folder per arm."""
    progress = progress or Silent()
    started, clock = _now(), time.perf_counter()
    failed: dict[str, Completion] = {}
    for engine in plan.engines:
        failed |= _answer(engine, plan, store, fresh, progress)
    runs = []
    for arm in plan.arms:
        results = _results(arm, plan.suites, store, failed, progress)
        manifest = _manifest(arm, plan, results, started, time.perf_counter() - clock)
        runs.append(write_run(output / manifest.run_id, manifest, results))
    return runs


def _requests(config: RunConfig, suite: Suite) -> Iterator[Request]:
    decoding = config.decoding.with_limits(suite.max_new_tokens, suite.stop, config.seed)
    for sample in suite.samples:
        common = Request(
            arm=config.name,
            suite=suite.info.name,
            sample_id=sample.id,
            kind="generate",
            prompt=sample.prompt,
        )
        match suite.task:
            case "choice":
                for index, choice in enumerate(sample.choices):
                    yield replace(
                        common,
                        kind="loglikelihood",
                        continuation=suite.delimiter + choice,
                        index=index,
                    )
            case "generate":
                yield replace(common, decoding=decoding)
            case "perplexity":
                yield replace(common, kind="rolling", prompt="", continuation=_text(sample))
            case _:
                assert_never(suite.task)


def _text(sample: Sample) -> str:
    assert isinstance(sample.prompt, str)
    return sample.prompt


def _answer(
    engine: Engine, plan: Plan, store: CompletionStore, fresh: bool, progress: Progress
) -> dict[str, Completion]:
    """Run one engine's batches; completions that failed are returned, not stored, so that the
    next start asks for them again."""
    mine = [arm for arm in plan.arms if arm.engine is engine]
    work = {one.key: one for arm in mine for one in arm.prepared}
    known = set() if fresh else store.known(work)
    parts: dict[str, list[str]] = defaultdict(list)  # one answer may serve several requests
    for arm in mine:
        for suite in plan.suites:
            part = f"{arm.config.name} · {suite.info.name}"
            asked = [one for one in arm.prepared if one.request.suite == suite.info.name]
            done = sum(one.key in known for one in asked)
            progress.start(part, len(asked), done)
            for one in asked:
                parts[one.key].append(part)
    failed: dict[str, Completion] = {}
    # Cutting everything, stored or not, gives the same batches after a kill as before it, and
    # so the same numbers to the last bit.
    for batch in engine.batches(list(work.values())):
        missing = [one for one in batch if one.key not in known]
        if missing:
            answers = _complete(engine, missing, parts, store, progress)
            failed |= {answer.key: answer for answer in answers if answer.error}
    return failed


def _complete(
    engine: Engine,
    asked: Sequence[Prepared],
    parts: Mapping[str, Sequence[str]],
    store: CompletionStore,
    progress: Progress,
) -> list[Completion]:
    """The answers of one batch; those without an error are stored, even where it breaks off."""
    answers: list[Completion] = []
    try:
        for answer in engine.complete(asked):
            answers.append(answer)
            for part in parts[answer.key]:
                progress.advance(part)
    except ModelError:  # a failure never loses finished work
        store.put([answer for answer in answers if not answer.error])
        raise
    _check_answered(asked, answers)
    store.put([answer for answer in answers if not answer.error])
    return answers


def _check_answered(asked: Sequence[Prepared], answers: Sequence[Completion]) -> None:
    assert {one.key for one in asked} == {one.key for one in answers}, "an engine lost a request"


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
    stored = dict(failed) | store.get(one.key for one in arm.prepared if one.key not in failed)
    results = []
    for suite in suites:
        part = f"{arm.config.name} · {suite.info.name} · scores"
        progress.start(part, len(suite.samples))
        for sample in suite.samples:
            asked = by_sample[suite.info.name, sample.id]
            completions = tuple(_restored(one, stored[one.key]) for one in asked)
            scores = _scores(suite, sample, completions)
            results.append(Result(sample=sample, completions=completions, scores=scores))
            progress.advance(part)
    if results and all(one.error for result in results for one in result.completions):
        first = results[0].completions[0].error
        raise ModelError(f"{arm.config.name}: not one request could be answered. {first}")
    return results


def _scores(suite: Suite, sample: Sample, completions: Sequence[Completion]) -> tuple[Score, ...]:
    """Every metric once; where a completion is missing each metric says why it has no value."""
    broken = next((one.error for one in completions if one.error), "")
    if broken:
        return tuple(
            Score(sample_id=sample.id, scorer=metric.name, value=None, reason=broken)
            for metric in suite.info.metrics
        )
    return tuple(score for scorer in suite.scorers for score in scorer.score(sample, completions))


def _restored(asked: Prepared, completion: Completion) -> Completion:
    return replace(
        completion,
        prompt_text=asked.prompt_text,
        prompt_hash=asked.prompt_hash,
        prompt_start=asked.prompt_ids[:_START],
        truncated=asked.truncated,
    )


def _cost(arm: str, suite: Suite, mine: Sequence[Prepared], known: set[str]) -> SuitePlan:
    return SuitePlan(
        arm=arm,
        suite=suite.info.name,
        samples=len(suite.samples),
        requests=len(mine),
        tokens=sum(len(one.prompt_ids) + len(one.continuation_ids) for one in mine),
        new_tokens=sum(one.decoding.max_new_tokens for one in mine if one.decoding),
        stored=sum(one.key in known for one in mine),
    )


def _unique_tokens(prepared: Sequence[Prepared]) -> int:
    """Nodes of the prefix tree of all token sequences: sorted, each adds what it does not share."""
    total = 0
    last: tuple[int, ...] = ()
    for ids in sorted({(*one.prompt_ids, *one.continuation_ids) for one in prepared}):
        shared = 0
        for mine, theirs in zip(ids, last, strict=False):
            if mine != theirs:
                break
            shared += 1
        total += len(ids) - shared
        last = ids
    return total


def _manifest(
    arm: ArmPlan, plan: Plan, results: Sequence[Result], started: str, seconds: float
) -> Manifest:
    config = arm.config.model_dump(mode="json")
    fingerprints = dict(arm.engine.fingerprints(arm.config.name))
    infos = tuple(suite.info for suite in plan.suites)
    identity = json.dumps(
        [config, fingerprints, [info.fingerprint for info in infos], evalkit.__version__],
        sort_keys=True,
        default=str,
    )
    run_id = f"{arm.config.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"
    completions = [one for result in results for one in result.completions]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=run_id,
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
            "tokens_in": sum(one.tokens_in for one in completions),
            "tokens_out": sum(one.tokens_out for one in completions),
        },
        checks=arm.engine.checks(arm.config.name),
        measures={**arm.engine.measures(arm.config.name), "seconds": seconds},
        notes=(
            *plan.notes,
            *(f"{s.info.name}: {note}" for s in plan.suites for k in s.scorers for note in k.notes),
        ),
    )


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
