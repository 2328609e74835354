"""Suites that run what a model writes: only with the flag, and from start to verdict."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evalkit.scorers.code.sandbox import Walls, walls
from evalkit.store.runs import read_run
from tests.cli.conftest import Bench, started

SUITE = "code/functions"
SAMPLES = Path(__file__).parents[2] / "suites" / SUITE / "samples.jsonl"
ALLOWED = "--allow-code-execution"

needs_a_sandbox = pytest.mark.skipif(not walls().usable, reason="no sandbox here")


@pytest.fixture
def coders(desk: Bench) -> Bench:
    """Recorded answers: the base solves every second function, the tuned model all of them; of the
    others the base gets one half wrong, and writes words instead of the other half."""
    rows = [json.loads(line) for line in SAMPLES.read_text("utf-8").splitlines()]
    for name in ("base", "tuned"):
        answers = [
            {"id": row["id"], "text": _answer(row, place % 4 if name == "base" else 0)}
            for place, row in enumerate(rows)
        ]
        desk.write(f"{name}.jsonl", "".join(json.dumps(one) + "\n" for one in answers))
        desk.write(
            f"{name}.yaml",
            f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n"
            + (f"suites: [{SUITE}]\n" if name == "base" else ""),
        )
    return desk


def _answer(row: dict[str, str], kind: int) -> str:
    right = f"```python\n{row['prompt']}{row['canonical_solution']}```"
    wrong = f"def {row['entry_point']}(*_):\n    return 'no such thing'"
    return (right, wrong, right, "I cannot do that.")[kind]


@pytest.mark.parametrize("command", [["run", "base.yaml"], ["compare", "base.yaml", "tuned.yaml"]])
def test_without_the_flag_the_suite_is_refused_before_any_model_is_opened(
    coders: Bench, command: list[str]
) -> None:
    coders.write("base.jsonl", "no JSON")  # would be refused if the models were looked at
    said = coders.run(*command)
    assert said.code == 2
    assert f"{SUITE} runs what the models write, in a sandbox" in " ".join(said.err.split())
    assert f"give {ALLOWED}" in " ".join(said.err.split())
    assert not (coders.folder / "runs").exists()


def test_no_file_and_no_set_can_allow_it(coders: Bench) -> None:
    for key in ("allow_code_execution=true", "lm_eval.allow_code_execution=true"):
        said = coders.run("run", "base.yaml", "--set", key)
        assert said.code == 2
        assert "allow_code_execution" in said.err


def test_a_machine_without_a_sandbox_refuses_and_says_why(
    coders: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = Walls(False, False, "unavailable: prctl(22): Invalid argument")
    monkeypatch.setattr("evalkit.planning.walls", lambda: lacking)
    said = coders.run("run", "base.yaml", ALLOWED)
    assert said.code == 2
    assert "grants no sandbox for it (unavailable: prctl(22)" in " ".join(said.err.split())


def test_what_a_suite_can_decide_is_told_without_running_anything(coders: Bench) -> None:
    said = coders.run("power", "base.yaml")
    assert said.code == 0, said.err
    assert SUITE in said.out


def compared(bench: Bench) -> dict[str, Any]:
    (file,) = (bench.folder / "runs/compare").glob("*/comparison.json")
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))["comparisons"][0]
    return found


@needs_a_sandbox
def test_base_and_tuned_are_compared_on_what_their_programs_do(coders: Bench) -> None:
    said = coders.run("compare", "base.yaml", "tuned.yaml", ALLOWED, "--format", "html,markdown")
    assert said.code == 0, said.out + said.err
    comparison = compared(coders)
    delta = next(one for one in comparison["deltas"] if not one["slice"])
    assert (delta["metric"]["name"], delta["n"]) == ("passed", 32)
    assert (delta["base"], delta["tuned"]) == (0.5, 1.0)
    assert (delta["gained"], delta["lost"], delta["missing"]) == (16, 0, 0)
    (manifest,) = (coders.folder / "runs").glob("base-*/manifest.json")
    (note,) = [one for one in json.loads(manifest.read_text("utf-8"))["notes"] if "sandbox" in one]
    assert note == f"{SUITE}: programs are run in a sandbox of {walls().made_of}"


@needs_a_sandbox
def test_what_went_wrong_is_told_of_each_sample_and_lost_formats_of_each_arm(
    coders: Bench,
) -> None:
    said = coders.run("compare", "base.yaml", "tuned.yaml", ALLOWED, "--format", "markdown")
    assert said.code == 0, said.out + said.err
    (folder,) = (coders.folder / "runs").glob("base-*")
    scores = [one.scores[0] for one in read_run(folder).results]
    told = [one.reason.partition(":")[0] for one in scores]
    assert told == ["", "wrong answer", "", "not extracted"] * 8
    assert "assert candidate(" in scores[1].reason
    (extraction,) = compared(coders)["extractions"]
    assert (extraction["metric"], extraction["n"]) == ("passed", 32)
    assert (extraction["lost_base"], extraction["lost_tuned"]) == (0.25, 0.0)
    (report,) = (coders.folder / "runs/compare").glob("*/*.md")
    assert "not extracted" in report.read_text("utf-8")


@needs_a_sandbox
def test_stored_answers_are_scored_again_with_the_same_result(coders: Bench) -> None:
    first = coders.run("run", "base.yaml", ALLOWED, "--json")
    again = coders.run("run", "base.yaml", ALLOWED, "--json")
    assert first.code == again.code == 0, first.err
    means = [json.loads(one.out)["metrics"] for one in (first, again)]
    assert means[0] == means[1]


@needs_a_sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_the_programs_and_leaves_none_behind(coders: Bench) -> None:
    sleeping = [
        {
            "id": json.loads(line)["id"],
            "text": f"```python\n{name} = None\nimport time; time.sleep(99)",
        }
        for line in SAMPLES.read_text("utf-8").splitlines()
        for name in [json.loads(line)["entry_point"]]
    ]
    coders.write("base.jsonl", "".join(json.dumps(one) + "\n" for one in sleeping))
    process = started(coders, "run", "base.yaml", ALLOWED, "--quiet")
    try:
        _until(lambda: len(_sandboxes(process.pid)) > 0)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert _sandboxes(process.pid) == []


def _sandboxes(parent: int) -> list[str]:
    """The processes that a process has started in sessions of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(state[1]) == parent and int(state[3]) == int(folder.name):
            found.append(folder.name)
    return found


def _until(look: Any) -> None:
    deadline = time.monotonic() + 120
    while not look():
        assert time.monotonic() < deadline, f"it did not come about in {os.getpid()}"
        time.sleep(0.1)
