"""The real server and a real Chromium, for the tests and for `benchmarks.screenshots`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reports.dashboard.launch import command, environment, free_port

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def chromium() -> Path | None:
    """The browser that $CHROMIUM or the search path names, else where Debian puts it."""
    found = Path(os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium")
    return found if found.exists() else None


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The dashboard over a folder, as `evalkit dashboard` serves it; yields its address."""
    port = free_port("127.0.0.1", 8700)
    line = command(root, None, "127.0.0.1", port, open_browser=False)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(line, stdout=quiet, stderr=quiet, env=environment()) as server:
        try:
            wait_until_healthy(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_until_healthy(port: int) -> None:
    """Return as soon as the server on that port answers; AssertionError after twenty seconds."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard's server did not start")
