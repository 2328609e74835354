"""A recipe reads a data set's rows as it says, and what does not fit is told with file and line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, RunConfig
from evalkit.errors import DataError, SuiteError
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import find_suites, open_suite

RECIPE = """\
title: Quiz
language: en
task: choice
system: "Questions on {label}."
prompt: "{question}"
data:
  dataset: org/quiz
  split: test
  configs: {sea: the sea, sky: the sky}
fields:
  question: {column: Q, strip: true}
  choices: {columns: [A, B]}
  answer: {column: Key, letter: true}
fewshot: {count: 1, split: dev, order: first, by: config}
scorers: [choice_accuracy]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, a data root in it, and no suites of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for config in ("sea", "sky"):
        put(f"{config}/dev.jsonl", row(f"Shown, {config}?", "B"))
        put(f"{config}/test.jsonl", row(f" What is in the {config}? ", "A"), row("Or?", "B"))
    recipe(RECIPE)
    return tmp_path


def row(question: str, key: str) -> dict[str, Any]:
    return {"Q": question, "A": "fish", "B": "birds", "Key": key}


def put(file: str, *rows: Mapping[str, Any]) -> None:
    place = Path("data/org/quiz") / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def recipe(text: str) -> None:
    Path("suites/my/quiz").mkdir(parents=True, exist_ok=True)
    Path("suites/my/quiz/suite.yaml").write_text(text, encoding="utf-8")


def opened(**options: Any) -> Suite:
    run = RunConfig(name="a", model=HFModel(kind="hf", path="o/n"), suites=("q",), **options)
    return open_suite("my/quiz", run)


def complaint(kind: type[Exception] = SuiteError) -> str:
    with pytest.raises(kind) as caught:
        opened()
    return str(caught.value)


def test_every_configuration_is_asked_with_its_own_examples_and_words() -> None:
    suite = opened()
    sea, _, sky, _ = suite.samples
    assert sea.prompt == (
        "Questions on the sea.\n\nShown, sea? birds\n\nWhat is in the sea?"
    )  # fmt: skip
    assert isinstance(sky.prompt, str)
    assert sky.prompt.startswith("Questions on the sky.\n\nShown, sky? birds\n\n")
    assert (sea.choices, sea.answer) == (("fish", "birds"), 0)
    assert suite.notes == ()


def test_the_runs_own_system_prompt_is_taken_as_it_stands() -> None:
    prompt = opened(system="{label}").samples[0].prompt
    assert isinstance(prompt, str)
    assert prompt.startswith("{label}\n\n")


def test_rows_that_repeat_themselves_stay_two_samples() -> None:
    put("sea/test.jsonl", row("Same?", "A"), row("Same?", "A"))
    first, second, *_ = opened().samples
    assert second.id == f"{first.id}-2"


def test_the_same_rows_in_another_file_format_are_the_same_suite() -> None:
    before = opened().info.fingerprint
    file = Path("data/org/quiz/sea/test.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    text = "Q,A,B,Key\n" + "".join(f'"{r["Q"]}",{r["A"]},{r["B"]},{r["Key"]}\n' for r in rows)
    file.with_suffix(".csv").write_text(text)
    assert opened().info.fingerprint == before
    file.with_suffix(".csv").write_text(text.replace("birds", "kites"))
    assert opened().info.fingerprint != before


def test_parts_that_are_not_here_are_told_and_none_at_all_is_an_error() -> None:
    recipe(RECIPE.replace("sky: the sky", "moon: the moon"))
    suite = opened()
    assert [sample.fields["config"] for sample in suite.samples] == ["sea", "sea"]
    (note,) = suite.notes
    assert note.startswith("1 of 2 parts of org/quiz are here; missing: moon. The score is not")
    recipe(RECIPE.replace("sea: the sea, sky: the sky", "moon: the moon"))
    assert "org/quiz has none of the configurations moon" in complaint(DataError)


def test_lists_and_the_text_behind_a_mark_are_taken_apart() -> None:
    put("all/test.jsonl", {"turns": ["One?", "Two?", "Three?"], "solution": "1 #### 2 #### 42\n"})
    recipe(
        "title: T\nlanguage: en\ntask: generate\nscorers: [number]\n"
        "data: {dataset: org/quiz, config: all, split: test}\n"
        "fields:\n  prompt: {column: turns, item: 0}\n  then: {column: turns, skip: 1}\n"
        '  target: {column: solution, after: "####"}\n'
    )
    (sample,) = opened().samples
    assert not isinstance(sample.prompt, str)
    assert [turn.content for turn in sample.prompt] == ["One?"]
    assert sample.then == ("Two?", "Three?")
    assert sample.targets == ("42",)


def test_rows_with_dates_and_without_ids_are_told_apart_by_their_content() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]
    rows = [{**row("When?", "A"), "day": day} for day in days]
    Path("data/org/quiz/sea/test.jsonl").unlink()
    parquet.write_table(pyarrow.Table.from_pylist(rows), "data/org/quiz/sea/test.parquet")
    first, second, *_ = opened().samples
    assert first.id != second.id
    assert first.fields["day"] == "2026-01-01 00:00:00+00:00"


MISFITS = [
    ("column: Key", "column: key", "test.jsonl:1: no 'key'; the row has: Q, A, B, Key"),
    ("{column: Key, letter", "{column: Q, letter", "'Q' must be a letter, not"),
    ("count: 1", "count: 2", "for it there are only 1 of the 2 that fewshot.count asks for"),
    ("split: dev,", "", "fewshot.split must name the split that worked examples are from"),
    ("{columns: [A, B]}", "{columns: [A], column: B}", "give one of column, columns and texts"),
    ("{columns: [A, B]}", "{columns: [A, B], item: 0}", "are of one column"),
    ("  split: test", "  split: test\n  config: sea", "give one of the two"),
    ("  split: test", "  split: test\n  files: '*'", "files stands instead of"),
    (
        "by: config",
        "by: confg",
        "fewshot.by: no sample has a field 'confg'. Did you mean 'config'?",
    ),
    ("by: config", "by: confg", "fewshot.by: no worked example has a field 'confg'."),
    ("{label}", "{label!r}", "is not a plain field name"),
    ("{label}", "{lable}", "the prompt needs the field 'lable'. Did you mean 'label'?"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISFITS)
def test_what_does_not_fit_is_told(old: str, new: str, message: str) -> None:
    assert old in RECIPE
    recipe(RECIPE.replace(old, new))
    assert message in " ".join(complaint().split())


def test_fields_need_a_data_set() -> None:
    recipe("title: T\nlanguage: en\ntask: generate\nscorers: [number]\nfields: {prompt: q}\n")
    assert "it needs 'data'" in complaint()


def test_the_list_of_suites_names_the_data_set() -> None:
    (found,) = [one for one in find_suites() if one.name == "my/quiz"]
    assert (found.dataset, found.samples, found.problem) == ("org/quiz", 0, "")
