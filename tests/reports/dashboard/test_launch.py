"""Starting and stopping the server: ports, addresses, missing packages, Ctrl-C."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.errors import MissingExtraError, RunError, UsageError
from reports.dashboard import launch as launching
from reports.dashboard.launch import command, environment, free_port, launch
from tests.reports.dashboard.browsing import wait_until_healthy
from tests.reports.dashboard.runfolders import SUITES, make_runs


def test_without_streamlit_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"evalkit-compare\[dashboard\]"):
        launch(tmp_path)


def test_a_taken_port_gives_way_to_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="no address of this machine"):
        free_port("192.0.2.1", 8501)


def test_the_server_listens_where_it_was_told_and_sends_nothing_home(tmp_path: Path) -> None:
    line = command(tmp_path, None, "127.0.0.1", 8600, open_browser=False)
    flags = dict(itertools.pairwise(line))
    assert flags["--server.address"] == "127.0.0.1"
    assert flags["--browser.gatherUsageStats"] == "false"
    assert flags["--server.headless"] == "true"
    assert flags["--runs"] == str(tmp_path)
    assert "--server.allowedHosts" in line


def test_on_an_open_address_every_host_name_is_allowed(tmp_path: Path) -> None:
    line = command(tmp_path, None, "0.0.0.0", 8600, open_browser=True)
    assert "--server.allowedHosts" not in line


def test_a_server_that_breaks_is_an_error_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(launching._SETTINGS, "no.such.setting", "1")
    with pytest.raises(RunError, match="stopped with code 2"):
        launch(tmp_path, port=free_port("127.0.0.1", 8850), open_browser=False)


def test_the_readers_own_folder_is_not_imported_from(tmp_path: Path) -> None:
    (tmp_path / "streamlit.py").write_text("raise SystemExit(77)")
    line = command(tmp_path, None, "127.0.0.1", 8860, open_browser=False)
    line = [*line[: line.index("run")], "--version"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Streamlit" in done.stdout


def test_ctrl_c_ends_the_server_and_succeeds(tmp_path: Path) -> None:
    port = free_port("127.0.0.1", 8800)
    code = (
        "import sys; from pathlib import Path; from reports.dashboard.launch import launch; "
        f"sys.exit(launch(Path(sys.argv[1]), port={port}, open_browser=False))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_until_healthy(port)
            os.killpg(process.pid, signal.SIGINT)  # a terminal tells the whole group
            told = process.communicate(timeout=15)[1]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}" in told
    assert "Traceback" not in told
    assert free_port("127.0.0.1", port) == port, "nothing is left running"


def test_a_server_that_ends_with_runs_open_says_nothing_of_it(tmp_path: Path) -> None:
    make_runs(tmp_path, suites=SUITES[:1])
    code = (
        "import sys, threading, time; from pathlib import Path; "
        "from evalkit.store.query import PairedRuns; "
        "pairs = PairedRuns(*map(Path, sys.argv[1:]), ()); "
        "page = threading.Thread(target=lambda kept: time.sleep(60), args=(pairs,), daemon=True); "
        "page.start()"
    )
    folders = [tmp_path / f"{name}-0123456789" for name in ("smollm2", "smollm2-rednote")]
    line = [sys.executable, "-c", code, *map(str, folders)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
