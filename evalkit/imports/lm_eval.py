"""lm-eval's output folders (`--output_path DIR --log_samples`): results_*.json, samples_*.jsonl.

How a metric's values make its number is not logged (see `aggregates`), and how tasks make that of
a group is in `lm_eval_groups`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import UsageError
from evalkit.imports.aggregates import Column, read_column
from evalkit.imports.base import (
    Imported,
    iso,
    label,
    measured,
    number,
    plain,
    short_hash,
    suite_info,
)
from evalkit.imports.files import BrokenLogError, digest_of, known_form, read_lines, read_object
from evalkit.imports.lm_eval_groups import Task, grouped, metric_name
from evalkit.imports.lm_eval_rows import (
    Document,
    choices_of,
    completions_of,
    document_of,
    sample_of,
)
from evalkit.progress import Progress
from evalkit.records import Metric, Result, Score
from evalkit.scorers.addends import TASKS

_DATED = re.compile(r"(?P<head>.*)_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?)\.(json|jsonl)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function that a task's configuration holds
_ASKED = (
    "task", "dataset_path", "dataset_name", "test_split", "validation_split", "fewshot_split",
    "output_type", "num_fewshot", "fewshot_config", "fewshot_delimiter", "target_delimiter",
    "description", "doc_to_text", "doc_to_target", "doc_to_choice", "process_docs",
    "process_results", "gen_prefix", "generation_kwargs", "filter_list", "metric_list", "repeats",
)  # fmt: skip


class _Output(NamedTuple):
    """A results file and the samples files of the same evaluation, by task."""

    path: Path
    results: dict[str, Any]
    samples: dict[str, Path]


@known_form("lm-eval")
def read_lm_eval(path: Path, progress: Progress) -> Imported:
    """The newest evaluation of each task in an output folder, or that of one results file.

    UsageError where the folder holds no samples, or the evaluations of several models.
    """
    outputs = _chosen(_outputs(path))
    tasks, notes = [], []
    for output in outputs:
        read, why = _tasks(output, progress)
        found = grouped(read, output.results)
        tasks += found.tasks
        notes += [*why, *found.notes]
    if not tasks:
        raise UsageError(f"{path}: nothing in it can be compared.\n  " + "\n  ".join(notes))
    newest = max(outputs, key=lambda one: one.path.name).results
    config = newest.get("config") or {}
    started = number(newest.get("date"))
    spent = _real(newest.get("total_evaluation_time_seconds"))
    return Imported(
        tool="lm_eval",
        model=_model(newest),
        results=tuple(result for task in tasks for result in task.results),
        suites=tuple(task.info for task in tasks),
        setups={task.info.name: task.setup for task in tasks},
        digest=digest_of(file for output in outputs for file in output.samples.values()),
        fingerprints={
            "dtype": str(config.get("model_dtype") or "").removeprefix("torch."),
            "revision": str(config.get("model_sha") or config.get("model_revision") or ""),
            "template": str(newest.get("chat_template_sha") or ""),
        },
        versions=_versions(newest),
        git_commit=str(newest.get("git_hash") or ""),
        seed=int(number(config.get("random_seed")) or 0),
        started=iso(started),
        finished=iso(started + spent) if started and spent else "",
        notes=(*notes, *(note for task in tasks for note in task.notes)),
    )


def _outputs(path: Path) -> list[_Output]:
    """All evaluations below a folder that have samples, the oldest first."""
    if not path.exists():
        raise UsageError(
            f"{path} does not exist. Name the folder that lm_eval's --output_path was."
        )
    found = [path] if path.is_file() else sorted(path.rglob("*.json"), key=lambda one: one.name)
    outputs = []
    for file in found:
        dated = _DATED.fullmatch(file.name)
        if dated is None:
            continue
        samples = _samples(file.parent, dated["date"])
        if samples:
            outputs.append(_Output(file, read_object(file), samples))
    if not outputs:
        raise UsageError(
            f"{path} holds no results_DATE.json with samples_TASK_DATE.jsonl beside it. Only "
            "`lm_eval … --output_path DIR --log_samples` writes what each sample got."
        )
    return outputs


def _samples(folder: Path, date: str) -> dict[str, Path]:
    ending = f"_{date}.jsonl"
    files = sorted(folder.glob(f"samples_*{ending}"))
    return {file.name.removeprefix("samples_").removesuffix(ending): file for file in files}


def _chosen(outputs: Sequence[_Output]) -> list[_Output]:
    """Each task once, of its newest evaluation; all must be of one model."""
    models = {_identity(one.results): one.path for one in outputs}
    if len(models) > 1:
        files = "\n  ".join(map(str, models.values()))
        raise UsageError(
            f"The folder holds evaluations of {len(models)} models or of one in several settings. "
            f"Import one folder or results file at a time; for instance\n  {files}"
        )
    taken: set[str] = set()
    chosen = []
    for output in reversed(outputs):
        new = {name: file for name, file in output.samples.items() if name not in taken}
        taken |= new.keys()
        if new:
            chosen.append(output._replace(samples=new))
    return chosen[::-1]


def _identity(results: Mapping[str, Any]) -> str:
    config = results.get("config") or {}
    told = [config.get(key) for key in ("model", "model_args", "model_dtype", "model_sha")]
    return short_hash(_model(results), *told)


def _model(results: Mapping[str, Any]) -> str:
    config = results.get("config") or {}
    return plain(results.get("model_name") or config.get("model") or "unknown model")


def _versions(results: Mapping[str, Any]) -> dict[str, str]:
    told = {
        "lm_eval": results.get("lm_eval_version"),
        "transformers": results.get("transformers_version"),
    }
    return {name: str(version) for name, version in told.items() if version}


def _real(value: object) -> float | None:
    """A number that lm-eval writes as a text."""
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except ValueError:
        return None


def _tasks(output: _Output, progress: Progress) -> tuple[list[Task], list[str]]:
    """The tasks of an evaluation that can be compared, and why others are left out."""
    tasks, notes = [], []
    for name in sorted(output.samples):
        try:
            tasks.append(_task(name, output, progress))
        except BrokenLogError:
            raise  # a file that is cut or edited may be so elsewhere
        except UsageError as error:
            notes.append(f"{name} is left out: {error}")
    return tasks, notes


def _task(name: str, output: _Output, progress: Progress) -> Task:
    results = output.results
    described = (results.get("results") or {}).get(name)
    config = (results.get("configs") or {}).get(name)
    if not isinstance(described, dict) or not isinstance(config, dict):
        raise BrokenLogError(f"{output.path}: results and configs do not name the task {name!r}.")
    counted = (results.get("n-samples") or {}).get(name) or {}
    documents = _documents(output.samples[name], counted.get("effective"), progress)
    directions = (results.get("higher_is_better") or {}).get(name) or {}
    columns, notes = _columns(name, documents, described, config)
    suite = f"lm_eval:{label(name)}"
    metrics = [_metric(key, column, directions) for key, column in columns.items()]
    setup = _setup(name, config, results)
    kind = str(config.get("output_type"))
    try:
        info = suite_info(
            suite,
            TASKS.get(kind, "generate"),
            metrics,
            setup,
            len(documents),
            available=counted.get("original"),
        )
    except UsageError as error:
        raise UsageError(f"{error} {'; '.join(notes)}".rstrip()) from None
    found = [
        _result(suite, kind, document, columns, place) for place, document in enumerate(documents)
    ]
    return Task(name, info, setup, found, notes)


def _documents(file: Path, expected: object, progress: Progress) -> list[Document]:
    """The documents of a samples file in its order, the rows of several filters made one."""
    part = file.name
    progress.start(part, expected if isinstance(expected, int) else 0)
    documents: dict[str, Document] = {}
    for place, row in read_lines(file):
        document = document_of(row, place)
        first = documents.setdefault(document.id, document)
        if first is document:
            progress.advance(part)
        elif document.values.keys() & first.values.keys():
            raise BrokenLogError(f"{place}: the document {document.id} is written twice.")
        else:
            first.values.update(document.values)
    if isinstance(expected, int) and len(documents) != expected:
        raise BrokenLogError(
            f"{file}: {len(documents):,} documents, and the results file counts {expected:,}. "
            "The file was cut or belongs to another evaluation; run lm_eval again."
        )
    return list(documents.values())


def _columns(
    task: str,
    documents: Sequence[Document],
    described: Mapping[str, Any],
    config: Mapping[str, Any],
) -> tuple[dict[str, Column], list[str]]:
    """The metrics that can be read, in the order of the results file; and why others cannot."""
    logged = dict.fromkeys(key for one in documents for key in one.values)
    order = [key for key in described if key in logged]
    columns: dict[str, Column] = {}
    notes = []
    called, classes = _aggregations(config), _classes(documents, config)
    for key in dict.fromkeys((*order, *logged)):
        name = key.partition(",")[0]
        if name == "bypass":
            notes.append(f"{task}: it was run with --predict_only, which scores nothing")
            continue
        aggregate = number(described.get(key))
        values = [one.values.get(key) for one in documents]
        column = read_column(values, aggregate, called.get(name, name), classes)
        if column is None:
            notes.append(
                f"{task}: {key} is left out: its number in the results file, "
                f"{described.get(key)!r}, is not one that its samples' values give again"
            )
        else:
            columns[key] = column
    return columns, notes


def _aggregations(config: Mapping[str, Any]) -> dict[str, str]:
    """By metric the aggregation that the task's file names for it."""
    told = (one for one in config.get("metric_list") or () if isinstance(one, dict))
    return {
        str(one["metric"]): one["aggregation"]
        for one in told
        if "metric" in one and isinstance(one.get("aggregation"), str)
    }


def _classes(documents: Sequence[Document], config: Mapping[str, Any]) -> int:
    """How many classes there are to tell apart: the choices of a question; 0 if unknown."""
    if config.get("output_type") != "multiple_choice":
        return 0
    return max((choices_of(one) for one in documents), default=0)


def _metric(key: str, column: Column, directions: Mapping[str, Any]) -> Metric:
    direction = directions.get(key.partition(",")[0])
    higher = direction if isinstance(direction, bool) else None
    if column.kind == "continuous":
        return measured(
            metric_name(key), [one.value for one in column.values], higher_is_better=higher
        )
    return Metric(
        name=metric_name(key), higher_is_better=higher, kind=column.kind, unit=column.unit
    )


def _setup(name: str, config: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, str]:
    """How a task was asked: what two evaluations must share for their samples to be paired."""
    told = {key: config.get(key) for key in _ASKED}
    told["version"] = (results.get("versions") or {}).get(name)
    told["n-shot"] = (results.get("n-shot") or {}).get(name)
    told["system_instruction"] = results.get("system_instruction_sha")
    if told["n-shot"]:
        told["fewshot_seed"] = (results.get("config") or {}).get("fewshot_seed")
        told["fewshot_as_multiturn"] = bool(results.get("fewshot_as_multiturn"))
    return {key: _ADDRESS.sub("", plain(value)) for key, value in told.items() if value is not None}


def _result(
    suite: str, kind: str, document: Document, columns: Mapping[str, Column], place: int
) -> Result:
    completions = completions_of(document, kind)
    return Result(
        sample=sample_of(suite, kind, document),
        completions=completions,
        scores=tuple(
            Score(
                sample_id=document.id,
                scorer=metric_name(key),
                value=column.values[place].value,
                reason="" if column.values[place].value is not None else _UNSCORED,
                stats=column.values[place].stats,
            )
            for key, column in columns.items()
        ),
    )


_UNSCORED = "lm-eval gave this document no number"
