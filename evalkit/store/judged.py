"""judgements.jsonl read with SQL, so that a million judgements page as fast as a thousand.

They are read once into a database of their own on disk; each judge's calls on a sample are folded
there, by the rules of evalkit/judges/preferences.py, into one line.
"""

# ruff: noqa: S608 (only constants are joined to statements)
from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from evalkit.errors import StoreError
from evalkit.records import Judgement, PreferenceOutcome, Protocol

JudgedOrder: TypeAlias = Literal["doubt", "tuned", "base", "suite"]

_CONFIG: dict[str, Any] = {"autoinstall_known_extensions": False}
_FIELDS = {
    "suite": "VARCHAR",
    "sample_id": "VARCHAR",
    "judge": "VARCHAR",
    "rubric": "VARCHAR",
    "protocol": "VARCHAR",
    "order": "VARCHAR",
    "arm": "VARCHAR",
    "repeat": "BIGINT",
    "stripped": "BOOLEAN",
    "status": "VARCHAR",
    "value": "DOUBLE",
    "level": "VARCHAR",
    "rationale": "VARCHAR",
    "error": "VARCHAR",
    "key": "VARCHAR",
    "tokens_in": "BIGINT",
    "tokens_out": "BIGINT",
}
_COLUMNS = ", ".join(
    f"'{name}': '{kind}'" for name, kind in ({"judgements": "BIGINT"} | _FIELDS).items()
)
_NAMES = ", ".join(f'"{name}"' for name in _FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFilter:
    """Which lines are wanted; what is empty does not restrict.

    `text` is looked for in the sample's id and in what the judge wrote, whatever its case;
    `samples` are the ids wanted, where only some are.
    """

    suite: str = ""
    rubric: str = ""
    judge: str = ""
    outcome: PreferenceOutcome | Literal[""] = ""
    text: str = ""
    samples: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One judge's word on one sample.

    Pairwise, `base_first` and `tuned_first` are the utilities for the tuned arm by the order in
    which the answers were shown (both the same where no order is told), `value` is what they come
    to. Pointwise, `base` and `tuned` are the ratings and `value` is their difference; `outcome`
    says then which arm was rated higher. None is missing.
    """

    suite: str
    rubric: str
    judge: str
    sample_id: str
    protocol: Protocol
    base_first: float | None
    tuned_first: float | None
    base: float | None
    tuned: float | None
    value: float | None
    outcome: PreferenceOutcome


_LOAD = f"""
CREATE TABLE judgements AS
SELECT row_number() OVER () AS position, *
FROM read_json($file, format = 'newline_delimited', columns = {{{_COLUMNS}}})
"""
_PAIRWISE = """
WITH orders AS (
    SELECT suite, rubric, judge, sample_id, "order", min(position) AS position,
        favg(value) AS mean,
        coalesce(bool_and(value IN (0, 0.5, 1)) FILTER (value IS NOT NULL), true) AS plain
    FROM judgements WHERE protocol = 'pairwise' AND NOT stripped GROUP BY ALL
), samples AS (
    SELECT suite, rubric, judge, sample_id, min(position) AS position, bool_and(plain) AS plain,
        bool_or("order" <> '') AS ordered,
        max(mean) FILTER ("order" = 'base_first') AS first,
        max(mean) FILTER ("order" = 'tuned_first') AS second,
        max(mean) FILTER ("order" = '') AS alone
    FROM orders GROUP BY ALL
), shown AS (
    SELECT * EXCLUDE (first, second, alone),
        CASE WHEN ordered THEN first ELSE alone END AS base_first,
        CASE WHEN ordered THEN second ELSE alone END AS tuned_first
    FROM samples
), weighed AS (
    SELECT *, sign(round(base_first - 0.5, 12)) AS one, sign(round(tuned_first - 0.5, 12)) AS two
    FROM shown
)
SELECT position, suite, rubric, judge, sample_id, 'pairwise' AS protocol,
    base_first, tuned_first, NULL::DOUBLE AS base, NULL::DOUBLE AS tuned,
    CASE WHEN one = two OR NOT plain THEN (base_first + tuned_first) / 2
        WHEN one IS NOT NULL AND two IS NOT NULL THEN 0.5 END AS value,
    CASE WHEN one IS NULL OR two IS NULL THEN 'missing'
        WHEN one = two THEN CASE one WHEN 1 THEN 'tuned' WHEN -1 THEN 'base' ELSE 'tie' END
        WHEN one = 0 OR two = 0 THEN 'wavered' ELSE 'flip' END AS outcome
FROM weighed
"""
_POINTWISE = """
WITH samples AS (
    SELECT suite, rubric, judge, sample_id, min(position) AS position,
        favg(value) FILTER (arm = 'base') AS base, favg(value) FILTER (arm = 'tuned') AS tuned
    FROM judgements WHERE protocol = 'pointwise' AND NOT stripped GROUP BY ALL
)
SELECT position, suite, rubric, judge, sample_id, 'pointwise' AS protocol,
    NULL::DOUBLE AS base_first, NULL::DOUBLE AS tuned_first, base, tuned, tuned - base AS value,
    CASE sign(round(tuned - base, 12)) WHEN 1 THEN 'tuned' WHEN -1 THEN 'base' WHEN 0 THEN 'tie'
        ELSE 'missing' END AS outcome
FROM samples
"""
_FOLD = f"CREATE TABLE lines AS ({_PAIRWISE}) UNION ALL ({_POINTWISE}) ORDER BY position"
# Each judge weighs the same; one whose word is missing is left out.
_SCORES = """
SELECT suite, sample_id, 'judge.' || rubric AS metric,
    1 - favg(value) AS base, favg(value) AS tuned
FROM lines WHERE protocol = 'pairwise' GROUP BY suite, sample_id, rubric
UNION ALL
SELECT suite, sample_id, 'rating.' || rubric, favg(base), favg(tuned)
FROM lines WHERE protocol = 'pointwise' GROUP BY suite, sample_id, rubric
"""
_WANTED = """
WITH wanted AS (
    SELECT *, CASE $sort
        WHEN 'doubt' THEN list_position(
            ['flip', 'wavered', 'missing', 'tie', 'base', 'tuned'], outcome)
        WHEN 'tuned' THEN coalesce(-value, 'infinity')
        WHEN 'base' THEN coalesce(value, 'infinity')
        ELSE 0 END AS key
    FROM lines
    WHERE ($suite = '' OR suite = $suite) AND ($rubric = '' OR rubric = $rubric)
        AND ($judge = '' OR judge = $judge) AND ($outcome = '' OR outcome = $outcome)
        AND ($samples IS NULL OR list_contains($samples, sample_id))
        AND {found}
)
"""
# Only where a text is looked for: else every page would read every reason.
_FOUND = """(
    contains(lower(sample_id), $text) OR (suite, rubric, judge, sample_id) IN (
        SELECT (suite, rubric, judge, sample_id) FROM judgements
        WHERE contains(lower(rationale), $text))
)"""
_COUNT = _WANTED + "SELECT count(*) FROM wanted"
_PAGE = (
    _WANTED
    + """
SELECT suite, rubric, judge, sample_id, protocol, base_first, tuned_first, base, tuned, value,
    outcome
FROM wanted ORDER BY key, position LIMIT $limit OFFSET $offset
"""
)
_RANK = (
    _WANTED
    + """
, here AS (
    SELECT * FROM wanted WHERE sample_id = $here AND ($by = '' OR judge = $by)
    ORDER BY position LIMIT 1
)
SELECT (
    SELECT count(*) FROM wanted
    WHERE wanted.key < here.key OR (wanted.key = here.key AND wanted.position < here.position)
) FROM here
"""
)
_SAID = f"""
SELECT {_NAMES} FROM judgements WHERE suite = $suite AND sample_id = $sample_id ORDER BY position
"""


class JudgedSamples:
    """The judgements of one comparison, to be counted, paged and read sample by sample.

    One object may serve several threads. Raises StoreError where the file is missing or damaged.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        folder = tempfile.TemporaryDirectory(prefix="evalkit-judged-")
        self._database = duckdb.connect(str(Path(folder.name) / "judged.duckdb"), config=_CONFIG)
        weakref.finalize(self, _leave, self._database, folder)
        self._rows(_LOAD, {"file": str(file)})
        self._check()
        self._rows(_FOLD, {})

    def count(self, wanted: JudgedFilter) -> int:
        """How many lines there are."""
        return int(self._lines(_COUNT, wanted, "suite", {})[0][0])

    def page(
        self, wanted: JudgedFilter, order: JudgedOrder, offset: int, limit: int
    ) -> list[JudgedRow]:
        """The lines from `offset` on, at most `limit` of them."""
        where = {"offset": offset, "limit": limit}
        names = JudgedRow.__dataclass_fields__
        return [
            JudgedRow(**dict(zip(names, row, strict=True)))
            for row in self._lines(_PAGE, wanted, order, where)
        ]

    def rank(
        self, wanted: JudgedFilter, order: JudgedOrder, sample_id: str, judge: str = ""
    ) -> int | None:
        """Where a sample's first line (or a judge's) stands, from 0; None if it is not wanted."""
        here = {"here": sample_id, "by": judge}
        rows = self._lines(_RANK, wanted, order, here)
        return int(rows[0][0]) if rows else None

    def read(self, suite: str, sample_id: str) -> tuple[Judgement, ...]:
        """All that was said of one sample, in the order of the file."""
        rows = self._rows(_SAID, {"suite": suite, "sample_id": sample_id})
        adapter = TypeAdapter(Judgement)
        try:
            return tuple(
                adapter.validate_python(_told(dict(zip(_FIELDS, row, strict=True)))) for row in rows
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise StoreError(f"{self.file}: sample {sample_id}: {where}: {first['msg']}") from None

    def scores(self) -> pa.Table:
        """What all judges together make of each sample: suite, sample_id, metric, base, tuned."""
        try:
            found: pa.Table = self._database.cursor().sql(_SCORES).to_arrow_table()
        except duckdb.Error as error:
            raise StoreError(f"The judgements in {self.file} cannot be read: {error}.") from error
        return found

    def _check(self) -> None:
        """A file that was cut off is not a shorter file."""
        ((promised, found),) = self._rows(
            "SELECT max(judgements), count(judge) FROM judgements", {}
        )
        self._rows("DELETE FROM judgements WHERE judge IS NULL", {})
        if promised != found:
            raise StoreError(
                f"{self.file} holds {found:,} judgements, and its first line tells of "
                f"{promised if promised is not None else 'none'}: it was cut off or changed. Run "
                "the command that made it again; no stored answer is paid for twice."
            )

    def _lines(
        self, statement: str, wanted: JudgedFilter, order: JudgedOrder, more: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        values = {**_values(wanted, order), **more}
        if not wanted.text:
            del values["text"]
        return self._rows(statement.replace("{found}", _FOUND if wanted.text else "true"), values)

    def _rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._run(statement, values).fetchall()

    def _run(self, statement: str, values: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        try:
            return self._database.cursor().execute(statement, dict(values))
        except (duckdb.Error, OSError) as error:
            raise StoreError(
                f"The judgements in {self.file} cannot be read: {error}. If the file is missing or "
                "damaged, run the command that made it again; no stored answer is paid for twice."
            ) from error


def _leave(database: duckdb.DuckDBPyConnection, folder: tempfile.TemporaryDirectory[str]) -> None:
    database.close()
    folder.cleanup()


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Without what the line left out: the record has its own word for that."""
    return {name: value for name, value in row.items() if value is not None or name == "value"}


def _values(wanted: JudgedFilter, order: JudgedOrder) -> dict[str, Any]:
    samples: Sequence[str] | None = wanted.samples
    return {
        "suite": wanted.suite,
        "rubric": wanted.rubric,
        "judge": wanted.judge,
        "outcome": wanted.outcome,
        "text": wanted.text.lower(),
        "samples": list(samples) if samples is not None else None,
        "sort": order,
    }
