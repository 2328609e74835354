"""`gate calibrate` beside `gate PATH…`: what is printed, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evalkit.gate import calibration
from evalkit.stats.calibrate import TRUTHS, Case, Kind
from evalkit.store.runs import read_run
from tests.cli.conftest import Bench


def _few_cases(margin: float, quick: bool) -> tuple[Case, ...]:
    kinds: tuple[Kind, ...] = ("binary", "continuous", "clustered", "5 completions")
    return tuple(Case(kind, n, one, margin) for kind in kinds for n in (50, 200) for one in TRUTHS)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to print something."""
    monkeypatch.setattr(calibration, "QUICK_SIMULATIONS", 30)
    monkeypatch.setattr(calibration, "cases", _few_cases)


def test_it_prints_the_rates_and_ends_with_0(desk: Bench, brief: None) -> None:
    said = desk.run("gate", "calibrate", "--quick")
    assert said.code == 0, said.err
    for word in ("binary", "5 completions", "wrong pass", "-0.05", "holds: no rate of 32 is above"):
        assert word in said.out
    assert "Shares of at least 30 comparisons" in said.out


def test_the_same_as_json(desk: Bench, brief: None) -> None:
    said = desk.run("gate", "calibrate", "--quick", "--json", "--margin", "0.1", "--alpha", "0.1")
    document = json.loads(said.out)
    assert (document["alpha"], document["holds"], document["simulations"]) == (0.1, True, 30)
    assert len(document["rows"]) == 16
    worse = [row for row in document["rows"] if row["difference"]]
    assert {(row["difference"], row["margin"]) for row in worse} == {(-0.1, 0.1)}
    for row in worse:
        shares = [row["wrong_pass"]["share"], row["wrong_fail"]["share"], row["inconclusive"]]
        assert sum(shares) == pytest.approx(1)
    pooled = {one["data"]: one for one in document["pooled"]}
    assert pooled["continuous"]["wrong_pass"]["simulations"] == 60


def test_a_gate_that_errs_ends_with_1(
    desk: Bench, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "gate_rule", lambda *_: lambda differences, clusters: "fail")
    said = desk.run("gate", "calibrate", "--quick")
    assert said.code == 1
    assert "20 of 32 rates are above alpha = 0.05" in said.out


def test_gate_still_takes_paths_and_a_folder_of_that_name(recorded: Bench) -> None:
    recorded.run("compare", "base.yaml", "tuned.yaml")
    folder = next((recorded.folder / "runs/compare").iterdir())
    folder.rename(recorded.folder / "calibrate")
    by_path = recorded.run("gate", "./calibrate", "--set", "margin=0.99")
    assert by_path.code == 0, by_path.err
    assert "ship" in by_path.out.lower()
    assert "calibrate" in recorded.run("gate", "--help").out


def test_a_run_with_one_answer_a_sample_says_what_to_do(recorded: Bench) -> None:
    recorded.run("run", "base.yaml")
    folder = next(path for path in (recorded.folder / "runs").iterdir() if path.is_dir())
    assert read_run(folder).results
    said = recorded.run("gate", "calibrate", "--run", str(folder), "--quick")
    assert said.code == 2
    assert "repeats: 10" in said.err


def test_a_run_of_several_answers_is_split(
    recorded: Bench, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.run("run", "base.yaml")
    folder = next(path for path in (recorded.folder / "runs").iterdir() if path.is_dir())
    run = read_run(folder)
    results = [
        replace(
            one, scores=tuple(replace(s, values=(0.0, 1.0, s.value or 0.0)) for s in one.scores)
        )
        for one in run.results
    ]
    sampled = replace(run, results=tuple(results))
    monkeypatch.setattr("evalkit.store.runs.read_run", lambda _: sampled)
    said = recorded.run("gate", "calibrate", "--run", str(folder), "--quick", "--json")
    assert said.code == 0, said.err
    rows = json.loads(said.out)["rows"]
    assert [row["n"] for row in rows] == [len(run.results)] * 2
    assert rows[1]["margin"] == 0
