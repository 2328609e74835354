"""Completions, written once and never computed twice: one SQLite file, safe for many processes."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evalkit.errors import StoreError
from evalkit.records import Completion

_SCHEMA = """
CREATE TABLE IF NOT EXISTS completion (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID
"""
# These are known again from the request itself whenever its completion is read.
_FROM_REQUEST = ("key", "prompt_text", "prompt_hash", "prompt_start", "truncated")
# What is as usual is left out: most answers to a choice are two lists of numbers.
_ALWAYS = ("token_ids", "logprobs")
_STORED = tuple(
    (one.name, one.default)
    for one in fields(Completion)
    if one.name not in (*_FROM_REQUEST, *_ALWAYS)
)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LOOKUP = 500  # SQLite's limit of variables in one statement is 999 in old builds
_SMALL = 512  # bytes; of less than this, compressing saves nothing and takes longer than storing


class _DamagedRow(Exception):  # noqa: N818  (turned into a StoreError that names the file)
    """A row that holds no completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """What `evalkit cache stats` shows; bytes include SQLite's write-ahead log."""

    path: str
    completions: int
    bytes: int


class CompletionStore:
    """Completions by key; open it in a `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60.0, isolation_level=None)
            # WAL: one process may write while others read, and a killed one loses no commit.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA cache_size=-65536")  # KiB: keys fall all over a large file
            self._db.execute(_SCHEMA)

    def __enter__(self) -> CompletionStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Those of the keys that are stored; prompt fields are left for the caller to fill."""
        found: dict[str, Completion] = {}
        with self._explained("read"):
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                query = f"SELECT key, body FROM completion WHERE key IN ({marks})"  # noqa: S608
                for key, body in self._db.execute(query, part):
                    found[key] = _decode(key, body)
        return found

    def get_all(self, keys: Iterable[str]) -> dict[str, Completion]:
        """The completions of keys that were all stored; StoreError where one is gone since."""
        wanted = list(keys)
        found = self.get(wanted)
        if gone := sum(key not in found for key in set(wanted)):
            raise StoreError(
                f"{self.path} lost {gone} answers that were stored. Was it cleared or replaced in "
                "the meantime? Run the same command again: what is left of it is used."
            )
        return found

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which of the keys are stored, without reading what they hold."""
        found: set[str] = set()
        with self._explained("read"):
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                query = f"SELECT key FROM completion WHERE key IN ({marks})"  # noqa: S608
                found.update(key for (key,) in self._db.execute(query, part))
        return found

    def put(self, completions: Sequence[Completion]) -> None:
        """Store completions in one transaction: all of them or none."""
        rows = sorted((one.key, _encode(one)) for one in completions)
        with self._explained("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "INSERT OR REPLACE INTO completion (key, body) VALUES (?, ?)", rows
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def size(self) -> StoreSize:
        """How much is stored."""
        used = 0
        with self._explained("read"):
            (count,) = self._db.execute("SELECT COUNT(*) FROM completion").fetchone()
            for file in self.path.parent.glob(self.path.name + "*"):
                with suppress(FileNotFoundError):  # the log goes with the last who writes to it
                    used += file.stat().st_size
        return StoreSize(path=str(self.path), completions=count, bytes=used)

    def clear(self) -> int:
        """Forget everything; says how many completions that were."""
        count = self.size().completions
        with self._explained("written"):
            self._db.execute("DELETE FROM completion")
            self._db.execute("VACUUM")
        return count

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, _DamagedRow) as error:
            raise StoreError(_explain(self.path, done, error)) from error


def _explain(path: Path, done: str, error: Exception) -> str:
    what = str(error)
    if "disk is full" in what or "disk I/O error" in what or "No space left" in what:
        next_step = "Free some space and run the same command again: all that was finished is kept."
    elif "readonly" in what or "unable to open" in what or isinstance(error, OSError):
        next_step = "Make the folder writable, or set EVALKIT_HOME to a folder that is."
    elif "locked" in what:
        next_step = "Another process has held it for a minute; run the same command again."
    else:
        next_step = (
            f"The file seems damaged. Move it away (mv '{path}' '{path}.damaged') and run the "
            "same command again; finished runs in runs/ are not affected."
        )
    return f"The completion store {path} could not be {done}: {what}. {next_step}"


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    """The keys, each once, a statement's worth at a time; neighbours in the file together."""
    ordered = sorted(set(keys))
    for start in range(0, len(ordered), _LOOKUP):
        yield ordered[start : start + _LOOKUP]


def _encode(completion: Completion) -> bytes:
    row: dict[str, Any] = {name: getattr(completion, name) for name in _ALWAYS}
    for name, usual in _STORED:
        value = getattr(completion, name)
        if value != usual:
            row[name] = value
    told = _JSON.encode(row).encode()
    return told if len(told) < _SMALL else zlib.compress(told, level=1)


def _decode(key: str, body: bytes) -> Completion:
    try:
        told = body if body.startswith(b"{") else zlib.decompress(body)
        row: dict[str, Any] = json.loads(told)
        row["token_ids"] = tuple(row["token_ids"])
        row["logprobs"] = tuple(row["logprobs"])
        if "alternatives" in row:
            row["alternatives"] = tuple(row["alternatives"])
        return Completion(key=key, **row)
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise _DamagedRow(f"the row {key[:12]} holds no completion ({what})") from error
