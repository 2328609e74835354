"""The way of a user of lm-eval: two old outputs, a verdict, an exit code, a report; no model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bench
from tests.imports.conftest import Logs, logs
from tests.imports.inspect_logs import header, row, write_json
from tests.imports.test_opencompass import work
from tests.imports.test_promptfoo import both, write

__all__ = ["logs"]  # the fixture is used by name


def run_of(bench: Bench, name: str) -> str:
    """The run folder of an import, as a user finds it."""
    (folder,) = (bench.folder / "runs").glob(f"{name}-*")
    return str(folder)


def both_arms(bench: Bench, folder: Path) -> tuple[str, str]:
    for name in ("base", "tuned"):
        said = bench.run("import", "lm_eval", str(folder / name), "--name", name)
        assert said.code == 0, said.err
    return run_of(bench, "base"), run_of(bench, "tuned")


def test_two_lm_eval_outputs_are_gated_and_reported(desk: Bench, logs: Logs) -> None:
    base, tuned = both_arms(desk, logs.folder)
    said = desk.run("gate", base, tuned)
    assert said.code == 0, said.out
    assert "lm_eval:made_picks" in said.out
    turned = desk.run("gate", tuned, base)
    assert turned.code == 1
    assert "lm_eval:made_sums" in turned.out
    said = desk.run("report", base, tuned, "--format", "html,json")
    assert said.code == 0, said.err
    (page,) = (desk.folder / "runs" / "compare").glob("base-vs-tuned-*/report.html")
    text = page.read_text(encoding="utf-8")
    assert "lm_eval:made_picks" in text
    assert "What comes after" in text
    assert desk.run("gate", str(page.parent)).code == 0


def test_what_is_printed_is_lm_evals_own_number(desk: Bench, logs: Logs) -> None:
    said = desk.run("import", "lm_eval", str(logs.folder / "tuned"), "--json")
    rows = json.loads(said.out)["metrics"]
    found = {(one["suite"], one["metric"]): one["value"] for one in rows}
    theirs: Any = logs.tuned["results"]
    assert found["lm_eval:made_picks", "acc"] == theirs["made_picks"]["acc,none"]
    assert found["lm_eval:made_sums", "exact_match,loose"] == pytest.approx(
        theirs["made_sums"]["exact_match,loose"]
    )


def test_the_same_log_twice_is_an_error_and_no_result(desk: Bench, logs: Logs) -> None:
    for name in ("base", "again"):
        desk.run("import", "lm_eval", str(logs.folder / "base"), "--name", name)
    said = desk.run("gate", run_of(desk, "base"), run_of(desk, "again"))
    assert said.code == 4
    assert "the same model" in said.err


def test_importing_and_gating_load_no_model_library(desk: Bench, logs: Logs) -> None:
    base, tuned = both_arms(desk, logs.folder)
    code = (
        "import sys\nfrom evalkit.cli import main\n"
        f"for words in (['import', 'lm_eval', {str(logs.folder / 'base')!r}], "
        f"['gate', {base!r}, {tuned!r}]):\n"
        "    sys.argv = ['evalkit', *words]\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_every_other_tool_has_a_command(desk: Bench) -> None:
    log = write_json(desk.folder / "log.json", header("m/one", 1.0, 1), [row(0, "C", "1")])
    said = desk.run("import", "inspect", str(log), "--name", "one")
    assert (said.code, "inspect:sums" in said.out) == (0, True)
    folder = work(desk.folder / "work", "two", [True, False])
    said = desk.run("import", "opencompass", str(folder))
    assert (said.code, "opencompass:facts" in said.out) == (0, True)
    file = write(desk.folder / "foo.json", both())
    said = desk.run("import", "promptfoo", str(file), "--name", "three", "--output", "others")
    assert said.code == 0, said.err
    names = sorted(one.name.rpartition("-")[0] for one in (desk.folder / "others").iterdir())
    assert names == ["three-base", "three-tuned"]


def test_the_json_of_several_models_is_one_document_with_their_notes(desk: Bench) -> None:
    folder = work(desk.folder / "work", "one", [True, False])
    work(folder, "two", [True, True])
    stamp = folder / "20260101_000000"
    (stamp / "predictions" / "lost").mkdir()
    shutil.copy(stamp / "predictions/one/facts.json", stamp / "predictions/lost/facts.json")
    said = desk.run("import", "opencompass", str(folder), "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)["runs"]
    assert [one["run"]["name"] for one in told] == ["one", "two"]
    assert [one["metrics"][0]["value"] for one in told] == [0.5, 1.0]
    assert all("lost is left out" in one["notes"][0] for one in told)


def test_less_is_better_where_the_user_says_so(desk: Bench) -> None:
    log = write_json(desk.folder / "log.json", header("m/one", 1.0, 1), [row(0, "C", "1")])
    words = ("import", "inspect", str(log), "--json", "--lower-is-better")
    said = desk.run(*words, "match")
    assert said.code == 0, said.err
    (metric,) = json.loads(said.out)["metrics"]
    assert metric["higher_is_better"] is False
    said = desk.run(*words, "mach")
    assert said.code == 2
    assert "no metric 'mach'. The log has match" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lm_eval", "nowhere"), "nowhere does not exist"),
        (("inspect", "nowhere.eval"), "nowhere.eval is no file"),
        (("opencompass", "nowhere"), "--work-dir"),
        (("promptfoo", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_a_mistake_is_a_usage_error_in_a_sentence(
    desk: Bench, words: tuple[str, ...], told: str
) -> None:
    said = desk.run("import", *words)
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_name_that_is_no_folders_name_is_refused(desk: Bench) -> None:
    log = write_json(desk.folder / "log.json", header("m/one", 1.0, 1), [row(0, "C", "1")])
    said = desk.run("import", "inspect", str(log), "--name", "../up")
    assert said.code == 2
    assert "--name '../up'" in said.err
