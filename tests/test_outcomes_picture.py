"""The picture of docs/statistics.md shows what the gate says, on light pages and on dark ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.outcomes import CASES, MARGIN
from evalkit.stats.base import Interval
from evalkit.stats.sequential import settled
from reports.charts import dark_colours

DOCS = Path(__file__).parents[1] / "docs"


def test_each_case_has_the_outcome_that_its_interval_has() -> None:
    for case in CASES:
        found = settled(Interval(case.low, case.high), -MARGIN)
        assert {"pass": "pass", "fail": "fail"}.get(str(found), "inconclusive") == case.outcome
    assert {case.outcome for case in CASES} == {"pass", "fail", "inconclusive"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_is_drawn_from_these_cases_in_the_colours_of_its_theme(theme: str) -> None:
    svg = (DOCS / f"img/outcomes-{theme}.svg").read_text(encoding="utf-8")
    for case in CASES:
        assert case.words in svg
        assert case.words in (DOCS / "statistics.md").read_text(encoding="utf-8")
    used = set(re.findall(r"#[0-9a-f]{6}", svg))
    light, dark = set(dark_colours()), set(dark_colours().values())
    assert used & (light if theme == "light" else dark)
    assert not used & (dark if theme == "light" else light)
