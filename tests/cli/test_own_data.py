"""One's own table in one line: `--data` needs no suite folder, and names what is wrong in it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli.conftest import Bench

QUESTIONS = ["Capital of France?", "Capital of Japan?", "Capital of Peru?", "Capital of Cuba?"]
CAPITALS = ["Paris", "Tokyo", "Lima", "Havana"]
TABLE = "id,question,answer\n" + "".join(
    f"q{n},{question},{capital}\n"
    for n, (question, capital) in enumerate(zip(QUESTIONS, CAPITALS, strict=True))
)
COLUMNS = ("--prompt", "question", "--target", "answer", "--scorer", "exact_match")


@pytest.fixture
def table(desk: Bench) -> Bench:
    """Two arms without suites: the base knows two capitals of four, the tuned one three."""
    for name, known in (("base", 2), ("tuned", 3)):
        rows = [
            {"id": f"q{n}", "text": f" {capital}\n" if n < known else "Rome"}
            for n, capital in enumerate(CAPITALS)
        ]
        desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        desk.write(f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n")
    desk.write("capitals.csv", TABLE)
    return desk


def compared(bench: Bench, *options: str) -> dict[str, Any]:
    """The one delta of a comparison; `metric` is its name."""
    said = bench.run("compare", "base.yaml", "tuned.yaml", *options)
    assert said.code == 3, said.err
    (file,) = (bench.folder / "runs" / "compare").glob("*/comparison.json")
    (delta,) = json.loads(file.read_text(encoding="utf-8"))["comparisons"][0]["deltas"]
    assert isinstance(delta, dict)
    return {**delta, "metric": delta["metric"]["name"]}


def asked(bench: Bench, *options: str) -> list[dict[str, Any]]:
    """The suites that the manifest of a run names, after `run` with these options."""
    said = bench.run("run", "base.yaml", *options, "--json")
    assert said.code == 0, said.err
    file = Path("runs") / json.loads(said.out)["run"]["run_id"] / "manifest.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["suites"]
    return found


def test_a_table_is_compared_in_one_line_and_nothing_but_runs_is_written(table: Bench) -> None:
    before = {path.name for path in table.folder.iterdir()}
    suite = compared(table, "--data", "capitals.csv", *COLUMNS)
    assert (suite["suite"], suite["metric"]) == ("capitals", "exact_match")
    assert (suite["base"], suite["tuned"], suite["n"]) == (0.5, 0.75, 4)
    assert {path.name for path in table.folder.iterdir()} - before == {"runs", "home"}


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_the_same_table_in_another_form_gives_the_same_numbers(table: Bench, kind: str) -> None:
    rows = [
        {"id": f"q{n}", "question": question, "answer": capital}
        for n, (question, capital) in enumerate(zip(QUESTIONS, CAPITALS, strict=True))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "jsonl":
        table.write("t.jsonl", lines)
    elif kind == "json":
        table.write("t.json", json.dumps(rows))
    elif kind == "jsonl.gz":
        (table.folder / "t.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), table.folder / "t.parquet")
    suite = compared(table, "--data", f"t.{kind}", *COLUMNS, "--name", "my/capitals")
    assert (suite["suite"], suite["base"], suite["tuned"]) == ("my/capitals", 0.5, 0.75)


def test_columns_and_scorer_are_guessed_where_they_are_not_named(table: Bench) -> None:
    suite = compared(table, "--data", "capitals.csv")
    assert (suite["metric"], suite["base"], suite["tuned"]) == ("normalized_match", 0.5, 0.75)


def test_run_takes_a_table_and_so_does_a_dry_run(table: Bench) -> None:
    (suite,) = asked(table, "--data", "capitals.csv", *COLUMNS)
    assert (suite["name"], suite["samples"]) == ("capitals", 4)
    dry = table.run("compare", "base.yaml", "tuned.yaml", "--data", "capitals.csv", "--dry-run")
    assert dry.code == 0, dry.err
    assert "capitals" in dry.out


def test_a_table_stands_in_for_the_files_suites_or_beside_those_that_are_named(
    table: Bench,
) -> None:
    with (table.folder / "base.yaml").open("a") as file:
        file.write("suites: [no/such]\ngate: {suites: {no/such: {margin: 0.1}}}\n")
    assert compared(table, "--data", "capitals.csv", *COLUMNS)["suite"] == "capitals"
    table.write("suites/my/other/suite.yaml", "title: T\nlanguage: en\ntask: generate\n"
                "scorers: [exact_match]\n")  # fmt: skip
    table.write("suites/my/other/samples.jsonl", '{"id": "q0", "prompt": "a", "target": "Paris"}\n')
    both = asked(table, "--data", "capitals.csv", "--suites", "my/other")
    assert [suite["name"] for suite in both] == ["my/other", "capitals"]


def test_a_table_may_be_written_into_the_yaml(table: Bench) -> None:
    with (table.folder / "base.yaml").open("a") as file:
        file.write("suites: [faq]\ndata: {faq: {file: capitals.csv, scorer: exact_match}}\n")
    assert compared(table)["suite"] == "faq"
    said = table.run("run", "base.yaml", "--set", "suites=[my/capitals]")
    assert said.code == 2
    assert "data has 'faq', which is not among the suites" in said.err


def test_a_changed_table_is_another_suite(table: Bench) -> None:
    def fingerprint() -> object:
        return asked(table, "--data", "capitals.csv", *COLUMNS)[0]["fingerprint"]

    first = fingerprint()
    assert fingerprint() == first
    table.write("capitals.csv", TABLE.replace("Lima", "Cusco"))
    assert fingerprint() != first


REFUSALS = [
    (("--data", "capitols.csv"), "--data capitols.csv: no such file. Did you mean 'capitals.csv'?"),
    (("--prompt", "question"), "--prompt is of a table of your own: name its file with --data."),
    (("--name", "x"), "--name is of a table of your own"),
    (("--data", "capitals.csv", "--name", "../x"), "--name: '../x' cannot name it"),
    (
        ("--data", "capitals.csv", "--prompt", "qestion"),
        "capitals.csv: no column 'qestion' for the question. Did you mean 'question'?",
    ),
    (
        ("--data", "capitals.csv", "--target", "x"),
        "capitals.csv: no column 'x' for the answer. It has: id, question, answer.",
    ),
    (
        ("--data", "capitals.csv", "--scorer", "exact_mach"),
        "names no scorer of evalkit: 'exact_mach'. Did you mean 'exact_match'?",
    ),
    (
        ("--data", "bad.csv", "--scorer", "exact_match"),
        "bad.csv:3: the column 'answer' is empty",
    ),
    (
        ("--data", "bare.csv", "--scorer", "exact_match"),
        "which column holds it? Name it with --target; there are: id, question.",
    ),
    (("--data", "none.jsonl"), "none.jsonl:1: the column 'target' is empty"),
    (("--data", "twice.csv"), "twice.csv:3: the same id as line 2: 'a'"),
    (("--data", "bad.parquet"), "bad.parquet: not a readable Parquet file"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS)
def test_what_is_wrong_is_named_with_its_file_row_and_column(
    table: Bench, options: tuple[str, ...], message: str
) -> None:
    table.write("bad.csv", "id,question,answer\na,one?,1\nb,two?,\n")
    table.write("bare.csv", "id,question\na,one?\n")
    table.write("twice.csv", "id,question,answer\na,one?,1\na,two?,2\n")
    table.write("bad.parquet", "no parquet")
    table.write("none.jsonl", '{"prompt": "q", "target": []}\n')
    said = table.run("compare", "base.yaml", "tuned.yaml", *options)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_a_table_of_choices_is_answered_by_a_model(bench: Bench) -> None:
    rows = "".join(f"{q},{','.join(CAPITALS)},{'ABCD'[n]}\n" for n, q in enumerate(QUESTIONS))
    bench.write("quiz.csv", "question,A,B,C,D,answer\n" + rows)
    (suite,) = asked(bench, "--data", "quiz.csv")
    assert (suite["task"], suite["metric"], suite["samples"]) == ("choice", "accuracy", 4)


def test_a_target_that_is_a_list_of_numbers_is_one_of_texts(table: Bench) -> None:
    table.write("t.jsonl", '{"id": "q0", "prompt": "q", "target": [5, 6]}\n')
    (suite,) = asked(table, "--data", "t.jsonl")
    assert suite["metric"] == "accuracy"


def test_a_table_with_the_name_of_a_set_is_the_one_that_is_asked(table: Bench) -> None:
    table.write("forgetting.csv", TABLE)
    (suite,) = asked(table, "--data", "forgetting.csv", *COLUMNS)
    assert (suite["name"], suite["samples"]) == ("forgetting", 4)
