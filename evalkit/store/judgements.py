"""judgements.jsonl: what every judge said of a comparison, beside comparison.json.

The first line is a header, {"schema_version": 1, "judgements": N}; each of the N lines after it is
one judgement, its fields by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from evalkit.errors import StoreError, UsageError
from evalkit.jsonl import UnreadableError, listed, numbered_lines, parse_object, read_text
from evalkit.records import Judgement

SCHEMA_VERSION = 1
"""Of judgements.jsonl; raised when a field changes its meaning."""
JUDGEMENTS = "judgements.jsonl"


def write_judgements(folder: Path, judgements: Sequence[Judgement], name: str = JUDGEMENTS) -> Path:
    """Write the judgements of one base and one tuned arm, whole or not at all; StoreError where
    they cannot be.

    Where a comparison has several tuned arms, each one's file needs a `name` of its own.
    """
    file = folder / name
    draft = file.with_name(f".{name}.{os.getpid()}")
    header = {"schema_version": SCHEMA_VERSION, "judgements": len(judgements)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What a judge wrote may hold half of a surrogate pair, which is no text.
        with draft.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
            out.write(_line(header))
            out.writelines(_line(asdict(one)) for one in judgements)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(
            f"The judgements could not be written to {file}: {error.strerror or error}. Make room "
            "there and run the same command again; no stored answer is paid for twice."
        ) from error
    return file


def read_judgements(path: Path) -> tuple[Judgement, ...]:
    """Read the judgements from their file or the folder that holds it.

    UsageError where there are none, StoreError (file and line) where the file is damaged, cut off
    or of a newer format.
    """
    file = path / JUDGEMENTS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"No {file.name} in {file.parent}: nothing was judged there. Declare a `judge` with "
            "the base and run `evalkit compare`."
        )
    try:
        lines = numbered_lines(read_text(file))
    except UnreadableError as error:
        raise StoreError(str(error)) from None
    promised = _promised(file, next(lines, (1, "{}"))[1])
    found = tuple(_judgements(file, lines))
    if len(found) != promised:
        raise StoreError(
            f"{file} holds {len(found)} judgements, and says that it has {promised}: it was cut "
            "off or changed. Run the command that made it again."
        )
    return found


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _promised(file: Path, line: str) -> int:
    """How many judgements the header tells of."""
    try:
        header = parse_object(line, strict=True)
    except ValueError as error:
        raise StoreError(f"{file}:1: {error}") from None
    version, count = header.get("schema_version"), header.get("judgements")
    if type(version) is not int or type(count) is not int or version < 1:
        raise StoreError(
            f"{file}:1: not a file of judgements that evalkit wrote: its first line would be "
            '{"schema_version": 1, "judgements": …}.'
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{file} was written by a newer evalkit: its format is version {version}, and this "
            f"evalkit reads up to version {SCHEMA_VERSION}. Update it (`pip install --upgrade "
            "evalkit-compare`), or make the file again with this one."
        )
    return count


def _judgements(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Judgement]:
    adapter, mistakes = TypeAdapter(Judgement), []
    for number, line in lines:
        try:
            yield adapter.validate_python(parse_object(line, strict=True))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            mistakes.append(f"{file}:{number}: {where}: {first['msg']}")
        except ValueError as error:
            mistakes.append(f"{file}:{number}: {error}")
    if mistakes:
        raise StoreError(listed(mistakes))
