"""Programs that nobody has read, run in a process that can do next to nothing.

What stands around it is built inside the process itself, before the program's first line: see
`evalkit.scorers.code.child`. This side starts it, watches it, ends it, and believes it little.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import IO, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal[
    "passed", "wrong answer", "exception", "memory", "timeout", "output", "threads", "exit",
    "killed", "unavailable",
]  # fmt: skip
"""How a program ended; `unavailable` says that the sandbox could not be built around it."""

_FAILURES: tuple[Kind, ...] = ("wrong answer", "exception", "memory", "exit")
"""What the process itself may say of its end; anything else is seen from outside."""

_BOOT = """\
import sys
sys.path.append(sys.argv.pop())
from evalkit.scorers.code.child.main import main
main()
"""
_ROOT = str(Path(__file__).parents[3])
_LOOK = 0.05  # seconds between looks at a running program
_BEGINNING = 60.0  # seconds until it begins
_VERDICT = 8192  # bytes that are read of what it tells
_THREADS = 64
_LONGEST = 300  # characters of what a process that could not begin printed
_EARLY = "it ended before the tests had passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run: parts that are executed one after the other in one namespace, then the tests."""

    parts: tuple[str, ...]
    tests: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use: seconds of CPU time (and three times as many in which it does not
    even ask for any), MiB of memory, bytes of output, bytes of a file."""

    seconds: int = 10
    memory: int = 512
    output: int = 2**20
    file_size: int = 16 * 2**20

    @property
    def patience(self) -> float:
        """Seconds by the clock, without those in which it waited for others to leave a core: a
        program that is right must not fail because the machine is busy."""
        return 3.0 * self.seconds


class Outcome(NamedTuple):
    """How it ended, what there is to say about it, and the beginning of what it printed."""

    kind: Kind
    detail: str = ""
    output: str = ""


def run(
    program: Program,
    limits: Limits | None = None,
    *,
    namespaces: bool = True,
    stop: Event | None = None,
) -> Outcome:
    """Run a program and its tests; never raises for anything that they do.

    Without `namespaces` the filter alone holds it. A `stop` that is set ends it as "killed".
    """
    limits = limits or Limits()
    with contextlib.ExitStack() as closing:
        ticket = secrets.token_hex(16)
        try:
            folder = closing.enter_context(
                tempfile.TemporaryDirectory(prefix="evalkit-sandbox-", ignore_cleanup_errors=True)
            )
            job = closing.enter_context(tempfile.TemporaryFile())
            job.write(_job(program, limits, folder, namespaces=namespaces))
            job.seek(0)
            started = _start(job, ticket, folder)
        except OSError as error:
            return Outcome("unavailable", f"no process could be started: {error}")
        closing.enter_context(contextlib.closing(started))
        seen = _watch(started, limits, stop or Event())
    return _outcome(seen, ticket, limits)


def _job(program: Program, limits: Limits, folder: str, *, namespaces: bool) -> bytes:
    told = {
        "parts": program.parts,
        "tests": program.tests,
        "folder": folder,
        "namespaces": namespaces,
        "evalkit": _ROOT,
        "parent": os.getpid(),
        "seconds": limits.seconds,
        "memory": limits.memory * 2**20,
        "file_size": limits.file_size,
    }
    return json.dumps(told).encode()


@dataclass(slots=True)
class _Started:
    """A process and our ends of the pipes from it."""

    process: subprocess.Popen[bytes]
    verdict: int

    def end(self) -> None:
        """Kill it, and whatever might be of its group; it may have ended."""
        if self.process.poll() is None:  # else its number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()

    def close(self) -> None:
        """End it, and let go of everything."""
        self.end()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.verdict)


def _start(job: IO[bytes], ticket: str, folder: str) -> _Started:
    ticket_out, ticket_in = os.pipe()
    verdict_out, verdict_in = os.pipe()
    try:
        os.write(ticket_in, ticket.encode())
        process = subprocess.Popen(  # noqa: S603  our own interpreter, and nothing of a shell
            # As -I, but with a fixed seed for hashes, so that sets have one order.
            [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT,
             str(ticket_out), str(verdict_in), _ROOT],
            stdin=job,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(ticket_out, verdict_in),
            env=_environment(),
            cwd=folder,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        os.close(verdict_out)
        raise
    finally:
        for end in (ticket_out, ticket_in, verdict_in):
            os.close(end)
    return _Started(process, verdict_out)


def _environment() -> Mapping[str, str]:
    """Nothing of ours but where an interpreter may have to find its own library."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0"}


class _Seen(NamedTuple):
    """What was seen of a process: what it told, what it printed, how it ended, and who ended it."""

    told: bytes
    output: bytes
    code: int
    ended_for: Kind | None


def _watch(started: _Started, limits: Limits, stop: Event) -> _Seen:
    process, told, output = started.process, bytearray(), bytearray()
    assert process.stdout is not None
    watch = _Watch(process.pid, _BEGINNING)
    ended_for: Kind | None = None
    with selectors.DefaultSelector() as pipes:
        pipes.register(started.verdict, selectors.EVENT_READ, (told, _VERDICT))
        pipes.register(process.stdout, selectors.EVENT_READ, (output, limits.output))
        while True:
            ended = process.poll() is not None
            ready = pipes.select(0 if ended else _LOOK)
            for key, _ in ready:
                _take(key, pipes)
            if ended and not ready:  # what it wrote before it ended was still in the pipes
                break
            if told and watch.patience == _BEGINNING:
                watch = _Watch(process.pid, limits.patience)
            ended_for = ended_for or _reason_to_end(output, limits, watch, stop, ended=ended)
            if ended_for:
                started.end()
    return _Seen(bytes(told), bytes(output[: limits.output]), process.returncode, ended_for)


def _take(key: selectors.SelectorKey, pipes: selectors.BaseSelector) -> None:
    """Read what a pipe has, and keep one byte more of it than it may give."""
    kept, most = key.data
    chunk = os.read(key.fd, 2**16)
    if not chunk:
        pipes.unregister(key.fileobj)
    kept += chunk[: most + 1 - len(kept)]


class _Watch:
    """How long a process has been idle, and how many threads it has."""

    def __init__(self, pid: int, patience: float) -> None:
        self.patience = patience
        self._folder = Path(f"/proc/{pid}")
        self._begun = self._not_waiting()

    def _not_waiting(self) -> float:
        """A clock, in seconds, that stands still while the process waits for a core."""
        try:  # nanoseconds of running, of waiting for a core, and how often it had one
            _, waited, _ = (self._folder / "schedstat").read_text(encoding="ascii").split()
        except (OSError, ValueError):  # this kernel does not tell
            waited = "0"
        return time.monotonic() - int(waited) / 1e9

    def is_over(self) -> bool:
        """Whether it had longer than `patience`."""
        return self._not_waiting() - self._begun > self.patience

    def is_crowded(self) -> bool:
        """Whether there are too many threads: their limit would not hold for root."""
        try:
            return len(list((self._folder / "task").iterdir())) > _THREADS
        except OSError:  # it has just ended
            return False


def _reason_to_end(
    output: bytearray, limits: Limits, watch: _Watch, stop: Event, *, ended: bool
) -> Kind | None:
    if len(output) > limits.output:
        return "output"
    if ended:
        return None
    if stop.is_set():
        return "killed"
    if watch.is_over():
        return "timeout"
    return "threads" if watch.is_crowded() else None


class _Told(NamedTuple):
    """One line of what a process told."""

    kind: str
    detail: str = ""
    ticket: str = ""


def _outcome(seen: _Seen, ticket: str, limits: Limits) -> Outcome:
    """What all that was seen comes to; of what the process told, only the ticket is believed."""
    output = seen.output.decode("utf-8", "replace")
    first, *rest = [_told(line) for line in seen.told.splitlines()] or [_Told("nothing")]
    if first.kind != "ready" and seen.ended_for != "killed":  # before the program's first line
        why = first.detail or f"its process ended with {seen.code}: {_shown(output)[-_LONGEST:]}"
        return Outcome("unavailable", why, output)
    if seen.ended_for:
        return Outcome(seen.ended_for, _of_limit(seen.ended_for, limits), output)
    if seen.code == -signal.SIGXCPU:
        return Outcome("timeout", f"more than {limits.seconds} s of CPU time", output)
    if seen.code < 0:
        return Outcome("killed", _signal(-seen.code), output)
    last = rest[0] if len(rest) == 1 else _Told("exit")
    if last.kind == "passed" and last.ticket == ticket:
        return Outcome("passed", "", output)
    kind: Kind = next((one for one in _FAILURES if one == last.kind), "exit")
    detail = _of_limit(kind, limits) or _shown(last.detail)
    return Outcome(kind, detail or _EARLY if kind == "exit" else detail, output)


def _told(line: bytes) -> _Told:
    try:
        found = json.loads(line)
        return _Told(str(found["kind"]), str(found["detail"]), str(found["ticket"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return _Told("exit", "it wrote to the sandbox's own pipe")


def _of_limit(kind: Kind, limits: Limits) -> str:
    """What is said of a limit that was gone beyond."""
    told: Mapping[Kind, str] = {
        "timeout": f"more than {limits.patience:.0f} s",
        "memory": f"more than {limits.memory} MiB",
        "output": f"more than {limits.output:,} bytes printed",
        "threads": f"more than {_THREADS} threads",
        "killed": "stopped",
    }
    return told.get(kind, "")


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = str(number)
    # The kernel's last word on memory and on CPU time is the same signal.
    return name + (", perhaps out of memory or of CPU time" if number == signal.SIGKILL else "")


def _shown(text: str) -> str:
    """One line of what a program said, without what a terminal would obey."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


class Walls(NamedTuple):
    """What this machine grants: namespaces around programs, and any sandbox at all; why not."""

    namespaces: bool
    usable: bool
    lacking: str = ""

    @property
    def made_of(self) -> str:
        """What a sandbox here consists of."""
        if self.namespaces:
            return "namespaces and a seccomp filter"
        return f"a seccomp filter alone, without namespaces ({self.lacking})"


_PROBE = Program(
    parts=(
        """
import os, socket, tempfile, threading

def refused(action, *given):
    try:
        action(*given)
    except OSError:
        return True
    return False
""",
    ),
    tests="""
assert refused(socket.socket), "a socket was opened"
assert refused(os.fork), "a process was started"
assert refused(os.kill, os.getppid(), 0), "a signal was sent"
assert refused(open, "/evalkit-probe", "w"), "a file was written"
assert not os.environ, "there is an environment"
worker = threading.Thread(target=socket.socketpair)
worker.start()
worker.join()
if os.getcwd() == "/sandbox":
    assert refused(os.listdir, "/proc") and refused(os.listdir, "/home"), "files can be seen"
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
""",
)


@cache
def walls() -> Walls:
    """What is granted here, found out by a program that tries to get through."""
    full = run(_PROBE)
    if full.kind == "passed":
        return Walls(namespaces=True, usable=True)
    bare = run(_PROBE, namespaces=False)
    if bare.kind == "passed":
        return Walls(namespaces=False, usable=True, lacking=full.detail)
    return Walls(namespaces=False, usable=False, lacking=f"{bare.kind}: {bare.detail}")
