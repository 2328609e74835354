"""The shipped suites and training data: complete, sound, and disjoint from each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.data import parse_name
from evalkit.harnesses.scaffold import check_suite
from evalkit.harnesses.sets import find_sets
from evalkit.harnesses.suitefile import read_suite_file

ROOT = Path(__file__).parents[2]
EVERY = sorted(
    path.parent.relative_to(ROOT / "suites").as_posix()
    for path in (ROOT / "suites").rglob("suite.yaml")
)
SUITES = [name for name in EVERY if (ROOT / "suites" / name / "samples.jsonl").is_file()]
RECIPES = [name for name in EVERY if name not in SUITES]
TRAINING = sorted((ROOT / "examples" / "rednote" / "data").glob("*.jsonl"))
WORDS, CHARACTERS = 8, 13  # an n-gram this long is shared by copying, not by chance


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _grams(text: str) -> set[str]:
    """Word n-grams, and character n-grams of what is written without spaces."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    grams = {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}
    for run in re.findall(r"[\u4e00-\u9fff]+", text):
        grams |= {run[i : i + CHARACTERS] for i in range(len(run) - CHARACTERS + 1)}
    return grams


def test_every_suite_the_project_promises_is_there() -> None:
    assert SUITES == [
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


def test_every_recipe_the_project_promises_is_there() -> None:
    assert RECIPES == [
        "chat/mt-bench",
        "code/humaneval",
        "code/humaneval-chat",
        "exams/agieval-gaokao-history",
        "exams/agieval-logiqa-en",
        "exams/agieval-logiqa-zh",
        "exams/agieval-sat-en",
        "exams/cmmlu",
        "exams/cmmlu-chat",
        "math/gsm8k",
        "math/gsm8k-chat",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_data_set_and_its_licence_and_holds_no_data(name: str) -> None:
    folder = ROOT / "suites" / name
    assert [file.name for file in folder.iterdir()] == ["suite.yaml"]
    told = read_suite_file(folder)
    assert told.data is not None
    assert parse_name(told.data.dataset) is not None
    assert told.license
    assert told.source


def test_a_recipe_without_its_data_says_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path))
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (problem,) = check_suite("math/gsm8k").problems
    assert "openai/gsm8k" in problem
    assert "not on this machine" in problem


@pytest.mark.parametrize("name", SUITES)
def test_a_shipped_suite_has_no_problem_a_licence_and_enough_samples(name: str) -> None:
    report = check_suite(name)
    assert report.problems == ()
    assert report.suite is not None
    info = report.suite.info
    assert info.license == "Apache-2.0"
    assert "evalkit" in info.source
    fewest = {"style": 60, "language": 30, "code": 30}  # whole texts and functions say more
    assert info.samples >= fewest.get(name.partition("/")[0], 150)


def test_the_shipped_sets_hold_shipped_suites() -> None:
    sets = find_sets([ROOT / "suites"])
    assert list(sets) == ["forgetting"]
    assert set(sets["forgetting"].suites) <= set(SUITES)
    assert list(sets["forgetting"].suites.values()) == [
        "general knowledge",
        "reasoning",
        "following instructions",
        "general text",
        "another language",
    ]


def test_the_training_data_are_enough() -> None:
    assert len(_rows(ROOT / "examples/rednote/data/notes.jsonl")) >= 300


@pytest.mark.parametrize("name", SUITES)
def test_no_suite_shares_an_n_gram_with_the_training_data(name: str) -> None:
    trained = {
        gram
        for file in TRAINING
        for row in _rows(file)
        for text in _strings(row)
        for gram in _grams(text)
    }
    shared = {
        gram: row["id"]
        for file in (ROOT / "suites" / name).glob("*.jsonl")
        for row in _rows(file)
        for text in _strings(row)
        for gram in _grams(text) & trained
    }
    assert shared == {}


def test_no_training_prompt_is_asked_by_a_suite() -> None:
    """Short questions have no 8-gram, so they are compared whole."""

    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text.lower()).strip()

    asked = {
        plain(str(row.get("prompt") or row.get("question") or row["text"]))
        for name in SUITES
        for row in _rows(ROOT / "suites" / name / "samples.jsonl")
    }
    assert not {plain(row["prompt"]) for file in TRAINING for row in _rows(file)} & asked


def test_the_arithmetic_is_what_its_seed_generates() -> None:
    folder = ROOT / "suites" / "reasoning" / "arithmetic"
    done = subprocess.run(
        [sys.executable, str(folder / "generate.py")], capture_output=True, check=True
    )
    assert done.stdout == (folder / "samples.jsonl").read_bytes()


def test_both_recipes_of_cmmlu_ask_the_same_subjects() -> None:
    asked, chat = (read_suite_file(ROOT / "suites" / "exams" / n) for n in ("cmmlu", "cmmlu-chat"))
    assert asked.data is not None
    assert len(asked.data.configs) == 67
    assert chat.data == asked.data
