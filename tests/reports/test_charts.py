"""Charts: what they draw is what the records say, and better is always to the right."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, RunConfig
from evalkit.harnesses.native import open_folder
from evalkit.records import Comparison, Manifest, Verdict
from evalkit.store.runs import from_json, to_json
from reports import charts
from tests.reports import hostile
from tests.reports.examples import DISTANCE, Answers, coin_suite, make_verdict, style_suite

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


def test_flips_of_several_arms_say_whose_they_are() -> None:
    arms = ("base", "leaky", "mixed")
    suite = coin_suite("chat/answers", {"base": 0.8, "leaky": 0.3, "mixed": 0.7})
    chart = charts.flips(make_verdict([suite], arms)[0])
    assert chart is not None
    words = [element.text for element in ET.fromstring(charts.to_svg(chart)).iter()]
    assert (words.count("leaky"), words.count("mixed")) == (1, 1)


def test_style_features_hold_both_arms_and_the_reference() -> None:
    known = _with_references(_example()[0][0], {"emoji_per_100": 9.0})
    shares = _shares(charts.style_features([known], "style/rednote-zh"), "emoji")
    assert set(shares) == {"base", "tuned", "reference notes"}
    assert shares["reference notes"] == 1.0
    assert shares["tuned"] == pytest.approx(_mean(known, "emoji_per_100") / 9.0)
    assert charts.style_features([known], "chat/answers") is None


def test_without_reference_notes_the_arms_stand_alone() -> None:
    comparisons, _ = _example()
    assert set(_shares(charts.style_features(comparisons, "style/rednote-zh"), "emoji")) == {
        "base",
        "tuned",
    }


def test_the_reference_notes_of_a_suite_reach_the_chart(tmp_path: Path) -> None:
    notes = [f"🍵 Tea {n}\nDrink it!\n#tea #leaf" for n in range(20)]
    rows = [{"kind": "note", "text": note} for note in notes]
    (tmp_path / "references.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "samples.jsonl").write_text('{"prompt": "Write."}')
    (tmp_path / "suite.yaml").write_text(
        "title: Tea\nlanguage: en\ntask: generate\nscorers: [style_distance, style_features]\n"
    )
    model = HFModel(kind="hf", path="org/name")
    config = RunConfig(name="base", model=model, suites=("style/tea",))
    info = open_folder("style/tea", tmp_path, config).info
    answers = Answers(
        name="style/tea",
        metrics=(DISTANCE, next(m for m in info.metrics if m.name == "style.hashtags")),
        values={"base": [[1.0, 0.0]] * 4, "tuned": [[0.5, 4.0]] * 4},
        texts={arm: [arm] * 4 for arm in ARMS},
        prompts=["Write."] * 4,
    )
    compared = _with_references(make_verdict([answers])[0][0], info.references)
    shares = _shares(charts.style_features([compared], "style/tea"), "style.hashtags")
    assert shares == {"base": 0, "tuned": 1, "reference notes": 0.5}


def test_a_run_that_was_recorded_without_references_is_still_read(tmp_path: Path) -> None:
    told = asdict(_example()[0][0].base)
    for info in told["suites"]:
        del info["references"]
    (tmp_path / "manifest.json").write_text(to_json(told))
    assert not from_json(tmp_path / "manifest.json", Manifest).suites[0].references


def _with_references(comparison: Comparison, references: Mapping[str, float]) -> Comparison:
    suites = [replace(info, references=references) for info in comparison.base.suites]
    return replace(comparison, base=replace(comparison.base, suites=tuple(suites)))


def _shares(chart: charts.Chart | None, feature: str) -> dict[str, float]:
    rows = [row for row in _rows(chart, "share") if row["feature"].startswith(feature)]
    return {row["source"]: row["share"] for row in rows}


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
