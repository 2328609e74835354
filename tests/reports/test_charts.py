"""Charts: what they draw is what the records say, and better is always to the right."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from evalkit.records import Comparison, Verdict
from reports import charts
from tests.reports import hostile
from tests.reports.examples import coin_suite, make_verdict, style_suite

ARMS = ("base", "tuned")


def _example() -> tuple[list[Comparison], list[Verdict]]:
    suites = [style_suite(ARMS), coin_suite("chat/answers", {"base": 0.8, "tuned": 0.4})]
    return make_verdict(suites, ARMS)


def _rows(chart: charts.Chart | None, key: str) -> list[dict[str, Any]]:
    """Every data row of a chart's specification that has `key`."""
    assert chart is not None
    found: dict[str, dict[str, Any]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if key in node and not isinstance(node[key], dict):
                found.setdefault(json.dumps(node, sort_keys=True), node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(charts.themed(chart, dark=False))
    return list(found.values())


def test_better_is_to_the_right_also_where_lower_is_better() -> None:
    comparisons, verdicts = _example()
    rows = {row["suite"]: row for row in _rows(charts.forest(comparisons, verdicts), "benefit")}
    style = next(d for d in comparisons[0].deltas if d.metric.name == "style_distance")
    assert style.difference is not None
    assert style.difference < 0
    assert style.low is not None
    assert style.high is not None
    assert rows["style/rednote-zh"]["benefit"] == pytest.approx(-style.difference)
    assert rows["style/rednote-zh"]["low"] == pytest.approx(-style.high)
    assert rows["style/rednote-zh"]["high"] == pytest.approx(-style.low)
    assert rows["style/rednote-zh"]["threshold"] == pytest.approx(0.1)  # superiority: above +m
    assert rows["chat/answers"]["benefit"] < 0
    assert rows["chat/answers"]["threshold"] == pytest.approx(-0.05)  # non-inferiority: above −m


def test_metrics_of_different_units_do_not_share_an_axis() -> None:
    rows = _rows(charts.forest(*_example()), "benefit")
    assert {row["axis"] for row in rows} == {
        "reduction in style_distance, better →",
        "difference in the share of samples, better →",
    }


def test_flips_are_the_gate_metrics_gains_and_losses() -> None:
    comparisons, _ = _example()
    delta = next(d for d in comparisons[0].deltas if d.suite == "chat/answers" and not d.slice)
    rows = {row["kind"]: row["count"] for row in _rows(charts.flips(comparisons), "count")}
    assert rows == {"lost": -delta.lost, "gained": delta.gained}


def test_style_features_hold_both_arms_and_the_reference() -> None:
    comparisons, _ = _example()
    chart = charts.style_features(comparisons, "style/rednote-zh", {"emoji_per_100": 9.0})
    rows = [row for row in _rows(chart, "share") if row["feature"].startswith("emoji")]
    shares = {row["source"]: row["share"] for row in rows}
    assert set(shares) == {"base", "tuned", "reference notes"}
    assert shares["reference notes"] == 1.0
    assert shares["tuned"] == pytest.approx(_mean(comparisons[0], "emoji_per_100") / 9.0)
    assert charts.style_features(comparisons, "chat/answers") is None


def _mean(comparison: Comparison, metric: str) -> float:
    value = next(d.tuned for d in comparison.deltas if d.metric.name == metric)
    assert value is not None
    return value


def test_there_is_no_chart_of_nothing() -> None:
    assert charts.forest([], []) is None
    assert charts.flips([]) is None


def test_an_svg_keeps_chinese_as_text_and_needs_nothing_from_outside() -> None:
    suite = coin_suite("风格/小红书", {"base": 0.8, "tuned": 0.4})
    chart = charts.forest(*make_verdict([suite], ARMS))
    assert chart is not None
    svg = charts.to_svg(chart)
    words = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    assert "风格/小红书" in words
    assert not re.search(r"(?:href|src)=|url\((?!#)|@import|<script|foreignObject", svg)


def test_a_hostile_name_stays_text_in_an_svg() -> None:
    suite = coin_suite(hostile.SCRIPT, {"base": 0.8, "tuned": 0.4})
    chart = charts.forest(*make_verdict([suite], ARMS))
    assert chart is not None
    tags = {
        element.tag.rpartition("}")[2] for element in ET.fromstring(charts.to_svg(chart)).iter()
    }
    assert tags <= {"svg", "g", "path", "line", "text", "rect", "title", "defs", "clipPath"}


def test_a_dark_chart_uses_no_light_colour() -> None:
    chart = charts.forest(*_example())
    assert chart is not None
    text = json.dumps(charts.themed(chart, dark=True))
    assert not [light for light in charts.dark_colours() if light in text]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("outcome", list(charts.OUTCOME_COLOUR))
def test_outcome_colours_have_contrast_on_light_and_dark(outcome: str) -> None:
    """WCAG 2.1, 1.4.11 asks 3:1 of graphics."""
    colour = charts.OUTCOME_COLOUR[outcome]  # type: ignore[index]
    assert _contrast(colour, "#fbfbfc") >= 3
    assert _contrast(charts.dark_colours()[colour], "#14161a") >= 3
