"""Walk the dashboard and the report of real runs in a real browser, and take the README's pictures.

    python -m benchmarks.screenshots RUNS [--all FOLDER]

RUNS is a folder that `evalkit demo` (or `compare`) wrote. The two pictures of the README go to
docs/img; with --all every page is photographed into FOLDER, to be looked at.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from reports.dashboard.launch import command, environment, free_port

PICTURES = Path("docs/img")
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


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """The dashboard over these runs, as `evalkit dashboard` serves it."""
    port = free_port("127.0.0.1", 8600)
    line = command(runs, None, "127.0.0.1", port, open_browser=False)
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, env=environment()) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the dashboard's server did not start")


def _open(page: Page, url: str, shows: str) -> None:
    page.goto(url)
    expect(page.locator(shows).first).to_be_visible(timeout=60_000)
    expect(page.locator(IDLE)).to_be_visible(timeout=60_000)
    page.wait_for_timeout(1500)  # charts draw themselves after the script has ended


def readme(page: Page, address: str) -> None:
    """The verdict, and a plain question that a tuned model answered with a note."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    _open(page, address, ".ek-hero")
    page.screenshot(path=PICTURES / "verdict.png")
    leak = "suite=style%2Fplain-en&sort=Largest+loss"
    _open(page, f"{address}/side-by-side?{leak}", ".ek-answer")
    page.screenshot(path=PICTURES / "side-by-side.png")


def everything(page: Page, address: str, runs: Path, folder: Path) -> None:
    """Every page from top to bottom, light and dark, and the report."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "verdict": ("", ".ek-hero"),
        "side-by-side": ("/side-by-side", ".ek-answer, .ek-table"),
        "choices": ("/side-by-side?suite=knowledge%2Feveryday-en", ".ek-table"),
        "training": ("/training", "[data-testid=stVegaLiteChart]"),
        "runs": ("/runs", "[data-testid=stDataFrame]"),
    }
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for name, (path, shows) in pages.items():
            _open(page, address + path, shows)
            page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    for number, report in enumerate(sorted(runs.glob("compare/*/report.html"))):
        page.goto(report.resolve().as_uri())
        page.screenshot(path=folder / f"report-{number}.png", full_page=True)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--all", type=Path, help="photograph every page into this folder")
    options = parser.parse_args()
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None:
        raise SystemExit("no Chromium found; install it or set CHROMIUM")
    with sync_playwright() as playwright, served(options.runs) as address:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        readme(page, address)
        if options.all:
            everything(page, address, options.runs, options.all)
        browser.close()


if __name__ == "__main__":
    main()
