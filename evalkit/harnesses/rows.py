"""Reading JSONL: rows that know their line, and every mistake of a file at once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from evalkit.errors import SuiteError

MAX_LINE = 4_000_000  # characters; a longer row is a broken file, not a question
_SHOWN = 20  # mistakes that are listed before the rest is only counted


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a JSONL file and where it stands."""

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


class Mistakes(list[str]):
    """The mistakes found in a suite so far; `check` raises them together."""

    def at(self, row: Row, message: str) -> None:
        """Note a mistake of one row."""
        self.append(f"{row.place}: {message}")

    def check(self) -> None:
        """Raise SuiteError if there were any."""
        if len(self) == 1:
            raise SuiteError(self[0])
        if self:
            lines = [f"{len(self)} mistakes:", *self[:_SHOWN]]
            if len(self) > _SHOWN:
                lines.append(f"… and {len(self) - _SHOWN} more")
            raise SuiteError("\n  ".join(lines))


def read_rows(path: Path, mistakes: Mistakes) -> list[Row]:
    """The JSON objects of a file, blank lines skipped; raises SuiteError if it cannot be read."""
    rows = []
    # Not splitlines(): a text may hold U+2028, which JSON does not escape.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(Row(path, number, parse_object(line)))
        except ValueError as error:
            mistakes.append(f"{path}:{number}: {error}")
    return rows


def read_text(path: Path) -> str:
    """A UTF-8 file's text, without a byte-order mark; raises SuiteError with what is wrong."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SuiteError(f"{path}: no such file.") from None
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SuiteError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from None


def parse_object(line: str) -> dict[str, Any]:
    """One line as a JSON object; raises ValueError with a message for its author."""
    if len(line) > MAX_LINE:
        raise ValueError(f"a row of {len(line):,} characters; at most {MAX_LINE:,} are read")
    try:
        value = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at column {error.colno}") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is no text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError('expected an object such as {"id": …}')
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; leave the field out where there is no value")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the field {key!r} is written twice")
        found[key] = value
    return found


def near(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
