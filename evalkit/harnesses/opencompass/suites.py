"""Suites of OpenCompass's data sets: one for all that a name stands for, with slices of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from os.path import commonprefix
from pathlib import Path
from typing import Any

from evalkit.config import RunConfig
from evalkit.data.places import is_offline
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Asked, Suite, Task
from evalkit.harnesses.opencompass.datasets import Dataset, Measured, Row, read_dataset
from evalkit.harnesses.opencompass.environment import required
from evalkit.harnesses.opencompass.names import PREFIX, find
from evalkit.harnesses.opencompass.scoring import Scoring
from evalkit.harnesses.opencompass.worker import DATA_VARIABLE, Worker, environment
from evalkit.harnesses.rows import near
from evalkit.records import Message, Prompt, Sample, SuiteInfo

_TASKS: Mapping[str, Task] = {
    "PPLInferencer": "choice",
    "LLInferencer": "choice",
    "PPLOnlyInferencer": "perplexity",
    "GenInferencer": "generate",
}


def open_opencompass(
    name: str, config: RunConfig, *, allow_code_execution: bool = False
) -> list[Suite]:
    """The suites that OpenCompass's data set, or one of the run's own, stands for; SuiteError.

    One, with a slice for each data set of several; where those have no metric in common, one each.
    """
    try:
        return _opened(name, config, allow_code_execution)
    except SuiteError as error:
        raise SuiteError(f"{PREFIX}{name}: {error}") from error.__cause__


def _opened(name: str, config: RunConfig, runs_code: bool) -> list[Suite]:
    installed = required()
    place = find(name, config.opencompass, installed.configs)
    data = environment(config.opencompass.data)[DATA_VARIABLE]
    worker = _worker(installed.interpreter, Path(data), is_offline())
    command = {
        "do": "ask",
        "set": dict(place.told),
        "limit": config.limit,
        "chat": config.chat == "always",
        "new": config.decoding.max_new_tokens,
        "runs_code": runs_code,
    }
    told = worker.call(command)
    opening = _Opening(
        name=name,
        path=place.path,
        config=config,
        version=installed.version,
        command=command,
        questions=tuple(told["questions"]),
        worker=worker,
    )
    return opening.suites([read_dataset(one) for one in told["datasets"]])


@cache
def _worker(interpreter: Path, data: Path, _offline: bool) -> Worker:
    """All suites of a run are opened and scored by one process, which takes its time to start."""
    return Worker(interpreter, environment(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What the suites of one name have in common."""

    name: str
    path: Path
    config: RunConfig
    version: str
    command: Mapping[str, Any]
    questions: tuple[Mapping[str, Any], ...]
    worker: Worker

    def suites(self, datasets: Sequence[Dataset]) -> list[Suite]:
        """One suite; or one for each data set, where no metric is common to all."""
        self._check_better(datasets)
        common = _common(datasets)
        if common:
            return [self.suite(self.name, datasets, common)]
        why = f"of {PREFIX}{self.name}, whose data sets have no metric in common"
        return [self.suite(one.abbr, [one], one.metrics, why) for one in datasets]

    def suite(
        self, name: str, datasets: Sequence[Dataset], metrics: Sequence[Measured], note: str = ""
    ) -> Suite:
        """The suite of these data sets, with slices where there are several."""
        samples, asks = [], {}
        for one in datasets:
            for row in one.rows:
                sample = self._sample(PREFIX + name, one, row, several=len(datasets) > 1)
                samples.append(sample)
                asks[sample.id] = self._asks(row)
        evenly = len({len(one.rows) for one in datasets}) == 1
        said = self.config.opencompass.better.get(self.name, {})
        measured = [one.metric(evenly=evenly, better=said.get(one.name)) for one in metrics]
        task = _TASKS[datasets[0].inferencer]
        scoring = Scoring(
            suite=PREFIX + name,
            version=self.version,
            worker=self.worker,
            command=self.command,
            questions=self.questions,
            datasets=tuple(datasets),
            metrics=tuple(measured),
        )
        return Suite(
            info=SuiteInfo(
                name=PREFIX + name,
                title=name,
                language="",
                task=task,
                metric=measured[0].name,
                metrics=tuple(measured),
                fingerprint=self._fingerprint(datasets),
                path=str(self.path),
                samples=len(samples),
                margin=2.0 if measured[0].unit else 0.02,
                description=self._description(datasets),
                available=sum(one.available for one in datasets),
                slices={f"dataset={one.abbr}": one.available for one in datasets}
                if len(datasets) > 1
                else {},
            ),
            task=task,
            samples=tuple(samples),
            scorers=(scoring.scorer(),),
            notes=tuple(filter(None, (note, *self._unheard(task)))),
            asks=asks,
            remarks=scoring.take_notes,
        )

    def _check_better(self, datasets: Sequence[Dataset]) -> None:
        """SuiteError where the run says which way is better of what is not there."""
        suites = [one.removeprefix(PREFIX) for one in self.config.suites if one.startswith(PREFIX)]
        for suite in self.config.opencompass.better:
            if suite not in suites:
                raise SuiteError(
                    f"opencompass.better names {suite!r}, which is not among the suites: "
                    f"{', '.join(suites)}.{near(suite, suites)}"
                )
        names = list(dict.fromkeys(metric.name for one in datasets for metric in one.metrics))
        for metric in self.config.opencompass.better.get(self.name, {}):
            if metric not in names:
                raise SuiteError(
                    f"opencompass.better.{self.name} names {metric!r}, which is no metric of it: "
                    f"it has {', '.join(names) or 'none'}.{near(metric, names)}"
                )

    def _asks(self, row: Row) -> tuple[Asked, ...]:
        numbers = (number for run in row.asks for number in run)
        return tuple(one for number in numbers for one in self._asked(self.questions[number]))

    def _asked(self, question: Mapping[str, Any]) -> list[Asked]:
        """A question of OpenCompass's to its model, as requests to our engine."""
        if question["kind"] == "generate":
            decoding = self.config.decoding.with_limits(
                int(question["new"]), tuple(map(str, question["stops"])), self.config.seed
            )
            # OpenCompass asks the model's own files and the data set what ends a text.
            decoding = replace(decoding, end_of_turn=False, thinking=self.config.thinking)
            return [Asked(kind="generate", prompt=_prompt(question), decoding=decoding)]
        whole = Asked(kind="whole", continuation=str(question["text"]))
        if question["kind"] == "ppl":
            return [whole]
        # Of its continuation nothing but the number of tokens is needed.
        return [whole, Asked(kind="loglikelihood", continuation=str(question["rest"]))]

    def _sample(self, suite: str, dataset: Dataset, row: Row, *, several: bool) -> Sample:
        questions = [self.questions[number] for number in row.asks[0]]
        gold = row.gold if isinstance(row.gold, list) else [row.gold]
        targets = tuple(str(one) for one in gold if one is not None)
        labels = row.labels if len(row.labels) == len(questions) else ()
        answer = labels.index(targets[0]) if targets and targets[0] in labels else None
        return Sample(
            id=row.sample_id,
            suite=suite,
            prompt=_shown(questions),
            targets=targets,
            choices=labels if answer is not None else (),
            answer=answer,
            slices={"dataset": dataset.abbr} if several else {},
            fields={"gold": row.gold},
        )

    def _description(self, datasets: Sequence[Dataset]) -> str:
        ways = ", ".join(dict.fromkeys(one.inferencer for one in datasets))
        told = f"OpenCompass {self.version}, {ways}"
        told += f", {len(datasets)} data sets" if len(datasets) > 1 else ""
        limit = self.config.limit
        each = " of each" if len(datasets) > 1 else ""
        return told + (f", the first {limit} rows{each}" if limit is not None else "")

    def _fingerprint(self, datasets: Sequence[Dataset]) -> str:
        """sha256 of OpenCompass's version, each description, and all that is asked and expected."""
        told = hashlib.sha256(f"OpenCompass {self.version}".encode())
        for one in datasets:
            told.update(_json([one.abbr, one.described]))
            for row in one.rows:
                numbers = (number for run in row.asks for number in run)
                told.update(_json([row.gold, [self.questions[number] for number in numbers]]))
        return told.hexdigest()

    def _unheard(self, task: Task) -> list[str]:
        config = self.config
        unheard: list[str] = [
            key for key in ("system", "fewshot_as") if key in config.model_fields_set
        ]
        unheard += ["decoding.repeats"] if "repeats" in config.decoding.model_fields_set else []
        notes = [f"{', '.join(unheard)}: of other suites; OpenCompass words its prompts"]
        if task != "generate" and config.chat == "always":
            notes.append("likelihoods are those of the plain text, whatever chat says")
        return notes if unheard else notes[1:]


def _common(datasets: Sequence[Dataset]) -> list[Measured]:
    """The metrics that all data sets have, of one kind, in the order of the first."""
    first, *others = datasets
    return [
        one
        for one in first.metrics
        if all(any(one.is_like(each) for each in other.metrics) for other in others)
    ]


def _prompt(question: Mapping[str, Any]) -> Prompt:
    given = question["prompt"]
    if isinstance(given, str):
        return given
    return tuple(Message(role=turn["role"], content=str(turn["content"])) for turn in given)


def _shown(questions: Sequence[Mapping[str, Any]]) -> Prompt:
    """What a reader sees: the prompt; of choices, what their texts have in common at the start."""
    if questions[0]["kind"] == "generate":
        return _prompt(questions[0])
    return commonprefix([str(one["text"]) for one in questions])  # noqa: RUF071, characters are meant


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()
