"""A set of suites is named as one, and each of its suites knows what it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.errors import SuiteError
from evalkit.harnesses.native import find_suite, suite_folders
from evalkit.harnesses.sets import expanded, find_sets
from tests.cli.conftest import SUITE, Bench

SETS = f"""\
all-of-it:
  title: Ours
  suites: {{{SUITE}: geography}}
"""


@pytest.fixture
def bench(recorded: Bench) -> Bench:
    """Two recorded arms, and a set beside the suite they are asked."""
    recorded.write("suites/sets.yaml", SETS)
    return recorded


def test_a_set_is_its_suites_and_a_suite_that_is_named_twice_is_asked_once(bench: Bench) -> None:
    folders = suite_folders()
    assert expanded(["all-of-it"], folders) == {SUITE: "geography"}
    assert expanded([SUITE, "all-of-it"], folders) == {SUITE: "geography"}
    assert expanded(["other/one"], folders) == {"other/one": ""}
    assert find_sets(folders)["forgetting"].path.is_file(), "the shipped set is found too"


def test_a_set_of_ones_own_hides_the_shipped_one(bench: Bench) -> None:
    bench.write("suites/sets.yaml", SETS.replace("all-of-it", "forgetting"))
    assert expanded(["forgetting"], suite_folders()) == {SUITE: "geography"}


def test_a_set_gives_way_to_a_table_and_to_a_suite_before_it(bench: Bench) -> None:
    folders = suite_folders()
    assert expanded(["forgetting"], folders, own=["forgetting"]) == {"forgetting": ""}
    bench.write("suites/forgetting/suite.yaml", "title: Ours\n")
    assert expanded(["forgetting"], folders) == {"forgetting": ""}
    assert list(expanded(["forgetting"], folders[1:])) != ["forgetting"]


@pytest.mark.parametrize("how", ["option", "file"])
def test_a_comparison_of_a_set_shows_what_was_retained(bench: Bench, how: str) -> None:
    options = ["--suites", "all-of-it"]
    if how == "file":
        file = bench.folder / "base.yaml"
        file.write_text(file.read_text().replace(f"[{SUITE}]", "[all-of-it]"))
        options = []
    said = bench.run("compare", "base.yaml", "tuned.yaml", *options)
    assert said.code in (0, 3), said.err
    row = next(line for line in said.out.splitlines() if "geography" in line)
    # Of six the base knows five and the tuned arm all.
    assert row.split() == ["geography", SUITE, "5", "0", "1", "0", "100.0", "%"]
    (page,) = bench.folder.glob("runs/compare/*/report.html")
    assert "Retained and gained" in page.read_text(encoding="utf-8")


def test_a_gate_of_a_suite_in_the_set_is_taken_and_left_out_with_it(bench: Bench) -> None:
    file = bench.folder / "base.yaml"
    text = file.read_text().replace(f"[{SUITE}]", "[all-of-it]")
    file.write_text(text + f"gate: {{suites: {{{SUITE}: {{margin: 0.9}}}}}}\n")
    assert bench.run("compare", "base.yaml", "tuned.yaml").code == 0
    bench.write("t.csv", "id,question,answer\nc0,a?,b\n")
    bench.write("b.jsonl", '{"id": "c0", "text": "b"}\n')
    other = file.read_text().replace("base.jsonl", "b.jsonl")
    bench.write("other.yaml", other)
    assert bench.run("run", "other.yaml", "--data", "t.csv").code == 0


def test_suites_list_shows_the_sets(bench: Bench) -> None:
    said = bench.run("suites", "list")
    text = " ".join(said.out.split())
    assert f"all-of-it: Ours: {SUITE} (geography)" in text
    assert "forgetting: " in text


def test_a_misspelt_set_is_told_with_the_nearest(bench: Bench) -> None:
    with pytest.raises(SuiteError, match="Did you mean 'all-of-it'"):
        find_suite("all-off-it", suite_folders())


def test_what_is_wrong_in_a_set_is_told_with_file_and_line(bench: Bench) -> None:
    bench.write("suites/sets.yaml", "a:\n  suits: {x: y}\n")
    said = bench.run("run", "base.yaml")
    assert said.code == 2
    assert "sets.yaml:2" in said.err
    assert Path("suites/sets.yaml").is_file()
