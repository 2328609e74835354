"""Two run folders read with SQL, so that a million samples page as fast as a thousand.

Scores are joined once into a narrow table that DuckDB keeps; texts stay in the Parquet files and
are read for the samples on the screen alone. Every value is a bound parameter.
"""

# ruff: noqa: S608 (only constants are joined to statements)
from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa

from evalkit.errors import StoreError
from evalkit.records import Pair, Result, SuiteInfo
from evalkit.store.questions import question
from evalkit.store.runs import join_rows

Change: TypeAlias = Literal["all", "gained", "lost", "changed", "same", "missing"]
Order: TypeAlias = Literal["suite", "loss", "gain", "change"]

# Nothing may be fetched from the network behind the user's back.
_CONFIG: dict[str, Any] = {"autoinstall_known_extensions": False}
_TEXTS_KEPT = 8  # searches whose matches are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which pairs are wanted; what is empty does not restrict.

    `slice` is "key=value"; `metric` is one of the suite's (empty: the gated one of each suite);
    `change` speaks of the benefit, which is the difference turned so that more is better; `low`
    and `high` bound the difference tuned − base; `text` is looked for in the prompt, the choices,
    the id and both answers, whatever its case.
    """

    suite: str = ""
    slice: str = ""
    metric: str = ""
    change: Change = "all"
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """One line of the list of pairs; scores are None where they are missing."""

    suite: str
    sample_id: str
    metric: str
    base: float | None
    tuned: float | None
    benefit: float | None
    question: str

    @property
    def difference(self) -> float | None:
        """tuned − base."""
        if self.base is None or self.tuned is None:
            return None
        return self.tuned - self.base


_SCHEMA = """
CREATE TABLE samples (position BIGINT, suite VARCHAR, sample_id VARCHAR, slices VARCHAR);
CREATE TABLE slice_names (slices VARCHAR, name VARCHAR);
CREATE TABLE matches (text VARCHAR, position BIGINT);
CREATE TABLE metrics (suite VARCHAR, metric VARCHAR, sign DOUBLE, gated BOOLEAN);
CREATE TABLE judged (
    suite VARCHAR, sample_id VARCHAR, metric VARCHAR, base DOUBLE, tuned DOUBLE
);
CREATE TABLE pairs (
    position BIGINT, suite VARCHAR, sample_id VARCHAR, slices VARCHAR, metric VARCHAR,
    gated BOOLEAN, base DOUBLE, tuned DOUBLE, difference DOUBLE, benefit DOUBLE
);
"""
_SAMPLES = """
INSERT INTO samples
SELECT base.file_row_number, base.suite, base.sample_id, base.slices
FROM read_parquet($base, file_row_number = true) AS base
SEMI JOIN read_parquet($tuned) AS tuned USING (suite, sample_id)
"""
# A NaN is a missing score: it is neither a gain nor a loss.
_PAIRS = """
INSERT INTO pairs
WITH base AS (
    SELECT suite, sample_id, metric, value FROM read_parquet($base) WHERE isfinite(value)
    UNION ALL SELECT suite, sample_id, metric, base FROM judged WHERE isfinite(base)
), tuned AS (
    SELECT suite, sample_id, metric, value FROM read_parquet($tuned) WHERE isfinite(value)
    UNION ALL SELECT suite, sample_id, metric, tuned FROM judged WHERE isfinite(tuned)
)
SELECT
    samples.position, suite, sample_id, samples.slices, metric, metrics.gated,
    base.value, tuned.value, tuned.value - base.value,
    metrics.sign * (tuned.value - base.value)
FROM samples
JOIN metrics USING (suite)
LEFT JOIN base USING (suite, sample_id, metric)
LEFT JOIN tuned USING (suite, sample_id, metric)
WHERE CASE WHEN $metric = '' THEN metrics.gated ELSE suite = $suite AND metric = $metric END
ORDER BY samples.position
"""
_MATCHES = """
INSERT INTO matches
WITH found AS (
    SELECT suite, sample_id FROM read_parquet($base_samples)
    WHERE contains(lower(prompt), $text) OR contains(lower(sample_id), $text)
        OR contains(lower(array_to_string(choices, chr(10))), $text)
    UNION
    SELECT suite, sample_id FROM read_parquet([$base_completions, $tuned_completions])
    WHERE contains(lower("text"), $text)
)
SELECT $text, position FROM samples SEMI JOIN found USING (suite, sample_id)
"""
_WANTED = """
WITH wanted AS (
    SELECT *, CASE $order
        WHEN 'loss' THEN coalesce(benefit, 'infinity')
        WHEN 'gain' THEN coalesce(-benefit, 'infinity')
        WHEN 'change' THEN coalesce(-abs(difference), 'infinity')
        ELSE 0 END AS key
    FROM pairs
    WHERE CASE WHEN $metric = '' THEN gated ELSE metric = $metric END
        AND ($suite = '' OR suite = $suite)
        AND ($slice = '' OR slices IN (SELECT slices FROM slice_names WHERE name = $slice))
        AND CASE $change
            WHEN 'gained' THEN benefit > 0
            WHEN 'lost' THEN benefit < 0
            WHEN 'changed' THEN difference <> 0
            WHEN 'same' THEN difference = 0
            WHEN 'missing' THEN difference IS NULL
            ELSE true END
        AND ($low IS NULL OR difference >= $low)
        AND ($high IS NULL OR difference <= $high)
        AND ($text = '' OR position IN (SELECT position FROM matches WHERE text = $text))
)
"""
_COUNT = _WANTED + "SELECT count(*) FROM wanted"
_PAGE = (
    _WANTED
    + """
, page AS (SELECT * FROM wanted ORDER BY key, position LIMIT $limit OFFSET $offset)
SELECT page.suite, page.sample_id, metric, base, tuned, benefit, prompt, {lead}
FROM page JOIN read_parquet($samples, file_row_number = true) AS texts
    ON texts.file_row_number = page.position
ORDER BY key, position
"""
)
_RANK = (
    _WANTED
    + """
, here AS (SELECT * FROM wanted WHERE suite = $of AND sample_id = $sample_id LIMIT 1)
SELECT (
    SELECT count(*) FROM wanted
    WHERE wanted.key < here.key OR (wanted.key = here.key AND wanted.position < here.position)
) FROM here
"""
)
_MEANS = """
SELECT suite, metric, avg(value) FILTER (isfinite(value)), count(value) FILTER (isfinite(value)),
    count(*)
FROM read_parquet($file) GROUP BY suite, metric
"""
_SUMS = """
SELECT suite, metric, place, fsum(stats[place])
FROM (
    SELECT suite, metric, stats, unnest(range(1, len(stats) + 1)) AS place
    FROM read_parquet($file) WHERE isfinite(value)
)
GROUP BY ALL ORDER BY place
"""
_SLICES = """
SELECT DISTINCT name FROM slice_names
WHERE slices IN (SELECT slices FROM samples WHERE $suite = '' OR suite = $suite) ORDER BY name
"""
_COLUMNS = "DESCRIBE SELECT * FROM read_parquet($file)"
_ONE = "SELECT * FROM read_parquet($file) WHERE suite = $suite AND sample_id = $sample_id"


class Mean(NamedTuple):
    """The mean of the samples' scores; None where no sample has one."""

    value: float | None
    n: int
    missing: int


def mean_scores(folder: Path) -> dict[tuple[str, str], Mean]:
    """The mean of every (suite, metric) of one run; StoreError where its scores are damaged."""
    rows = _scores(folder, _MEANS)
    return {(suite, metric): Mean(value, n, total - n) for suite, metric, value, n, total in rows}


def score_sums(folder: Path) -> dict[tuple[str, str], tuple[float, ...]]:
    """Sums of the samples' statistics of every (suite, metric) that has some, else as above."""
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for suite, metric, _, total in _scores(folder, _SUMS):
        found[suite, metric] = (*found.get((suite, metric), ()), total)
    return found


def _scores(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    file = str(folder / "results.parquet")
    try:
        with duckdb.connect(config=_CONFIG) as database:
            return database.execute(statement, {"file": file}).fetchall()
    except (duckdb.Error, OSError) as error:
        raise StoreError(
            f"{file} cannot be read: {error}. Delete the folder and run the command that makes it "
            "again; stored completions are not computed anew."
        ) from error


class PairedRuns:
    """The pairs of two run folders, to be counted, paged and read one by one.

    `judged` are scores that no run holds, since they are of both arms together: suite, sample_id,
    metric, base, tuned (JudgedSamples.scores). One object may serve several threads. Raises
    StoreError where a file is missing or damaged.
    """

    def __init__(
        self,
        base: Path,
        tuned: Path,
        suites: Sequence[SuiteInfo],
        judged: pa.Table | None = None,
    ) -> None:
        self.base, self.tuned = base, tuned
        self._lock = threading.Lock()
        self._loaded: set[tuple[str, str]] = set()
        self._texts: list[str] = []
        self._database = duckdb.connect(config=_CONFIG)
        # A page may hold this object to the very end, and DuckDB complains of a connection that
        # outlives the interpreter: so it goes when this object does, or at exit, if that is sooner.
        weakref.finalize(self, vars(self).pop, "_database", None)
        self._database.execute(_SCHEMA)
        rows = [
            [info.name, one.name, -1.0 if one.higher_is_better is False else 1.0,
             one.name == info.metric]
            for info in suites for one in info.metrics
        ]  # fmt: skip
        if rows:
            self._database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
        if judged is not None:
            self._database.register("given", judged)
            self._database.execute("INSERT INTO judged SELECT * FROM given")
            self._database.unregister("given")
        self._load_samples()

    def count(self, wanted: Filter) -> int:
        """How many pairs there are."""
        self._prepare(wanted)
        return int(self._rows(_COUNT, _values(wanted))[0][0])

    def page(self, wanted: Filter, order: Order, offset: int, limit: int) -> list[PairRow]:
        """The pairs from `offset` on, at most `limit` of them."""
        self._prepare(wanted)
        where = {"offset": offset, "limit": limit}
        files = {"samples": str(self.base / "samples.parquet")}
        statement = _PAGE.replace("{lead}", "lead" if self._leads else "NULL")
        return [
            PairRow(
                suite=suite,
                sample_id=sample_id,
                metric=metric,
                base=base,
                tuned=tuned,
                benefit=benefit,
                question=question(prompt, lead),
            )
            for suite, sample_id, metric, base, tuned, benefit, prompt, lead in self._rows(
                statement, _values(wanted, order) | where | files
            )
        ]

    def rank(self, wanted: Filter, order: Order, suite: str, sample_id: str) -> int | None:
        """Where a sample stands in that order, from 0; None if it is not wanted."""
        self._prepare(wanted)
        here = {"of": suite, "sample_id": sample_id}
        rows = self._rows(_RANK, _values(wanted, order) | here)
        return int(rows[0][0]) if rows else None

    def slices(self, suite: str = "") -> list[str]:
        """The slices of a suite (or of all), as "key=value"."""
        return [name for (name,) in self._rows(_SLICES, {"suite": suite})]

    def read(self, suite: str, sample_id: str) -> Pair | None:
        """One pair with its texts; None if one of the arms does not have it."""
        base = self._result(self.base, suite, sample_id)
        tuned = self._result(self.tuned, suite, sample_id)
        return Pair(base=base, tuned=tuned) if base and tuned else None

    def _load_samples(self) -> None:
        files = {"base": self.base, "tuned": self.tuned}
        paths = {arm: str(path / "samples.parquet") for arm, path in files.items()}
        self._rows(_SAMPLES, paths)
        # Absent in runs of an earlier version.
        columns = self._rows(_COLUMNS, {"file": paths["base"]})
        self._leads = any(name == "lead" for name, *_ in columns)
        names = [
            [text, f"{key}={value}"]
            for (text,) in self._rows("SELECT DISTINCT slices FROM samples", {})
            for key, value in json.loads(text).items()
        ]
        if names:
            self._database.executemany("INSERT INTO slice_names VALUES (?, ?)", names)

    def _prepare(self, wanted: Filter) -> None:
        """Join the scores and look for the text once; later pages find both ready."""
        key = (wanted.suite if wanted.metric else "", wanted.metric)
        with self._lock:
            if key not in self._loaded:
                self._load_pairs(*key)
                self._loaded.add(key)
            text = wanted.text.lower()
            if text and text not in self._texts:
                self._search(text)

    def _load_pairs(self, suite: str, metric: str) -> None:
        gated = "SELECT gated FROM metrics WHERE suite = $suite AND metric = $metric"
        if metric and self._rows(gated, {"suite": suite, "metric": metric}) == [(True,)]:
            metric, suite = "", ""  # its rows are those of all gated metrics
            if (suite, metric) in self._loaded:
                return
            self._loaded.add((suite, metric))
        files = {"base": self.base, "tuned": self.tuned}
        paths = {arm: str(path / "results.parquet") for arm, path in files.items()}
        self._rows(_PAIRS, paths | {"suite": suite, "metric": metric})

    def _search(self, text: str) -> None:
        files = {
            "base_samples": str(self.base / "samples.parquet"),
            "base_completions": str(self.base / "completions.parquet"),
            "tuned_completions": str(self.tuned / "completions.parquet"),
        }
        self._rows(_MATCHES, files | {"text": text})
        self._texts.append(text)
        while len(self._texts) > _TEXTS_KEPT:
            self._rows("DELETE FROM matches WHERE text = $text", {"text": self._texts.pop(0)})

    def _result(self, folder: Path, suite: str, sample_id: str) -> Result | None:
        where = {"suite": suite, "sample_id": sample_id}
        found = []
        for name in ("samples", "completions", "results"):
            cursor = self._run(_ONE, where | {"file": str(folder / f"{name}.parquet")})
            columns = [column[0] for column in cursor.description or ()]
            found.append([dict(zip(columns, row, strict=True)) for row in cursor.fetchall()])
        samples, completions, scores = found
        completions.sort(key=lambda row: row["index"])
        results = join_rows(samples, completions, scores)
        return results[0] if results else None

    def _rows(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._run(statement, values).fetchall()

    def _run(self, statement: str, values: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        try:
            # Threads share the tables, not the cursor.
            return self._database.cursor().execute(statement, dict(values))
        except (duckdb.Error, OSError) as error:
            raise StoreError(
                f"The runs in {self.base} and {self.tuned} cannot be read: {error}. If a file is "
                "missing or damaged, delete that folder and run the command that makes it again; "
                "stored completions are not computed anew."
            ) from error


def _values(wanted: Filter, order: Order = "suite") -> dict[str, Any]:
    return {
        "suite": wanted.suite,
        "slice": wanted.slice,
        "metric": wanted.metric,
        "change": wanted.change,
        "low": wanted.low,
        "high": wanted.high,
        "text": wanted.text.lower(),
        "order": order,
    }
