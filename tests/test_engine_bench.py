"""The engine's benchmark: what was measured is known again, and never taken for something else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.engine.bench import _trial
from benchmarks.engine.results import Results
from benchmarks.engine.works import generation, growth

PLACE = {"processor": "one", "cores": 2}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of a repository, committed; the repository is where we are."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evalkit" / "module.py"
    file.parent.mkdir()
    file.write_text("print(1)\n", encoding="utf-8")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "-m", "first")
    return file


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def measured(folder: Path) -> Results:
    """The results of one row, as a later process reads them."""
    file = folder / "docs" / "engine.json"
    Results.read(file).put("letters", "float32", {"value": 5.0, "asked": "questions=2"}, PLACE)
    return Results.read(file)


def test_what_this_code_measured_here_is_known_again(code: Path, tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found.is_current("letters", "float32", PLACE, "questions=2")
    assert not found.is_current("letters", "float32", PLACE, "questions=3")
    assert not found.is_current("letters", "float32", {**PLACE, "cores": 4}, "questions=2")
    assert not found.is_current("letters", "bfloat16", PLACE, "questions=2")
    found.leave_out("zeroshot", "float32", "it failed")
    assert not found.is_current("zeroshot", "float32", PLACE, "questions=2")


def test_a_change_of_the_code_makes_it_old(code: Path, tmp_path: Path) -> None:
    code.write_text("print(2)\n", encoding="utf-8")
    by_changed_code = measured(tmp_path)
    assert not by_changed_code.is_current("letters", "float32", PLACE, "questions=2")
    git("checkout", "-q", ".")
    found = measured(tmp_path)
    code.write_text("print(3)\n", encoding="utf-8")
    assert not found.is_current("letters", "float32", PLACE, "questions=2")


def test_without_a_repository_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not measured(tmp_path).is_current("letters", "float32", PLACE, "questions=2")


def test_lm_evals_batches_are_sought_up_to_all_texts_at_once() -> None:
    assert _trial(generation(100, 128), 64) == (100, [100, 64, 32, 16, 8, 4, 1])
    assert _trial(growth(40), 64) == (10, [1, 4, 8, 16, 32])
