"""The machine a benchmark runs on, and whole processes timed on it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that ran to its end: wall time, peak resident set, how it ended, what it said."""

    seconds: float
    peak_bytes: int
    exit_code: int
    output: str


def run_to_end(command: list[str], env: Mapping[str, str], log: Path | None = None) -> Ended:
    """Run a command to its end; the kernel's own count gives the peak memory.

    What it writes goes to `log` where one is given, else its stdout is kept and its stderr seen.
    """
    # Linux counts what the parent held when it forked as the child's peak: a caller must stay
    # small, so nothing here or above imports torch.
    started = time.perf_counter()
    with (log or Path(os.devnull)).open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file if log else subprocess.PIPE,
            stderr=file if log else None,
            env={**os.environ, **env},
        )
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if log:
        output = log.read_bytes()
    return Ended(
        seconds=seconds,
        peak_bytes=usage.ru_maxrss * 1024,
        exit_code=process.returncode,
        output=output.decode("utf-8", errors="replace"),
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """The machine's memory in bytes."""
    return int(psutil.virtual_memory().total)


def system() -> str:
    """Operating system, architecture and Python."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def processor() -> str:
    """Its name, and what decides how fast it multiplies."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next(
        (line.partition(": ")[2] for line in text.splitlines() if "model name" in line), "unknown"
    )
    return f"{name}, {' '.join(vector_extensions()) or 'no vector extensions known'}"


def vector_extensions() -> list[str]:
    """Those that matrix products are written for."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in text]


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of packages, by name."""
    return {name: metadata.version(name) for name in names}
