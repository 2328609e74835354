"""Files on their way to this machine: what is to come, how far it is, whether it is whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from evalkit.errors import StoreError
from evalkit.progress import Progress

POLL_SECONDS = 0.2

Kind: TypeAlias = Literal["model", "dataset"]


class FetchError(Exception):
    """One way of getting something did not work; the message is a clause that says why."""


class Remote(NamedTuple):
    """A file where it comes from; `size` in bytes, `sha256` in hex where it is told."""

    path: str
    size: int = 0
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a hub has of one model or data set, at one revision."""

    revision: str | None
    files: tuple[Remote, ...]

    def only(self, wanted: Callable[[str], bool]) -> Listing:
        """The files whose names are wanted."""
        return replace(self, files=tuple(one for one in self.files if wanted(one.path)))

    @property
    def bytes(self) -> int:
        """The size of all of them."""
        return sum(one.size for one in self.files)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 (hex) by name, of the files that have one."""
        return {one.path: one.sha256 for one in self.files if one.sha256}


def check_arrived(folder: Path, told: Mapping[str, str], part: str, progress: Progress) -> None:
    """Compare files with the SHA-256 (hex) told of them; the damaged are deleted and named.

    The hub's own client looks at sizes alone: a byte changed on the way would become a model that
    answers a little differently.
    """
    sizes = {name: (folder / name).stat().st_size for name in told}
    if sizes:
        progress.start(part, sum(sizes.values()), unit="B")
    damaged = []
    for name, size in sizes.items():
        with (folder / name).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != told[name]:
            (folder / name).unlink()
            damaged.append(f"{name} has SHA-256 {found}, the hub says {told[name]}")
        progress.advance(part, size)
    if damaged:
        raise FetchError(
            f"{'; '.join(damaged)}: damaged on the way and deleted, so that the same command "
            "fetches it anew (where that does not help, ask whoever keeps the mirror or proxy)"
        )


def follow(
    folder: Path, total: int, part: str, progress: Progress, finished: Callable[[], bool]
) -> None:
    """Report how `folder` grows to `total` bytes until the work that fills it has finished."""
    waiting = threading.Event()
    seen = min(_size(folder), total)
    progress.start(part, total, done=seen, unit="B")
    while True:
        over = finished()
        now = min(_size(folder), total)
        if now > seen:
            progress.advance(part, now - seen)
            seen = now
        if over:
            return
        waiting.wait(POLL_SECONDS)


def _size(folder: Path) -> int:
    """Bytes in a folder that other processes are changing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:  # moved away between listing and looking
                continue
    return total


@contextmanager
def locked(kept: Path, progress: Progress, what: str = "model") -> Iterator[None]:
    """Hold the right to write this folder; the kernel frees it if the process dies."""
    with (kept.parent / f".{kept.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"Another evalkit is fetching this {what}; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(folder: Path, what: str = "model cache") -> Iterator[None]:
    """Turn what the disk can do to us into an error that names the folder and the way out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(
            f"Cannot write to the {what} {folder}: "
            f"{'the disk is full' if full else error.strerror or error}. "
            "Free some space, or set EVALKIT_HOME to a folder with room that can be written."
        ) from error
