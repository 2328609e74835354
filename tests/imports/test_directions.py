"""Which way a metric counts is the user's to say where a log does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.errors import UsageError
from evalkit.gate.decide import decide
from evalkit.imports.base import Imported, keep
from evalkit.imports.directions import directed
from evalkit.imports.opencompass import read_opencompass
from evalkit.progress import Silent
from evalkit.records import Run
from tests.imports.test_opencompass import generated, write

SAMPLES = 40


def log(folder: Path, model: str, toxic: int) -> Imported:
    """A work folder whose evaluator counts answers of which less is better."""
    details = [{"toxic": float(n < toxic), "correct": n % 2 == 0} for n in range(SAMPLES)]
    write(
        folder / model / "predictions" / model / "chat.json", generated([model == "base"] * SAMPLES)
    )
    told = {"accuracy": 50.0, "toxicity": 100 * toxic / SAMPLES, "details": details}
    write(folder / model / "results" / model / "chat.json", told)
    (found,) = read_opencompass(folder / model, Silent())
    return found


def runs(folder: Path, *lower: str) -> list[Run]:
    found = directed([log(folder, "base", 2), log(folder, "tuned", 30)], lower)
    return [keep(one, "", folder / "runs") for one in found]


def outcome(base: Run, tuned: Run) -> str:
    gate = GateConfig.model_validate(
        {"suites": {"opencompass:chat": {"metric": "toxicity", "policy": "superiority"}}}
    )
    (verdict,) = decide(compare(base, tuned), gate).suites
    return verdict.outcome


def test_more_of_what_should_be_less_fails_the_gate(tmp_path: Path) -> None:
    assert outcome(*runs(tmp_path)) == "pass", "unless it is said, more counts as better"
    assert outcome(*runs(tmp_path, "toxicity")) == "fail"


def test_what_is_assumed_of_a_name_that_does_not_tell_is_noted(tmp_path: Path) -> None:
    notes = [run.manifest.notes for run in runs(tmp_path)]
    for (note,) in notes:
        assert note.startswith("opencompass:chat: more counts as better in toxicity, which")
    assert [run.manifest.notes for run in runs(tmp_path, "toxicity")] == [(), ()]


def test_runs_that_are_judged_in_opposite_ways_are_refused(tmp_path: Path) -> None:
    (base, _), (_, tuned) = runs(tmp_path), runs(tmp_path, "toxicity")
    assert base.manifest.run_id != runs(tmp_path, "toxicity")[0].manifest.run_id
    with pytest.raises(UsageError, match="lower_is_better is 'not told' against 'toxicity'"):
        compare(base, tuned)


def test_a_metric_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no metric 'toxic'\. The log has accuracy, toxicity"):
        runs(tmp_path, "toxic")
