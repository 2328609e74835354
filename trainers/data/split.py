"""Which rows are trained on, how often, and which are kept back; the same for a seed, always."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from trainers.config import DataFile
from trainers.data.rows import Row, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """What became of one file: its distinct rows, those chosen, and their two parts."""

    file: DataFile
    read: int
    duplicates: int
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows of all files; `train` holds a row as often as its weight says."""

    files: tuple[FileRows, ...]
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


def split_files(files: Sequence[DataFile], share: float, seed: int) -> Split:
    """Read, deduplicate, limit, hold out `share` of each file, and weight the rest.

    A row that stands in two files counts in the first only, so nothing held out is trained on.
    """
    parts, seen = [], set[str]()
    for file in files:
        rows = read_rows(file.path)
        distinct = []
        for row in rows:
            if row.content_hash not in seen:
                seen.add(row.content_hash)
                distinct.append(row)
        chosen = _shuffled(distinct, seed)[: file.limit]
        # Of each file its share, so that a mixture is held out as it is trained on; never all.
        kept_back = min(round(share * len(chosen)), max(len(chosen) - 1, 0))
        parts.append(
            FileRows(
                file=file,
                read=len(rows),
                duplicates=len(rows) - len(distinct),
                train=tuple(_in_order(chosen[kept_back:])),
                held_out=tuple(_in_order(chosen[:kept_back])),
            )
        )
    return Split(
        files=tuple(parts),
        train=tuple(row for part in parts for row in _weighted(part, seed)),
        held_out=tuple(row for part in parts for row in part.held_out),
    )


def _weighted(part: FileRows, seed: int) -> list[Row]:
    """Whole copies of every row, and for the rest of the weight a seeded part of them."""
    whole = int(part.file.weight)
    rest = round((part.file.weight - whole) * len(part.train))
    return [*part.train * whole, *_in_order(_shuffled(part.train, seed)[:rest])]


def _shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """An order by content alone: adding a row moves no other between the parts' fronts."""

    def key(row: Row) -> str:
        return hashlib.sha256(f"{seed} {row.content_hash}".encode()).hexdigest()

    return sorted(rows, key=key)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.line)
