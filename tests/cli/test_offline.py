"""Without a network: no socket is opened, all that is missing is told, and a carried folder serves.

The real command line runs in a process of its own in which every use of a socket is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import SUITE, Bench, Said
from tests.data.servers import serving

REFUSING = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise BaseException(f"the network was touched: {event} {arguments}")
sys.addaudithook(refuse)
sys.argv = ["evalkit", *sys.argv[1:]]
from evalkit.cli import main
main()
"""


def cut_off(bench: Bench, *arguments: str, program: Sequence[str] = ("-c", REFUSING)) -> Said:
    """How a command ends where no socket can be made."""
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=bench.folder,
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HF_HOME": str(bench.folder / "hub"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_the_refusal_would_be_seen(desk: Bench) -> None:
    said = cut_off(desk, "fetch", "someone/absent")
    assert "the network was touched" in said.err


def test_recorded_arms_are_compared_without_a_socket(recorded: Bench) -> None:
    said = cut_off(recorded, "compare", "base.yaml", "tuned.yaml", "--offline")
    assert said.code == 3
    assert "Verdict" in said.out


def test_tiny_models_of_a_data_root_are_compared_without_a_socket(
    bench: Bench, models: Path
) -> None:
    root = bench.folder / "data" / "tiny" / "llama"
    shutil.copytree(models / "model", root)
    for name in ("base.yaml", "tuned.yaml"):
        file = bench.folder / name
        file.write_text(file.read_text().replace(str(models / "model"), "tiny/llama"))
    asked = ("compare", "base.yaml", "tuned.yaml", "--offline", "--data-root", "data")
    said = cut_off(bench, *asked)
    assert "Verdict" in said.out, said.err
    lost = cut_off(bench, *asked[:-2])
    assert lost.code == 4
    assert "  evalkit fetch tiny/llama --to evalkit-data\n" in lost.err


def test_all_that_is_missing_is_told_at_once(desk: Bench) -> None:
    desk.write("base.yaml", f"name: base\nmodel: {{kind: hf, path: org/a}}\nsuites: [{SUITE}]\n")
    desk.write("tuned.yaml", "name: tuned\nmodel: {kind: hf, path: org/b, revision: v2}\n")
    said = cut_off(desk, "compare", "base.yaml", "tuned.yaml", "--offline")
    assert said.code == 4
    assert "  evalkit fetch org/a --to evalkit-data\n" in said.err
    assert "  evalkit fetch org/b --revision v2 --to evalkit-data\n" in said.err


def test_a_data_root_that_is_not_there_is_told_at_once(recorded: Bench) -> None:
    said = recorded.run("run", "base.yaml", "--data-root", "dta")
    assert said.code == 4
    assert "dta, which is no folder" in said.err


LOADING = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise BaseException(f"the network was touched: {event} {arguments}")
sys.addaudithook(refuse)
import datasets
from evalkit.data.loading import local_datasets
with local_datasets():
    print(len(datasets.load_dataset("org/quiz", "main")["test"]))
    datasets.load_dataset("org/absent")
"""


def test_tools_that_load_data_sets_themselves_open_no_socket(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    desk.write("data/org/quiz/main/test.jsonl", '{"q": 1}\n' * 3)
    monkeypatch.setenv("EVALKIT_DATA", str(desk.folder / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = cut_off(desk, program=("-c", LOADING))
    assert said.out == "3\n", said.err
    assert "evalkit fetch org/absent --data --to evalkit-data" in said.err
    assert "the network was touched" not in said.err


def test_what_a_comparison_needs_is_planned_fetched_and_carried(
    desk: Bench, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    served = desk.folder / "served" / "models" / "tiny" / "llama"
    shutil.copytree(models / "model", served)
    desk.write(
        "base.yaml",
        "name: base\nmodel: {kind: hf, path: tiny/llama, dtype: float32, device: cpu}\n"
        f"suites: [{SUITE}]\n",
    )
    with serving(desk.folder / "served") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        wanted = [file for file in served.iterdir() if file.name != "README.md"]
        size = sum(file.stat().st_size for file in wanted) / 1e6
        plan = desk.run("fetch", "base.yaml", "--plan")
        assert plan.code == 0
        assert f"model tiny/llama: missing, {size:,.1f} MB\n" in plan.out
        assert "  evalkit fetch tiny/llama --to evalkit-data\n" in plan.out
        assert not any("resolve" in path for path in server.sent)
        unknown = desk.run("fetch", "base.yaml", "--plan", "--offline")
        assert "model tiny/llama: missing, size not known (offline)" in unknown.out
        fetched = desk.run("fetch", "base.yaml", "--to", "evalkit-data")
        assert fetched.out == "evalkit-data/tiny/llama\n"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    there = desk.run("fetch", "base.yaml", "--plan", "--data-root", "evalkit-data")
    assert "Nothing has to be fetched." in there.out
    said = desk.run("run", "base.yaml", "--offline", "--data-root", "evalkit-data", "--json")
    assert json.loads(said.out)["metrics"]


RECIPE = """\
title: Quiz
language: en
task: generate
scorers: [exact_match]
data: {dataset: org/quiz, config: main, split: test}
"""


def test_a_plan_is_of_the_suites_that_the_run_will_be_asked(desk: Bench, models: Path) -> None:
    model = f"{{kind: hf, path: {models / 'model'}}}"
    desk.write("base.yaml", f"name: base\nmodel: {model}\nsuites: [my/quiz]\n")
    desk.write("bare.yaml", f"name: bare\nmodel: {model}\n")
    desk.write("suites/my/quiz/suite.yaml", RECIPE)
    desk.write("suites/my/other/suite.yaml", RECIPE.replace("org/quiz", "org/other"))
    desk.write("faq.csv", "question,answer\na?,b\n")
    for options, needed in (
        (["base.yaml"], ["org/quiz"]),
        (["base.yaml", "--suites", "my/other"], ["org/other"]),
        (["base.yaml", "--table", "faq.csv"], []),
        (["bare.yaml", "--table", "faq.csv"], []),
        (["bare.yaml", "--table", "faq.csv", "--suites", "my/other"], ["org/other"]),
    ):
        said = desk.run("fetch", *options, "--plan", "--offline")
        assert said.code == 0, said.err
        assert [name for name in ("org/quiz", "org/other") if name in said.out] == needed
    lost = desk.run("fetch", "base.yaml", "--table", "absent.csv", "--plan")
    assert "absent.csv: no such file" in lost.err


def test_a_plan_knows_tasks_of_ones_own(desk: Bench, models: Path) -> None:
    pytest.importorskip("lm_eval")
    desk.write("base.yaml", f"name: base\nmodel: {{kind: hf, path: {models / 'model'}}}\n"
               "suites: [lm_eval:our_quiz]\n")  # fmt: skip
    desk.write("tasks/our_quiz.yaml", "task: our_quiz\ndataset_path: org/quiz\n"
               "test_split: test\noutput_type: generate_until\n")  # fmt: skip
    said = desk.run("fetch", "base.yaml", "--include-path", "tasks", "--plan", "--offline")
    assert "data set org/quiz, split test: missing" in said.out, said.err


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["a/b", "base.yaml"], "not both"),
        (["a/b", "--split", "test"], "add --data"),
        (["../b"], "is no hub id"),
        (["base.yaml", "--revision", "v2"], "files without --data and --revision"),
        (["a/b", "--suites", "x"], "are of a run: name the YAML files"),
        (["a/b", "--table", "x.csv"], "are of a run: name the YAML files"),
    ],
)
def test_what_fetch_cannot_mean_is_refused(desk: Bench, asked: list[str], told: str) -> None:
    said = desk.run("fetch", *asked)
    assert said.code == 2
    assert told in said.err
