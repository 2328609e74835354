"""Run folders: three Parquet files, then the manifest, whose existence says the run is complete.

results.parquet      one row per sample and scorer
completions.parquet  one row per completion (the long texts)
samples.parquet      one row per sample
manifest.json        written last
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from evalkit.errors import StoreError, UsageError
from evalkit.records import (
    Comparison,
    Completion,
    Manifest,
    Message,
    Prompt,
    Result,
    Run,
    Sample,
    Score,
)

_Record = TypeVar("_Record")
SCHEMA_VERSION = 1
"""Of the run folder's files and of comparison.json; raised when a field changes its meaning."""
MANIFEST = "manifest.json"
COMPARISON = "comparison.json"

_TEXT, _REAL, _INT = pa.string(), pa.float64(), pa.int64()
_RESULTS = pa.schema(
    [
        ("suite", _TEXT),
        ("sample_id", _TEXT),
        ("metric", _TEXT),
        ("value", _REAL),
        ("reason", _TEXT),
        ("stats", pa.list_(_REAL)),
        ("values", pa.list_(_REAL)),
    ]
)
_COMPLETIONS = pa.schema(
    [
        ("suite", _TEXT),
        ("sample_id", _TEXT),
        ("index", _INT),
        ("key", _TEXT),
        ("text", _TEXT),
        ("thinking", _TEXT),
        ("prompt_text", _TEXT),
        ("prompt_hash", _TEXT),
        ("prompt_start", pa.list_(_INT)),
        ("stop_reason", _TEXT),
        ("is_greedy", pa.bool_()),
        ("tokens_in", _INT),
        ("tokens_out", _INT),
        ("truncated", _INT),
        ("token_ids", pa.list_(_INT)),
        ("logprobs", pa.list_(_REAL)),
        ("error", _TEXT),
    ]
)
_SAMPLES = pa.schema(
    [
        ("suite", _TEXT),
        ("sample_id", _TEXT),
        ("prompt", _TEXT),
        ("targets", pa.list_(_TEXT)),
        ("choices", pa.list_(_TEXT)),
        ("answer", _INT),
        ("cluster", _TEXT),
        ("slices", _TEXT),
        ("fields", _TEXT),
        ("lead", _INT),
    ]
)

_JSON = json.JSONEncoder(ensure_ascii=False)
_SORTED = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def write_run(folder: Path, manifest: Manifest, results: Sequence[Result]) -> Run:
    """Write a run folder whole; times are left out of the Parquet files, so equal runs are equal
    byte for byte."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for file, columns, schema in (
            ("samples.parquet", _sample_columns(results), _SAMPLES),
            ("completions.parquet", _completion_columns(results), _COMPLETIONS),
            ("results.parquet", _score_columns(results), _RESULTS),
        ):
            _write_parquet(folder / file, columns, schema)
        write_text(folder / MANIFEST, to_json(manifest))
    except OSError as error:
        raise StoreError(
            f"The run could not be written to {folder}: {error}. Nothing is lost: free space or "
            "choose another folder with --output, and run the same command again."
        ) from error
    return Run(manifest=manifest, results=tuple(results), path=str(folder))


def check_writable(folder: Path) -> None:
    """StoreError now rather than after an hour's work, where nothing could be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise StoreError(
            f"Nothing can be written to {folder.resolve()}: {error.strerror or error}. "
            "Choose another folder with --output, or make room there."
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a complete run.

    StoreError tells an unfinished run from a wrong folder, a damaged file and a newer format.
    """
    file = folder / MANIFEST
    if not file.is_file():
        if (folder / COMPARISON).is_file():
            raise UsageError(
                f"{folder} is a comparison. Name one of the runs that it compares: "
                f"{_runs_of(folder)}."
            )
        if not folder.exists():
            raise UsageError(f"{folder} does not exist. Name the folder of a run (runs/…).")
        raise StoreError(
            f"{folder} holds an unfinished run (no {MANIFEST}). Run the command that makes it "
            "again."
        )
    return from_json(file, Manifest)


def read_run(folder: Path) -> Run:
    """Read a complete run; StoreError where a file is missing or damaged."""
    manifest = read_manifest(folder)
    try:
        samples = pq.read_table(folder / "samples.parquet", schema=_SAMPLES).to_pylist()
        completions = pq.read_table(folder / "completions.parquet", schema=_COMPLETIONS).to_pylist()
        scores = pq.read_table(folder / "results.parquet", schema=_RESULTS).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"The run in {folder} is damaged: {error}. Delete the folder and run the command that "
            "makes it again; stored completions are not computed anew."
        ) from error
    results = join_rows(samples, completions, scores)
    return Run(manifest=manifest, results=results, path=str(folder))


def join_rows(
    samples: Iterable[dict[str, Any]],
    completions: Iterable[dict[str, Any]],
    scores: Iterable[dict[str, Any]],
) -> tuple[Result, ...]:
    """Rows of the three files become results, in the order of the samples."""
    by_completion: dict[tuple[str, str], list[Completion]] = defaultdict(list)
    for row in completions:
        by_completion[row["suite"], row["sample_id"]].append(_completion(row))
    by_score: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for row in scores:
        by_score[row["suite"], row["sample_id"]].append(_score(row))
    return tuple(
        Result(
            sample=_sample(row),
            completions=tuple(by_completion[row["suite"], row["sample_id"]]),
            scores=tuple(by_score[row["suite"], row["sample_id"]]),
        )
        for row in samples
    )


def write_comparisons(folder: Path, comparisons: Sequence[Comparison]) -> Path:
    """Write comparison.json: one comparison for each tuned arm."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / COMPARISON
        write_text(file, to_json({"comparisons": [asdict(one) for one in comparisons]}))
    except OSError as error:
        raise StoreError(f"The comparison could not be written to {folder}: {error}.") from error
    return file


def read_comparisons(path: Path) -> tuple[Comparison, ...]:
    """Read comparison.json, from the file or the folder that holds it.

    UsageError where there is none, StoreError where it is damaged or of another format.
    """
    file = path / COMPARISON if path.is_dir() else path
    if (path / MANIFEST).is_file():
        raise UsageError(
            f"{path} is one run. Name a comparison (runs/compare/…), or two runs, the base's first."
        )
    if not file.is_file():
        raise UsageError(f"No {COMPARISON} in {path}. Make one with `evalkit compare`.")
    if file.suffix != ".json":
        raise UsageError(
            f"{file} is not a comparison written by evalkit. Name its folder, {file.parent}."
        )
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["comparisons"]
        for row in rows:
            _refuse_newer(file, row, row.get("base"), row.get("tuned"))
        return TypeAdapter(tuple[Comparison, ...]).validate_python(rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} is not a comparison written by evalkit: {error}") from error


def find_run(recorded: str, run_id: str, near: Iterable[Path]) -> Path | None:
    """The folder of a complete run, even where runs were moved since: by the path that a
    comparison recorded, else by that or the run's id in one of the folders `near`."""
    names = [Path(recorded)] if recorded else []
    for folder in near:
        names += [folder / run_id, folder / Path(recorded).name] if recorded else [folder / run_id]
    return next((name for name in names if (name / MANIFEST).is_file()), None)


def _runs_of(folder: Path) -> str:
    first = read_comparisons(folder)[0]
    return ", ".join(filter(None, (first.base_path, first.tuned_path))) or "they were not kept"


def to_json(record: object) -> str:
    """A record as JSON, keys in the order of its fields."""
    value = asdict(record) if hasattr(record, "__dataclass_fields__") else record  # type: ignore[call-overload]
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"


def from_json(file: Path, kind: type[_Record]) -> _Record:
    """Read one record back; StoreError where the file does not fit it, or is too new to."""
    try:
        row = json.loads(file.read_bytes())
        _refuse_newer(file, row)
        return TypeAdapter(kind).validate_python(row)
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as a {kind.__name__}: {error}") from error


def _refuse_newer(file: Path, *rows: object) -> None:
    """Before the fields are looked at: those of a newer format may have another meaning."""
    for row in rows:
        version = row.get("schema_version") if isinstance(row, Mapping) else None
        if isinstance(version, int) and version < 1:
            raise StoreError(f"{file} has the format version {version}; the first there was is 1.")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                f"{file} was written by a newer evalkit: its format is version {version}, and "
                f"this evalkit reads up to version {SCHEMA_VERSION}. Update it (`pip install "
                "--upgrade evalkit-compare`), or make the file again with this one."
            )


def write_text(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _write_parquet(file: Path, columns: Mapping[str, list[Any]], schema: pa.Schema) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pydict(columns, schema=schema), draft, compression="zstd")
    draft.replace(file)


def _prompt_json(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return _JSON.encode(prompt)
    return _JSON.encode([{"role": turn.role, "content": turn.content} for turn in prompt])


def _prompt(text: str) -> Prompt:
    value = json.loads(text)
    return value if isinstance(value, str) else tuple(Message(**message) for message in value)


def _fields(records: Sequence[Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Fields of records as columns: a row for each record would take several times as long."""
    return {name: list(map(attrgetter(name), records)) for name in names}


def _sample_columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    samples = [result.sample for result in results]
    return {
        **_fields(samples, ("suite", "targets", "choices", "answer", "cluster", "lead")),
        "sample_id": [one.id for one in samples],
        "prompt": [_prompt_json(one.prompt) for one in samples],
        "slices": [_SORTED.encode(dict(one.slices)) for one in samples],
        "fields": [_SORTED.encode(dict(one.fields)) for one in samples],
    }


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        id=row["sample_id"],
        suite=row["suite"],
        prompt=_prompt(row["prompt"]),
        targets=tuple(row["targets"]),
        choices=tuple(row["choices"]),
        answer=row["answer"],
        cluster=row["cluster"],
        slices=json.loads(row["slices"]),
        fields=json.loads(row["fields"]),
        lead=row.get("lead"),  # absent in runs of an earlier version
    )


def _completion_columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    placed = [
        (result.sample, index) for result in results for index in range(len(result.completions))
    ]
    completions = [one for result in results for one in result.completions]
    names = [name for name in _COMPLETIONS.names if name not in {"suite", "sample_id", "index"}]
    return {
        "suite": [sample.suite for sample, _ in placed],
        "sample_id": [sample.id for sample, _ in placed],
        "index": [index for _, index in placed],
        **_fields(completions, names),
    }


def _completion(row: dict[str, Any]) -> Completion:
    fields = {k: v for k, v in row.items() if k not in {"suite", "sample_id", "index"}}
    for name in ("token_ids", "logprobs", "prompt_start"):
        fields[name] = tuple(fields.get(name) or ())  # absent in runs of an earlier version
    fields["thinking"] = fields.get("thinking") or ""
    return Completion(**fields)


def _score_columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    scores = [score for result in results for score in result.scores]
    return {
        "suite": [result.sample.suite for result in results for _ in result.scores],
        "sample_id": [result.sample.id for result in results for _ in result.scores],
        "metric": [score.scorer for score in scores],
        **_fields(scores, ("value", "reason", "stats", "values")),
    }


def _score(row: dict[str, Any]) -> Score:
    return Score(
        sample_id=row["sample_id"],
        scorer=row["metric"],
        value=row["value"],
        reason=row["reason"],
        stats=tuple(row["stats"]),
        values=tuple(row.get("values") or ()),  # absent in runs of an earlier version
    )
