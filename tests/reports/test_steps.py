"""Checkpoints of one training run: known by what a manifest keeps, and the best speaks."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evalkit.records import Comparison, Manifest, Verdict
from evalkit.store.runs import from_json, to_json
from reports.charts import themed, to_svg
from reports.html import report_html
from reports.junit import junit_xml
from reports.machine import comparison_json
from reports.markdown import report_markdown
from reports.stepcharts import over_steps
from reports.steps import Step, caution, curves, deciding, speaking, training_step
from reports.terminal import print_verdict
from tests.reports.examples import as_checkpoint, coin_suite, make_curve, make_verdict

RISING = {20: 0.2, 40: 0.5, 60: 0.8}
PEAKING = {20: 0.2, 40: 0.9, 60: 0.7}


def _manifest(name: str, **model: Any) -> Manifest:
    comparison = make_verdict([coin_suite("s", {"base": 0.5, name: 0.5}, n=12)], ("base", name))[0]
    config = {"name": name, "model": {"kind": "hf", "path": "someone/base", **model}}
    return replace(comparison[0].tuned, config=config)


def _said(comparisons: list[Comparison], verdicts: list[Verdict], width: int = 120) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    print_verdict(comparisons, verdicts, console=console)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "adapter", "expected"),
    [
        ("x-step-60", "/a/x/checkpoints/checkpoint-60", Step("/a/x", 60)),
        ("x-step-9-step-60", "/a/x/checkpoints/checkpoint-60", Step("/a/x", 60)),
        ("x-step-75", "/a/x/adapter", Step("/a/x", 75)),
        ("x-step-60", "/a/x/checkpoints/checkpoint-61", None),
        ("x-step-60", "/a/x/somewhere", None),
        ("x-step-60", None, None),
        ("x", "/a/x/checkpoints/checkpoint-60", None),
        ("x", "/a/x/adapter", None),
        ("x-step-", "/a/x/adapter", None),
    ],
)
def test_a_step_is_known_by_the_name_and_the_adapter(
    name: str, adapter: str | None, expected: Step | None
) -> None:
    assert training_step(_manifest(name, adapter=adapter)) == expected


def test_models_that_are_no_adapters_have_no_step() -> None:
    assert training_step(replace(_manifest("x-step-1"), config={})) is None
    recorded = {"model": {"kind": "recorded", "path": "answers.jsonl"}}
    assert training_step(replace(_manifest("x-step-1"), config=recorded)) is None


def test_the_step_survives_being_written_and_read(tmp_path: Path) -> None:
    manifest = make_curve(RISING)[0][0].tuned
    (tmp_path / "manifest.json").write_text(to_json(asdict(manifest)), encoding="utf-8")
    read = from_json(tmp_path / "manifest.json", Manifest)
    assert training_step(read) == Step("/elsewhere/rednote", 20)


def test_steps_are_put_in_order_whatever_the_order_of_the_arms() -> None:
    comparisons, verdicts = make_curve(RISING)
    (curve,) = curves(comparisons[::-1], verdicts[::-1])
    assert curve.steps == (20, 40, 60)
    assert curve.run == "rednote"
    assert [one and one.outcome for one in curve.of_suite("chat/answers")] == [
        verdict.outcome for verdict in verdicts
    ]


def test_one_good_checkpoint_is_enough() -> None:
    comparisons, verdicts = make_curve(RISING)
    assert [one.outcome for one in verdicts] == ["fail", "pass", "pass"]
    arm, verdict = deciding(comparisons, verdicts)
    assert (arm.tuned.name, verdict.outcome) == ("rednote-step-60", "pass")


def test_of_several_that_pass_the_one_farthest_from_its_margin_is_the_best() -> None:
    (curve,) = curves(*make_curve(PEAKING))
    assert curve.steps[curve.best] == 40


def test_of_equals_the_earliest_is_the_best() -> None:
    comparisons, verdicts = make_curve({20: 0.8, 40: 0.8})
    same = [replace(one, deltas=comparisons[0].deltas) for one in comparisons]
    (curve,) = curves(same, [verdicts[0], verdicts[0]])
    assert curve.steps[curve.best] == 20


def test_fewer_failed_suites_are_better_than_a_larger_gain() -> None:
    comparisons, verdicts = make_curve({20: 0.2, 40: 0.9}, suites=("chat/a", "chat/b"))
    leaking = [replace(verdicts[1].suites[0], outcome="fail"), verdicts[1].suites[1]]
    mixed = replace(verdicts[1], outcome="fail", suites=tuple(leaking))
    (curve,) = curves(comparisons, [verdicts[0], mixed])
    assert curve.steps[curve.best] == 40


def test_an_arm_asked_for_by_itself_still_has_to_pass() -> None:
    comparisons, verdicts = make_curve(RISING)
    lone, judged = make_verdict([coin_suite("chat/answers", {"base": 0.8, "tuned": 0.2})])
    arms, words = [*lone, *comparisons], [*judged, *verdicts]
    assert [one.tuned.name for one, _ in speaking(arms, words)] == ["tuned", "rednote-step-60"]
    assert deciding(arms, words)[0].tuned.name == "tuned"
    assert "the one hardest to ship decides" in _said(arms, words)


def test_each_training_run_has_its_own_best() -> None:
    comparisons, verdicts = make_curve(RISING)
    others = [
        replace(
            as_checkpoint(one, step, "mixed"),
            tuned=replace(
                as_checkpoint(one, step, "mixed").tuned,
                name=f"mixed-step-{step}",
                run_id=f"m{step}",
            ),
        )
        for one, step in zip(comparisons, RISING, strict=True)
    ]
    both = speaking([*comparisons, *others], [*verdicts, *verdicts])
    assert [one.tuned.name for one, _ in both] == ["rednote-step-60", "mixed-step-60"]


def test_without_checkpoints_the_hardest_to_ship_decides() -> None:
    suite = coin_suite("chat/answers", {"base": 0.8, "leaky": 0.3, "mixed": 0.95})
    comparisons, verdicts = make_verdict([suite], ("base", "leaky", "mixed"))
    assert deciding(comparisons, verdicts)[0].tuned.name == "leaky"
    assert curves(comparisons, verdicts) == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_has_every_step_at_any_width(width: int) -> None:
    text = _said(*make_curve(dict.fromkeys(range(10, 110, 10), 0.5)), width=width)
    assert max(map(len, text.splitlines())) <= width
    table = text.partition("over its training")[2]
    for step in range(10, 110, 10):
        assert f"step {step}" in table
    assert table.count(" ★") == 1
    assert "…" not in table


def test_the_table_tells_values_and_outcomes_and_the_best() -> None:
    comparisons, verdicts = make_curve(RISING)
    text = _said(comparisons, verdicts)
    table = text.partition("rednote over its training")[2]
    assert "step 60 ★" in table
    for comparison, mark in zip(comparisons, "✗✓✓", strict=True):
        assert f"{comparison.deltas[0].tuned:.3f} {mark}" in table
    assert f"{comparisons[0].deltas[0].base:.3f}" in table
    assert "PASS  the best checkpoint decides: rednote-step-60" in table
    assert table.count("What to do") == 1


def test_the_choice_among_checkpoints_is_called_a_choice() -> None:
    (good,), (bad,) = curves(*make_curve(RISING)), curves(*make_curve({20: 0.1, 40: 0.2}))
    assert "flatters it" in caution(good)
    assert caution(bad) == "rednote-step-40 is the best of 2 checkpoints."


def test_a_lone_checkpoint_has_no_curve() -> None:
    assert "over its training" not in _said(*make_curve({20: 0.8}))


def test_the_json_has_the_step_of_each_arm_and_says_who_decides() -> None:
    comparisons, verdicts = make_curve(RISING)
    lone, judged = make_verdict([coin_suite("chat/answers", {"base": 0.2, "tuned": 0.9})])
    document = json.loads(comparison_json([*lone, *comparisons], [*judged, *verdicts]))
    assert [arm["step"] for arm in document["arms"]] == [None, 20, 40, 60]
    assert (document["verdict"], document["exit_code"]) == ("pass", 0)
    assert json.loads(comparison_json(comparisons, verdicts))["deciding_arm"] == "rednote-step-60"


def test_junit_holds_back_no_more_than_the_exit_code() -> None:
    root = ET.fromstring(junit_xml(*make_curve(RISING)))
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "0", "1")
    skipped = root.find(".//skipped")
    assert skipped is not None
    assert "not the best checkpoint: fail" in str(skipped.get("message"))
    none_good = ET.fromstring(junit_xml(*make_curve({20: 0.1, 40: 0.2})))
    assert none_good.get("failures") == "1"


def test_markdown_gives_the_advice_of_the_best_alone() -> None:
    text = report_markdown(*make_curve(RISING))
    assert text.startswith("## ✅ Pass")
    assert "Ship rednote-step-60" in text
    assert "Do not ship" not in text
    assert "Exit code 0" in text


def _values(chart: Any, key: str) -> list[dict[str, Any]]:
    """Every data row of a chart's specification that has `key`."""
    found: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if key in node and not isinstance(node[key], dict):
                found.append(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(themed(chart, dark=False))
    return found


def test_the_chart_draws_the_records_own_intervals_from_the_base_on() -> None:
    comparisons, verdicts = make_curve(RISING, suites=("chat/a", "chat/b"))
    (curve,) = curves(comparisons, verdicts)
    chart = over_steps(curve)
    rows = _values(chart, "low")
    assert {row["suite"] for row in rows} == {"chat/a", "chat/b"}
    for comparison, step in zip(comparisons, RISING, strict=True):
        for delta in (one for one in comparison.deltas if not one.slice):
            row = next(r for r in rows if (r["suite"], r["step"]) == (delta.suite, step))
            assert (row["low"], row["benefit"], row["high"]) == pytest.approx(
                (delta.low, delta.difference, delta.high)
            )
            assert row["threshold"] == pytest.approx(-0.05)
    assert {"step": 0, "benefit": 0} in _values(chart, "benefit")
    assert {"step": 60} in _values(chart, "step")  # the bar behind the best


def test_the_chart_is_recoloured_for_a_dark_page() -> None:
    (curve,) = curves(*make_curve(RISING))
    chart = over_steps(curve)
    assert chart is not None
    assert "#1d2129" in json.dumps(themed(chart, dark=False))
    assert "#1d2129" not in json.dumps(themed(chart, dark=True))
    words = [element.text for element in ET.fromstring(to_svg(chart)).iter()]
    assert "base" in words


def test_a_suite_that_could_not_be_estimated_has_no_panel() -> None:
    comparisons, verdicts = make_curve(RISING)
    bare = [
        replace(v, suites=tuple(replace(one, delta=None) for one in v.suites)) for v in verdicts
    ]
    (curve,) = curves(comparisons, bare)
    assert over_steps(curve) is None
    assert "–" in _said(comparisons, bare)


def test_the_report_shows_the_training_and_the_advice_of_the_best() -> None:
    page = report_html(*make_curve(RISING))
    assert "rednote over its training" in page
    assert page.count('class="todo"') == 1
    assert "★ rednote-step-60 is the best of 3 checkpoints" in page
    assert "over its training" not in report_html(*make_curve({20: 0.8}))
