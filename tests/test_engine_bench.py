"""The engine's benchmark: what was measured is known again, and never taken for something else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.engine import __main__ as bench
from benchmarks.engine.bench import _trial
from benchmarks.engine.page import missed, table
from benchmarks.engine.results import Results
from benchmarks.engine.rows import BY_KEY
from benchmarks.engine.tools import RunFailed
from benchmarks.engine.works import generation, growth
from benchmarks.growth import missed as growth_missed

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


def test_a_file_that_git_does_not_know_is_a_change(code: Path, tmp_path: Path) -> None:
    found = measured(tmp_path)
    code.with_name("new.py").write_text("print(4)\n", encoding="utf-8")
    assert not found.is_current("letters", "float32", PLACE, "questions=2")
    assert measured(tmp_path).rows["letters"]["float32"]["commit"].endswith("+")


def test_a_row_that_fails_is_not_taken_for_what_it_once_was(code: Path, tmp_path: Path) -> None:
    found = measured(tmp_path)
    found.fail("letters", "float32", "it ended with 1\nand more")
    again = Results.read(found.file)
    assert not again.is_current("letters", "float32", PLACE, "questions=2")
    (line,) = table(again, [(BY_KEY["letters"], "float32")])[2:]
    assert "failed at" in line
    assert "it ended with 1 |" in line


def test_a_row_that_failed_later_is_measured_again(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = bench.parser().parse_args(["--resume", "--dtype", "float32"])
    row = BY_KEY["letters"]
    outcomes: list[dict[str, float] | RunFailed]
    outcomes = [{"value": 5.5}, RunFailed("it broke"), {"value": 5.6}]

    class Fake:
        def measure(self, *_: object) -> dict[str, float]:
            outcome = outcomes.pop(0)
            if isinstance(outcome, RunFailed):
                raise outcome
            return outcome

    monkeypatch.setattr(bench, "_bench", lambda *_: Fake())
    monkeypatch.setattr(bench, "place_of", lambda *_: PLACE)

    def run(*, resume: bool) -> tuple[int, bool]:
        options.resume = resume
        results, noted = (Results.read(tmp_path / name) for name in ("docs.json", "noted.json"))
        done, failed = bench._measure_all(options, results, noted, [row], tmp_path)
        return len(done), failed

    assert run(resume=True) == (1, False)
    assert run(resume=True) == (1, False)
    assert len(outcomes) == 2, "the second time it was known"
    assert run(resume=False) == (0, True)
    assert run(resume=True) == (1, False)
    assert not outcomes, "what failed is not taken for what it once was"


def test_what_was_noted_elsewhere_is_taken_with_its_place(code: Path, tmp_path: Path) -> None:
    found, other = measured(tmp_path), Results(tmp_path / "other.json")
    other.put("second", "float32", {"value": 0.5}, {**PLACE, "cores": 4})
    other.adopt(found, "letters", "float32")
    assert other.rows["letters"]["float32"]["value"] == 5.0
    assert "asked" not in other.rows["letters"]["float32"]
    assert [place["cores"] for place in other.places] == [4, 2]


@pytest.mark.parametrize(
    ("value", "difference", "accuracy", "short"),
    [
        (5.0, 9e-4, 0.5, 0),
        (4.9, 9e-4, 0.5, 1),
        (5.0, 1.1e-3, 0.5, 1),
        (5.0, 9e-4, 0.49, 1),
        (4.9, 1.1e-3, 0.5, 2),
    ],
)
def test_a_row_that_misses_what_it_must_reach_is_told(
    tmp_path: Path, value: float, difference: float, accuracy: float, short: int
) -> None:
    results = Results(tmp_path / "engine.json")
    told = {
        "largest_difference": difference,
        "largest_difference_per_token": difference / 1000,
        "accuracy": {"evalkit": accuracy, "lm_eval": 0.5},
    }
    record = {"value": value, "agreement": {"base": told}}
    results.put("letters", "float32", record, PLACE)
    assert len(missed(results, [(BY_KEY["letters"], "float32")])) == short


@pytest.mark.parametrize(
    ("seconds", "size", "short"), [(29.0, 4 * 2**30, 0), (31.0, 10, 1), (2.0, 4 * 2**30 + 1, 1)]
)
def test_planning_that_takes_too_much_is_told(seconds: float, size: int, short: int) -> None:
    row = {
        "requests": 10**6,
        "plan_seconds": seconds,
        "cut_seconds": 30.0,
        "plan_peak_bytes": size,
    }
    assert len(growth_missed([row])) == short


def test_without_a_repository_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not measured(tmp_path).is_current("letters", "float32", PLACE, "questions=2")


def test_lm_evals_batches_are_sought_up_to_all_texts_at_once() -> None:
    assert _trial(generation(100, 128), 64) == (100, [100, 64, 32, 16, 8, 4, 1])
    assert _trial(growth(40), 64) == (10, [1, 4, 8, 16, 32])
