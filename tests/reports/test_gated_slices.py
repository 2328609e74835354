"""A gated slice stands in every report, and the comment leads to the answers."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.records import Comparison, SuiteVerdict, Verdict
from reports.charts import forest
from reports.html import report_html
from reports.junit import junit_xml
from reports.machine import comparison_json
from reports.markdown import report_markdown
from reports.steps import curves
from reports.table import deltas_csv
from reports.terminal import print_verdict
from reports.wording import margin_text, outlook, reason, tally
from reports.write import write_reports
from tests.reports.examples import coin_suite, make_curve, make_verdict

ARMS = ("base", "tuned")
SLICES = ["topic=geography", "topic=日常"]
GATE = {"suites": {"chat/answers": {"must_not_regress": SLICES, "slice_margin": 0.9}}}
LABEL = "chat/answers[topic=geography]"


@cache
def _example() -> tuple[list[Comparison], list[Verdict]]:
    suites = [
        coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4}),
        coin_suite("knowledge/same", dict.fromkeys(ARMS, 0.5)),
    ]
    return make_verdict(suites, ARMS, **GATE)


def test_the_example_fails_as_a_whole_and_passes_in_its_slices() -> None:
    _, (verdict,) = _example()
    outcomes = {one.label: one.outcome for one in verdict.suites}
    assert outcomes["chat/answers"] == "fail"
    assert outcomes[LABEL] == "pass"
    assert tally(verdict).startswith("2 suites and 2 slices: ")


def test_the_terminal_names_gated_slices() -> None:
    page = io.StringIO()
    print_verdict(*_example(), Console(file=page, width=160))
    for name in SLICES:
        assert page.getvalue().count(f"chat/answers[{name}]") == 1


def test_junit_has_a_case_for_each_gated_slice() -> None:
    root = ET.fromstring(junit_xml(*_example()))
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == ["chat/answers", *(f"chat/answers[{s}]" for s in SLICES), "knowledge/same"]
    assert root.get("tests") == "4"


def test_the_json_tells_slice_ground_and_reach() -> None:
    (arm,) = json.loads(comparison_json(*_example()))["arms"]
    rows = arm["suites"]
    assert [row["slice"] for row in rows] == ["", *SLICES, ""]
    assert rows[1]["delta"]["slice"] == SLICES[0]
    assert (rows[0]["ground"], rows[0]["floor"], rows[0]["reachable"]) == ("bounds", None, None)


def test_the_csv_fills_the_gates_columns_of_declared_slices_alone() -> None:
    rows = list(csv.DictReader(io.StringIO(deltas_csv(*_example()))))
    gated = {row["slice"] for row in rows if row["suite"] == "chat/answers" and row["outcome"]}
    assert gated == {"", *SLICES}
    assert "topic=science" in {row["slice"] for row in rows}


def test_the_chart_has_a_row_for_each_gated_slice() -> None:
    chart = forest(*_example())
    assert chart is not None
    assert all(f"chat/answers[{name}]" in json.dumps(chart.to_dict()["vconcat"], ensure_ascii=False)
               for name in SLICES)  # fmt: skip


def test_checkpoints_are_followed_slice_by_slice() -> None:
    comparisons, _ = make_curve({10: 0.4, 20: 0.5})
    verdicts = [decide(one, GateConfig.model_validate(GATE)) for one in comparisons]
    (curve,) = curves(comparisons, verdicts)
    assert LABEL in curve.suites
    assert [one.slice for one in curve.of_suite(LABEL) if one] == ["topic=geography"] * 2


def test_the_comment_has_a_line_for_each_suite_and_gated_slice() -> None:
    text = report_markdown(*_example())
    rows = [line for line in text.splitlines() if re.match(r"\| (chat|knowledge)/", line)]
    assert len(rows) == 4
    assert r"| chat/answers\[topic=geography\] · accuracy |" in text


@pytest.mark.parametrize("count", [5, 40])
def test_the_comment_is_one_screen_with_few_suites_and_many(count: int) -> None:
    shares = {"base": 0.5, "tuned": 0.45}
    suites = [coin_suite(f"family/suite-{i:02d}", shares, n=40) for i in range(count)]
    gate = {suites[0].name: {"must_not_regress": SLICES}}
    text = report_markdown(*make_verdict(suites, ARMS, suites=gate))
    assert len(text.splitlines()) <= 45
    assert text.count("\n| family/") == min(count + 2, 24)
    assert ("more |" in text) == (count == 40)


def test_suites_that_are_left_out_of_the_comment_passed_where_it_says_so() -> None:
    shares = dict.fromkeys(ARMS, 0.5)
    good = [coin_suite(f"good/suite-{i:02d}", shares, n=40, margin=0.6) for i in range(30)]
    bad = coin_suite("zz/bad", {"base": 1.0, "tuned": 0.2}, n=80)
    text = report_markdown(*make_verdict([*good, bad], ARMS))
    assert "| and 7 more, which passed |" in text
    assert text.index("| zz/bad") < text.index("| good/suite-00")


def test_each_of_the_worst_answers_is_linked_to_its_place_in_the_report() -> None:
    arms = ("base", "leaky", "worse")
    suites = [coin_suite("chat/answers", {"base": 0.8, "leaky": 0.4, "worse": 0.3})]
    found = make_verdict(suites, arms)
    page = report_html(*found)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = re.findall(r"\(<report\.html#([^>]+)>\)", report_markdown(*found))
    assert len(targets) == 3
    assert set(targets) <= set(ids)


def test_every_row_of_the_verdict_has_a_place_of_its_own_in_the_report() -> None:
    ids = re.findall(r'<tr id="(suite-[0-9a-f]{12})"', report_html(*_example()))
    assert len(set(ids)) == len(ids) == 4


def test_links_lead_where_the_report_will_be_read(tmp_path: Path) -> None:
    """Beside it where it is; at the URL that is told; nowhere where there is no report."""
    url = "https://ci.example/job/7/report (1).html"
    for name, formats, told, link in [
        ("both", ["markdown", "html"], "", "](<report.html#sample-"),
        ("alone", ["markdown"], "", ""),
        ("told", ["markdown"], url, "](<https://ci.example/job/7/report%20(1).html#sample-"),
    ]:
        write_reports(tmp_path / name, *_example(), formats, told)
        text = (tmp_path / name / "report.md").read_text()
        assert text.count("](<") == (3 if link else 0)
        assert link in text


def _absolute(floor: float | None, ceiling: float | None) -> str:
    suite: dict[str, object] = {"policy": "absolute", "floor": floor, "ceiling": ceiling}
    _, (verdict,) = make_verdict(
        [coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})],
        ARMS,
        suites={"chat/answers": suite},
    )
    return margin_text(verdict.suites[0])


def test_a_score_of_its_own_is_told_with_its_bounds() -> None:
    assert _absolute(0.7, None) == "at least 0.700"
    assert _absolute(None, 0.9) == "at most 0.900"
    assert _absolute(0.2, 0.7) == "at least 0.200 and at most 0.700"


def _few(n: int, **gate: object) -> tuple[Comparison, SuiteVerdict]:
    suites = [coin_suite("chat/answers", dict.fromkeys(ARMS, 0.5), n=n)]
    (comparison,), (verdict,) = make_verdict(suites, ARMS, **gate)
    return comparison, verdict.suites[0]


def test_an_open_suite_says_whether_more_samples_can_settle_it() -> None:
    comparison, one = _few(40)
    about = f"about {one.samples_needed:,} samples would settle it"
    assert reason(one, comparison).endswith(
        f"; {about}: not reachable with this suite, which has 40"
    )
    larger = replace(comparison.base.suites[0], available=100_000)
    whole = replace(comparison, base=replace(comparison.base, suites=(larger,)))
    decided = decide(whole, GateConfig()).suites[0]
    assert outlook(decided, whole) == f"{about}: the suite has 100,000"
    unknown = replace(comparison.base, config={**comparison.base.config, "limit": 40})
    limited = replace(comparison, base=unknown)
    assert outlook(decide(limited, GateConfig()).suites[0], limited) == about
    never = replace(one, samples_needed=None, reachable=False)
    assert outlook(never, comparison) == "no number of samples would settle it"
