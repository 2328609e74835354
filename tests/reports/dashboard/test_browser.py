"""A reader's way through every page, in a real Chromium against the real server."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.reports.dashboard.browsing import IDLE, served
from tests.reports.dashboard.runfolders import HOSTILE, make_runs, make_training

pytestmark = pytest.mark.browser

_ALONE = re.compile(r"(?<!\d)1 of 1$")  # not the start of "1 of 12"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    make_runs(folder, ("tuned", "mild"))
    make_training(folder)
    return folder


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with served(root) as url:
        yield url


def _open(page: Page, url: str, shows: str) -> None:
    page.goto(url)
    expect(page.locator(shows).first).to_be_visible()
    expect(page.locator(IDLE)).to_be_visible()


def _step(page: Page, key: str, expected: str) -> None:
    """Press a key as a reader does, outside any field, and wait for the counter."""
    expect(page.locator(".st-key-next button")).to_be_visible()
    page.keyboard.press(key)
    expect(page.locator(".st-key-steps")).to_contain_text(expected)
    expect(page.locator(IDLE)).to_be_visible()


def test_every_page_is_reached_from_the_verdict(address: str, page: Page, tmp_path: Path) -> None:
    _open(page, address, ".ek-hero")
    expect(page.locator(".ek-hero").first).to_contain_text("Do not ship")
    expect(page.locator(".ek-check").first).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    page.screenshot(path=tmp_path / "verdict.png")

    page.get_by_test_id("stTopNavLink").filter(has_text="Side by side").click()
    expect(page.locator(".ek-answer, .ek-table").first).to_be_visible()
    page.screenshot(path=tmp_path / "side-by-side.png")

    page.get_by_test_id("stTopNavLink").filter(has_text="Training").click()
    expect(page.get_by_text("Held-out loss", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    page.screenshot(path=tmp_path / "training.png")

    page.get_by_test_id("stTopNavLink").filter(has_text="Runs").click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page.locator(".ek-table").first).to_contain_text("knowledge/everyday-en")
    page.screenshot(path=tmp_path / "runs.png")
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_the_verdict_leads_to_the_answers_that_changed(address: str, page: Page) -> None:
    _open(page, address, ".ek-hero")
    page.get_by_role("link", name=re.compile("10 lost")).first.click()
    expect(page.locator(".st-key-steps")).to_contain_text("1 of 11")
    assert "change=Changed" in page.url
    expect(page.get_by_text("likeliest")).to_be_visible()


def test_keys_step_through_the_samples_and_the_address_follows(address: str, page: Page) -> None:
    _open(page, f"{address}/side-by-side?suite=style%2Frednote-zh&sort=Suite+order", ".ek-answer")
    _step(page, "n", "2 of 24")
    page.wait_for_url(re.compile("sample=note-001"))
    _step(page, "n", "3 of 24")
    _step(page, "p", "2 of 24")
    page.wait_for_url(re.compile("sample=note-001"))
    page.locator(".st-key-later button").click()
    expect(page.locator(".st-key-steps")).to_contain_text("21 of 24")
    expect(page.locator(".st-key-samples button")).to_have_count(4)
    page.locator(".st-key-samples button").last.click()
    expect(page.locator(".st-key-steps")).to_contain_text("24 of 24")
    page.wait_for_url(re.compile("sample=note-023"))


def test_an_address_restores_the_arm_the_filters_and_the_sample(address: str, page: Page) -> None:
    _open(page, f"{address}/side-by-side", ".st-key-steps")
    chosen = {"arm": "smollm2-mild", "suite": "style/rednote-zh", "slice": "topic=旅行"}
    for key, value in {**chosen, "sort": "Suite order"}.items():
        _choose(page, key, value)
    page.locator(".st-key-change").get_by_text("Gained", exact=True).click()
    expect(page.locator(".st-key-steps")).to_contain_text("1 of 12")
    # The address was seen without what was typed where the run before was still at work.
    expect(page.locator(IDLE)).to_be_visible()
    page.locator(".st-key-text input").fill("第13篇")
    page.locator(".st-key-text input").press("Enter")
    expect(page.locator(".st-key-steps")).to_contain_text(_ALONE)
    expect(page.locator(".ek-question")).to_contain_text("第13篇")
    page.wait_for_url(re.compile("text=.*sample=note-013"))
    pasted = page.url

    page.goto("about:blank")
    _open(page, pasted, ".ek-answer")
    expect(page.locator(".st-key-steps")).to_contain_text(_ALONE)
    expect(page.locator(".ek-question")).to_contain_text("第13篇")
    for key, value in chosen.items():
        expect(page.locator(f".st-key-{key} input")).to_have_value(value)
    expect(page.locator(".st-key-text input")).to_have_value("第13篇")
    assert page.url == pasted


def _choose(page: Page, key: str, option: str) -> None:
    page.locator(f".st-key-{key} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.locator(f".st-key-{key} input")).to_have_value(option)
    expect(page.locator(IDLE)).to_be_visible()


def test_an_address_pasted_into_a_fresh_server_opens_its_page(root: Path, page: Page) -> None:
    with served(root) as address:
        _open(page, f"{address}/side-by-side?of=style%2Frednote-zh&sample=note-007", ".ek-answer")
        expect(page.locator(".ek-question")).to_contain_text("第7篇")
        page.wait_for_timeout(500)
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_changed_is_marked_character_by_character_in_chinese(address: str, page: Page) -> None:
    _open(page, f"{address}/side-by-side?suite=style%2Frednote-zh", ".ek-answer")
    marks = page.locator(".ek-answer.ek-tuned mark")
    assert "！姐妹们冲啊～" in marks.all_inner_texts()
    page.locator(".st-key-diff").get_by_text("Mark what changed").click()
    expect(marks).to_have_count(0)


def test_hostile_output_is_shown_as_text_and_does_nothing(address: str, page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    query = "suite=chat%2Fanswers&text=tracker"
    _open(page, f"{address}/side-by-side?{query}", ".ek-answer")
    expect(page.locator(".st-key-steps")).to_contain_text(_ALONE)
    shown = page.locator(".ek-answer.ek-base .ek-text").inner_text()
    assert shown.splitlines()[0] == HOSTILE.splitlines()[0]
    assert "![tracker](http://127.0.0.1:9/pixel.png)" in shown
    assert "$\\frac{1}{2}$ :smile: :red[red] **bold** `code` # heading" in shown
    assert "⟨U+202E⟩desrever" in shown
    line = page.locator(".st-key-samples button").first
    assert "<script>" in line.inner_text().replace("\u2060", "")
    for inside in ("img", "a", "h1", "script", ".katex"):
        assert line.locator(inside).count() == 0
    page.get_by_text("The prompt as the model saw it").click()
    expect(page.get_by_test_id("stCode").first).to_contain_text("<|im_start|>user <script>")
    answers = page.locator(".ek-pair, .ek-question, .ek-tags, .stCode")
    for inside in ("img", "a", "h1", "script", ".katex"):
        assert answers.locator(inside).count() == 0
    assert page.title() == "evalkit"
    assert dialogs == []


def test_a_hundred_kilobytes_of_answer_stay_readable(address: str, page: Page) -> None:
    began = time.monotonic()
    _open(page, f"{address}/side-by-side?suite=chat%2Fanswers&text=wort", ".ek-answer")
    assert len(page.locator(".ek-answer.ek-tuned .ek-text").inner_text()) >= 99_000
    box = page.locator(".ek-answer.ek-tuned .ek-text").bounding_box()
    assert box is not None
    assert box["height"] < 700, "it scrolls in its box, the page stays short"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_readers_theme(address: str, browser: Browser, scheme: str) -> None:
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    _open(page, address, ".ek-hero")
    background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    pill = page.evaluate("getComputedStyle(document.querySelector('.ek-pill.ek-fail')).color")
    page.close()
    expected = ("rgb(255, 255, 255)", "rgb(196, 66, 10)")
    if scheme == "dark":
        expected = ("rgb(20, 23, 28)", "rgb(255, 133, 82)")
    assert (background, pill) == expected


def test_a_phone_shows_each_verdict_with_its_numbers_and_nothing_beside_the_page(
    address: str, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    _open(page, address, ".ek-hero")
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    labels = (
        page.locator(".ek-table")
        .first.locator("tbody tr")
        .first.locator("td")
        .evaluate_all("cells => cells.map(one => getComputedStyle(one, '::before').content)")
    )
    assert labels[1:] == ['"smollm2-rednote"', '"smollm2-mild"'], "whose outcome it is"
    rows = page.get_by_role("tabpanel").first.locator(".ek-table").first.locator("tbody tr")
    expect(rows).to_have_count(4)
    for row in rows.all():
        cells = [cell.bounding_box() for cell in row.locator("td").all()]
        boxes = [box for box in cells if box is not None]
        assert len(boxes) == 7
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
        _, *numbers, outcome, why = boxes
        assert outcome["y"] < min(one["y"] for one in numbers), "first whether it may be shipped"
        assert why["y"] > max(one["y"] for one in numbers)
        assert row.bounding_box()["height"] < 400  # type: ignore[index]
    for width in (390, 768):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(500)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("one => one.scrollWidth - one.clientWidth") == 0
        charts = [c.bounding_box() for c in page.get_by_test_id("stVegaLiteChart").all()]
        shown = [one for one in charts if one is not None and one["width"]]
        assert shown
        for one, other in itertools.combinations(shown, 2):
            beside = (
                one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
            )
            below = (
                one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
            )
            assert beside or below, "charts lie over each other"
    page.close()
