"""A person votes in a real Chromium against the real server, with keys and with the mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, WebSocket, expect

from evalkit.judges.votes import read_votes
from tests.reports.dashboard.browsing import IDLE, served
from tests.reports.dashboard.runfolders import SUITES, make_runs

pytestmark = pytest.mark.browser
NOTES = SUITES[1].name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("vote") / "runs", suites=SUITES[:3])


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder.parents[1]) as url:
        yield url


def _open(page: Page, address: str, person: str, **query: str) -> None:
    asked = {"person": person, "suite": NOTES, "rubric": "helpful", "count": "4", **query}
    page.goto(f"{address}/vote?{urlencode(asked)}")
    # The first page that a server shows waits for all that it imports.
    expect(page.locator(".ek-answer")).to_have_count(2, timeout=60_000)
    expect(page.locator(IDLE)).to_be_visible()


def _press(page: Page, key: str, done: str) -> None:
    """Press a key as a reader does, outside any field, and wait until the vote is counted."""
    expect(page.get_by_role("button", name="Skip")).to_be_enabled()  # the last of its buttons
    page.keyboard.press(key)
    expect(page.get_by_text(done, exact=True)).to_be_visible()
    expect(page.locator(IDLE)).to_be_visible()


def _side_of_the_tuned(page: Page) -> str:
    texts = page.locator(".ek-answer").all_inner_texts()
    return "left" if "姐妹们" in texts[0] else "right"


def test_a_person_votes_with_keys_and_learns_the_arms_at_the_end(
    address: str, folder: Path, page: Page
) -> None:
    received: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on(
            "framereceived",
            lambda data: received.append(
                data.decode("utf-8", "replace") if isinstance(data, bytes) else data
            ),
        )

    page.on("websocket", listen)
    _open(page, address, "Ana")
    _press(page, "ArrowLeft" if _side_of_the_tuned(page) == "left" else "ArrowRight", "1 of 4 done")
    _press(
        page, "ArrowLeft" if _side_of_the_tuned(page) == "right" else "ArrowRight", "2 of 4 done"
    )
    _press(page, "t", "3 of 4 done")
    # Not only on the screen: nothing that came to the browser so far names an arm.
    assert len(received) > 3
    assert "姐妹们" in "".join(received)
    assert not any("smollm2-rednote" in one for one in received)
    page.keyboard.press("s")
    expect(page.get_by_text("All done. Thank you!")).to_be_visible()
    expect(page.locator(".ek-table")).to_contain_text("smollm2-rednote")
    mine = [one for one in read_votes(folder / "labels.csv") if one.person == "Ana"]
    assert [one.preferred for one in mine] == ["tuned", "base", "tie", "skip"]


def test_a_person_votes_with_the_mouse_goes_back_and_comes_again(
    address: str, folder: Path, page: Page
) -> None:
    _open(page, address, "Bo")
    side = _side_of_the_tuned(page)
    page.locator(f".st-key-vote-{side} button").click()
    expect(page.get_by_text("1 of 4 done", exact=True)).to_be_visible()
    expect(page.locator(IDLE)).to_be_visible()
    page.locator(".st-key-vote-back button").click()
    expect(page.locator(".st-key-vote-back button")).to_be_disabled()
    page.locator(".st-key-vote-tie button").click()
    expect(page.locator(".st-key-vote-back button")).to_be_enabled()
    _open(page, address, "Bo")
    expect(page.get_by_text("1 of 4 done", exact=True)).to_be_visible()
    mine = [one for one in read_votes(folder / "labels.csv") if one.person == "Bo"]
    assert [one.preferred for one in mine] == ["tie"]


def test_writing_a_name_is_no_vote(address: str, folder: Path, page: Page) -> None:
    """Letters that are keys of the page are letters in a field."""
    page.goto(f"{address}/vote?{urlencode({'suite': NOTES, 'rubric': 'helpful', 'count': '4'})}")
    field = page.get_by_label("Your name")
    field.click()
    field.press_sequentially("Tess B")
    field.press("Enter")
    expect(page.locator(".ek-answer")).to_have_count(2)
    field.click()
    field.press_sequentially("ts")
    field.press("ArrowLeft")
    field.press("Enter")
    expect(page.locator(".ek-answer")).to_have_count(2)
    expect(page.locator(IDLE)).to_be_visible()
    names = {one.person for one in read_votes(folder / "labels.csv")}
    assert not any(name.startswith("Tess") for name in names)


def test_both_answers_fit_a_phone(address: str, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    _open(page, address, "Cy")
    boxes = [one.bounding_box() for one in page.locator(".ek-answer").all()]
    assert all(
        box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes
    )
    main = page.get_by_test_id("stMain")
    assert main.evaluate("one => one.scrollWidth - one.clientWidth") == 0
