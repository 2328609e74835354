"""A real Chromium, that asks nobody but this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.reports.dashboard.browsing import FLAGS, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = chromium()
    if found is None:
        # In CI a missing browser must not look like a passing test.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "no Chromium; install it or set CHROMIUM"
        )
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        expect.set_options(timeout=20_000)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(20_000)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(_host(request)))
    yield opened
    opened.close()
    assert set(asked) <= {"127.0.0.1", ""}, "the dashboard asked another machine for something"


def _host(request: Request) -> str:
    found = re.match(r"(?:https?|wss?)://([^/:]+)", request.url)
    return found[1] if found else ""
