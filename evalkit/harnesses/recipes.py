"""Suites without samples of their own: a recipe names a data set and how its rows are read."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import data
from evalkit.errors import DataError
from evalkit.harnesses.material import Material
from evalkit.harnesses.rows import Mistakes, Row, read_text
from evalkit.harnesses.suitefile import DataSource, FieldSource, SuiteConfig, without_judging

_NAMED = 4  # missing configurations that are named in a note


class _Read(NamedTuple):
    rows: tuple[Row, ...]
    absent: tuple[str, ...]


def read_recipe(folder: Path, told: SuiteConfig, mistakes: Mistakes) -> Material:
    """The rows of the recipe in `folder`, from the data set that its suite.yaml names.

    Raises DataError where the data set is not there or cannot be read.
    """
    source = told.data
    assert source is not None
    questions = _read(source, source.split, source.files)
    rows = tuple(_with_ids(_mapped(questions.rows, told.fields, mistakes)))
    shots: tuple[Row, ...] = ()
    if told.fewshot is not None:
        split = told.fewshot.split
        shots = tuple(_mapped(_read(source, split, None).rows, told.fields, mistakes))
    found = data.find_data_set(source.dataset).folder
    return Material(
        told_in=folder / "suite.yaml",
        path=found,
        rows=rows,
        examples=shots,
        examples_path=found,
        texts=(
            without_judging(read_text(folder / "suite.yaml")),
            *(json.dumps(row.fields, sort_keys=True, default=str) for row in (*rows, *shots)),
        ),
        notes=tuple(_absence(source, questions.absent)),
    )


def _read(source: DataSource, split: str | None, files: str | None) -> _Read:
    """The rows of a split of all configurations there are, each with `config` and `label`."""
    if not source.configs:
        return _Read(tuple(_rows(source, source.config, split, files)), ())
    rows, absent = list[Row](), []
    there = data.find_data_set(source.dataset).layout
    for config, label in source.configs.items():
        if config not in there:
            absent.append(config)
            continue
        for row in _rows(source, config, split, None):
            fields = {**row.fields, "config": config, "label": label}
            rows.append(replace(row, fields=fields))
    if not rows:
        raise DataError(
            f"{source.dataset} has none of the configurations {', '.join(absent[:_NAMED])} …; "
            f"it has: {', '.join(sorted(there)[:_NAMED])}."
        )
    return _Read(tuple(rows), tuple(absent))


def _rows(
    source: DataSource, config: str | None, split: str | None, files: str | None
) -> Iterator[Row]:
    found = data.find_data(source.dataset, config=config, split=split, files=files)
    return data.read_rows(found)


def _absence(source: DataSource, absent: tuple[str, ...]) -> Iterator[str]:
    """Part of a benchmark is another number than all of it: whoever reads it has to know."""
    if absent:
        rest = " …" if len(absent) > _NAMED else ""
        yield (
            f"{len(source.configs) - len(absent)} of {len(source.configs)} parts of "
            f"{source.dataset} are here; missing: {', '.join(absent[:_NAMED])}{rest}. The score "
            "is not that of the whole benchmark"
        )


def _mapped(
    rows: tuple[Row, ...], fields: Mapping[str, FieldSource], mistakes: Mistakes
) -> Iterator[Row]:
    """The rows with the fields a suite needs beside, or in place of, the data set's own."""
    for row in rows:
        try:
            made = {name: _value(row.fields, source) for name, source in fields.items()}
        except ValueError as error:
            mistakes.at(row, str(error))
            continue
        yield replace(row, fields={**row.fields, **made})


def _value(fields: Mapping[str, Any], source: FieldSource) -> Any:
    if source.texts:
        return list(source.texts)
    if source.columns:
        return [str(_column(fields, name)) for name in source.columns]
    assert source.column is not None
    value = _column(fields, source.column)
    if source.item is not None or source.skip is not None:
        if not isinstance(value, list) or len(value) <= (source.item or 0):
            raise ValueError(f"{source.column!r} must be a list, long enough, not {value!r:.60}")
        value = value[source.skip :] if source.item is None else value[source.item]
    if source.after is not None:
        _, found, value = str(value).rpartition(source.after)
        if not found:
            raise ValueError(f"there is no {source.after!r} in {source.column!r}")
        value = value.strip()
    if source.strip:
        value = str(value).strip()
    return _index(value, source.column) if source.letter else value


def _column(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise ValueError(f"no {name!r}; the row has: {', '.join(fields)}")
    return fields[name]


def _index(value: object, name: str) -> int:
    text = str(value).strip().upper()
    if len(text) != 1 or text not in string.ascii_uppercase:
        raise ValueError(f"{name!r} must be a letter, not {value!r:.60}")
    return string.ascii_uppercase.index(text)


def _with_ids(rows: Iterator[Row]) -> Iterator[Row]:
    """Data sets repeat themselves here and there: the second of a kind gets a number behind."""
    seen = Counter[str]()
    for row in rows:
        if "id" in row.fields:
            yield row
            continue
        content = row.content_hash()
        seen[content] += 1
        number = f"-{seen[content]}" if seen[content] > 1 else ""
        yield replace(row, fields={"id": content + number, **row.fields})
