"""A changed format is told from lost knowledge, in every report and in the same words."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.gate.decide import decide
from evalkit.records import Comparison, Extraction, Metric, Run, Truncation, Verdict
from reports.formats import remarks
from reports.html import report_html
from reports.junit import junit_xml
from reports.machine import comparison_json
from reports.markdown import report_markdown
from reports.terminal import print_verdict
from tests.reports.examples import ACCURACY, Answers, make_run

EXTRACTED = Metric(name="extracted", kind="binary", extraction_of="accuracy")
N = 40


def _runs(right: Collection[int], lost: Collection[int]) -> tuple[Run, Run]:
    """The base answers all and is right on the first 32; the tuned arm as told."""
    base = [[float(i < 32), 1.0] for i in range(N)]
    tuned = [[float(i in right), float(i not in lost)] for i in range(N)]
    suite = Answers(
        name="reasoning/sums",
        metrics=(ACCURACY, EXTRACTED),
        values={"base": base, "tuned": tuned},
        texts={"base": ["7"] * N, "tuned": ["seven"] * N},
        prompts=["3 + 4?"] * N,
    )
    return make_run("base", [suite]), make_run("tuned", [suite])


def _compared(base: Run, tuned: Run) -> tuple[Comparison, Verdict]:
    comparison = compare(base, tuned)
    return comparison, decide(comparison, GateConfig())


def test_the_rates_and_the_score_among_both_are_counted_by_hand() -> None:
    comparison, _ = _compared(*_runs(right=range(16, 32), lost=range(16)))
    (found,) = comparison.extractions
    assert found == Extraction(
        suite="reasoning/sums",
        metric="accuracy",
        n=40,
        lost_base=0.0,
        lost_tuned=0.4,
        both=24,
        both_base=16 / 24,
        both_tuned=16 / 24,
    )


def test_a_changed_format_is_said_to_be_one() -> None:
    comparison, verdict = _compared(*_runs(right=range(16, 32), lost=range(16)))
    (found,) = remarks(comparison, verdict)
    assert found.warns
    assert found.text == (
        "not extracted (accuracy): base 0 %, tuned 40 % of 40 samples. tuned may have changed its "
        "format and not its knowledge: among the 24 extracted in both arms, accuracy is 0.667 for "
        "the base and 0.667 for it."
    )


def test_a_fall_among_the_extracted_is_not_put_down_to_the_format() -> None:
    (found,) = remarks(*_compared(*_runs(right=range(16, 20), lost=range(16))))
    assert found.warns
    assert "Part of the fall may be format, but not all of it" in found.text
    assert "0.667 for the base and 0.167 for it" in found.text


def test_no_answer_in_both_arms_tells_nothing() -> None:
    (found,) = remarks(*_compared(*_runs(right=(), lost=range(N))))
    assert "no sample has an extracted answer in both arms" in found.text


@pytest.mark.parametrize(
    ("right", "lost"),
    [(range(20), ()), (range(1, 32), (0,)), (range(40), range(32, 40))],
    ids=["only the score fell", "one answer more is lost", "the score rose"],
)
def test_without_both_signs_only_the_rates_are_told(
    right: Collection[int], lost: Collection[int]
) -> None:
    (found,) = remarks(*_compared(*_runs(right, lost)))
    assert not found.warns
    assert found.text.endswith("of 40 samples")


def test_a_suite_that_extracts_nothing_has_no_remark() -> None:
    base, tuned = _runs(range(20), ())
    plain = replace(EXTRACTED, extraction_of="")
    runs = []
    for run in (base, tuned):
        (info,) = run.manifest.suites
        infos = (replace(info, metrics=(ACCURACY, plain)),)
        runs.append(replace(run, manifest=replace(run.manifest, suites=infos)))
    assert remarks(*_compared(*runs)) == []


def _thoughtless(run: Run, count: int) -> Run:
    """The run with its first answers cut off in their thinking."""
    results = [
        replace(
            result,
            completions=tuple(replace(c, stop_reason="thinking") for c in result.completions),
            scores=tuple(replace(score, value=None) for score in result.scores),
        )
        if place < count
        else result
        for place, result in enumerate(run.results)
    ]
    return replace(run, results=tuple(results))


def test_truncated_thinking_is_counted_by_arm_and_never_as_wrong() -> None:
    base, tuned = _runs(range(32), ())
    comparison, verdict = _compared(base, _thoughtless(tuned, 10))
    assert comparison.truncations == (
        Truncation(suite="reasoning/sums", base=0, of_base=40, tuned=10, of_tuned=40),
    )
    text = remarks(comparison, verdict)[-1].text
    assert "truncated while thinking: base 0 % (0 of 40), tuned 25 % (10 of 40)" in text
    delta = comparison.deltas[0]
    assert (delta.n, delta.missing_tuned, delta.difference) == (30, 10, 0.0)


def test_every_report_says_it() -> None:
    base, tuned = _runs(right=range(16, 32), lost=range(16))
    comparison, verdict = _compared(base, _thoughtless(tuned, 1))
    stream = io.StringIO()
    console = Console(file=stream, width=120, highlight=False, markup=False)
    print_verdict([comparison], [verdict], console=console)
    printed = " ".join(stream.getvalue().split())
    markdown = " ".join(report_markdown([comparison], [verdict]).replace("\\", "").split())
    html = " ".join(report_html([comparison], [verdict]).split())
    junit = " ".join(junit_xml([comparison], [verdict]).split())
    for report in (printed, markdown, html, junit):
        assert "not extracted (accuracy): base 0 %, tuned 38.5 % of 39 samples" in report
        assert "may have changed its format and not its knowledge" in report
        assert "truncated while thinking" in report
    (arm,) = json.loads(comparison_json([comparison], [verdict]))["arms"]
    (read,) = arm["extractions"]
    assert (read["changed_format"], read["both"], read["lost_base"]) == (True, 24, 0.0)
    assert arm["truncations"] == [
        {"suite": "reasoning/sums", "base": 0, "of_base": 40, "tuned": 1, "of_tuned": 40}
    ]
