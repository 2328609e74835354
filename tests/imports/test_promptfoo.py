"""promptfoo's result files become runs. Made by hand in the form of its EvaluateSummaryV3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.errors import UsageError
from evalkit.imports.base import Imported, keep
from evalkit.imports.promptfoo import read_promptfoo
from evalkit.progress import Silent

PROMPT = "Capital of {{country}}?"
PLACES = [("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima"), ("Cuba", "Havana")]


def result(provider: str, column: int, test: int, right: bool, **fields: Any) -> dict[str, Any]:
    """One cell of promptfoo's table."""
    country, capital = PLACES[test % len(PLACES)]
    return {
        "promptIdx": column,
        "testIdx": test,
        "promptId": "p1",
        "provider": {"id": f"openai:{provider}", "label": provider},
        "prompt": {"raw": f"Capital of {country}?", "label": PROMPT},
        "vars": {"country": country},
        "testCase": {
            "vars": {"country": country},
            "assert": [{"type": "equals", "value": capital, "metric": "exact"}],
            "metadata": {"side": "old" if test % 2 else "new"},
        },
        "response": {
            "output": capital if right else "I do not know",
            "tokenUsage": {"prompt": 7, "completion": 2, "total": 9},
        },
        "success": right,
        "score": 1 if right else 0.25,
        "namedScores": {"exact": float(right)},
        "failureReason": 0 if right else 1,
        "error": None if right else "Expected output to equal",
        "latencyMs": 1500,
        **fields,
    }


def write(path: Path, rows: list[dict[str, Any]], **fields: Any) -> Path:
    columns = sorted({row["promptIdx"] for row in rows})
    prompts = [
        {"metrics": {"testPassCount": sum(r["success"] for r in rows if r["promptIdx"] == column)}}
        for column in columns
    ]
    summary = {
        "version": 3,
        "timestamp": "2026-01-01T00:00:00.000Z",
        "prompts": prompts,
        "results": rows,
        **fields,
    }
    whole = {
        "evalId": "eval-1",
        "results": summary,
        "config": {"description": "Capitals of the world"},
        "metadata": {"promptfooVersion": "0.121.18"},
    }
    path.write_text(json.dumps(whole))
    return path


def both() -> list[dict[str, Any]]:
    """Two providers side by side: the base knows half of the capitals, tuned all."""
    return [
        result(provider, column, test, provider == "tuned" or test < 2)
        for test in range(4)
        for column, provider in enumerate(["base", "tuned"])
    ]


def read(path: Path) -> list[Imported]:
    return read_promptfoo(path, Silent())


def scores(found: Imported, name: str) -> list[float | None]:
    return [s.value for one in found.results for s in one.scores if s.scorer == name]


def test_each_provider_becomes_a_run_and_they_pair(tmp_path: Path) -> None:
    runs = [keep(one, "", tmp_path / "runs") for one in read(write(tmp_path / "r.json", both()))]
    assert [one.manifest.name for one in runs] == ["base", "tuned"]
    comparison = compare(*runs)
    assert not comparison.unpaired
    deltas = {one.metric.name: one for one in comparison.deltas if not one.slice}
    assert (deltas["pass"].base, deltas["pass"].tuned) == (0.5, 1.0)
    assert deltas["pass"].metric.kind == "binary"
    assert deltas["score"].base == pytest.approx((2 + 2 * 0.25) / 4)
    assert deltas["exact"].difference == 0.5
    assert {one.slice for one in comparison.deltas if one.slice} == {"side=new", "side=old"}
    assert {c.name: c.status for c in comparison.checks}["same prompts"] == "ok"


def test_questions_and_answers_can_be_read(tmp_path: Path) -> None:
    base, _ = read(write(tmp_path / "r.json", both()))
    first = base.results[0]
    assert base.suites[0].name == "promptfoo:Capitals of the world"
    assert first.sample.prompt == "Capital of France?"
    assert first.sample.targets == ("Paris",)
    assert first.completions[0].text == "Paris"
    assert (first.completions[0].tokens_in, first.completions[0].seconds) == (7, 1.5)
    assert base.versions == {"promptfoo": "0.121.18"}


def test_an_order_of_tests_is_no_difference(tmp_path: Path) -> None:
    (one,) = read(write(tmp_path / "a.json", [result("m", 0, n, True) for n in range(4)]))
    turned = [result("m", 0, n, True, testIdx=3 - n) for n in reversed(range(4))]
    (other,) = read(write(tmp_path / "b.json", turned))
    assert {r.sample.id for r in one.results} == {r.sample.id for r in other.results}


def test_a_provider_that_failed_is_missing_and_never_wrong(tmp_path: Path) -> None:
    rows = [result("m", 0, 0, True), result("m", 0, 1, False, failureReason=2, response=None)]
    (found,) = read(write(tmp_path / "r.json", rows))
    assert scores(found, "pass") == [1.0, None]
    assert found.results[1].completions[0].error == "Expected output to equal"


def test_repeated_tests_are_several_answers(tmp_path: Path) -> None:
    rows = [result("m", 0, 0, True), result("m", 0, 4, False), result("m", 0, 1, True)]
    (found,) = read(write(tmp_path / "r.json", rows))
    assert scores(found, "pass") == [0.5, 1.0]
    assert found.results[0].scores[0].values == (1.0, 0.0)


def test_another_prompt_is_refused_and_shown(tmp_path: Path) -> None:
    one = read(write(tmp_path / "a.json", [result("base", 0, n, n > 1) for n in range(4)]))
    prompt = {"raw": "Say the capital", "label": "Say the capital of {{country}}"}
    rows = [result("tuned", 0, n, True, prompt=prompt) for n in range(4)]
    other = read(write(tmp_path / "b.json", rows))
    runs = [keep(each, "", tmp_path / "runs") for each in (*one, *other)]
    with pytest.raises(UsageError, match=r"prompts is '.*Capital of .* against '.*Say the capital"):
        compare(*runs)


def test_two_providers_of_one_name_are_refused(tmp_path: Path) -> None:
    rows = [result("m", column, n, True) for column in range(2) for n in range(4)]
    with pytest.raises(UsageError, match="two providers are called 'm'"):
        read(write(tmp_path / "r.json", rows))


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    rows = [result("m", 0, n, True) for n in range(3)]
    prompts = [{"metrics": {"testPassCount": 4}}]
    with pytest.raises(UsageError, match="3 results of 'm' passed, and the file itself counts 4"):
        read(write(tmp_path / "r.json", rows, prompts=prompts))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "holds no results"),
        ("[]", "expected a JSON object"),
        ('{"results": {"results": [1]}}', "result 1: not a result"),
        ('{"results": {"results": [{}]}}', "result 1: it names no provider"),
    ],
)
def test_what_is_no_result_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        read(path)
