"""The rows of a suite's files: they know their line, and all mistakes are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from evalkit import jsonl
from evalkit.data.rows import DataRow
from evalkit.errors import SuiteError

Row: TypeAlias = DataRow
"""One row of a suite's files and where it stands."""


class Mistakes(list[str]):
    """The mistakes found in a suite so far; `check` raises them together."""

    def at(self, row: Row, message: str) -> None:
        """Note a mistake of one row."""
        self.append(f"{row.place}: {message}")

    def check(self) -> None:
        """Raise SuiteError if there were any."""
        if self:
            raise SuiteError(jsonl.listed(self))


def read_rows(path: Path, mistakes: Mistakes) -> list[Row]:
    """The JSON objects of a file, blank lines skipped; raises SuiteError if it cannot be read."""
    rows = []
    for number, line in jsonl.numbered_lines(read_text(path)):
        try:
            fields = jsonl.parse_object(line, strict=True, example='{"id": …}')
            rows.append(Row(path, number, fields))
        except ValueError as error:
            mistakes.append(f"{path}:{number}: {error}")
    return rows


def read_text(path: Path) -> str:
    """A UTF-8 file's text, without a byte-order mark; raises SuiteError with what is wrong."""
    try:
        return jsonl.read_text(path)
    except jsonl.MissingFileError:
        raise SuiteError(f"{path}: no such file.") from None
    except jsonl.UnreadableError as error:
        raise SuiteError(str(error)) from None


def near(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
