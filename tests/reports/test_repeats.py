"""What is said of several answers to each question."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.records import Delta
from reports.html import report_html
from reports.markdown import report_markdown
from reports.repeats import answers_text
from reports.table import deltas_table
from reports.terminal import print_verdict
from tests.reports.examples import ACCURACY, coin_suite, make_verdict

# (between + within/K)/n = (.04 + .32/4)/300 = .02²
DELTA = Delta(
    suite="s", metric=ACCURACY, base=0.5, tuned=0.6, difference=0.1, low=0.0, high=0.2,
    standard_error=0.02, n=300, clusters=300, completions=4, between=0.04,
)  # fmt: skip


def test_the_error_that_more_answers_leave_is_that_between_the_questions() -> None:
    """√(.04/300) is 1 − 1/√3 less than √(.12/300)."""
    assert answers_text(DELTA) == (
        "4 answers to each question; more of them would shrink the error by at most 42 %"
    )
    nothing = replace(DELTA, between=0.12)
    assert "would not shrink the error" in answers_text(nothing)
    assert "at most 100 %" in answers_text(replace(DELTA, between=0.0))


@pytest.mark.parametrize(
    "change", [{"between": None}, {"standard_error": None}, {"clusters": 30}], ids=str
)
def test_what_is_not_known_is_not_told(change: dict[str, int | None]) -> None:
    assert answers_text(replace(DELTA, **change)) == "4 answers to each question"  # type: ignore[arg-type]
    assert answers_text(replace(DELTA, completions=1)) == ""


def test_the_report_and_the_table_tell_of_the_answers() -> None:
    comparisons, verdicts = make_verdict([coin_suite("s", {"base": 0.5, "tuned": 0.6})])
    assert "answers to each question" not in report_html(comparisons, verdicts)
    (one,) = verdicts[0].suites
    told = replace(verdicts[0], suites=(replace(one, delta=DELTA),))
    assert "shrink the error by at most 42 %" in report_html(comparisons, [told])
    page = io.StringIO()
    console = Console(file=page, width=160)
    for verdict, wanted in ((told, 1), (verdicts[0], 0)):
        print_verdict(comparisons, [verdict], console)
        assert report_markdown(comparisons, [verdict]).count("s: 4 answers to each") == wanted
        assert page.getvalue().count("s: 4 answers to each question; more") == 1
    row = deltas_table([replace(comparisons[0], deltas=(DELTA,))], verdicts).iloc[0]
    assert (row["completions"], row["between"]) == (4, 0.04)
