"""CSV files that people open in a spreadsheet: nothing in them runs, and every row is placed."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import StoreError, UsageError
from evalkit.jsonl import UnreadableError, read_text

LONGEST_CELL = 30_000
"""Characters of a text that are shown; a spreadsheet breaks cells of more than 32,767 up."""
_LONGEST_READ = 4_000_000  # characters; a longer cell is a broken file, not an answer
# Also the wide forms, which a spreadsheet reads as the narrow ones.
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")
# Where a semicolon or a tab parts the cells, what comes after one in a text begins a cell, too.
_LATER_FORMULA = re.compile(r"(?<=[;\t])(?=\s*[=+@])|(?<=[;\t])(?=\s*-[^)(\s])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Row(NamedTuple):
    """A row of a sheet: the line that it begins on, and its cells by column."""

    line: int
    cells: Mapping[str, str]


def harmless(text: str) -> str:
    """The text as a cell that a spreadsheet shows and never computes; an apostrophe tells it so.

    Control characters go, line ends become plain ones, and a text too long for a cell is cut.
    """
    kept = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(kept) > LONGEST_CELL:
        more = len(kept) - LONGEST_CELL
        kept = f"{kept[:LONGEST_CELL]}\n… [{more:,} more characters do not fit here]"
    guard = "'" if _FORMULA.match(kept) else ""
    return guard + _LATER_FORMULA.sub("'", kept)


def plain(cell: str) -> str:
    """A short cell as it was before it was made harmless."""
    guarded = cell.startswith("'") and _FORMULA.match(cell[1:])
    return cell[1:] if guarded else cell


def write_sheet(file: Path, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV whole or not at all; StoreError where that cannot be done."""
    out = io.StringIO(newline="")
    lines = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    lines.writerow(heads)
    lines.writerows([harmless(cell) for cell in row] for row in rows)
    # With the mark, without which a spreadsheet takes UTF-8 for something else.
    body = out.getvalue().encode("utf-8-sig", errors="replace")
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(body)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(f"{file} cannot be written: {error.strerror or error}.") from error


def read_sheet(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    """The columns and rows of a CSV, parted by commas, semicolons or tabs as a spreadsheet saved
    it; UsageError where it is no such file."""
    try:
        text = read_text(file)
    except UnreadableError as error:
        hint = " In a spreadsheet: save as “CSV UTF-8”." if "not UTF-8" in str(error) else ""
        raise UsageError(f"{error}{hint}") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        with _long_cells():
            heads = tuple(cell.strip().lower() for cell in next(lines, ()))
            rows = []
            begins = lines.line_num + 1
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    rows.append(Row(begins, _by_column(heads, cells)))
                begins = lines.line_num + 1
    except csv.Error as error:
        raise UsageError(
            f"{file}:{begins}: this row cannot be read as CSV: {error}. Restore it from the file "
            "that was exported."
        ) from None
    return heads, rows


def _by_column(heads: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """A spreadsheet leaves off the empty cells at a row's end."""
    padded = [*cells, *[""] * (len(heads) - len(cells))]
    return dict(zip(heads, padded, strict=False))


@contextmanager
def _long_cells() -> Iterator[None]:
    """Python reads cells of up to 131,072 characters unless it is told otherwise."""
    before = csv.field_size_limit(_LONGEST_READ)
    try:
        yield
    finally:
        csv.field_size_limit(before)
