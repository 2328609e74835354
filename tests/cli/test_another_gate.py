"""A gate that is not the one declared before the run: it is said everywhere, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import SUITE, Bench

GATE = f"gate:\n  suites:\n    {SUITE}: {{margin: 0.1}}\n"


@pytest.fixture
def compared(recorded: Bench) -> Path:
    base = (recorded.folder / "base.yaml").read_text()
    recorded.write("base.yaml", base + GATE)
    said = recorded.run("compare", "base.yaml", "tuned.yaml")
    assert "another gate" not in said.out
    assert "Runs       runs/base-" in said.out
    return next((recorded.folder / "runs/compare").iterdir())


def test_it_is_told_on_the_terminal_and_in_every_report(recorded: Bench, compared: Path) -> None:
    changed = f"suites.{SUITE}.margin=0.9"
    told = f"{SUITE}: non_inferiority 0.1 → non_inferiority 0.9"
    said = recorded.run("gate", str(compared), "--set", changed)
    assert "Decided by another gate than base declares" in said.out
    assert told in " ".join(said.out.split())
    recorded.run("report", str(compared), "--set", changed, "--format", "html,markdown,json,junit")
    for name in ("report.html", "junit.xml"):
        assert told in (compared / name).read_text(encoding="utf-8")
    markdown = (compared / "report.md").read_text(encoding="utf-8")
    assert "another gate than base declares" in markdown
    assert "at most 0.900 worse" in markdown
    (arm,) = json.loads((compared / "report.json").read_text())["arms"]
    assert arm["departures"] == [told]


def test_a_file_that_leaves_slices_and_policies_out_is_told(
    recorded: Bench, compared: Path
) -> None:
    recorded.write("gate.yaml", "margin: 0.5\nalpha: 0.1\n")
    said = json.loads(recorded.run("gate", str(compared), "--gate", "gate.yaml", "--json").out)
    assert said["arms"][0]["departures"] == [
        f"{SUITE}: non_inferiority 0.1 → non_inferiority 0.5",
        "alpha: 0.05 → 0.1",
    ]


@pytest.mark.parametrize("key", ["margin", "gate.margin"])
@pytest.mark.parametrize("command", ["gate", "power", "compare"])
def test_a_set_that_changes_nothing_is_refused(
    recorded: Bench, compared: Path, command: str, key: str
) -> None:
    what = {"gate": [str(compared)], "power": ["base.yaml"]}
    paths = what.get(command, ["base.yaml", "tuned.yaml"])
    said = recorded.run(command, *paths, "--set", f"{key}=0.2")
    assert said.code == 2
    right = f"--set {key.removesuffix('margin')}suites.{SUITE}.margin=0.2"
    assert f"changes nothing: {SUITE} declares a margin of its own" in " ".join(said.err.split())
    assert right in said.err
    assert "changes nothing" not in recorded.run(command, *paths, *right.split()).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gate", "RUN"], "is one run. Name a comparison"),
        (["gate", "nope"], "No comparison.json in nope"),
        (["gate", "calibrate", "--run", "COMPARISON"], "is a comparison. Name one of the runs"),
        (["power", "base.yaml", "--pilot", "HTML"], "Name its folder"),
        (["report", "COMPARISON", "--report-url", "javascript:alert(1)"], "begins with http"),
    ],
)
def test_a_wrong_path_or_address_is_a_usage_error(
    recorded: Bench, compared: Path, arguments: list[str], told: str
) -> None:
    run = next(path for path in (recorded.folder / "runs").iterdir() if path.name[:5] == "base-")
    names = {"RUN": run, "COMPARISON": compared, "HTML": compared / "report.html"}
    said = recorded.run(*(str(names.get(one, one)) for one in arguments))
    assert (said.code, told in " ".join(said.err.split())) == (2, True), said.err


def test_what_is_missing_is_advised_on_and_hides_no_regression(recorded: Bench) -> None:
    file = recorded.folder / "tuned.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    said = recorded.run("compare", "base.yaml", "tuned.yaml", "--set", "margin=0.3")
    assert said.code in (1, 4)
    assert "Give the answers that are missing" in " ".join(said.out.split()), said.err


def test_an_open_gate_that_is_told_to_pass_says_so(recorded: Bench) -> None:
    said = recorded.run("compare", "base.yaml", "tuned.yaml", "--set", "on_inconclusive=pass")
    assert said.code == 0
    assert "told to let an open verdict on tuned pass" in " ".join(said.out.split())


def test_a_recording_gives_no_warning_that_nobody_can_heed(recorded: Bench) -> None:
    assert "same prompts" not in recorded.run("compare", "base.yaml", "tuned.yaml").out


@pytest.mark.parametrize("address", ["https://ci.example/report.html", "../report.html"])
def test_addresses_and_paths_are_linked(recorded: Bench, compared: Path, address: str) -> None:
    said = recorded.run("report", str(compared), "--format", "markdown", "--report-url", address)
    assert said.code == 0, said.err


def test_a_format_before_the_first_is_refused(recorded: Bench, compared: Path) -> None:
    file = compared / "comparison.json"
    text = file.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 0')
    file.write_text(text, encoding="utf-8")
    said = recorded.run("gate", str(compared))
    assert (said.code, "format version 0" in said.err) == (4, True)
