"""Other tools' files, which are untrusted: read within limits, and what is wrong told by place."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa

from evalkit import jsonl
from evalkit.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

MAX_JSON = 1_000_000_000  # bytes of a file that has to be read whole
MAX_MEMBER = 200_000_000  # bytes of one unpacked file of an archive
MAX_ARCHIVE = 4_000_000_000  # bytes of all that is read from one archive: it may all be kept
_CHUNK = 1 << 20
_ZSTANDARD = 93  # what inspect_ai packs with, and Python's zipfile knows from 3.14 on
_LOCAL = struct.Struct("<4s22xHH")  # a member's own header: signature, lengths of name and extra


class BrokenLogError(UsageError):
    """A log that cannot be read; the message says which file and line, and why."""


def known_form(tool: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A reader of a tool's logs, to which a log of another form is a user's file, not our mistake.

    A log is JSON of any shape: whatever is looked for in it may be a text, a list or nothing.
    """

    def around(read: Callable[P, T]) -> Callable[P, T]:
        @wraps(read)
        def reading(*given: P.args, **named: P.kwargs) -> T:
            try:
                return read(*given, **named)
            except _MISSHAPEN as error:
                if not _of_reading(error):
                    raise
                raise BrokenLogError(
                    f"{_told(given[0])}: not the form of {tool}'s logs that is known here "
                    f"({type(error).__name__}: {error}). Was it written by a very old or a newer "
                    f"{tool}, or edited?"
                ) from error

        return reading

    return around


_MISSHAPEN = (AttributeError, TypeError, KeyError, IndexError, ValueError, OverflowError)


def _of_reading(error: Exception) -> bool:
    """Whether it was a reader, or what it called on a log's value, that failed.

    What goes wrong in the rest of evalkit, with what was read by then, is a mistake of ours.
    """
    modules = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    ours = [name for name in modules if name.partition(".")[0] == "evalkit"]
    return ours[-1].startswith("evalkit.imports.")


def _told(given: object) -> str:
    return ", ".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object; BrokenLogError where it is none, or larger than MAX_JSON."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON:
            raise BrokenLogError(
                f"{path}: {size:,} bytes; at most {MAX_JSON:,} are read of one JSON file."
            )
        content = path.read_bytes()
    except OSError as error:
        raise BrokenLogError(f"{path}: cannot be read: {error.strerror or error}.") from None
    return parsed(content, str(path))


def read_table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSON list of objects or of a JSONL file, gzipped or not, each with its place.

    The rows of a list are counted from 1, as lines are. BrokenLogError beyond MAX_JSON bytes.
    """
    content = _unpacked(path)
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                yield f"{path}:{number}", _row(line, f"{path}:{number}", 4 * jsonl.MAX_LINE)
        return
    for number, row in enumerate(_value(content, str(path)), start=1):
        if not isinstance(row, dict):
            raise BrokenLogError(f"{path}: row {number}: expected a JSON object.")
        yield f"{path}: row {number}", row


def _unpacked(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as stream:
                content = stream.read(MAX_JSON + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenLogError(f"{path}: cannot be read: {error}.") from None
    if len(content) > MAX_JSON:
        raise BrokenLogError(f"{path}: at most {MAX_JSON:,} bytes are read of one JSON file.")
    return content


def parsed(content: bytes, place: str) -> dict[str, Any]:
    """The object that some bytes of JSON hold; BrokenLogError names the place and the line."""
    value = _value(content, place)
    if not isinstance(value, dict):
        raise BrokenLogError(f"{place}: expected a JSON object, got {type(value).__name__}.")
    return value


def _value(content: bytes, place: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BrokenLogError(f"{place}:{error.lineno}: not valid JSON: {error.msg}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BrokenLogError(f"{place}:{line}: not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise BrokenLogError(f"{place}: not JSON that can be read: {error}.") from None


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSONL file's rows, one after the other, each with its place (file:line)."""
    limit = 4 * jsonl.MAX_LINE  # bytes: a character has up to four
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(limit + 1):
                number += 1
                if line.strip():
                    yield f"{path}:{number}", _row(line, f"{path}:{number}", limit)
    except OSError as error:
        raise BrokenLogError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _row(line: bytes, place: str, limit: int) -> dict[str, Any]:
    if len(line) > limit:
        raise BrokenLogError(f"{place}: a line of more than {limit:,} bytes.")
    try:
        return jsonl.parse_object(line.decode("utf-8-sig"), half_pairs=True)
    except UnicodeDecodeError:
        raise BrokenLogError(f"{place}: not UTF-8 text.") from None
    except ValueError as error:
        raise BrokenLogError(f"{place}: {error}.") from None


class Archive:
    """A zip file that is read member by member, in memory: nothing is unpacked to the disk."""

    def __init__(self, path: Path) -> None:
        """Raises BrokenLogError where it is no zip file."""
        self._path = path
        self._left = MAX_ARCHIVE
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BrokenLogError(f"{path}: cannot be read as a zip file: {error}.") from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        """The names of the files in it."""
        return self._zip.namelist()

    def read(self, name: str) -> dict[str, Any]:
        """One member's JSON object; BrokenLogError beyond the limits, whatever its header says."""
        place, limit = f"{self._path}:{name}", min(MAX_MEMBER, self._left) + 1
        try:
            content = self._unpacked(self._zip.getinfo(name), limit)
        except KeyError:
            raise BrokenLogError(f"{self._path}: there is no {name} in it.") from None
        # A damaged stream is an error of zlib, zstd or zipfile, or of whoever reads the header.
        except Exception as error:
            raise BrokenLogError(f"{place}: cannot be unpacked: {error}.") from None
        self._left -= len(content)
        if len(content) > MAX_MEMBER or self._left < 0:
            raise BrokenLogError(
                f"{place}: more than {MAX_MEMBER:,} bytes, or {MAX_ARCHIVE:,} all."
            )
        return parsed(content, place)

    def _unpacked(self, member: zipfile.ZipInfo, limit: int) -> bytes:
        """Up to `limit` bytes of a member."""
        if member.compress_type != _ZSTANDARD:
            with self._zip.open(member) as stream:
                return stream.read(limit)
        packed = pa.BufferReader(self._packed(member))
        with pa.CompressedInputStream(packed, "zstd") as stream:
            content = bytes(stream.read(limit))
        if len(content) < limit and zlib.crc32(content) != member.CRC:
            raise zipfile.BadZipFile("its checksum is wrong")
        return content

    def _packed(self, member: zipfile.ZipInfo) -> bytes:
        """A member as it lies in the file, behind a header of its own."""
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL.size)
            signature, name, extra = _LOCAL.unpack(header)
            if signature != b"PK\x03\x04":
                raise zipfile.BadZipFile("it does not begin where the archive says")
            file.seek(name + extra, 1)
            return file.read(member.compress_size)


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 of files' contents, in the order of their names; not of where they lie."""
    whole = hashlib.sha256()
    for path in sorted(paths, key=lambda one: one.name):
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    whole.update(chunk)
        except OSError as error:
            raise BrokenLogError(f"{path}: cannot be read: {error.strerror or error}.") from None
    return whole.hexdigest()
