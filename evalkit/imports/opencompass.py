"""OpenCompass work folders: predictions/MODEL/DATASET.json and results/MODEL/DATASET.json."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import Any

from evalkit.errors import UsageError
from evalkit.imports.base import (
    Imported,
    label,
    mean_score,
    measured,
    number,
    plain,
    short_hash,
    suite_info,
)
from evalkit.imports.files import BrokenLogError, digest_of, known_form, read_object
from evalkit.progress import Progress
from evalkit.records import Completion, Message, Metric, Prompt, Result, Role, Sample, SuiteInfo

_PART = re.compile(r"(?P<name>.+)_(?P<part>\d+)")
_ROLES: Mapping[object, Role] = {"SYSTEM": "system", "BOT": "assistant"}
_CORRECT = ("correct", "is_correct", "cascade_correct")
_RIGHT = "right"  # the name of the values that say whether a sample is right
_SHARES = ("accuracy", "acc", "score", "correct", "exact", "em", "pass")
"""What the name of the share of right samples begins with, the likelier ones first."""
_ROUNDED = 0.005  # percent; some evaluators write two digits
_CHOICE = "label: "


@dataclass(frozen=True, slots=True)
class _Dataset:
    """One data set, read: its suite, what its fingerprint is made of, and its results."""

    info: SuiteInfo
    setup: Mapping[str, str]
    results: Sequence[Result]
    notes: Sequence[str]
    files: Sequence[Path]


@known_form("OpenCompass")
def read_opencompass(path: Path, progress: Progress) -> list[Imported]:
    """Each model of a work folder, of its newest time stamp where it holds several.

    UsageError where it holds no predictions with results.
    """
    folder = _stamped(path)
    models = sorted(one for one in (folder / "predictions").iterdir() if one.is_dir())
    found, notes = [], []
    for model in models:
        try:
            found.append(_model(folder, model.name, progress))
        except UsageError as error:
            notes.append(f"{model.name} is left out: {error}")
    if not found:
        raise UsageError("\n".join(notes))
    return [replace(one, notes=(*notes, *one.notes)) for one in found]


def _stamped(path: Path) -> Path:
    """The folder that holds predictions: the path itself, or its newest subfolder with some."""
    found = [path, *sorted(path.glob("*"), key=lambda one: one.name, reverse=True)]
    for folder in found:
        if any((folder / "predictions").glob("*/*.json")):
            return folder
    raise UsageError(
        f"{path} holds no predictions/MODEL/DATASET.json. Name the folder that OpenCompass's "
        "--work-dir was, or one of the time stamps in it."
    )


def _model(folder: Path, model: str, progress: Progress) -> Imported:
    datasets, notes = [], []
    for name, files in _predictions(folder / "predictions" / model).items():
        result = folder / "results" / model / f"{name}.json"
        suite = f"opencompass:{label(name)}"
        try:
            datasets.append(_dataset(suite, name, files, result, progress))
        except UsageError as error:
            notes.append(f"{suite} is left out: {error}")
    if not datasets:
        raise UsageError(
            f"{folder}: nothing of {model} can be imported. " + "; ".join(notes or ["no data"])
        )
    return Imported(
        tool="opencompass",
        model=model,
        results=tuple(result for one in datasets for result in one.results),
        suites=tuple(one.info for one in datasets),
        setups={one.info.name: one.setup for one in datasets},
        digest=digest_of(file for one in datasets for file in one.files),
        notes=(*notes, *(note for one in datasets for note in one.notes)),
    )


def _predictions(folder: Path) -> dict[str, list[Path]]:
    """The files of each data set; a large one is split into NAME_0.json, NAME_1.json …"""
    whole = {file.stem: file for file in sorted(folder.glob("*.json"))}
    found: dict[str, list[Path]] = {}
    for stem, file in whole.items():
        part = _PART.fullmatch(stem)
        split = part is not None and part["name"] not in whole and f"{part['name']}_0" in whole
        if not stem.startswith("tmp_"):
            found.setdefault(part["name"] if part and split else stem, []).append(file)
    return {name: sorted(files, key=_number) for name, files in found.items()}


def _number(file: Path) -> int:
    part = _PART.fullmatch(file.stem)
    return int(part["part"]) if part else 0


def _dataset(
    suite: str, name: str, files: Sequence[Path], result: Path, progress: Progress
) -> _Dataset:
    """One data set; UsageError where its results are absent or tell nothing of its samples."""
    rows = [row for file in files for row in _rows(file)]
    if not result.is_file():
        raise BrokenLogError(
            f"{result} is missing. OpenCompass also ends with 0 where its evaluation crashed: see "
            "its logs/eval."
        )
    told = read_object(result)
    if "error" in told:
        raise BrokenLogError(f"{result}: {plain(told['error'])[:300]}")
    details = _details(told.get("details"))
    runs = _runs(rows, details, result)
    size = len(rows) // runs
    progress.start(name, size)
    columns, notes = _columns(suite, rows, details, runs, told)
    metrics = [_metric(key, column) for key, column in columns.items()]
    way = "ppl" if _labels(rows[0]) else "gen"
    setup = {"dataset": name, "inferencer": way, "runs": str(runs)}
    results = []
    for place in range(size):
        results.append(_result(suite, place, rows[place::size], _at(details, place), columns))
        progress.advance(name)
    task = "choice" if way == "ppl" else "generate"
    try:
        info = suite_info(suite, task, metrics, setup, size)
    except UsageError:
        raise UsageError(
            f"{result} does not say which samples were right (OpenCompass writes that unless "
            f"--dump-eval-details is False). {' '.join(notes)}".rstrip()
        ) from None
    return _Dataset(info, setup, results, notes, [*files, result])


def _rows(file: Path) -> list[dict[str, Any]]:
    """The predictions of a file in their order; its keys are "0", "1" …"""
    found = read_object(file)
    try:
        rows = [found[str(place)] for place in range(len(found))]
    except KeyError as error:
        raise BrokenLogError(f"{file}: sample {error} of {len(found)} is missing.") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise BrokenLogError(f"{file}: expected an object for each sample.")
    return rows


def _details(told: Any) -> list[Mapping[str, Any]]:
    """What the evaluator says of each sample: a list, or an object with "0", "1" … and others."""
    if isinstance(told, dict):
        told = [told[key] for key in sorted((k for k in told if k.isdecimal()), key=int)]
    return [one for one in told or () if isinstance(one, dict)]


def _runs(rows: Sequence[Any], details: Sequence[Any], result: Path) -> int:
    """How often each sample was asked: the predictions of all runs follow one another."""
    if not details:
        return 1
    if len(rows) % len(details):
        raise BrokenLogError(
            f"{result}: details of {len(details):,} samples, for {len(rows):,} predictions."
        )
    return len(rows) // len(details)


def _at(details: Sequence[Mapping[str, Any]], place: int) -> Mapping[str, Any]:
    return details[place] if details else {}


Column = list[list[float | None]]
"""A metric's values: of each sample, one for each run."""


def _columns(
    suite: str,
    rows: Sequence[Mapping[str, Any]],
    details: Sequence[Mapping[str, Any]],
    runs: int,
    told: Mapping[str, Any],
) -> tuple[dict[str, Column], list[str]]:
    """Values whose mean is a number of the results file, under the name that it has there."""
    numbers = {key: known for key, one in told.items() if (known := number(one)) is not None}
    columns: dict[str, Column] = {}
    unclear: set[str] = set()
    for value, column in _candidates(rows, details, runs):
        keys = [key for key in numbers if key not in columns and _gives(column, numbers[key])]
        chosen = _chosen(value, keys)
        if chosen is not None:
            columns[chosen] = column
        else:
            unclear |= set(keys)
    notes = [
        f"{suite}: {key} is left out: "
        + ("the values of samples may be those of another number, which is the same"
           if key in unclear else "no values of samples have it for a mean")
        for key in numbers if key not in columns
    ]  # fmt: skip
    return {label(key): column for key, column in columns.items()}, notes


def _chosen(value: str, keys: Sequence[str]) -> str | None:
    """Which of several equal numbers a value of the samples makes, as far as names decide it.

    Where a model got nothing right, 0 is many a number.
    """
    if value == _RIGHT:
        first = {key: re.split(r"[^a-z0-9]+", key.lower())[0] for key in keys}
        named = [key for name in _SHARES for key in keys if first[key] == name]
    else:
        named = [key for key in keys if value and key.lower().startswith(value.lower())]
    if named:
        return named[0]
    return keys[0] if len(keys) == 1 else None


def _gives(column: Column, own: float) -> bool:
    """Whether the mean is the evaluator's number. Most count in percent; here a share is one."""
    known = [one for values in column for one in values if one is not None]
    if not known:
        return False
    mean = math.fsum(known) / len(known)
    return abs(100 * mean - own) <= _ROUNDED or math.isclose(mean, own)


def _candidates(
    rows: Sequence[Mapping[str, Any]], details: Sequence[Mapping[str, Any]], runs: int
) -> list[tuple[str, Column]]:
    """What may have made a number, by name: right or wrong first, then others of the evaluator."""
    if not details:
        equal = [[_equal(row.get("prediction"), row.get("gold"))] for row in rows]
        return [(_RIGHT, equal)] if all(_labels(row) for row in rows) else []
    keys = dict.fromkeys(key for one in details for key in one)
    ordered = sorted(keys, key=lambda key: (key not in _CORRECT, "pred" in key))
    found = [
        (_RIGHT if key in _CORRECT else key, [_values(one.get(key), runs) for one in details])
        for key in ordered
    ]
    if not keys & dict.fromkeys(_CORRECT).keys():
        pairs = [(one.get("predictions"), one.get("references")) for one in details]
        found.insert(0, (_RIGHT, [[_equal(*pair)] for pair in pairs]))
    return found


def _equal(prediction: object, gold: object) -> float | None:
    if prediction is None or gold is None:
        return None
    return float(str(prediction) == str(gold))


def _values(value: object, runs: int) -> list[float | None]:
    values = value if isinstance(value, list) else [value]
    return [number(one) for one in values] if len(values) == runs else [None] * runs


def _metric(name: str, column: Column) -> Metric:
    return measured(name, [one for values in column for one in values])


def _labels(row: Mapping[str, Any]) -> list[str]:
    return [key.removeprefix(_CHOICE) for key in row if key.startswith(_CHOICE)]


def _result(
    suite: str,
    place: int,
    rows: Sequence[Mapping[str, Any]],
    detail: Mapping[str, Any],
    columns: Mapping[str, Column],
) -> Result:
    gold = next((g for g in (rows[0].get("gold"), detail.get("references"), detail.get("answer"))
                 if g is not None), None)  # fmt: skip
    sample_id = f"{place}-{short_hash(gold)}"
    golds = gold if isinstance(gold, list) else [gold]
    sample = Sample(
        id=sample_id,
        suite=suite,
        prompt=_prompt(rows[0]),
        targets=tuple(plain(one) for one in golds if one is not None),
    )
    return Result(
        sample=sample,
        completions=tuple(_completion(f"{sample_id}/{n}", row) for n, row in enumerate(rows)),
        scores=tuple(mean_score(sample_id, name, one[place]) for name, one in columns.items()),
    )


def _prompt(row: Mapping[str, Any]) -> Prompt:
    """The question: turns or text; of choices, what their texts have in common at the start."""
    labels = _labels(row)
    if labels:
        texts = [plain(row[_CHOICE + one].get("prompt") or "") for one in labels]
        return commonprefix(texts)  # noqa: RUF071, characters are meant
    asked = row.get("origin_prompt")
    if isinstance(asked, list) and all(isinstance(turn, dict) for turn in asked):
        return tuple(
            Message(role=_ROLES.get(t.get("role"), "user"), content=plain(t.get("prompt", "")))
            for t in asked
        )
    return plain(asked if asked is not None else "")


def _completion(key: str, row: Mapping[str, Any]) -> Completion:
    """A text; or the choice that won, with the mean negative log-likelihood of each."""
    prompt = _prompt(row)
    asked = prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
    text = plain(row.get("prediction", ""))
    labels = _labels(row)
    if labels:
        found = ", ".join(f"{one} {row[_CHOICE + one].get('PPL')}" for one in labels)
        text = plain(f"{text}\n({found})")
    return Completion(key=key, text=text, stop_reason="stop", prompt_text=asked)
