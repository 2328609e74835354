"""JSONL as people's tools write it: one object a line, and what is wrong with a line or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

MAX_LINE = 4_000_000  # characters; a longer row is a broken file, not a question
_SHOWN = 20  # mistakes that are listed before the rest is only counted


class UnreadableError(Exception):
    """A file that cannot be read as text; the message says which, and why."""


class MissingFileError(UnreadableError):
    """There is no such file."""


def read_text(path: Path) -> str:
    """A UTF-8 file's text, without a byte-order mark; raises UnreadableError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        kind = MissingFileError if isinstance(error, FileNotFoundError) else UnreadableError
        raise kind(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UnreadableError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from None


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, counted from 1."""
    # Not splitlines(): a text may hold U+2028, which JSON does not escape.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def parse_object(
    line: str, *, strict: bool = False, half_pairs: bool = False, example: str = ""
) -> dict[str, Any]:
    """One line as a JSON object; raises ValueError with a message for its author.

    `strict` refuses NaN and infinities, and a key that is written twice; `half_pairs` lets halves
    of surrogate pairs stand; `example` is shown where the line holds something else.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"a row of {len(line):,} characters; at most {MAX_LINE:,} are read")
    value = parse_value(line, strict=strict, half_pairs=half_pairs)
    if not isinstance(value, dict):
        found = f" such as {example}" if example else f", got {type(value).__name__}"
        raise ValueError(f"expected an object{found}")
    return value


def parse_value(text: str, *, strict: bool = False, half_pairs: bool = False) -> Any:
    """A text as JSON, with the checks of `parse_object`."""
    hooks: dict[str, Any] = {}
    if strict:
        hooks = {"parse_constant": _no_constant, "object_pairs_hook": _unique}
    try:
        value = json.loads(text, parse_int=_integer, **hooks)
        if not half_pairs:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"not valid JSON: {error.msg} at {line}column {error.colno}") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is no text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def without_half_pairs(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        raise ValueError(f"not valid JSON: a number of {len(digits):,} digits") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; leave the field out where there is no value")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the field {key!r} is written twice")
        found[key] = value
    return found


def listed(mistakes: Sequence[str]) -> str:
    """All mistakes of some files as one message; a flood of them is cut."""
    if len(mistakes) == 1:
        return mistakes[0]
    lines = [f"{len(mistakes)} mistakes:", *mistakes[:_SHOWN]]
    if len(mistakes) > _SHOWN:
        lines.append(f"… and {len(mistakes) - _SHOWN} more")
    return "\n  ".join(lines)
