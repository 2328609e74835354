"""A CSV, JSONL or Parquet file of somebody else's as the rows of a suite."""

from __future__ import annotations

import csv
import io
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.errors import SuiteError
from evalkit.harnesses.rows import Mistakes, Row, near, read_rows, read_text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and the columns that occur in them, in the order of the file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def letters(self) -> list[str]:
        """The columns A, B, C … that hold the choices, as far as they go."""
        found = []
        for letter in string.ascii_uppercase:
            column = next((each for each in self.columns if each in (letter, letter.lower())), None)
            if column is None:
                break
            found.append(column)
        return found if len(found) > 1 else []

    def has_choices(self) -> bool:
        """Whether its rows look like questions with given choices."""
        return "choices" in self.columns or bool(self.letters())


def read_table(source: Path) -> Table:
    """The rows of a .csv, .tsv, .jsonl or .parquet file; SuiteError has every mistake in it."""
    mistakes = Mistakes()
    columns: list[str]
    rows: Sequence[Row]
    match source.suffix.lower():
        case ".csv" | ".tsv":
            columns, rows = _read_csv(source, mistakes)
        case ".jsonl" | ".ndjson":
            rows = read_rows(source, mistakes)
            columns = list(dict.fromkeys(name for row in rows for name in row.fields))
        case ".parquet":
            columns, rows = _read_parquet(source)
        case _:
            raise SuiteError(f"{source}: expected a .csv, .tsv, .jsonl or .parquet file.")
    mistakes.check()
    if not rows:
        raise SuiteError(f"{source}: there are no rows in it.")
    return Table(source, tuple(columns), tuple(rows))


def _read_csv(source: Path, mistakes: Mistakes) -> tuple[list[str], list[Row]]:
    """The header, and the rows without their empty cells; `line` is the one a row begins on."""
    text = read_text(source)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    rows: list[Row] = []
    begins = 1
    try:
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names) or not all(names):
            raise SuiteError(f"{source}:1: every column needs a name of its own.")
        begins = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(names):
                mistakes.append(f"{source}:{begins}: {len(cells)} cells, but {len(names)} columns")
            elif any(cell.strip() for cell in cells):
                fields = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
                rows.append(Row(source, begins, fields))
            begins = reader.line_num + 1
    except csv.Error as error:
        mistakes.append(f"{source}:{begins}: not valid CSV: {error}")
    return names, rows


def _read_parquet(source: Path) -> tuple[list[str], list[Row]]:
    """The columns, and the rows without their empty cells; `line` counts the rows from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(source)
    except FileNotFoundError:
        raise SuiteError(f"{source}: no such file.") from None
    except (OSError, pa.ArrowException) as error:
        raise SuiteError(f"{source}: not a Parquet file that can be read: {error}") from None
    rows = [
        Row(
            source,
            number,
            {name: _plain(cell) for name, cell in fields.items() if cell is not None},
        )
        for number, fields in enumerate(table.to_pylist(), 1)
    ]
    return list(table.column_names), rows


def _plain(cell: Any) -> Any:
    """A cell as JSON would have it: a date becomes its text."""
    return json.loads(json.dumps(cell, default=str))


def pick_column(table: Table, given: str | None, usual: Sequence[str], what: str) -> str | None:
    """The column that was asked for, or the first usual one there is; SuiteError if misnamed."""
    if given is not None:
        if given not in table.columns:
            hint = near(given, table.columns) or f" It has: {', '.join(table.columns)}."
            raise SuiteError(f"{table.path}: no column {given!r} for {what}.{hint}")
        return given
    lowered = {column.strip().lower(): column for column in reversed(table.columns)}
    return next((lowered[name] for name in usual if name in lowered), None)


def choice_rows(table: Table, question: str, answer: str) -> list[Row]:
    """Rows with `choices` and the index of the right one; the answer may be a letter or a text."""
    mistakes, rows = Mistakes(), list[Row]()
    letters = [] if "choices" in table.columns else table.letters()
    for row in table.rows:
        try:
            choices = _choices(row.fields, letters)
            own = {"choices": choices, "answer": _index(row.fields.get(answer), choices)}
            rows.append(_row(row, question, own, [answer, *letters]))
        except ValueError as error:
            mistakes.at(row, str(error))
    mistakes.check()
    return rows


def generate_rows(table: Table, question: str, target: str | None) -> list[Row]:
    """Rows with a question and, where there is a column for it, the `target`."""
    mistakes, rows = Mistakes(), list[Row]()
    for row in table.rows:
        try:
            own = {} if target is None else {"target": _target(row.fields, target)}
            rows.append(_row(row, question, own, [] if target is None else [target]))
        except ValueError as error:
            mistakes.at(row, str(error))
    mistakes.check()
    return rows


def _row(row: Row, question: str, own: Mapping[str, Any], used: Sequence[str]) -> Row:
    """The row's id first, then the question, what the task needs, and the other columns."""
    fields = dict(row.fields)
    if question not in fields:
        raise ValueError("the question is empty")
    made = {"id": fields.pop("id")} if "id" in fields else {}
    made[question] = fields.pop(question)
    made |= own
    for name, value in fields.items():
        if name not in used:
            made.setdefault(name, value)
    return replace(row, fields=made)


def _target(fields: Mapping[str, Any], name: str) -> str | list[Any]:
    value = fields.get(name)
    if value is None:
        raise ValueError(f"the column {name!r} is empty")
    return value if isinstance(value, (str, list)) else json.dumps(value)


def _choices(fields: Mapping[str, Any], letters: Sequence[str]) -> list[str]:
    if letters:
        return [str(fields[letter]) for letter in letters if letter in fields]
    value = fields.get("choices")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError('\'choices\' must be a JSON list such as ["a", "b"]') from None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("'choices' must be a list of texts")
    return value


def _index(answer: object, choices: Sequence[str]) -> int:
    """Index, letter or text of the right choice to its index."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    text = str(answer or "").strip()
    if text in choices:
        return choices.index(text)
    if len(text) == 1 and text.upper() in string.ascii_uppercase[: len(choices)]:
        return string.ascii_uppercase.index(text.upper())
    raise ValueError(f"the answer {answer!r} is neither a choice's letter nor its text")
