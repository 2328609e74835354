"""lm-eval's tasks, built as its own command would build them, under the options of a run."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from evalkit.config import LmEvalConfig, LmEvalTask
from evalkit.errors import EvalkitError, SuiteError
from evalkit.harnesses.lm_eval.index import Index, version
from evalkit.harnesses.lm_eval.quiet import quietly, seeded
from evalkit.harnesses.rows import near

_FETCHING = ("ConnectionError", "OfflineModeIsEnabled", "DatasetNotFoundError", "HfHubHTTPError",
             "LocalEntryNotFoundError", "RepositoryNotFoundError", "FileNotFoundError",
             "DataFilesNotFoundError", "EmptyDatasetError", "ConnectError",
             "ProxyError")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of tasks, with what lm-eval makes of their numbers; no `rules`: nothing."""

    name: str
    rules: tuple[Any, ...]
    metadata: Mapping[str, Any]
    tasks: Mapping[str, Any]
    """Every task below it, by name."""
    parts: Mapping[str, str]
    """For each task in a group of its own within this one, that group's name."""


def build(
    name: str, index: Index, options: LmEvalConfig, *, allow_code_execution: bool = False
) -> Any | Group:
    """A task or a Group of that name, ready for its requests; raises SuiteError.

    A tag is no task: ask for its members.
    """
    from lm_eval.tasks._factory import TaskFactory

    entry = index.find(name)
    if not allow_code_execution:
        _refuse_code(name, index)
    with speaking_for(name, _data_of(entry)), quietly(), seeded():
        try:
            built = TaskFactory().build(entry, overrides=None, registry=index.entries)
        except Exception as error:
            _refuse_empty(error)
            raise
    tasks = _tasks_of(built)
    for each, task in tasks.items():
        _check(each, task, allow_code_execution=allow_code_execution)
        _configure(each, task, options)
    if not hasattr(built, "get_all_tasks"):
        return built
    return Group(
        name=name,
        rules=tuple(built.aggregate_metric_list or ()),
        metadata=dict(built.metadata or {}),
        tasks=tasks,
        parts={
            each: part.name
            for part in built
            if hasattr(part, "get_all_tasks")
            for each in _tasks_of(part)
        },
    )


def _tasks_of(built: Any) -> dict[str, Any]:
    tasks = built.get_all_tasks() if hasattr(built, "get_all_tasks") else [built]
    return {str(task.task_name): task for task in tasks}


def _refuse_empty(error: Exception) -> None:
    """lm-eval looks at a task's first document while it makes the task, and fails without one."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        task = frame.f_locals.get("self")
        found = getattr(task, "task_docs", None)
        if task is None or found is None or len(found):
            continue
        split = task.get_config("test_split") or task.get_config("validation_split")
        process = task.get_config("process_docs")
        called = getattr(process, "__name__", type(process).__name__)
        why = f", or process_docs ({called}) leaves none of it" if process else ""
        raise SuiteError(
            f"lm_eval:{task.get_config('task')} has no documents to ask about: the split {split!r} "
            f"of its data is empty{why}."
        ) from error


@contextmanager
def speaking_for(name: str, data: str = "") -> Iterator[None]:
    """What fails inside a task is told as a SuiteError that names it, and what can be done."""
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:  # a task is a stranger's program: it may fail in any way
        raise SuiteError(_failure(name, data, error)) from error


def _failure(name: str, data: str, error: Exception) -> str:
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if kinds.isdisjoint(_FETCHING):
        return f"lm_eval:{name}: lm-eval {version()} cannot open it: {type(error).__name__}: {said}"
    which = f"the data set {data!r}" if data else "its data"
    folder = f"a folder ./{data} with its files, or " if data else ""
    return (
        f"lm_eval:{name}: {which} cannot be had: {said.rstrip('.')}. lm-eval comes without data. "
        f"Run this once with a network, which keeps it on disk; or give it {folder}a task file of "
        "your own (lm_eval.include_path) with `dataset_path: json` and `dataset_kwargs: "
        "{data_files: …}`."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _loaded(entry: Any) -> dict[str, Any]:
    """What the file of an entry says, none of its code run."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if entry.yaml_path is None:
        return dict(entry.cfg or {})
    return dict(load_yaml(entry.yaml_path, resolve_func=False))


def _data_of(entry: Any) -> str:
    try:
        told = _loaded(entry)
    except Exception:  # whoever builds it says what is wrong with its file
        return ""
    return str(told.get("dataset_path") or "")


def _refuse_code(name: str, index: Index) -> None:
    """Before anything is opened: opening a task, or a group of it, imports its code."""
    with speaking_for(name):
        unsafe = next(_unsafe(name, _loaded(index.find(name)), index, frozenset()), None)
    if unsafe is not None:
        raise _not_allowed(unsafe)


def _unsafe(
    name: str, told: Mapping[str, Any], index: Index, above: frozenset[str]
) -> Iterator[str]:
    """The tasks that run what a model writes, of an entry and of those that its file names."""
    if told.get("unsafe_code"):
        yield name
    for member in _members(name, told, index):
        inner = dict(member) if isinstance(member, Mapping) else {}
        called = str(inner.get("group") or inner.get("task")) if inner else str(member)
        if called in above or called == name:
            continue
        if called in index.entries:
            own = _loaded(index.find(called))
            inner["unsafe_code"] = inner.get("unsafe_code") or own.get("unsafe_code")
            inner["task"] = own.get("task")
        yield from _unsafe(called, inner, index, above | {name})


def _members(name: str, told: Mapping[str, Any], index: Index) -> Sequence[Any]:
    """What a group's file lists, or the tasks of a tag; of a task nothing."""
    if name in index.entries and index.find(name).kind.name == "TAG":
        return index.members(name)
    listed = told.get("task")
    return listed if isinstance(listed, list) else ()


def _not_allowed(name: str) -> SuiteError:
    return SuiteError(
        f"lm_eval:{name} runs the code that a model writes, by lm-eval's own means: on this "
        "machine and outside any sandbox. If that is meant, give `evalkit run`, `compare` or "
        "`power` --allow-code-execution."
    )


def _check(name: str, task: Any, *, allow_code_execution: bool) -> None:
    if getattr(task, "UNSAFE_CODE", False) and not allow_code_execution:
        raise _not_allowed(name)
    if getattr(task, "MULTIMODAL", False):
        raise SuiteError(f"lm_eval:{name} shows images or plays sounds; evalkit asks with text.")


def _configure(name: str, task: Any, options: LmEvalConfig) -> None:
    """The overrides of a run, by lm-eval's rules; those of one task go before the others."""
    own = options.tasks.get(name, LmEvalTask())
    if task.get_config("output_type") == "generate_until":
        given = {**options.gen_kwargs, **own.gen_kwargs}
        if given:
            task.set_config("generation_kwargs", given, update=True)
    declared = task.get_config("num_fewshot")
    # lm-eval's rule: a task that says it has no examples keeps its word, unless it is named.
    shots = declared if options.num_fewshot is None or declared == 0 else options.num_fewshot
    task.set_config("num_fewshot", (shots or 0) if own.num_fewshot is None else own.num_fewshot)
    if own.repeats is not None:
        task.set_config("repeats", own.repeats)
    if options.predict_only:
        task.override_metric("bypass")
    task.set_fewshot_seed(seed=options.fewshot_seed)


def check_names(options: LmEvalConfig, index: Index) -> None:
    """Options of a task that there is none of would have no effect: SuiteError."""
    for name in options.tasks:
        if name not in index.entries:
            hint = near(name, index.entries)
            raise SuiteError(f"lm_eval.tasks: lm-eval has no task {name!r}.{hint}")


def documents(task: Any) -> int:
    """How many documents a task has, whatever the limit."""
    kept: Sequence[Any] | None = getattr(task, "task_docs", None)
    return len(task.eval_docs if kept is None else kept)
