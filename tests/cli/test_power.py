"""evalkit power, and the power in a dry run: from the command line to what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.stats.power import cautious_deviation_binary, least_margin_binary
from tests.cli.conftest import PLACES, SUITE, Bench, write_suite

ROOT = Path(__file__).parents[2]


def _power(bench: Bench, *arguments: str) -> dict[str, Any]:
    said = bench.run("power", "base.yaml", "--json", *arguments)
    assert said.code == 0, said.err
    document: dict[str, Any] = json.loads(said.out)
    return document


def test_a_suite_that_is_too_small_is_called_out_before_any_model_is_there(desk: Bench) -> None:
    desk.write(
        "base.yaml",
        f"name: base\nmodel: {{kind: hf, path: nobody/has-it}}\nsuites: [{SUITE}]\n"
        "gate: {margin: 0.05}\n",
    )
    said = desk.run("power", "base.yaml")
    assert said.code == 0, said.err
    assert f"{SUITE}: 6 samples can never meet a margin of 0.050" in said.out
    assert "1 of 1 margins cannot be decided" in said.out


def test_every_option_has_its_effect(recorded: Bench) -> None:
    write_suite(recorded, "suites/" + SUITE, rows=60)
    (row,) = _power(recorded)["suites"]
    assert (row["samples"], row["flips"], row["noise_source"]) == (60, 0.2, "default")
    assert row["least_margin"] == pytest.approx(least_margin_binary(60, 0.05))
    assert _power(recorded, "--limit", "40")["suites"][0]["samples"] == 40
    (told,) = _power(recorded, "--set", "gate.expect.flips=0.05")["suites"]
    assert (told["flips"], told["noise_source"]) == (0.05, "declared")
    assert told["detectable"] < row["detectable"]
    assert (
        _power(recorded, "--set", "gate.alpha=0.01")["suites"][0]["detectable"] > row["detectable"]
    )
    strong = _power(recorded, "--set", "gate.power=0.9")
    assert (strong["power"], strong["suites"][0]["detectable"] > row["detectable"]) == (0.9, True)
    write_suite(recorded, "suites/my/other", rows=30)
    assert [one["suite"] for one in _power(recorded, "--suites", "my/other")["suites"]] == [
        "my/other"
    ]


def test_a_pilot_is_a_comparison_or_the_run_of_one_arm(recorded: Bench) -> None:
    assert recorded.run("compare", "base.yaml", "tuned.yaml", "-q").code in (0, 1, 3)
    folder = next(Path("runs/compare").iterdir())
    (row,) = _power(recorded, "--pilot", str(folder))["suites"]
    assert row["noise_source"] == "pilot"
    assert row["deviation"] == pytest.approx(cautious_deviation_binary(1, len(PLACES)))
    assert _power(recorded, "--pilot", str(folder / "comparison.json"))["suites"] == [row]
    run = next(Path("runs").glob("base-*"))
    (arm,) = _power(recorded, "--pilot", str(run))["suites"]
    assert arm["noise_source"] == "one_arm"


@pytest.mark.parametrize(
    ("pilot", "told"),
    [("nowhere", "nowhere does not exist"), ("suites", "holds neither a comparison nor a")],
)
def test_a_pilot_that_is_none_is_a_usage_error(recorded: Bench, pilot: str, told: str) -> None:
    said = recorded.run("power", "base.yaml", "--pilot", pilot)
    assert said.code == 2
    assert f"--pilot: {pilot}" in said.err
    assert told in said.err
    assert "Name the folder of a comparison" in said.err


def test_a_gate_that_its_suites_cannot_answer_is_told_before_the_power(recorded: Bench) -> None:
    said = recorded.run("power", "base.yaml", "--set", f"gate.suites={{{SUITE}: {{metric: acc}}}}")
    assert said.code == 2
    assert "no metric 'acc'" in said.err


def test_a_dry_run_of_a_comparison_says_it_too(recorded: Bench) -> None:
    said = recorded.run("compare", "base.yaml", "tuned.yaml", "--dry-run", "-q")
    assert said.code == 0
    assert "What the gate can decide" in said.out
    assert "1 of 1 margins cannot be decided" in said.out
    document = json.loads(
        recorded.run("compare", "base.yaml", "tuned.yaml", "--dry-run", "--json").out
    )
    assert document["gate"] | {"schema_version": 1} == _power(recorded)
    assert "What the gate" not in recorded.run("run", "base.yaml", "--dry-run", "-q").out


def test_a_dry_run_takes_a_pilot_and_a_run_does_not(recorded: Bench) -> None:
    command = ("compare", "base.yaml", "tuned.yaml")
    assert recorded.run(*command, "-q").code in (0, 1, 3)
    folder = str(next(Path("runs/compare").iterdir()))
    said = recorded.run(*command, "--dry-run", "--json", "--pilot", folder)
    assert json.loads(said.out)["gate"]["suites"] == _power(recorded, "--pilot", folder)["suites"]
    refused = recorded.run(*command, "--pilot", folder)
    assert refused.code == 2
    assert "--pilot is for --dry-run" in refused.err


def test_the_examples_gate_is_told_for_all_of_its_suites(desk: Bench) -> None:
    file = ROOT / "examples/rednote/base.yaml"
    said = desk.run("power", str(file), "--json")
    assert said.code == 0, said.err
    rows = {one["suite"]: one for one in json.loads(said.out)["suites"]}
    knowledge = rows["knowledge/everyday-en"]
    assert (knowledge["samples"], knowledge["margin"], knowledge["decides"]) == (200, 0.05, False)
    assert rows["style/rednote-en"]["policy"] == "superiority"
