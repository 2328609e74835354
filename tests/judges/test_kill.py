"""A killed judging goes on: every pair is judged, and paid for, exactly once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.judges.asking import judge
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, job, pairs, store_path
from tests.judges.serving import JudgeServer

WORK = """
import sys
from pathlib import Path
from evalkit.judges.asking import judge
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, job, pairs
from tests.judges.serving import JudgeServer

server, path, number, concurrency = sys.argv[1:]
how = config(JudgeServer(server).judge(concurrency=int(concurrency), timeout=60.0))
with CompletionStore(Path(path)) as store:
    judge([job(pairs(int(number)))], how, store, offline=True)
"""


def begin(
    server: JudgeServer, path: Path, number: int, concurrency: int
) -> subprocess.Popen[bytes]:
    told = [server.address, str(path), str(number), str(concurrency)]
    return subprocess.Popen([sys.executable, "-c", WORK, *told], cwd=Path(__file__).parents[2])


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def stored(path: Path) -> int:
    if not path.exists():
        return 0
    with sqlite3.connect(path) as db:
        try:
            return int(db.execute("SELECT COUNT(*) FROM completion").fetchone()[0])
        except sqlite3.OperationalError:  # the table is not made yet
            return 0


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def test_after_a_kill_every_pair_is_judged_exactly_once(
    server: JudgeServer, tmp_path: Path
) -> None:
    """The server holds all calls after the hundredth: those alone are on their way at the kill."""
    server.script(closed=100)
    path = store_path(tmp_path)
    process = begin(server, path, number=80, concurrency=16)
    wait_until(lambda: stored(path) == 100)
    wait_until(lambda: sum(server.calls()["asked"].values()) == 116)
    kill(process)
    before = server.calls()
    assert sum(before["answered"].values()) == 100
    server.script()
    with CompletionStore(path) as store:
        done = judge([job(pairs(80))], config(server.judge()), store, offline=True)
    assert Counter(one.status for one in done.judgements) == {"judged": 160}
    after = server.calls()
    answered = Counter(before["answered"]) + Counter(after["answered"])
    assert len(answered) == 160
    assert set(answered.values()) == {1}, "each call is answered, and paid for, once"
    assert done.spent["scripted"].stored == 100


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_no_more_than_what_is_on_its_way(
    server: JudgeServer, tmp_path: Path
) -> None:
    server.script(latency=0.02)
    path, concurrency = store_path(tmp_path), 8
    answered: Counter[str] = Counter()
    for kept in (40, 90, 150):
        process = begin(server, path, number=100, concurrency=concurrency)
        wait_until(lambda kept=kept: stored(path) >= kept)  # type: ignore[misc]
        kill(process)
        time.sleep(0.2)  # for the server to end what it had begun
    with CompletionStore(path) as store:
        done = judge([job(pairs(100))], config(server.judge()), store, offline=True)
    assert Counter(one.status for one in done.judgements) == {"judged": 200}
    answered = Counter(server.calls()["answered"])
    assert len(answered) == 200
    assert sum(answered.values()) - 200 <= 3 * concurrency
