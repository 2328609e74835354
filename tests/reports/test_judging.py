"""Judge health in every report: the records' own numbers, in plain words, loud where it must be."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from evalkit.judges.doubts import FLIPS
from evalkit.judges.preferences import preferences
from evalkit.records import Comparison, Delta, Judging, Metric, Rate, Verdict
from reports import charts, wording
from reports.html import report_html
from reports.judging import words
from reports.judging.charts import win_rates
from reports.judging.figures import Figure, figures
from reports.judging.junit import fails
from reports.junit import junit_xml
from reports.machine import comparison_json
from reports.markdown import report_markdown
from reports.terminal import print_verdict
from tests.reports import hostile, judgings
from tests.reports.dashboard.browsing import FLAGS, chromium
from tests.reports.test_html import Page

Example: TypeAlias = tuple[Comparison, Verdict]
EXAMPLES: tuple[Callable[[], Example], ...] = (
    judgings.healthy,
    judgings.troubled,
    judgings.corrected_by_people,
    judgings.rated,
    judgings.from_elsewhere,
)


@cache
def _made(example: Callable[[], Example]) -> Example:
    return example()


def _judging(example: Callable[[], Example]) -> tuple[Comparison, Judging]:
    comparison, _ = _made(example)
    return comparison, comparison.judgings[0]


def _figures(example: Callable[[], Example]) -> dict[str, Figure]:
    return {row.name: row for row in figures(*_judging(example))}


def _html(example: Callable[[], Example]) -> str:
    comparison, verdict = _made(example)
    return report_html([comparison], [verdict])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def test_the_first_sentence_holds_the_mean_over_samples_and_the_gates_interval() -> None:
    comparison, judging = _judging(judgings.healthy)
    values = [one.value for one in preferences(judgings.words("alpha", quality=0.9))]
    mean = fmean(one for one in values if one is not None)
    delta = comparison.deltas[0]
    assert delta.low is not None
    assert delta.high is not None
    low, high = _percent((1 + delta.low) / 2), _percent((1 + delta.high) / 2)
    bounds = f"({low.removesuffix(' %')}–{high})"
    text = words.headline(comparison, judging)
    assert text.startswith(f"The judge prefers tuned in {_percent(mean)} {bounds} of 120 pairs")
    assert text.endswith("That speaks for tuned.")


@pytest.mark.parametrize(
    ("low", "high", "end"),
    [
        (0.6, 0.8, "That speaks for tuned."),
        (0.1, 0.3, "That speaks for base."),
        (0.4, 0.6, "50 % lies within: it may be that neither is better."),
        (None, None, "Too little is known to say which of the two is better."),
    ],
)
def test_the_interval_says_for_whom_a_win_rate_speaks(
    low: float | None, high: float | None, end: str
) -> None:
    comparison, judging = _judging(judgings.healthy)
    rate = Rate(value=0.5 if low is None else (low + (high or 0)) / 2, low=low, high=high, n=120)
    alone = replace(judging, judges=(replace(judging.judges[0], win_rate=rate),))
    assert words.headline(replace(comparison, deltas=()), alone).endswith(end)


def test_a_judging_of_nothing_says_so_and_is_no_half() -> None:
    comparison, judging = _judging(judgings.healthy)
    empty = replace(judging.judges[0], win_rate=None)
    alone = replace(judging, judges=(empty,))
    assert "no pair has a preference" in words.headline(replace(comparison, deltas=()), alone)


def test_a_jury_is_told_together_and_judge_by_judge() -> None:
    comparison, judging = _judging(judgings.troubled)
    assert words.headline(comparison, judging).startswith("The 3 judges together prefer tuned in")
    said = [
        judgings.words("alpha", quality=0.5),
        judgings.words("charlie", quality=0.2, length=1.8, dress=0.9),
    ]
    found: dict[str, list[float]] = {}
    for one in preferences([each for mine in said for each in mine]):
        assert one.value is not None
        found.setdefault(one.sample_id, []).append(one.value)
    without = fmean(fmean(values) for values in found.values())
    row = _figures(judgings.troubled)["Without this judge"]
    assert row.cells[1].text == _percent(without).replace(".0 %", " %")
    assert judging.jury is not None
    assert f"Krippendorff's α {judging.jury.alpha:.2f}" in words.jury_sentence(judging)


def test_a_planted_liking_for_the_first_place_is_marked_and_no_other_judge_is() -> None:
    first = _figures(judgings.troubled)["The first answer wins"]
    assert [cell.doubtful for cell in first.cells] == [False, True, False]
    _, judging = _judging(judgings.troubled)
    shown = judging.judges[1].first_wins
    assert shown is not None
    assert first.cells[1].text.startswith(_percent(shown.value))
    assert first.cells[1].n == shown.n
    flips = _figures(judgings.troubled)["Flips"]
    for cell, judge in zip(flips.cells, judging.judges, strict=True):
        assert judge.flips is not None
        assert cell.doubtful == (judge.flips.value >= FLIPS)


def test_what_is_missing_is_counted_by_its_reason_and_what_is_unknown_has_no_line() -> None:
    missing = _figures(judgings.troubled)["Missing"]
    assert [cell.text for cell in missing.cells] == ["none", "9 unreadable", "none"]
    rated = _figures(judgings.rated)
    assert not {"Win rate", "The first answer wins", "Flips", "Length coefficient"} & set(rated)
    assert {"Mean rating, base", "Mean rating, tuned", "Calls"} <= set(rated)


def test_people_correct_the_win_rate_with_each_method_that_their_labels_allow() -> None:
    comparison, judging = _judging(judgings.corrected_by_people)
    told = " ".join(words.qualifications(comparison, judging))
    assert len(judging.corrected) == 2
    for one in judging.corrected:
        assert f"set right by 50 human labels ({words.METHODS[one.method]}): " in told
        assert _percent(one.rate.value) in told
    rows = _figures(judgings.corrected_by_people)
    agreement = judging.corrected[0].agreement
    assert agreement is not None
    assert rows["Agreement with people"].cells[0].text.startswith(_percent(agreement.value))
    assert rows["Human labels"].cells[0].text == "50"
    assert "People among each other" not in rows, "one person alone has nobody to agree with"


def test_several_people_are_the_ceiling_of_any_judge() -> None:
    said = [judgings.words("alpha", quality=0.9)]
    comparison, _ = judgings.comparison_of(said, judgings.labels(50, ("ana", "bo")))
    (judging,) = comparison.judgings
    rows = {row.name: row for row in figures(comparison, judging)}
    ceiling = judging.corrected[0].ceiling
    assert ceiling is not None
    assert rows["People among each other"].cells[0].text.startswith(_percent(ceiling.value))


def _rows(chart: charts.Chart | None) -> Iterator[dict[str, Any]]:
    assert chart is not None
    text = json.dumps(charts.themed(chart, dark=False))
    seen = set()
    for found in re.findall(r"\{[^{}]*\"variant\": \"[^{}]*\}", text):
        if found not in seen:
            seen.add(found)
            row = json.loads(found)
            if "rate" in row:
                yield row


def test_the_chart_draws_every_win_rate_that_the_records_hold() -> None:
    comparison, judging = _judging(judgings.corrected_by_people)
    (judge,) = judging.judges
    rows = {row["variant"]: row for row in _rows(win_rates(comparison, judging))}
    for variant, rate in (
        (words.EQUAL_LENGTHS, judge.length_controlled),
        (words.BARE, judge.stripped),
    ):
        assert rate is not None
        drawn = rows[variant]
        assert (drawn["rate"], drawn["low"], drawn["high"]) == (rate.value, rate.low, rate.high)
    assert len(rows) == 3 + len(judging.corrected)
    whole = words.win_rate(comparison, judging)
    assert whole is not None
    assert rows[words.RAW]["rate"] == whole.value
    assert rows[words.RAW]["speaks"] == "for tuned"


def test_a_jurys_chart_has_a_line_for_each_judge_and_one_for_all() -> None:
    chart = win_rates(*_judging(judgings.troubled))
    raw = [row["judge"] for row in _rows(chart) if row["variant"] == words.RAW]
    assert raw == ["all together", "alpha", "bravo", "charlie"]
    assert win_rates(*_judging(judgings.rated)) is None


def test_a_judges_metrics_are_named_for_people() -> None:
    for name, label in (
        ("judge.rednote", "preferred by the judge (rednote)"),
        ("judge.a.b", "preferred by the judge (a.b)"),
        ("judge.rednote.corrected", "preferred by the judge, set right by people (rednote)"),
        ("rating.helpful", "rated by the judge (helpful)"),
        ("judged", "judged"),
    ):
        assert wording.metric_label(Metric(name=name)) == label


def test_a_difference_of_preferences_is_told_as_the_win_rate_that_it_is() -> None:
    delta = Delta(suite="s", metric=judgings.PREFERRED, difference=0.28, low=0.16, high=0.4)
    assert wording.win_rate_text(delta) == "win rate 64 % (58–70 %)"
    assert wording.win_rate_text(replace(delta, low=None)) == "win rate 64 %"
    assert wording.win_rate_text(replace(delta, metric=judgings.RATED)) == ""
    comparison, verdict = _made(judgings.healthy)
    assert "at most 0.050 worse, which is a win rate above 47.5 %" in report_html(
        [comparison], [verdict]
    )


def test_the_margin_of_a_superior_win_rate_is_told_as_one() -> None:
    _, verdict = _made(judgings.healthy)
    one = replace(verdict.suites[0], policy="superiority", margin=0.1, threshold=0.1)
    asked = "better by more than 0.100, which is a win rate above 55 %"
    assert wording.margin_text(one) == asked
    ruled = replace(one, policy="absolute", threshold=None, floor=0.6)
    assert wording.margin_text(ruled) == "at least 0.600"


BY_LABELS = "judge.rednote.corrected"
ALARM = "Judge results not trustworthy: "


@pytest.mark.parametrize("write", [
    lambda c, v: report_html([c], [v]),
    lambda c, v: report_markdown([c], [v]),
    lambda c, v: junit_xml([c], [v]),
    lambda c, v: _printed(c, v, 120),
])  # fmt: skip
def test_every_report_is_loud_where_a_judge_cannot_be_trusted(
    write: Callable[[Comparison, Verdict], str],
) -> None:
    assert ALARM not in write(*_made(judgings.healthy))
    text = write(*_made(judgings.troubled))
    assert f"{ALARM}bravo goes by the place" in text.replace("\\", "")
    if text.startswith("<!doctype"):
        assert text.index(ALARM) < text.index("<table"), "above all numbers"


def _printed(comparison: Comparison, verdict: Verdict, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    print_verdict([comparison], [verdict], console=console)
    return stream.getvalue()


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("width", [80, 120, 260])
def test_a_terminal_shows_every_figure_whole(example: Callable[[], Example], width: int) -> None:
    text = _printed(*_made(example), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    flat = re.sub(r"\s+", " ", text)
    assert words.headline(*_judging(example)) in flat
    for row in figures(*_judging(example)):
        assert row.name in text
    assert ("what it means" in text) is (width == 260), "words that would fold are the reports'"


def test_html_shows_figures_in_groups_and_what_would_be_good() -> None:
    text = " ".join(Page(_html(judgings.healthy)).text.split())
    for said in ("Judge health", "style/rednote-zh · rednote", "The judge prefers tuned in",
                 "What may sway it", "The first answer wins", "50 %, give or take 10 points",
                 "12 of 12", "someone/alpha", "3f9a1c0e77aa"):  # fmt: skip
        assert said in text
    assert "attempt on the judge" not in text


def _hostile() -> Example:
    comparison, verdict = _made(judgings.troubled)
    judging = comparison.judgings[0]
    bad = hostile.SCRIPT + hostile.CONTROLS + hostile.MARKDOWN
    judges = tuple(
        replace(one, judge=f"{bad}{i}", model=bad, prompt_hash=bad, same_family=bad,
                warnings=(bad,), untrusted=(bad,), missing={bad: 3})
        for i, one in enumerate(judging.judges)
    )  # fmt: skip
    nasty = replace(
        judging,
        judges=judges,
        rubric=bad,
        notes=(bad,),
        flagged={"tuned": {bad: (bad,)}, bad: {bad: (bad,)}},
    )
    return replace(comparison, judgings=(nasty,)), verdict


def test_nothing_that_a_judge_wrote_becomes_markup() -> None:
    comparison, verdict = _hostile()
    usual = Page(_html(judgings.troubled))
    page = Page(report_html([comparison], [verdict]))
    assert set(page.tags) <= set(usual.tags)
    assert {name for name, _ in page.attributes} <= {name for name, _ in usual.attributes}
    assert hostile.SCRIPT in page.text
    source = report_html([comparison], [verdict])
    assert not set("\x00\x07\x1b\x85\u202e\u2066") & set(source)
    assert not set("\x00\x07\x1b\x85") & set(_printed(comparison, verdict, 100))
    assert ET.fromstring(junit_xml([comparison], [verdict]).encode())
    assert comparison_json([comparison], [verdict]).isascii()
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    text = report_markdown([comparison], [verdict])
    rendered = str(renderer.render(text.replace("<br>", " ")))
    assert "<script" not in rendered
    assert "<img" not in rendered
    assert rendered.count("<h1>") == 0
    assert not re.search(r"@\w", rendered)


def test_junit_has_a_case_for_the_judge_that_fails_with_the_gate_alone() -> None:
    comparison, verdict = _made(judgings.healthy)
    healthy = ET.fromstring(junit_xml([comparison], [verdict]))
    (case,) = [one for one in healthy.iter("testcase") if "judge" in str(one.get("name"))]
    assert case.get("name") == "judge: style/rednote-zh · rednote"
    assert [child.tag for child in case] == ["system-out"]
    comparison, verdict = _made(judgings.troubled)
    root = ET.fromstring(junit_xml([comparison], [verdict]))
    errors = [(e.get("type"), e.get("message")) for e in root.iter("error")]
    assert [kind for kind, _ in errors] == ["judge"], "told once, and not as a canary too"
    assert str(errors[0][1]).startswith(ALARM)
    assert root.get("errors") == "1"
    assert root.get("tests") == str(sum(1 for _ in root.iter("testcase"))) == "2"
    (gated,) = [one for one in verdict.suites if one.delta]
    assert gated.delta is not None
    by_labels = replace(gated.delta, metric=replace(gated.delta.metric, name=BY_LABELS))
    rated = replace(comparison.judgings[0], metric="rating.rednote", protocol="pointwise")
    decided = replace(verdict, suites=(replace(gated, delta=by_labels),))
    assert fails(replace(comparison, judgings=(rated,)), decided, rated)
    other = replace(comparison.judgings[0], metric="judge.helpful")
    aside = replace(comparison, judgings=(other,))
    checks = tuple(replace(one, status="warning") for one in verdict.checks)
    root = ET.fromstring(junit_xml([aside], [replace(verdict, checks=checks)]))
    assert root.get("errors") == "0"
    (case,) = [one for one in root.iter("testcase") if "judge" in str(one.get("name"))]
    assert ALARM in str(case.findtext("system-out"))


def test_a_comment_stays_short() -> None:
    comparison, verdict = _made(judgings.troubled)
    text = report_markdown([comparison], [verdict])
    assert text.count(ALARM) == 1
    assert len(text.splitlines()) <= 40
    section = text.partition("**Judge health**")[2]
    assert "- **style/rednote-zh · rednote**: The 3 judges together prefer tuned" in section
    assert section.count("first answer wins") == 3
    assert "3 of tuned, 1 of base" in section


def test_with_several_arms_each_alarm_and_win_rate_says_whose_it_is() -> None:
    comparison, verdict = _made(judgings.troubled)
    other, passed = _made(judgings.healthy)
    other = replace(other, tuned=replace(other.tuned, name="mild", run_id="mild-1"))
    pair = [comparison, other], [verdict, passed]
    text = report_markdown(*pair)
    assert f"❌ **tuned: style/rednote-zh · rednote: {ALARM}bravo" in text
    assert text.count("<br>win rate") == 2
    assert f"tuned: style/rednote-zh · rednote: {ALARM}bravo" in Page(report_html(*pair)).text


def test_the_json_holds_all_that_the_record_holds() -> None:
    comparison, verdict = _made(judgings.troubled)
    (arm,) = json.loads(comparison_json([comparison], [verdict]))["arms"]
    (told,) = arm["judgings"]
    names = set(Judging.__dataclass_fields__) | {"win_rate", "untrusted"}
    assert set(told) == names
    rate = words.win_rate(comparison, comparison.judgings[0])
    assert rate is not None
    assert told["win_rate"]["value"] == rate.value
    assert [one["judge"] for one in told["judges"]] == ["alpha", "bravo", "charlie"]
    assert told["judges"][1]["missing"] == {"unparsed": 9}
    assert told["untrusted"]
    assert told["flagged"]["base"] == {"rednote-zh-007": [judgings.FLAG]}
    assert set(told["jury"]["without"]) == {"alpha", "bravo", "charlie"}


def test_a_comparison_without_a_judge_says_nothing_of_judges() -> None:
    comparison, verdict = _made(judgings.healthy)
    plain = replace(comparison, judgings=()), replace(verdict, checks=())
    for text in (
        report_html([plain[0]], [plain[1]]),
        report_markdown([plain[0]], [plain[1]]),
        junit_xml([plain[0]], [plain[1]]),
        _printed(*plain, 120),
    ):
        assert "Judge health" not in text
        assert "not trustworthy" not in text


@pytest.mark.browser
@pytest.mark.parametrize("example", [judgings.troubled, judgings.corrected_by_people])
def test_a_phone_shows_judge_health_without_moving_the_page(
    example: Callable[[], Example], tmp_path: Path
) -> None:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium; install it or set CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "report.html"
    file.write_text(_html(example), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        table = page.locator("table.figures")
        for cell in table.locator("tbody tr:not(.group) td").all():
            box = cell.bounding_box()
            assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 390)
        heads = table.locator("td.n").first.evaluate(
            "one => getComputedStyle(one, '::before').content"
        )
        assert heads == '"alpha"', "each value says whose it is"
        browser.close()
