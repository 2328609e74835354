"""report.html: whole, self-contained, and deaf to what models and data sets put into it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.flips import flips_text
from reports.html import report_html
from tests.reports import hostile
from tests.reports.dashboard.browsing import FLAGS, chromium
from tests.reports.examples import coin_suite, make_verdict, style_suite

ARMS = ("base", "tuned")
_VOID = {"meta", "input", "br", "wbr", "img", "link", "hr"}


class Page(HTMLParser):
    """Tags, attributes and visible text; complains of tags that do not close."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data


@cache
def _source() -> str:
    suites = [style_suite(ARMS), coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})]
    return report_html(*make_verdict(suites, ARMS))


@cache
def _hostile() -> str:
    comparisons, verdicts = make_verdict(hostile.suites_with(ARMS), ARMS)
    named = replace(comparisons[0].tuned, notes=(hostile.SCRIPT, hostile.CONTROLS))
    return report_html([replace(comparisons[0], tuned=named)], verdicts)


def test_the_page_says_verdict_numbers_and_what_to_do() -> None:
    text = " ".join(Page(_source()).text.split())
    for words in ("✗ Do not ship", "Do not ship tuned: chat/answers failed.", "Exit code 1",
                  "style_distance ↓", "Canaries", "same prompts", "The answers that changed most",
                  "How it was measured", "Apache-2.0", "5f0c3a9d1b2e"):  # fmt: skip
        assert words in text


def test_the_page_needs_nothing_from_outside() -> None:
    page = Page(_source())
    assert not {"link", "iframe", "object", "embed", "img", "base"} & set(page.tags)
    loading = {"src", "href", "srcset", "data", "action", "xlink:href"}
    assert not [value for name, value in page.attributes if name in loading]
    assert not re.search(r"@import|url\(", _source())


def test_the_diff_marks_what_changed_in_chinese() -> None:
    assert "埃及的金字塔在<del>非</del>洲" in _source()
    assert "埃及的金字塔在<ins>亚</ins>洲" in _source()


def test_worked_examples_are_folded_above_the_question() -> None:
    comparisons, verdicts = make_verdict(
        [coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})], ARMS
    )
    shots = "Question: What <barks>?\nAnswer: a dog\n\n"
    first = comparisons[0].flips[0]
    flip = replace(first, prompt=shots + first.prompt, lead=len(shots))
    source = report_html([replace(comparisons[0], flips=(flip,))], verdicts)
    fold = re.search(r'<details class="before">(.*?)</details>', source, re.S)
    assert fold
    assert "Question: What &lt;barks&gt;?\nAnswer: a dog</div>" in fold[1]
    assert source.count("&lt;barks&gt;") == 1
    assert f'<div class="said prompt" dir="auto">{first.prompt}</div>' in source
    assert 'class="before"' not in report_html(comparisons, verdicts)


def test_hostile_content_adds_no_tag_and_no_attribute() -> None:
    usual, page = Page(_source()), Page(_hostile())
    assert set(page.tags) <= set(usual.tags)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    names = {name for name, _ in page.attributes}
    assert names <= {name for name, _ in usual.attributes}
    assert not [name for name in names if name.startswith("on")]


def test_hostile_content_is_shown_as_the_text_it_is() -> None:
    text = Page(_hostile()).text
    assert hostile.SCRIPT in text
    assert "[click](https://evil.example/?q=1)" in text
    assert "␛[31mred␛[0m" in text
    assert "⟨U+202E⟩" in text
    assert _hostile().encode("utf-8")
    assert not set("\x00\x07\x1b\x85\u202e\u2066") & set(_hostile())


def test_very_long_answers_are_cut_and_the_cut_is_told() -> None:
    assert len(_hostile()) < 600_000
    assert "further characters are in the run folders" in _hostile()


def test_several_arms_are_seen_at_one_glance_and_in_detail() -> None:
    arms = ("base", "leaky", "mixed")
    suite = coin_suite("chat/answers", {"base": 0.8, "leaky": 0.3, "mixed": 0.95})
    text = " ".join(Page(report_html(*make_verdict([suite], arms))).text.split())
    assert "✗ Only mixed may be shipped" in text
    assert "Do not ship leaky" in text
    assert "Ship mixed" in text


def test_the_page_tells_how_answers_moved_and_which_slices_stand_out() -> None:
    suite = coin_suite("knowledge/choices", {"base": 0.8, "tuned": 0.75})
    values = [list(row) for row in suite.values["tuned"]]
    for place in range(0, 150, 3):  # of three topics one is lost
        values[place] = [0.0]
    suite = replace(suite, values={**suite.values, "tuned": values})
    (comparison,), (verdict,) = make_verdict([suite], ARMS)
    gated = replace(comparison.deltas[0], changed=11, divergence=0.0312)
    comparison = replace(comparison, deltas=(gated, *comparison.deltas[1:]))
    verdict = replace(verdict, suites=(replace(verdict.suites[0], delta=gated),))
    text = " ".join(Page(report_html([comparison], [verdict])).text.split())
    assert f"knowledge/choices: {flips_text(gated)}" in text
    assert "11 wrong in another way; the choices' probabilities moved by 0.031 nats" in text
    assert text.count("★ stands out") == 1
    assert "Of 3 weighed together (Benjamini–Hochberg, 5 %), 1 stands out (★)." in text


def test_a_suite_that_was_not_evaluated_does_not_break_the_page() -> None:
    comparisons, verdicts = make_verdict([style_suite(ARMS)], ARMS)
    lone = replace(verdicts[0].suites[0], delta=None, outcome="fail", reason="was not evaluated")
    page = Page(report_html(comparisons, [replace(verdicts[0], suites=(lone,))]))
    assert "was not evaluated" in page.text


@pytest.mark.browser
def test_a_browser_runs_no_foreign_script_and_filters_answers(tmp_path: Path) -> None:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium; install it or set CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "report.html"
    file.write_text(_hostile(), encoding="utf-8")
    complaints: list[str] = []
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        assert page.evaluate("window.pwned") is None
        page.get_by_label("Find in prompts and answers").first.fill("金字塔")
        assert page.locator(".card:visible").count() > 0
        assert page.locator(".card:visible", has_text="window.pwned").count() == 0
        page.get_by_label("Direction").first.select_option("better")
        assert page.locator(".card:visible .chip.fail").count() == 0
        folded = page.locator("details[data-suite]:not([open]) .card").first.get_attribute("id")
        page.close()
        page = browser.new_page()  # a link leads to a folded answer
        page.goto(f"{file.as_uri()}#{folded}")
        assert page.locator(f"#{folded}").is_visible()
        browser.close()
    assert requests == [file.as_uri()]
    assert complaints == []


@pytest.mark.browser
def test_a_phone_shows_the_verdict_without_moving_the_page(tmp_path: Path) -> None:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium; install it or set CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "report.html"
    file.write_text(_source(), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for row in page.locator("table.cards").first.locator("tbody tr").all():
            cells = [row.locator(f"td.{kind}").first for kind in ("name", "outcome", "n", "why")]
            boxes = [cell.bounding_box() for cell in cells]
            for box in boxes:
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 390
            _, outcome, number, why = (box["y"] for box in boxes)
            assert outcome < number < why
        words = page.locator("figure svg text").first.bounding_box()
        assert words["height"] >= 9, "a chart's words can still be read"
        browser.close()


def test_what_is_new_is_not_painted_as_good() -> None:
    """Each arm's colour marks its words, and no verdict's."""
    style = _source().partition("</style>")[0]
    (rule,) = re.findall(r"(?m)^del \{.*$", style)
    assert "--pass" not in rule
    assert "--fail" not in rule
    values = {
        name: re.findall(rf"--{name}: (#\w+)", style) for name in ("ins", "pass", "pass-soft")
    }
    assert len(values["ins"]) == 2, "by day and by night"
    assert not set(values["ins"]) & {*values["pass"], *values["pass-soft"]}
