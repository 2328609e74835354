"""A CSV, JSON or Parquet file of somebody else's as the rows of a suite."""

from __future__ import annotations

import csv
import io
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import data
from evalkit.data.layout import format_of
from evalkit.data.rows import csv_reader
from evalkit.errors import DataError, SuiteError
from evalkit.harnesses.rows import Mistakes, Row, near, read_rows, read_text

_LONGEST_LABEL = 2  # signs of a letter or an index that names a choice


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

    def choice_columns(self) -> list[str]:
        """`letters`, but for a table whose choices are lists in one column."""
        return [] if "choices" in self.columns else self.letters()

    def has_choices(self) -> bool:
        """Whether its rows look like questions with given choices."""
        return "choices" in self.columns or bool(self.letters())


def read_table(source: Path) -> Table:
    """The rows of a CSV, TSV, JSONL, JSON or Parquet file; SuiteError has every mistake in it.

    All but Parquet may end in .gz.
    """
    mistakes = Mistakes()
    columns: list[str]
    rows: Sequence[Row]
    ending = source.suffix.lower()
    if ending in {".csv", ".tsv"}:
        columns, rows = _read_csv(source, mistakes)
    else:
        if ending in {".jsonl", ".ndjson"}:
            rows = read_rows(source, mistakes)
        elif format_of(source.name) is not None:
            rows = _read_data(source)
        else:
            raise SuiteError(
                f"{source}: expected a .csv, .tsv, .jsonl, .json or .parquet file "
                "(.gz may follow all but the last)."
            )
        columns = list(dict.fromkeys(name for row in rows for name in row.fields))
    mistakes.check()
    if not rows:
        raise SuiteError(f"{source}: there are no rows in it.")
    return Table(source, tuple(columns), tuple(rows))


def _read_data(source: Path) -> list[Row]:
    """The rows as of any data set, without their empty cells."""
    try:
        found = list(data.read_rows([source]))
    except DataError as error:
        raise SuiteError(str(error)) from None
    return [
        replace(row, fields={k: cell for k, cell in row.fields.items() if cell not in (None, "")})
        for row in found
    ]


def _read_csv(source: Path, mistakes: Mistakes) -> tuple[list[str], list[Row]]:
    """The header, and the rows without their empty cells; `line` is the one a row begins on."""
    text = read_text(source)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv_reader(io.StringIO(text, newline=""), delimiter)
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
    letters, from_0 = table.choice_columns(), _counted_from_0(table, answer)
    for row in table.rows:
        try:
            choices = _choices(row.fields, letters)
            right = _index(row.fields.get(answer), choices, from_0=from_0)
            own = {"choices": choices.texts, "answer": right}
            rows.append(_row(row, question, own, [answer, *letters]))
        except ValueError as error:
            mistakes.at(row, str(error))
    mistakes.check()
    return rows


def lettered_rows(table: Table, question: str, answer: str) -> list[Row]:
    """Rows with the choices as the text `options`, A on, and the right one's letter as `target`."""
    mistakes, rows = Mistakes(), list[Row]()
    for row in choice_rows(table, question, answer):
        fields = dict(row.fields)
        texts, right = fields.pop("choices"), fields.pop("answer")
        if len(texts) > len(string.ascii_uppercase):
            mistakes.at(row, f"{len(texts)} choices are more than there are letters")
            continue
        lines = map("{}. {}".format, string.ascii_uppercase, texts)
        own = {"options": "\n".join(lines), "target": string.ascii_uppercase[right]}
        rows.append(replace(row, fields=fields | own))
    mistakes.check()
    return rows


def generate_rows(table: Table, question: str, target: str | None) -> list[Row]:
    """Rows with a question and, where there is a column for it, the `target`.

    Where the right choice is told by its letter or index, its text is the target: whoever is asked
    the question alone never sees the letters.
    """
    mistakes, rows = Mistakes(), list[Row]()
    from_0 = target is not None and _counted_from_0(table, target)
    for row in table.rows:
        try:
            own: dict[str, Any] = {}
            if target is not None and table.has_choices():
                own["target"] = _text_of_choice(row.fields, target, table, from_0=from_0)
            elif target is not None:
                own["target"] = _target(row.fields, target)
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


def _target(fields: Mapping[str, Any], name: str) -> str | list[str]:
    value = fields.get(name)
    if value is None or value == []:
        raise ValueError(f"the column {name!r} is empty")
    return list(map(_written, value)) if isinstance(value, list) else _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text_of_choice(fields: Mapping[str, Any], name: str, table: Table, *, from_0: bool) -> Any:
    """The text of the choice that a letter or an index names; a longer answer is one itself."""
    told = _target(fields, name)
    if isinstance(told, list) or len(told.strip()) > _LONGEST_LABEL:
        return told
    choices = _choices(fields, table.choice_columns())
    return choices.texts[_index(fields[name], choices, from_0=from_0)]


class _Choices(NamedTuple):
    """The choices that are there, each with its letter; `empty` are the letters of no choice."""

    letters: tuple[str, ...]
    texts: list[str]
    empty: tuple[str, ...] = ()


def _choices(fields: Mapping[str, Any], letters: Sequence[str]) -> _Choices:
    if letters:
        there = [letter for letter in letters if fields.get(letter) not in (None, "")]
        return _Choices(
            letters=tuple(letter.upper() for letter in there),
            texts=[str(fields[letter]) for letter in there],
            empty=tuple(letter.upper() for letter in letters if letter not in there),
        )
    value = fields.get("choices")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError('\'choices\' must be a JSON list such as ["a", "b"]') from None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("'choices' must be a list of texts")
    return _Choices(tuple(string.ascii_uppercase[: len(value)]), value)


def _counted_from_0(table: Table, answer: str) -> bool:
    """Whether answers that are numbers count from 0: a column without any 0 might begin with 1."""
    return any(str(row.fields.get(answer)).strip() == "0" for row in table.rows)


def _index(answer: object, choices: _Choices, *, from_0: bool) -> int:
    """Index, letter or text of the right choice to its index; ValueError where it is none."""
    count = len(choices.texts)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < count:
            raise ValueError(f"'answer' is {answer}, but there are {count} choices (from 0)")
        return answer
    text = "" if answer is None else str(answer).strip()
    letter = text.upper()
    named = {choices.letters.index(letter)} if letter in choices.letters else set()
    named |= {choices.texts.index(text)} if text in choices.texts else set()
    match list(named):
        case [one]:
            return one
        case [_, _]:
            raise ValueError(
                f"the answer {text!r} is one choice's letter and another's text; "
                "give indices (from 0) instead"
            )
    if letter in choices.empty:
        raise ValueError(f"the answer is {text!r}, and that choice is empty")
    if text.isdecimal() and len(text) <= _LONGEST_LABEL and int(text) < count:
        if from_0:
            return int(text)
        raise ValueError(
            f"the answer {text!r} is a number, and no row has 0: do they count from 0 or from 1? "
            "Give letters (A, B …) instead"
        )
    raise ValueError(f"the answer {answer!r} is neither a choice's letter nor its text")
