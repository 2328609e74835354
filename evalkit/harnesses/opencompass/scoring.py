"""OpenCompass scores: answers go back into its inference, and its evaluator judges them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.errors import RunError, SuiteError
from evalkit.harnesses.opencompass.datasets import Dataset, Row
from evalkit.harnesses.opencompass.likelihoods import loglikelihood, perplexity, tokens_of
from evalkit.harnesses.opencompass.worker import Worker
from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.generated import failure, unscored

_NO_MEAN = "OpenCompass's number is not the mean of what it says of the samples here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Scores all samples of a suite, or some of them, at once."""

    suite: str
    version: str
    worker: Worker
    command: Mapping[str, Any]
    questions: Sequence[Mapping[str, Any]]
    datasets: tuple[Dataset, ...]
    metrics: tuple[Metric, ...]

    notes: list[str] = field(default_factory=list)

    def scorer(self) -> Scorer:
        """The one scorer of the suite; it scores samples together, and one as a set of one."""
        return Scorer(
            name="opencompass", metrics=self.metrics, score=self._one, score_all=self._all
        )

    def take_notes(self) -> tuple[str, ...]:
        """What OpenCompass says of the whole that was scored last; told once."""
        told = tuple(self.notes)
        self.notes.clear()
        return told

    def _one(self, sample: Sample, completions: Sequence[Completion]) -> list[Score]:
        (scores,) = self._all([(sample, completions)])
        return list(scores)

    def _all(
        self, answered: Sequence[tuple[Sample, Sequence[Completion]]]
    ) -> Iterator[Sequence[Score]]:
        broken = {sample.id: reason for sample, said in answered if (reason := failure(said))}
        whole = {sample.id: said for sample, said in answered if sample.id not in broken}
        scores = self.scored(whole) if whole else {}
        for sample, _ in answered:
            if sample.id in broken:
                yield unscored(sample, self.metrics, broken[sample.id])
            else:
                yield scores[sample.id]

    def scored(self, completions: Mapping[str, Sequence[Completion]]) -> dict[str, Sequence[Score]]:
        """The scores of answered samples, by id; RunError where OpenCompass fails."""
        answers = _Answers(self.suite, self.questions)
        wanted: dict[str, list[Row]] = {}
        for dataset in self.datasets:
            mine = [row for row in dataset.rows if row.sample_id in completions]
            for row in mine:
                answers.add(row, completions[row.sample_id])
            if mine:
                wanted[dataset.abbr] = mine
        command = {
            **self.command,
            "do": "score",
            "first": {one.abbr: one.first for one in self.datasets},
            "wanted": {abbr: [row.place for row in rows] for abbr, rows in wanted.items()},
        }
        try:
            told = self.worker.call(command, answers.reply)
        except SuiteError as error:
            raise RunError(f"{self.suite}: {error}") from error.__cause__
        found = {str(one["abbr"]): one["runs"] for one in told["datasets"]}
        scores: dict[str, Sequence[Score]] = {}
        even = sum(len(one.rows) for one in self.datasets) / len(self.datasets)
        for one in self.datasets:
            if one.abbr in wanted:
                weight = even / len(one.rows)
                scores.update(self._scores(wanted[one.abbr], found[one.abbr], weight))
        self.notes[:] = self._notes(wanted, found)
        return scores

    def _scores(
        self, rows: Sequence[Row], runs: Sequence[Any], weight: float
    ) -> Iterator[tuple[str, list[Score]]]:
        columns = {metric.name: _column(metric, runs, len(rows)) for metric in self.metrics}
        for place, row in enumerate(rows):
            yield (
                row.sample_id,
                [
                    _score(row, metric, columns[metric.name], place, weight)
                    for metric in self.metrics
                ],
            )

    def _notes(
        self, wanted: Mapping[str, Sequence[Row]], found: Mapping[str, Sequence[Any]]
    ) -> tuple[str, ...]:
        """OpenCompass's own numbers, of a suite whose samples were all scored."""
        whole = all(len(wanted.get(one.abbr, ())) == len(one.rows) for one in self.datasets)
        if not whole:
            return ()
        told = []
        for metric in self.metrics:
            numbers = [
                math.fsum(_number(run, metric) for run in found[one.abbr]) / one.runs
                for one in self.datasets
            ]
            mean = math.fsum(numbers) / len(numbers)
            told.append(f"{metric.name} {mean:.2f}")
        several = len(self.datasets)
        of = f", the mean of {several} data sets" if several > 1 else ""
        return (f"OpenCompass {self.version} says {', '.join(told)}{of}",)


def _number(run: Mapping[str, Any], metric: Metric) -> float:
    told = run["metrics"].get(metric.name)
    return float(told["number"]) if told is not None else math.nan


def _column(metric: Metric, runs: Sequence[Any], size: int) -> list[tuple[float, ...]]:
    """Each row's value in each run; nothing where a run has none that give its number."""
    told = [run["metrics"].get(metric.name) for run in runs]
    columns = [one["values"] for one in told if one is not None]
    if len(columns) < len(runs) or any(len(column) != size for column in columns):
        return []
    return [tuple(map(float, row)) for row in zip(*columns, strict=True)]


def _score(
    row: Row, metric: Metric, column: Sequence[tuple[float, ...]], place: int, weight: float
) -> Score:
    values = column[place] if column else ()
    right_or_wrong = all(value in (0.0, 1.0) for value in values)
    if not values or (metric.kind == "binary" and not right_or_wrong):
        reason = _NO_MEAN if not values else "OpenCompass says neither right nor wrong"
        return Score(sample_id=row.sample_id, scorer=metric.name, value=None, reason=reason)
    value = math.fsum(values) / len(values)
    return Score(
        sample_id=row.sample_id,
        scorer=metric.name,
        value=value,
        stats=(value * weight, weight) if metric.kind == "ratio" else (),
        values=values if len(values) > 1 else (),
    )


@dataclass(slots=True)
class _Answers:
    """What an arm answered, by the number of the question."""

    suite: str
    questions: Sequence[Mapping[str, Any]]
    _known: dict[int, float | str] = field(default_factory=dict)
    _lengths: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row, completions: Sequence[Completion]) -> None:
        """The completions of a sample, in the order in which its questions were asked."""
        left = iter(completions)
        for number in (number for run in row.asks for number in run):
            question, first = self.questions[number], next(left)
            match question["kind"]:
                case "generate":
                    self._known[number] = first.text
                    continue
                case "ppl":
                    self._known[number] = perplexity(first)
                case _:
                    self._known[number] = loglikelihood(first, next(left))
            self._lengths[str(question["text"])] = tokens_of(first)

    def reply(self, message: Mapping[str, Any]) -> list[Any]:
        """Answers to the model's questions; None where a sample is not scored now."""
        asked, first = message["questions"], int(message["first"])
        if first < 0:
            return [self._lengths.get(str(one["text"])) for one in asked]
        planned = self.questions[first : first + len(asked)]
        if list(planned) != list(asked):
            raise SuiteError(
                f"{self.suite} asks something else the second time: its prompts depend on chance. "
                "Take a variant with fixed examples."
            )
        return [self._known.get(number) for number in range(first, first + len(asked))]
