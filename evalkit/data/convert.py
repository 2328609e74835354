"""Data sets as their authors publish them, turned into what tasks expect of the hub's copies.

GSM8K's repository: its rows as they are. CMMLU's CSV files: every cell a text, as its authors read
them. AGIEval's v1 files: prompt, choices and gold, worded as AGIEval's own zero-shot prompts
(`convert_zero_shot` in its src/dataset_loader.py).
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.data.find import DataSet, open_data_set
from evalkit.data.layout import holds_rows
from evalkit.data.rows import DataRow, read_rows
from evalkit.errors import DataError, UsageError

_LETTERS = string.ascii_uppercase
_CHINESE = ("-zh", "jec-qa", "gaokao-")
_CMMLU = ("Question", "A", "B", "C", "D", "Answer")


class Made(NamedTuple):
    """A file of a data root, and how many rows it has."""

    file: Path
    rows: int


class _Target(NamedTuple):
    """Where some files go, below the data root, and what each of their rows becomes."""

    name: str
    files: tuple[Path, ...]
    row: Callable[[DataRow], Mapping[str, Any]]


def convert(kind: str, source: Path, root: Path) -> list[Made]:
    """Write the data set in the folder `source` into the data root `root`; what is there goes.

    `kind` is one of KINDS. Raises DataError with file and line where a row is none of that data
    set, UsageError for another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} cannot be converted; these can: {', '.join(KINDS)}.")
    if not source.is_dir():
        raise UsageError(f"There is no folder {source}.")
    return [_written(root, target) for target in KINDS[kind](open_data_set(source))]


def _gsm8k(found: DataSet) -> Iterator[_Target]:
    for split, files in found.splits().items():
        yield _Target(f"openai/gsm8k/main/{split}.jsonl", files, _only("question", "answer"))


def _cmmlu(found: DataSet) -> Iterator[_Target]:
    for subject in found.layout:
        for split, files in found.splits(subject).items():
            yield _Target(f"haonan-li/cmmlu/{subject}/{split}.jsonl", files, _only(*_CMMLU))


def _agieval(found: DataSet) -> Iterator[_Target]:
    for file in (found.folder / name for name in found.names if holds_rows(name)):
        if next((row.fields.get("options") for row in read_rows([file])), None):
            yield _Target(f"hails/agieval-{file.stem}/test.jsonl", (file,), _agieval_row)


KINDS: Mapping[str, Callable[[DataSet], Iterator[_Target]]] = {
    "gsm8k": _gsm8k,
    "cmmlu": _cmmlu,
    "agieval": _agieval,
}
"""What can be converted; of AGIEval the multiple-choice sets."""


def _only(*names: str) -> Callable[[DataRow], Mapping[str, Any]]:
    def kept(row: DataRow) -> Mapping[str, Any]:
        return {name: _text(row, name) for name in names}

    return kept


def _agieval_row(row: DataRow) -> Mapping[str, Any]:
    chinese = any(part in row.path.stem for part in _CHINESE) and "english" not in row.path.stem
    options = row.fields.get("options")
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        raise DataError(f"{row.place}: 'options' must be a list of texts.")
    labels = row.fields.get("label")
    known = _LETTERS[: len(options)]
    given = [one for one in (labels if isinstance(labels, list) else [labels]) if one]
    # "AB" is two letters, as ["A", "B"] is.
    named = "".join(given) if all(isinstance(one, str) for one in given) else "?"
    if not named or len(options) > len(_LETTERS) or not set(named) <= set(known):
        raise DataError(f"{row.place}: 'label' must name some of the options, not {labels!r}.")
    golds = [known.index(letter) for letter in named]
    last = _LETTERS[(len(options) if len(options) > 1 else 4 if chinese else 5) - 1]
    question, listed = _text(row, "question"), " ".join(options)
    if chinese:
        asked = f"问题：{question} 选项：{listed}\n答案：从A到{last}, 我们应选择"
    else:
        asked = f"Q: {question} Answer Choices: {listed}\nA: Among A through {last}, the answer is"
    passage = row.fields.get("passage") or ""
    return {"query": f"{passage}{asked}", "choices": options, "gold": golds}


def _text(row: DataRow, name: str) -> str:
    value = row.fields.get(name)
    if not isinstance(value, str):
        raise DataError(
            f"{row.place}: {name!r} must be a text; the row has: {', '.join(row.fields)}."
        )
    return value


def _written(root: Path, target: _Target) -> Made:
    """Write a file and put it in its place when it is whole."""
    file = root / target.name
    count = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(f".{file.name}.part")
        with half.open("w", encoding="utf-8") as out:
            for row in read_rows(target.files):
                out.write(json.dumps(target.row(row), ensure_ascii=False) + "\n")
                count += 1
        half.replace(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror or error}.") from error
    return Made(file, count)
