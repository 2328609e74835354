"""One program and its tests, run behind the walls; whether they passed goes through a pipe.

The process gets a ticket in a pipe of its own, and shows it only after the tests have passed.
Nothing that a program prints, and no way to end, is taken for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import traceback
from types import ModuleType
from typing import Any

from evalkit.scorers.code.child import walls

# Taken before any foreign line runs, which may replace what the modules hold.
_read, _write, _exit = os.read, os.write, os._exit
_SOLUTION, _TESTS = "solution.py", "tests.py"
_LONGEST = 300  # characters that are told of a failure
_TICKET = 64  # bytes, at most


def main() -> None:
    """Read the job from standard input, build the walls, run it, tell how it went, and end."""
    ticket, verdict = map(int, sys.argv[1:3])
    try:
        job = json.loads(sys.stdin.buffer.read())
        _prepare(job)
    except Exception as error:  # whatever it is, the program has not run
        _tell(verdict, "unavailable", f"{type(error).__name__}: {error}")
        _exit(1)
    _tell(verdict, "ready")
    kind, detail = _run(job["parts"], job["tests"])
    _flush()
    if kind == "passed":
        # Read only now: until here it was in no object that the program could come upon.
        _tell(verdict, kind, ticket=_read(ticket, _TICKET).decode())
    else:
        _tell(verdict, kind, detail)
    _exit(0)


def _prepare(job: dict[str, Any]) -> None:
    namespaces = bool(job["namespaces"])
    if namespaces:
        walls.enter(job["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv[:] = [_SOLUTION]
    sys.path[:] = [one for one in sys.path if one != job["evalkit"]]
    os.environ.clear()
    for name in [one for one in sys.modules if one.partition(".")[0] == "evalkit"]:
        del sys.modules[name]
    random.seed(0)
    walls.limit(job["seconds"], job["memory"], job["file_size"])
    walls.shut(job["parent"], writes=namespaces)


def _run(parts: list[str], tests: str) -> tuple[str, str]:
    """How it went: its kind and, of a failure, what there is to say about it."""
    module = ModuleType("solution")
    sys.modules["solution"] = module
    places = [(_SOLUTION, part) for part in parts] + [(_TESTS, tests)]
    for place, source in places:
        try:
            # Each by itself, for `from __future__ import …` may begin any; ours is not theirs.
            exec(compile(source, place, "exec", dont_inherit=True), vars(module))  # noqa: S102
        except BaseException as error:  # a stranger's program may raise anything
            return _failure(error, source)
    return "passed", ""


def _failure(error: BaseException, source: str) -> tuple[str, str]:
    if isinstance(error, MemoryError):
        walls.spare_memory()
        error.__traceback__ = None
        return "memory", ""
    if isinstance(error, SystemExit):
        return "exit", "it called exit()"
    frames = list(traceback.walk_tb(error.__traceback__))
    if isinstance(error, AssertionError) and frames[-1][0].f_code.co_filename == _TESTS:
        lines, number = source.splitlines(), frames[-1][1]
        return "wrong answer", lines[number - 1].strip() if number <= len(lines) else ""
    return "exception", f"{type(error).__name__}: {_said(error)}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # its words are the program's, too
        return ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # it may be the program's own, or closed
            stream.flush()


def _tell(pipe: int, kind: str, detail: str = "", ticket: str = "") -> None:
    told = {"kind": kind, "detail": detail[:_LONGEST], "ticket": ticket}
    _write(pipe, json.dumps(told).encode() + b"\n")
