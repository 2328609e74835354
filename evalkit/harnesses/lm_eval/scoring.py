"""From completions back to lm-eval: its filters, its process_results, a Score for each metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.harnesses.lm_eval.adding import added
from evalkit.harnesses.lm_eval.metrics import Key, Reading
from evalkit.harnesses.lm_eval.quiet import quietly, seeded
from evalkit.records import Completion, Metric, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.generated import Value, failure, unscored


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """A task and its documents by sample id: each document's instances, in their order."""

    task: Any
    instances: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of a suite, and how it is read in each of its tasks.

    `weights` are by task, where its documents count more or less than others'.
    """

    metric: Metric
    readings: Mapping[str, Reading]
    weights: Mapping[str, float] = field(default_factory=dict)

    def read(self, task: str, found: Mapping[Key, Any]) -> Value:
        """The value of a document, of all that lm-eval found of it."""
        reading = self.readings.get(task)
        if reading is None:
            return Value(None, f"the task {task} has no {self.metric.name}")
        if reading.key not in found:
            return Value(None, "lm-eval gives this document no such value")
        try:
            value = reading.read(found[reading.key])
        except Exception as error:  # what a task gives may be anything
            return Value(None, f"lm-eval's value cannot be read: {error}")
        if not self.weights or value.value is None:
            return value
        weight = self.weights[task]
        return Value(value.value, value.reason, (value.value * weight, weight))


def scorer_of(
    parts: Mapping[str, Documents], tasks: Mapping[str, str], measured: Sequence[Measured]
) -> Scorer:
    """The one scorer of a suite; `tasks` names the task of each sample."""
    metrics = tuple(one.metric for one in measured)

    def score(sample: Sample, completions: Sequence[Completion]) -> list[Score]:
        problem = failure(completions)
        if problem:
            return unscored(sample, metrics, problem)
        task = tasks[sample.id]
        try:
            found = processed(parts[task].task, parts[task].instances[sample.id], completions)
        except Exception as error:  # a task is a stranger's program
            return unscored(sample, metrics, f"lm-eval cannot score it: {_said(error)}")
        return [_score(sample, one.metric, one.read(task, found)) for one in measured]

    return Scorer(name="lm_eval", metrics=metrics, score=score)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _score(sample: Sample, metric: Metric, value: Value) -> Score:
    return Score(
        sample_id=sample.id,
        scorer=metric.name,
        value=value.value,
        reason=value.reason,
        stats=value.stats,
    )


def processed(
    task: Any, instances: Sequence[Any], completions: Sequence[Completion]
) -> dict[Key, Any]:
    """What lm-eval makes of a document: every metric after every filter.

    Filters see one document at a time; lm-eval's own treat each by itself, too.
    """
    filled = _filled(instances, completions)
    with quietly(), seeded():
        for ensemble in task._filters:
            ensemble.apply(filled)
        found: dict[Key, Any] = {}
        for name in filled[0].filtered_resps:
            document = copy.deepcopy(filled[0].doc)  # a task may change what it is given
            results = [one.filtered_resps[name] for one in filled]
            values = task.process_results(document, results)
            found |= {(metric, name): value for metric, value in values.items()}
    return found


def _filled(instances: Sequence[Any], completions: Sequence[Completion]) -> list[Any]:
    """Copies of the instances with their responses; each has as many as it is repeated."""
    left = iter(completions)
    return [
        replace(
            one,
            resps=[_RESPONSE[one.request_type](next(left)) for _ in range(one.repeats or 1)],
            filtered_resps={},
        )
        for one in instances
    ]


_RESPONSE: Mapping[str, Callable[[Completion], Any]] = {
    "loglikelihood": lambda one: (added(one.logprobs), bool(one.is_greedy)),
    "loglikelihood_rolling": lambda one: added(one.logprobs),
    "generate_until": lambda one: one.text,
}


def tried(task: Any, documents: Iterable[Sequence[Any]]) -> dict[Key, Any] | None:
    """What documents give with a model that says nothing; None where none of them can be scored.

    A document need not give every metric: they are tried until each that the task declares was
    given by one.
    """
    wanted = {(name, one.name) for name in task.aggregation() for one in task._filters}
    found: dict[Key, Any] | None = None
    for instances in documents:
        given = silent(task, instances)
        if given is None:
            continue
        found = {**given, **(found or {})}
        if wanted <= found.keys():
            break
    return found


def silent(task: Any, instances: Sequence[Any]) -> dict[Key, Any] | None:
    """What a document gives with a model that says nothing; None where that cannot be scored."""
    count = sum(one.repeats or 1 for one in instances)
    nothing = Completion(key="", logprobs=(-1.0,), is_greedy=False)
    try:
        return processed(task, instances, [nothing] * count)
    except Exception:  # a task may not foresee silence; then its metrics are those it declares
        return None
