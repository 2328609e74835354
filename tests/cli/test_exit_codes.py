"""How a command ends where there is no verdict: a crash, a stop, a closed pipe are not `fail`."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Event

import pytest

from evalkit.store.completions import CompletionStore
from tests.cli.conftest import PLACES, SUITE, Bench, started


@pytest.mark.parametrize("kind", [ValueError, BaseException])
def test_a_crash_of_ours_is_no_verdict(
    recorded: Bench, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def crash(*_: object) -> None:
        raise kind("nobody thought of this")

    monkeypatch.setattr("evalkit.judging.arms.compare", crash)
    said = recorded.run("compare", "base.yaml", "tuned.yaml", "-q")
    assert said.code == 4
    assert "Traceback" in said.err
    assert "nobody thought of this" in said.err
    assert "report it" in said.err.splitlines()[-1]


def test_a_question_without_an_answer_is_a_stop(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    cleared: list[CompletionStore] = []
    monkeypatch.setattr(CompletionStore, "clear", cleared.append)
    said = desk.run("cache", "clear")
    assert said.code == 130
    assert "Aborted" in said.err
    assert not cleared


def test_a_closed_pipe_is_no_verdict(desk: Bench) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = started(desk, "suites", "list", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors.decode()) == (4, "")


class Deaf(ThreadingHTTPServer):
    """An endpoint that takes requests and never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Deaf)
        self.asked, self.over = threading.Event(), threading.Event()


class _Deaf(BaseHTTPRequestHandler):
    server: Deaf

    def do_POST(self) -> None:
        self.server.asked.set()
        self.server.over.wait(120)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("number", "background"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)],
)
def test_a_stopped_comparison_says_what_is_kept(
    desk: Bench, deaf: Deaf, number: signal.Signals, background: bool
) -> None:
    for name in ("base", "tuned"):
        url = f"http://127.0.0.1:{deaf.server_address[1]}/v1"
        model = f"model: {{kind: openai, model: {name}, base_url: '{url}'}}\n"
        desk.write(f"{name}.yaml", f"name: {name}\n{model}")
    desk.write("base.yaml", (desk.folder / "base.yaml").read_text() + "suites: [chat/answers]\n")
    process = started(
        desk,
        *("compare", "base.yaml", "tuned.yaml", "--limit", "4"),
        environment={"OPENAI_API_KEY": "sk-none"},
        background=background,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert deaf.asked.wait(120)
    if background:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    said = output.decode()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "Finished batches of answers and checkpoints are stored" in said
    assert not list(desk.folder.glob("runs/**/*.json"))


def test_a_worker_that_was_forked_ends_at_once(recorded: Bench) -> None:
    """lm-eval's bootstrap ends its pool by SIGTERM, and waits until the workers are gone."""
    recorded.run("suites", "list")
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    worker = context.Process(target=_sleep_long, args=(begun,), daemon=True)
    worker.start()
    assert begun.wait(20)
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == -signal.SIGTERM


def test_a_worker_ends_that_is_told_so_before_it_has_begun(recorded: Bench) -> None:
    """A pool whose work was done by its first worker ends the second while that one starts."""
    recorded.run("suites", "list")
    context = multiprocessing.get_context("fork")
    for _ in range(50):
        worker = context.Process(target=_sleep_long, args=(context.Event(),), daemon=True)
        worker.start()
        worker.terminate()
        worker.join(20)
        assert worker.exitcode == -signal.SIGTERM


def _sleep_long(begun: Event) -> None:
    begun.set()
    time.sleep(120)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--sequential",)])
def test_a_declared_slice_that_the_limit_leaves_empty_is_refused_before_any_model(
    desk: Bench, more: tuple[str, ...]
) -> None:
    suite = desk.folder / "suites" / SUITE / "suite.yaml"
    suite.write_text(suite.read_text() + "slices: [country]\n")
    every = ", ".join(f"country={country}" for country, _ in PLACES)
    gate = f"gate: {{suites: {{{SUITE}: {{must_not_regress: [{every}]}}}}}}\n"
    for name in ("base", "tuned"):
        desk.write(f"{name}.jsonl", "no JSON: whoever opens it complains of it")
        model = f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n"
        desk.write(f"{name}.yaml", model + (f"suites: [{SUITE}]\n{gate}" * (name == "base")))
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--limit", "1", *more)
    told = " ".join(said.err.split())
    assert said.code == 2
    assert told.count(f"none of the 1 samples of {SUITE} that are asked is in country=") == 5
    assert "which must not regress (1 of all 6 are). Raise --limit" in told
    assert "base.jsonl" not in told
    whole = desk.run("compare", "base.yaml", "tuned.yaml", *more)
    assert "base.jsonl" in whole.err
