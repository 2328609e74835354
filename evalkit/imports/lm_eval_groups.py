"""lm-eval's groups (mmlu): tasks with a number together become one suite, in slices by task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from evalkit.imports.base import label, measured, number, suite_info
from evalkit.records import Metric, Result, Score, SuiteInfo

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Task:
    """One task, read: its suite, what its fingerprint is made of, and its results."""

    name: str
    info: SuiteInfo
    setup: Mapping[str, str]
    results: Sequence[Result]
    notes: Sequence[str]


def metric_name(key: str) -> str:
    """lm-eval's METRIC,FILTER; without the filter where it is the one that does nothing."""
    return label(key.removesuffix(",none"))


class Grouped(NamedTuple):
    """Tasks and groups, and why some groups are but their tasks."""

    tasks: list[Task]
    notes: list[str]


def grouped(tasks: Sequence[Task], told: Mapping[str, Any]) -> Grouped:
    """The tasks, those of a group as one where the group's number is the mean of their samples.

    The largest group wins over groups in it. Any other group, as one whose tasks count alike
    whatever their size, stays a list of its tasks, and a note says so.
    """
    known = {task.name: task for task in tasks}
    leaves = {name: _leaves(name, told.get("group_subtasks") or {}) for name in _numbered(told)}
    left = dict(known)
    made: dict[str, Task] = {}
    notes: list[str] = []
    for name in sorted(leaves, key=lambda one: -len(leaves[one])):
        parts = [left[leaf] for leaf in leaves[name] if leaf in left]
        lacking = [leaf for leaf in leaves[name] if leaf not in known]
        if parts and lacking:
            notes.append(_apart(name, lacking))
        if len(parts) < 2 or len(parts) != len(leaves[name]):
            continue
        whole = _whole(name, parts, told["groups"][name])
        if whole is None:
            notes.append(
                f"{name}: its tasks stay apart, for its number is no mean of their samples"
            )
            continue
        made[parts[0].name] = whole
        for part in parts:
            del left[part.name]
    found = [made.get(task.name) or left.get(task.name) for task in tasks]
    return Grouped([task for task in found if task is not None], notes)


def _apart(name: str, lacking: Sequence[str]) -> str:
    some = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
    return (
        f"{name}: its tasks stay apart, for {some} cannot be read or has a later evaluation of its "
        "own; to take the group as it was, name its results_*.json alone"
    )


def _numbered(told: Mapping[str, Any]) -> list[str]:
    """The groups with numbers of their own."""
    groups = told.get("groups") or {}
    return [name for name, one in groups.items() if isinstance(one, dict)]


def _leaves(name: str, children: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[str]:
    """The tasks of a group and of the groups in it."""
    if name in above:  # a log is no proof that a group is not within itself
        return []
    inner = children.get(name)
    if not inner:
        return [name]
    found = [leaf for one in inner for leaf in _leaves(str(one), children, (*above, name))]
    return list(dict.fromkeys(found))


def _whole(name: str, parts: Sequence[Task], told: Mapping[str, Any]) -> Task | None:
    """The tasks as one; None where no number of the group is the mean of their samples."""
    own = {metric_name(key): number(one) for key, one in told.items()}
    metrics = [
        metric
        for first in parts[0].info.metrics
        if (metric := _shared(first, parts, own.get(first.name))) is not None
    ]
    if not any(metric.higher_is_better is not None for metric in metrics):
        return None
    suite = f"lm_eval:{label(name)}"
    names = {metric.name for metric in metrics}
    results = [_moved(suite, part.name, one, names) for part in parts for one in part.results]
    available = [part.info.available for part in parts]
    setup = _together(parts)
    info = suite_info(
        suite,
        parts[0].info.task,
        metrics,
        setup,
        len(results),
        available=None if None in available else sum(one or 0 for one in available),
        slices={f"task={part.name}": len(part.results) for part in parts},
    )
    notes = [note for part in parts for note in part.notes]
    return Task(name, info, setup, results, notes)


def _shared(first: Metric, parts: Sequence[Task], own: float | None) -> Metric | None:
    """A metric of all parts whose mean over all samples is the group's own number."""
    found = [
        one for part in parts for one in part.info.metrics
        if (one.name, one.higher_is_better) == (first.name, first.higher_is_better)
    ]  # fmt: skip
    means = all(one.kind in ("binary", "continuous") for one in found)
    if own is None or not means or len(found) != len(parts):
        return None
    values = [
        score.value
        for part in parts
        for result in part.results
        for score in result.scores
        if score.scorer == first.name
    ]
    known = [value for value in values if value is not None]
    if not known or not math.isclose(math.fsum(known) / len(known), own, rel_tol=_CLOSE):
        return None
    return measured(first.name, values, higher_is_better=first.higher_is_better)


def _moved(suite: str, task: str, result: Result, names: set[str]) -> Result:
    """A task's result as one of the group's."""
    sample = replace(
        result.sample, id=f"{task}/{result.sample.id}", suite=suite, slices={"task": task}
    )
    scores: list[Score] = [
        replace(score, sample_id=sample.id) for score in result.scores if score.scorer in names
    ]
    return replace(result, sample=sample, scores=tuple(scores))


def _together(parts: Sequence[Task]) -> dict[str, str]:
    """The setups of all parts; what they share is written once."""
    setup: dict[str, str] = {}
    for key in dict.fromkeys(key for part in parts for key in part.setup):
        values = {part.setup.get(key) for part in parts}
        if len(values) == 1:
            setup[key] = str(values.pop())
        else:
            setup |= {f"{p.name}.{key}": p.setup[key] for p in parts if key in p.setup}
    return setup
