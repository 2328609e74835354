"""A reader's way through what the judges said, in a real Chromium against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.reports.dashboard.browsing import IDLE, served
from tests.reports.dashboard.judgedfolders import make_judged
from tests.reports.dashboard.runfolders import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("judged") / "runs"
    make_judged(root)
    with served(root) as url:
        yield url


def _open(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".ek-judge").first).to_be_visible()
    expect(page.locator(IDLE)).to_be_visible()


def test_the_page_is_reached_and_its_pairs_are_read_by_key(
    address: str, page: Page, tmp_path: Path
) -> None:
    page.goto(address)
    expect(page.locator(".ek-hero").first).to_be_visible()
    expect(page.locator(IDLE)).to_be_visible()
    page.get_by_test_id("stTopNavLink").filter(has_text="Judge").click()
    expect(page.locator(".ek-headline")).to_contain_text("Judge results not trustworthy")
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    expect(page.locator(".st-key-steps")).to_contain_text("1 of 48")
    # The count stands there before the button does: a key pressed between them is nobody's.
    expect(page.locator(".st-key-steps").get_by_role("button", name="Next")).to_be_enabled()
    expect(page.locator(IDLE)).to_be_visible()
    page.screenshot(path=tmp_path / "judge.png", full_page=True)
    page.keyboard.press("n")
    expect(page.locator(".st-key-steps")).to_contain_text("2 of 48")
    page.wait_for_url(re.compile("said=bravo"))
    page.locator(".st-key-outcome").get_by_text("Missing", exact=True).click()
    expect(page.locator(".st-key-steps")).to_contain_text("1 of 2")
    expect(page.locator(".ek-call").first).to_contain_text("unreadable")


def test_a_flagged_answer_leads_to_side_by_side_and_its_judgements(
    address: str, page: Page
) -> None:
    _open(page, f"{address}/judge")
    page.get_by_role("link", name=re.compile("note-\u2060?003")).click()
    expect(page.locator(".ek-question")).to_contain_text("第3篇")
    expect(page.locator(".ek-judged .ek-note")).to_contain_text("speaks to the <judge>")
    expect(page.locator(".ek-judge")).to_have_count(2)
    expect(page.locator(".ek-calls").first.locator(".ek-call")).to_have_count(2)


def test_what_a_judge_wrote_is_text_and_does_nothing(address: str, page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    _open(page, f"{address}/judge?sample=note-001&said=alpha")
    shown = page.locator(".ek-call .ek-text").first.inner_text()
    assert shown.splitlines()[0] == HOSTILE.splitlines()[0]
    for inside in ("img", "a", "h1", "script", ".katex"):
        assert page.locator(".ek-judged").locator(inside).count() == 0
    assert page.title() == "evalkit"
    assert dialogs == []


@pytest.mark.parametrize("path", ["/judge", "/side-by-side?of=style%2Frednote-zh&sample=note-003"])
def test_a_phone_shows_judgements_and_nothing_beside_the_page(
    address: str, browser: Browser, path: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    _open(page, f"{address}{path}")
    page.wait_for_timeout(500)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("one => one.scrollWidth - one.clientWidth") == 0
    for call in page.locator(".ek-call, .ek-table td").all():
        box = call.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 390)
    page.close()
