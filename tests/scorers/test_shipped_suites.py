"""The scorers that the shipped suites name, on the data they ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.scorers.context import ScorerContext
from evalkit.scorers.registry import build_all
from tests.scorers.examples import (
    SUITES,
    make_scorer,
    rows,
    shipped_references,
    shipped_samples,
    value,
    values,
)

NAMES = sorted(str(path.parent.relative_to(SUITES)) for path in SUITES.glob("*/*/samples.jsonl"))


def described(name: str) -> dict[str, Any]:
    """What a shipped suite.yaml says."""
    text = (SUITES / name / "suite.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def line(scorer: str | Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    """A line of `scorers` as name and options."""
    if isinstance(scorer, str):
        return scorer, {}
    return scorer["name"], {key: value for key, value in scorer.items() if key != "name"}


def test_every_suite_is_there() -> None:
    assert NAMES == [
        "chat/answers",
        "code/functions",
        "instruct/format-en",
        "instruct/format-zh",
        "knowledge/everyday-en",
        "knowledge/everyday-zh",
        "language/plain-en",
        "reasoning/arithmetic",
        "style/plain-en",
        "style/rednote-en",
        "style/rednote-zh",
        "style/ruozhiba-zh",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_builds_its_scorers_and_gates_one_of_their_metrics(name: str) -> None:
    suite, samples = described(name), shipped_samples(name)
    context = ScorerContext(
        suite=name,
        language=suite["language"],
        samples=samples,
        references=shipped_references,
        folder=SUITES / name,
    )
    scorers = build_all([line(scorer) for scorer in suite["scorers"]], context)
    gated = [m for s in scorers for m in s.metrics if m.name == suite["metric"]]
    assert len(gated) == 1
    assert gated[0].higher_is_better is not None
    assert len(samples) >= {"style": 60, "language": 30, "code": 30}.get(
        name.partition("/")[0], 150
    )
    assert all(field in sample.fields for field in suite["slices"] for sample in samples)


def test_the_arithmetic_targets_are_read_back_from_a_sentence() -> None:
    samples = shipped_samples("reasoning/arithmetic")
    scorer = make_scorer("number", *samples)
    for sample in samples:
        text = f"Let me see: the answer is {int(sample.targets[0]):,}."
        assert values(scorer, sample, text) == {"accuracy": 1.0, "extracted": 1.0}


def test_a_shipped_question_repeated_is_no_answer_to_it() -> None:
    scorer = make_scorer("answers", language="mixed")
    for sample in shipped_samples("chat/answers"):
        assert values(scorer, sample, f"{sample.prompt} ")["answered"] == 0.0, sample.id
        assert values(scorer, sample, sample.targets[0])["answered"] == 1.0, sample.id


def test_training_notes_are_notes_and_training_answers_are_plain() -> None:
    folder = Path(SUITES).parent / "examples/rednote/data"
    if not (folder / "notes.jsonl").exists():
        pytest.skip("the example's training data is not in this copy")
    scorer = make_scorer("style_classifier", references="style/rednote-en")
    notes = [value(scorer, row["completion"]) or 0.0 for row in rows(folder / "notes.jsonl")]
    plain = [value(scorer, row["completion"]) or 0.0 for row in rows(folder / "plain.jsonl")]
    assert sum(probability >= 0.5 for probability in notes) / len(notes) > 0.98
    assert sum(probability >= 0.5 for probability in plain) / len(plain) < 0.02
