"""Walk the dashboard and the report of real runs in a real browser, and take the README's pictures.

    python -m benchmarks.screenshots RUNS [--all FOLDER]
    python -m benchmarks.screenshots RUNS --judge

RUNS is a folder that `evalkit demo` (or `compare`) wrote. The two pictures of the README go to
docs/img; with --all every page is photographed into FOLDER, to be looked at. With --judge RUNS is
that of the example examples/judged, and the one picture is docs/img/judge-health.png.

Needs Chromium and a font with emojis (fonts-noto-color-emoji), which notes are full of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from tests.reports.dashboard.browsing import FLAGS, IDLE, chromium, served

PICTURES = Path("docs/img")
SCREEN: ViewportSize = {"width": 1440, "height": 900}


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


def judge_health(page: Page, address: str) -> None:
    """How far a judge can be trusted, and the first of the pairs that it was asked about."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": SCREEN["width"], "height": 1640})
    _open(page, f"{address}/judge", ".ek-judge")
    page.screenshot(path=PICTURES / "judge-health.png")


def everything(page: Page, address: str, runs: Path, folder: Path) -> None:
    """Every page and every report from top to bottom, all that is folded opened, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "verdict": ("", ".ek-hero"),
        "side-by-side": ("/side-by-side", ".ek-answer, .ek-table"),
        "choices": ("/side-by-side?suite=knowledge%2Feveryday-en", ".ek-table"),
        "judge": ("/judge", ".ek-judge, .ek-empty"),
        "training": ("/training", "[data-testid=stVegaLiteChart]"),
        "runs": ("/runs", "[data-testid=stDataFrame]"),
    }
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for name, (path, shows) in pages.items():
            page.set_viewport_size(SCREEN)
            _open(page, address + path, shows)
            _unfold(page)
            page.screenshot(path=folder / f"{name}-{scheme}.png")
        for number, report in enumerate(sorted(runs.glob("compare/*/report.html"))):
            page.set_viewport_size(SCREEN)
            page.goto(report.resolve().as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            page.screenshot(path=folder / f"report-{number}-{scheme}.png", full_page=True)


def _unfold(page: Page) -> None:
    """Open what is folded; then make the window as high as the page, which scrolls inside it."""
    for fold in page.locator("[data-testid=stExpander] summary").all():
        if fold.is_visible():  # else it is another arm's, on a tab behind this one
            fold.click()
    page.wait_for_timeout(1500)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": SCREEN["width"], "height": height})
    page.wait_for_timeout(1500)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--all", type=Path, help="photograph every page into this folder")
    parser.add_argument("--judge", action="store_true", help="the picture of docs/judging.md")
    options = parser.parse_args()
    found = chromium()
    if found is None:
        raise SystemExit("no Chromium found; install it or set CHROMIUM")
    with sync_playwright() as playwright, served(options.runs) as address:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport=SCREEN)
        if options.judge:
            judge_health(page, address)
        else:
            readme(page, address)
        if options.all:
            everything(page, address, options.runs, options.all)
        browser.close()


if __name__ == "__main__":
    main()
