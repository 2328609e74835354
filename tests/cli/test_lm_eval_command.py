"""`evalkit lm_eval`: lm-eval's own command line, with evalkit's engine as one model more."""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bench, Said
from tests.harnesses.lm_eval_files import write_tasks

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations


@pytest.fixture
def harness(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench with local tasks, without the seconds that lm-eval's index of its own takes."""
    import lm_eval.tasks

    manager = partial(lm_eval.tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", manager)
    # lm-eval's log goes to the stderr of the first test, which is closed by now.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    write_tasks(bench.folder / "tasks")
    return bench


def run(bench: Bench, *arguments: str, output: str) -> Said:
    return bench.run(
        "lm_eval",
        *arguments,
        *("--tasks", "tiny_group,tiny_write", "--include_path", "tasks", "--device", "cpu"),
        *("--output_path", output, "--log_samples", "--apply_chat_template", "--limit", "4"),
    )


def written(folder: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The results file in a folder, and the samples by task."""
    (file,) = folder.glob("results_*.json")
    samples = {
        one.name.split("_20")[0]: [json.loads(row) for row in one.read_text("utf-8").splitlines()]
        for one in folder.glob("samples_*.jsonl")
    }
    return json.loads(file.read_text("utf-8")), samples


def test_a_run_writes_what_lm_eval_writes(harness: Bench, models: Path) -> None:
    args = f"pretrained={models / 'model'},peft={models / 'lora'},dtype=float32"
    theirs = run(harness, "run", "--model", "hf", "--model_args", args, output="theirs")
    tuned = "config=tuned.yaml,base=base.yaml"
    ours = run(harness, "--model", "evalkit", "--model_args", tuned, output="ours")
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert printed(ours.out) == printed(theirs.out)
    results, samples = written(harness.folder / "ours" / "tuned")
    (other,) = (harness.folder / "theirs").iterdir()
    expected, expected_samples = written(other)
    assert results["results"] == expected["results"]
    assert results["groups"] == expected["groups"]
    assert results.keys() == expected.keys()
    assert results["config"]["evalkit"]["adapter"]
    assert samples.keys() == expected_samples.keys()
    assert len(samples) == 3
    for name, rows in samples.items():
        for mine, row in zip(rows, expected_samples[name], strict=True):
            assert list(mine) == list(row)
            assert mine["arguments"] == row["arguments"]


def printed(out: str) -> list[str]:
    """The lines of lm-eval's tables."""
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert lines
    return lines


def test_mistakes_are_told_in_a_paragraph(harness: Bench) -> None:
    model = ("--model", "evalkit", "--model_args", "config=base.yaml")
    cases = {
        ("--tasks", "tiny_chioce", *model): "Tasks not found: tiny_chioce",
        ("--tasks", "tiny_text", *model[:3], "config=bas.yaml"): "bas.yaml",
        ("--tasks", "tiny_text", "--model", "evalkti"): "evalkti",
        ("--tasks", "tiny_text", *model, "--log_samples"): "--output_path",
    }
    for arguments, told in cases.items():
        said = harness.run("lm_eval", "run", "--include_path", "tasks", *arguments)
        assert said.code == 2, said.err
        assert told in said.err
        assert "Traceback" not in said.err + said.out


def test_a_task_that_breaks_off_keeps_its_traceback(harness: Bench) -> None:
    task = harness.folder / "tasks" / "tiny_write.yaml"
    harness.write("tasks/broken.py", "def prompt(doc):\n    return doc['nothing']\n")
    text = task.read_text("utf-8").replace(
        'doc_to_text: "{{question}}"', "doc_to_text: !function broken.prompt"
    )
    task.write_text(text, encoding="utf-8")
    said = harness.run(
        *("lm_eval", "--model", "evalkit", "--model_args", "config=base.yaml"),
        *("--tasks", "tiny_write", "--include_path", "tasks"),
    )
    assert said.code == 4
    assert "KeyError" in said.err.splitlines()[-1]
    assert "Traceback" in said.err
    assert "mistake in evalkit" not in said.err


def test_so_does_one_that_fails_after_all_was_asked(harness: Bench) -> None:
    task = harness.folder / "tasks" / "tiny_write.yaml"
    harness.write(
        "tasks/broken.py", "def score(doc, results):\n    return {'x': int(results[0])}\n"
    )
    text = task.read_text("utf-8").split("filter_list")[0]
    mean = "{metric: x, aggregation: mean, higher_is_better: true}"
    task.write_text(
        f"{text}process_results: !function broken.score\nmetric_list: [{mean}]\n", encoding="utf-8"
    )
    said = harness.run(
        *("lm_eval", "--model", "evalkit", "--model_args", "config=base.yaml"),
        *("--tasks", "tiny_write", "--include_path", "tasks"),
    )
    assert said.code == 4, said.err
    assert "ValueError: invalid literal for int()" in said.err.splitlines()[-1]
    assert "broken.py" in said.err


def test_other_commands_and_helps_are_lm_evals_own(harness: Bench) -> None:
    assert "tiny_group" in harness.run("lm_eval", "ls", "tasks", "--include_path", "tasks").out
    found = harness.run("lm_eval", "validate", "--tasks", "tiny_text", "--include_path", "tasks")
    assert found.code == 0
    assert "valid" in found.out
    for arguments in (["--help"], ["-h"], []):
        said = harness.run("lm_eval", *arguments)
        assert said.code == 0
        assert "evalkit lm_eval run --model evalkit" in said.out
        assert "usage: lm-eval [-h] COMMAND" in said.out
    assert "--num_fewshot" in harness.run("lm_eval", "run", "--help").out
    wrong = harness.run("lm_eval", "run", "--no_such_option")
    assert wrong.code == 2
    assert "--no_such_option" in wrong.err
    assert sys.argv[0] == "evalkit", "lm-eval's arguments are its own"
