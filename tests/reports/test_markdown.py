"""The pull request comment: one screen, and no mark-up but our own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from reports.markdown import escape, report_markdown
from tests.reports import hostile
from tests.reports.examples import coin_suite, make_verdict, style_suite

ARMS = ("base", "tuned")
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _rendered(text: str) -> str:
    return str(RENDERER.render(text))


def test_the_comment_says_verdict_suites_and_worst_answers() -> None:
    suites = [style_suite(ARMS), coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})]
    text = report_markdown(*make_verdict(suites, ARMS))
    assert text.startswith("## ❌ Do not ship: tuned against base\n")
    assert "Exit code 1: at least one suite did not pass its gate, or a canary failed." in text
    assert re.search(
        r"^\| chat/answers · accuracy \| 0\.\d{3} \| .* \*\*✗ fail\*\*: at most 0\.050 worse \|$",
        text,
        re.M,
    )
    assert text.count("<br>tuned:") == 3
    assert _rendered(text).count("<tr>") == 3


@pytest.mark.parametrize("arms", [("base", "tuned"), ("base", "leaky", "mixed")])
def test_a_large_comparison_stays_on_one_screen(arms: tuple[str, ...]) -> None:
    shares = dict.fromkeys(arms, 0.5) | {arms[1]: 0.45}
    suites = [coin_suite(f"family/suite-{i:02d}", shares, n=40) for i in range(40)]
    text = report_markdown(*make_verdict(suites, arms))
    assert len(text.splitlines()) <= 45
    assert "and 16 more" in text


@pytest.mark.parametrize("text", hostile.ALL)
def test_escaped_text_renders_as_nothing_but_text(text: str) -> None:
    for place in ("{}", "- {}", "| a |\n|---|\n| {} |", "**{}**"):
        page = _rendered(place.format(escape(text, 300)))
        tags = set(re.findall(r"<(\w+)", page))
        assert tags <= {"p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong"}
        assert page.count("<td>") <= 1
        assert page.count("<li>") <= 1
        assert page.count("<strong>") <= 1


def test_escaped_text_reads_as_it_was_written() -> None:
    page = _rendered(escape("a_b * c | d <e> `f` [g](h) 5 & 6 ~~i~~"))
    assert page == "<p>a_b * c | d &lt;e&gt; `f` [g](h) 5 &amp; 6 ~~i~~</p>\n"


def test_an_answer_pings_nobody_and_links_nothing() -> None:
    """GitHub looks for mentions, issues and URLs in the text that is left after rendering."""
    page = _rendered(escape("@octocat see #12, https://evil.example and WWW.evil.example"))
    assert not re.search(r"@\w|#\d", page)
    raw = escape("https://evil.example WWW.evil.example")
    assert not re.search(r"(?i)https?://|www\.", raw)


def test_hostile_runs_leave_the_comment_in_shape() -> None:
    comparisons, verdicts = make_verdict(hostile.suites_with(ARMS), ARMS)
    text = report_markdown(comparisons, verdicts)
    assert len(text.splitlines()) <= 45
    page = _rendered(text.replace("<br>", " "))
    assert page.count("<h2>") == 1
    assert "<script" not in page
    links = re.findall(r'<a href="([^"]*)"', page)
    assert page.count("<a ") == len(links) == 3
    assert all(re.fullmatch(r"report\.html#sample-[0-9a-f]{12}", link) for link in links)
    assert "<img" not in page


def test_a_question_is_shown_without_the_examples_before_it() -> None:
    comparisons, verdicts = make_verdict(
        [coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})], ARMS
    )
    shots = "Question: What barks?\nAnswer: a dog\n\n"
    flips = tuple(
        replace(one, prompt=shots + one.prompt, lead=len(shots)) for one in comparisons[0].flips
    )
    text = report_markdown([replace(comparisons[0], flips=flips)], verdicts)
    assert "What barks" not in text
    assert text == report_markdown(comparisons, verdicts)


def test_a_warning_canary_is_told() -> None:
    comparisons, verdicts = make_verdict([style_suite(ARMS)], ARMS)
    check = replace(verdicts[0].checks[0], status="warning", message="differ | in\ndtype")
    text = report_markdown(comparisons, [replace(verdicts[0], checks=(check,))])
    assert "warning: models differ: differ \\| in dtype" in text
