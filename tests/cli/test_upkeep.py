"""cache, doctor, dashboard and suites from the command line, and the options all share."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.upkeep import _runs_root
from evalkit.errors import MissingExtraError
from tests.cli.conftest import PLACES, SUITE, Bench, write_suite


def _json(bench: Bench, *arguments: str) -> Any:
    return json.loads(bench.run(*arguments, "--json").out)


def test_the_cache_is_counted_and_cleared_and_finished_runs_stay(recorded: Bench) -> None:
    recorded.run("compare", "base.yaml", "tuned.yaml")
    stored = 2 * len(PLACES) * len(PLACES)  # every choice of every question, for both arms
    recorded.write("home/models/tiny/model.safetensors", "0" * 2_000_000)
    said = recorded.run("cache", "stats")
    assert f"Completions  {stored} in" in said.out
    assert "Model        tiny, 2 MB" in said.out
    assert f"Forgot {stored} completions." in recorded.run("cache", "clear", "--yes").out
    assert "Completions  0 in" in recorded.run("cache", "stats").out
    assert len(list((recorded.folder / "runs").glob("*/manifest.json"))) == 2


def test_the_cache_is_cleared_only_when_that_is_confirmed(
    recorded: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.run("run", "base.yaml")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    said = recorded.run("cache", "clear")
    assert said.code == 0
    assert "Nothing was forgotten." in said.out
    assert "Completions  36 in" in recorded.run("cache", "stats").out


def test_doctor_ends_with_4_where_something_is_broken(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit import doctor

    monkeypatch.setattr(doctor, "_devices", list)  # torch would be imported for nothing
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert desk.run("doctor").code == 0
    monkeypatch.setenv("EVALKIT_HOME", str(desk.write("file", "") / "home"))
    said = desk.run("doctor")
    assert said.code == 4
    assert "EVALKIT_HOME" in said.out


def test_the_dashboard_finds_the_runs_beside_a_comparison(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "compare" / "base-vs-tuned-1a2b"
    folder.mkdir(parents=True)
    file = folder / "comparison.json"
    file.touch()
    assert _runs_root(folder) == _runs_root(file) == tmp_path / "runs"
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert _runs_root(moved) == _runs_root(moved / "comparison.json") == moved


def test_suites_are_listed(desk: Bench) -> None:
    said = desk.run("suites", "list")
    assert said.code == 0
    assert SUITE in said.out
    assert "style/rednote-en" in said.out


def test_a_suite_is_shown(desk: Bench) -> None:
    said = desk.run("suites", "show", SUITE)
    assert said.code == 0
    assert "Capital of France?" in said.out
    assert "accuracy" in said.out


def test_a_suite_that_is_not_there_names_the_nearest(desk: Bench) -> None:
    said = desk.run("suites", "show", "my/capitols")
    assert said.code == 2
    assert "Did you mean 'my/capitals'?" in said.err


def test_a_suite_is_made_from_a_table_and_can_be_run(recorded: Bench) -> None:
    table = "Question,Answer\nCapital of France?,Paris\nCapital of Peru?,Lima\n"
    recorded.write("faq.csv", table)
    said = recorded.run("suites", "new", "my/faq", "faq.csv")
    assert said.code == 0
    check = said.out.rpartition("evalkit ")[2].split()
    assert recorded.run(*check).code == 0
    ids = _ids(recorded.folder / "suites" / "my" / "faq")
    rows = [json.dumps({"id": one, "text": "Paris"}) + "\n" for one in ids]
    recorded.write("base.jsonl", "".join(rows))
    run = _json(recorded, "run", "base.yaml", "--suites", "my/faq")
    assert run["metrics"][0]["value"] == 0.5


def _ids(folder: Path) -> list[str]:
    from evalkit.harnesses.scaffold import check_suite

    suite = check_suite(str(folder)).suite
    assert suite is not None
    return [sample.id for sample in suite.samples]


def test_checking_a_broken_suite_ends_with_2(desk: Bench) -> None:
    write_suite(desk, "suites/my/empty", rows=0)
    assert desk.run("suites", "check", SUITE).code == 0
    assert desk.run("suites", "check", "my/empty").code == 2


def test_quiet_leaves_the_result_alone(recorded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.progress._BRIEF", 0.0)  # so that the shortest part has its line
    loud = recorded.run("compare", "base.yaml", "tuned.yaml", "--fresh")
    assert f"base · {SUITE}: 36 done" in loud.err
    quiet = recorded.run("compare", "base.yaml", "tuned.yaml", "--fresh", "--quiet")
    assert (quiet.code, quiet.err) == (loud.code, "")
    assert "Verdict" in quiet.out


WATCHED = """
import sys
sys.argv = ["evalkit", *sys.argv[1:]]
sys.addaudithook(lambda event, _: print(event) if event.startswith("socket.") else None)
from evalkit.cli import main
main()
"""


@pytest.mark.parametrize("command", [("run", "absent.yaml"), ("fetch", "someone/absent")])
def test_offline_an_absent_model_ends_with_4_and_no_socket_is_opened(
    desk: Bench, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(desk.folder / "hub"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    model = "model: {kind: hf, path: someone/absent}"
    desk.write("absent.yaml", f"name: absent\n{model}\nsuites: [{SUITE}]\n")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *command, "--offline"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert "model someone/absent" in done.stderr
    assert "evalkit fetch someone/absent --to evalkit-data" in done.stderr


@pytest.mark.parametrize(
    ("extra", "place"), [("hf", "evalkit.models.hf"), ("train", "trainers.base")]
)
def test_a_missing_extra_is_named_with_both_ways_to_install_it(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, extra: str, place: str
) -> None:
    monkeypatch.setattr(f"{place}.find_spec", lambda name: None)
    desk.write("notes.jsonl", '{"prompt": "Hi", "completion": "Hello"}\n')
    desk.write("train.yaml", "name: x\nmodel: a/b\ndata: [{path: notes.jsonl}]\n")
    desk.write("hf.yaml", f"name: x\nmodel: {{kind: hf, path: a/b}}\nsuites: [{SUITE}]\n")
    said = desk.run(*(("run", "hf.yaml") if extra == "hf" else ("train", "train.yaml")))
    assert said.code == MissingExtraError.exit_code == 2
    assert f"pip install 'evalkit-compare[{extra}]'" in said.err
    assert f"pip install '.[{extra}]' in a checkout" in said.err
