"""lm-eval's tasks from the command line: a verdict over a group, its tasks, and its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Bench
from tests.harnesses.lm_eval_tasks import CHOICE, questions, write_task, write_yaml

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and datasets' own deprecations


@pytest.fixture
def tasks(bench: Bench) -> Path:
    folder = bench.folder / "tasks"
    folder.mkdir()
    for name, size in [("small", 12), ("large", 16)]:
        write_task(folder, name, questions(size), **CHOICE)
    metric = {"metric": "acc", "weight_by_size": False}
    group = {"group": "both", "task": ["small", "large"], "aggregate_metric_list": [metric]}
    write_yaml(folder, "both", group)
    return folder


def test_a_group_is_compared_and_its_tasks_are_gated(bench: Bench, tasks: Path) -> None:
    gate = "gate: {suites: {'lm_eval:both': {must_not_regress: [task=small], margin: 0.9}}}\n"
    base = (bench.folder / "base.yaml").read_text().replace("my/capitals", "'lm_eval:both'")
    bench.write("base.yaml", base + gate)
    said = bench.run(
        "compare", "base.yaml", "tuned.yaml", "--include-path", "tasks", "--num-fewshot", "1",
        "--limit", "12", "--json",
    )  # fmt: skip
    assert said.err.count("Traceback") == 0
    told = json.loads(said.out)
    rows = {(row["suite"], row["slice"]) for row in told["arms"][0]["suites"]}
    assert rows == {("lm_eval:both", ""), ("lm_eval:both", "task=small")}


def test_a_dry_run_and_show_open_a_task(bench: Bench, tasks: Path) -> None:
    shown = bench.run("suites", "show", "lm_eval:small", "--include-path", "tasks")
    assert shown.code == 0, shown.err
    assert "lm-eval 0.4.13, task version 1.5, 0-shot" in shown.out
    assert "12 samples, choice" in shown.out
    assert "Q0 Paris?" in shown.out
    planned = bench.run(
        "run", "base.yaml", "--suites", "lm_eval:small,lm_eval:large", "--include-path", "tasks",
        "--dry-run",
    )  # fmt: skip
    assert planned.code == 0, planned.err
    assert "lm_eval:large" in planned.out


def test_show_of_a_name_for_many_suites_names_them(bench: Bench, tasks: Path) -> None:
    write_yaml(tasks, "list", {"group": "list", "task": ["small", "large"]})
    shown = bench.run("suites", "show", "lm_eval:list", "--include-path", "tasks")
    assert shown.code == 2
    assert "Show one of them: lm_eval:small, lm_eval:large" in " ".join(shown.err.split())


def test_a_folder_of_tasks_that_is_not_there_is_named(bench: Bench) -> None:
    said = bench.run("run", "base.yaml", "--suites", "lm_eval:small", "--include-path", "nowhere")
    assert said.code == 2
    assert "nowhere" in said.err
    assert "Traceback" not in said.err
