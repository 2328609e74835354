"""The sandbox: hostile programs end, as what they are and in time, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from evalkit.scorers.code import sandbox
from evalkit.scorers.code.pool import run_all
from evalkit.scorers.code.sandbox import Limits, Outcome, Program, run, walls
from tests.scorers.code.attacks import ATTACKS

SHORT = Limits(seconds=1, memory=256)
T = TypeVar("T")

pytestmark = pytest.mark.skipif(not walls().usable, reason=f"no sandbox here: {walls().lacking}")


@pytest.fixture(params=["namespaces", "filter alone"])
def namespaces(request: pytest.FixtureRequest) -> bool:
    """Each test runs behind all the walls and, as where they are not granted, behind the filter."""
    full = str(request.param) == "namespaces"
    if full and not walls().namespaces:
        pytest.skip(f"no namespaces here: {walls().lacking}")
    return full


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever was run: no process and no file of it is there afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("EVALKIT_TEST_KEY", "secret")
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    yield
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before
    assert [one.name for one in tmp_path.glob("evalkit-sandbox-*")] == []
    assert not Path("/tmp/evalkit-was-here").exists()


def ran(
    source: str, tests: str = "", *, namespaces: bool = True, limits: Limits = SHORT
) -> Outcome:
    return run(Program(parts=(source,), tests=tests), limits, namespaces=namespaces)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_program_fails_as_what_it_is_and_in_time(name: str, namespaces: bool) -> None:
    attack = ATTACKS[name]
    started = time.monotonic()
    found = ran(attack.source, namespaces=namespaces)
    assert time.monotonic() - started < 60  # others may keep the machine busy
    said = attack.said if namespaces or attack.alone is None else attack.alone
    assert (found.kind, found.detail[: len(said)]) == (attack.kind, said)


def test_nothing_reaches_a_server_on_this_machine(namespaces: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        port = server.getsockname()[1]
        found = ran(f"import socket\nsocket.create_connection(('127.0.0.1', {port}))",
                    namespaces=namespaces)  # fmt: skip
        assert (found.kind, found.detail.partition(":")[0]) == ("exception", "PermissionError")
        with pytest.raises(TimeoutError):
            server.accept()
        socket.create_connection(("127.0.0.1", port)).close()  # it would have been seen
        server.accept()[0].close()


def test_no_system_call_finds_another_way_out(namespaces: bool) -> None:
    """Every call of x86_64 that reaches beyond the process, made directly, is refused."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    calls = {
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "accept": 43, "fork": 57,
        "vfork": 58, "execve": 59, "ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155,
        "chroot": 161, "setns": 308, "unshare": 272, "process_vm_readv": 310,
        "process_vm_writev": 311, "kexec_load": 246, "init_module": 175, "bpf": 321,
        "perf_event_open": 298, "keyctl": 250, "userfaultfd": 323, "io_uring_setup": 425,
        "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "clone3": 435,
        "setsockopt": 54, "memfd_create": 319, "shmget": 29, "msgget": 68, "mq_open": 240,
        "setpriority": 141,
        "sched_setaffinity": 203, "rt_sigqueueinfo": 129, "tkill": 200, "openat2": 437,
        "open_by_handle_at": 304, "landlock_create_ruleset": 444, "seccomp": 317, "prctl": 157,
        "setuid": 105, "capset": 126, "mknod": 133, "setxattr": 188, "chown": 92,
        "a call of tomorrow": 1000, "one of the other width": 0x40000000 + 41,
    }  # fmt: skip
    source = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
made = []
for name, number in {calls!r}.items():
    ctypes.set_errno(0)
    if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
        made.append((name, ctypes.get_errno()))
"""
    found = ran(source, "assert not made, made", namespaces=namespaces)
    assert found.kind == "passed", found


def test_files_elsewhere_cannot_even_be_seen_with_namespaces(tmp_path: Path) -> None:
    if not walls().namespaces:
        pytest.skip("no namespaces here")
    secret = tmp_path / "secret.txt"
    secret.write_text("key", encoding="utf-8")
    for path in (secret, Path("/etc/passwd"), Path("/proc/self/environ"), Path.home() / ".bashrc"):
        found = ran(f"open({str(path)!r})")
        assert found.detail.startswith("FileNotFoundError"), path


def test_a_small_folder_of_its_own_can_be_written_and_is_gone_afterwards() -> None:
    if not walls().namespaces:
        pytest.skip("no namespaces here")
    source = "import os, tempfile\nempty = os.listdir() == []\nopen('a.txt', 'w').write('x')"
    tests = "assert empty and open('a.txt').read() == 'x'\nassert tempfile.mkdtemp()"
    for _ in range(2):
        assert ran(source, tests).kind == "passed"


def test_what_honest_programs_need_is_there(namespaces: bool) -> None:
    source = """
import asyncio, bisect, collections, csv, dataclasses, datetime, decimal, enum, fractions
import functools, hashlib, heapq, io, itertools, json, math, queue, random, re, sqlite3
import statistics, string, textwrap, threading, typing, unicodedata, uuid, zoneinfo
from concurrent.futures import ThreadPoolExecutor

变量 = "你好，世界 🌱"

@dataclasses.dataclass
class Point:
    x: "int" = 1

async def three():
    await asyncio.sleep(0.01)
    return 3

def answers():
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(abs, [-1, 2])), asyncio.run(three()), 变量, Point()
"""
    tests = """
assert answers() == ([1, 2], 3, "你好，世界 🌱", Point(1))
assert datetime.datetime.now().year >= 2024
assert sqlite3.connect(":memory:").execute("select 1 + 1").fetchone() == (2,)
print(变量)
"""
    found = ran(source, tests, namespaces=namespaces, limits=Limits())
    assert (found.kind, found.output) == ("passed", "你好，世界 🌱\n")


def test_neither_evalkit_nor_its_packages_are_there(namespaces: bool) -> None:
    for name in ("evalkit", "numpy", "site"):
        found = ran(f"import {name}", namespaces=namespaces)
        wanted = "passed" if name == "site" else "exception"
        assert found.kind == wanted, name
    assert ran("import sys\nassert not [one for one in sys.modules if 'evalkit' in one]").kind == (
        "passed"
    )


def test_the_same_program_gives_the_same_every_time(namespaces: bool) -> None:
    source = "import random\nprint(hash('a'), random.random(), [*{'a', 'b', 'c', 'd', 'e'}])"
    first = ran(source, namespaces=namespaces)
    assert first.kind == "passed"
    assert ran(source, namespaces=namespaces) == first


def test_the_line_of_the_tests_that_failed_is_told() -> None:
    source = "def double(x):\n    return x + 2"
    tests = "def check(f):\n    assert f(2) == 4\n    assert f(3) == 6\n\ncheck(double)"
    assert ran(source, tests) == Outcome("wrong answer", "assert f(3) == 6")
    own = "def double(x):\n    assert x > 9, 'too small'"
    assert ran(own, tests) == Outcome("exception", "AssertionError: too small")


def test_the_future_of_one_part_is_not_that_of_another() -> None:
    parts = ("from __future__ import annotations\ndef f(x: unknown): return x", "seen = f(1)")
    assert run(Program(parts=parts, tests="assert seen == 1"), SHORT).kind == "passed"
    assert ran("def f(x: unknown): return x").detail.startswith("NameError")


def test_a_stop_ends_what_is_running() -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    started = time.monotonic()
    found = run(Program(parts=("import time\ntime.sleep(60)",), tests=""), stop=stop)
    assert (found.kind, found.detail) == ("killed", "stopped")
    assert time.monotonic() - started < 15


def test_many_are_run_at_once_in_order_and_the_same_one_once() -> None:
    programs = [Program(parts=(f"x = {n % 3}",), tests="assert x != 1") for n in range(9)]
    kinds = [one.kind for one in run_all(programs, SHORT)]
    assert kinds == ["passed", "wrong answer", "passed"] * 3


def test_an_iterator_that_is_closed_ends_all_that_runs() -> None:
    sleeping = [Program(parts=(f"import time\ntime.sleep({60 + n})",), tests="") for n in range(8)]
    outcomes = run_all([Program(parts=("x = 1",), tests=""), *sleeping], Limits(seconds=60))
    assert next(outcomes).kind == "passed"
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 15


def test_a_program_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "from evalkit.scorers.code.sandbox import *\n"
        "run(Program(parts=('import time; time.sleep(99)',), tests=''), Limits(seconds=99))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "TMPDIR": "/tmp"}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        children = _until(lambda: psutil.Process(parent.pid).children())
        time.sleep(1.0)  # long enough to be behind the walls
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not any(one.is_running() and one.status() != "zombie" for one in children))
    for left in Path("/tmp").glob("evalkit-sandbox-*"):
        left.rmdir()  # empty, and nobody was left to remove it


def _until(look: Callable[[], T]) -> T:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def test_a_sandbox_that_cannot_be_built_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sys.executable
    monkeypatch.setattr("sys.executable", "/no/such/python")
    found = ran("x = 1")
    assert found.kind == "unavailable"
    assert "no process could be started" in found.detail
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    assert "no process could be started" in ran("x = 1").detail
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sandbox, "_ROOT", "/no/such/folder")
    monkeypatch.setattr("sys.executable", real)
    assert "No module named 'evalkit'" in ran("x = 1").detail


def test_where_namespaces_are_forbidden_the_filter_alone_is_found_out() -> None:
    """As it is in most containers; here by the limit of a namespace of the test's own."""
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec "
    script = (
        "from evalkit.scorers.code.sandbox import walls; print(walls().namespaces, walls().usable)"
    )
    wanted = [shutil.which("unshare") or "unshare", "-Ur", "sh", "-c"]
    try:
        tried = subprocess.run([*wanted, forbid + "true"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if tried.returncode:
        pytest.skip("needs user namespaces, to forbid them in one")
    done = subprocess.run(
        [*wanted, forbid + f"{sys.executable} -c '{script}'"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"False", b"True"]


def test_a_machine_without_namespaces_or_filter_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def granted(*kinds: bool) -> sandbox.Walls:
        def pretended(program: Program, *, namespaces: bool = True) -> Outcome:
            if namespaces in kinds:
                return Outcome("passed")
            return Outcome("unavailable", "unshare: Operation not permitted")

        monkeypatch.setattr(sandbox, "run", pretended)
        return walls.__wrapped__()

    assert granted(True, False) == (True, True, "")
    bare = granted(False)
    assert (bare.namespaces, bare.usable) == (False, True)
    assert bare.made_of == (
        "a seccomp filter alone, without namespaces (unshare: Operation not permitted)"
    )
    assert not granted().usable
