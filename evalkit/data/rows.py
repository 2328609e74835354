"""The rows of data files, one after the other, each knowing where it stands."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from evalkit.data.layout import format_of
from evalkit.errors import DataError
from evalkit.jsonl import MAX_LINE, parse_object, parse_value

_BATCH = 1024  # rows of a Parquet file that are in memory at a time


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row; `line` counts lines from 1 in texts, and rows from 1 in JSON arrays and Parquet."""

    path: Path
    line: int
    fields: Mapping[str, Any]

    @property
    def place(self) -> str:
        """file:line, as it stands in messages."""
        return f"{self.path}:{self.line}"

    def content_hash(self) -> str:
        """Twelve hex digits that depend on what the row says, not on where it stands."""
        text = json.dumps(self.fields, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_rows(files: Sequence[Path]) -> Iterator[DataRow]:
    """The rows of JSONL, JSON, CSV, TSV and Parquet files (`.gz` but for Parquet), streamed.

    CSV and TSV give texts alone; a column without a name, such as an index, is left out.
    Raises DataError with file and line where a file cannot be read.
    """
    for path in files:
        try:
            yield from _rows(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
        except EOFError:
            raise DataError(f"{path}: ends too early; bring the file here again.") from None
        except zlib.error:
            raise DataError(f"{path}: is damaged; bring the file here again.") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not UTF-8 text; save the file as UTF-8.") from None


def _rows(path: Path) -> Iterator[DataRow]:
    match format_of(path.name):
        case "parquet":
            yield from _parquet_rows(path)
        case "csv":
            yield from _table_rows(path, ",")
        case "tsv":
            yield from _table_rows(path, "\t")
        case "json" if _is_array(path):
            yield from _array_rows(path)
        case "jsonl" | "json":
            yield from _line_rows(path)
        case _:
            raise DataError(
                f"{path}: no data file that evalkit reads; convert it to JSONL, CSV or Parquet."
            )


def _open(path: Path, newline: str | None = None) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def _is_array(path: Path) -> bool:
    with _open(path) as file:
        while sign := file.read(1):
            if not sign.isspace():
                return sign == "["
    return False


def _line_rows(path: Path) -> Iterator[DataRow]:
    with _open(path, newline="\n") as file:
        number = 0
        # A line is not read whole before its length is known: the file may be something else.
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if not line.strip():
                continue
            try:
                fields = parse_object(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}.") from None
            yield DataRow(path, number, fields)


def _array_rows(path: Path) -> Iterator[DataRow]:
    try:
        with _open(path) as file:
            rows = parse_value(file.read())
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            found = type(row).__name__
            raise DataError(f"{path}:{number}: expected an array of objects, got {found}.")
        yield DataRow(path, number, row)


def csv_reader(lines: Iterable[str], delimiter: str) -> Any:
    """A reader that refuses a quote that is never closed, and takes cells as long as rows may be.

    Without `strict` such a quote would swallow the rest of the file into one cell.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _table_rows(path: Path, delimiter: str) -> Iterator[DataRow]:
    with _open(path, newline="") as file:
        reader = csv_reader(file, delimiter)
        line = 1
        try:
            names: list[str] = next(reader, [])
            if len(set(names)) < len(names):
                raise DataError(f"{path}:1: a column's name stands twice in {', '.join(names)}.")
            line = reader.line_num + 1
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise DataError(
                        f"{path}:{line}: {len(cells)} columns, but the first line names "
                        f"{len(names)}. A text with a {delimiter!r} in it needs quotes."
                    )
                if cells:
                    pairs = zip(names, cells, strict=True)
                    yield DataRow(path, line, {name: cell for name, cell in pairs if name})
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{line}: not valid CSV: {error}.") from None


def _parquet_rows(path: Path) -> Iterator[DataRow]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with closing(ParquetFile(path)) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    cells = {name: plain_cell(cell) for name, cell in fields.items()}
                    yield DataRow(path, number, cells)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}.") from None


def plain_cell(cell: Any) -> Any:
    """A cell as JSON would have it: a date becomes its text."""
    if cell is None or isinstance(cell, (str, bool, int, float)):
        return cell
    return json.loads(json.dumps(cell, default=str))
