"""The code suites: every problem's own solution passes its tests, and an empty one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, RunConfig
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import open_suite
from evalkit.records import Completion
from evalkit.scorers.code.sandbox import walls
from evalkit.scoring import score_suite

FUNCTIONS = "code/functions"

# Twelve lines in the form of HumanEval, written for this test.
PROBLEM = {
    "task_id": "Test/0",
    "prompt": (
        "from typing import List\n\n\n"
        "def shift(by: int, one: int) -> int:\n    return by + one\n\n\n"
        'def shifted(numbers: List[int], by: int) -> List[int]:\n    """Add `by` to each."""\n'
    ),
    "entry_point": "shifted",
    "canonical_solution": "    return [shift(by, one) for one in numbers]\n",
    "test": (
        "\n\nMETADATA = {'author': 'evalkit'}\n\n\ndef check(candidate):\n"
        "    assert candidate([1, 2], 3) == [4, 5]\n    assert candidate([], 3) == []\n"
    ),
}

needs_a_sandbox = pytest.mark.skipif(not walls().usable, reason="no sandbox here")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def opened(name: str, **options: Any) -> Suite:
    run = RunConfig(name="base", model=HFModel(kind="hf", path="o/n"), suites=(name,), **options)
    return open_suite(name, run)


def passed(suite: Suite, texts: list[str]) -> list[float | None]:
    answered = [
        (sample, [Completion(key=sample.id, text=text, stop_reason="stop")])
        for sample, text in zip(suite.samples, texts, strict=True)
    ]
    return [row[0].value for row in score_suite(suite, answered)]


@needs_a_sandbox
def test_each_function_passes_as_it_was_meant_and_fails_where_nothing_was_written() -> None:
    suite = opened(FUNCTIONS)
    assert len(suite.samples) == 32
    whole = [
        f"Here:\n\n```python\n{one.fields['prompt']}{one.fields['canonical_solution']}```\n"
        for one in suite.samples
    ]
    assert passed(suite, whole) == [1.0] * 32
    rest = [one.fields["canonical_solution"] for one in suite.samples]
    assert passed(suite, rest) == [1.0] * 32
    assert passed(suite, ["    pass"] * 32) == [0.0] * 32
    assert passed(suite, [""] * 32) == [0.0] * 32


# One process runs all of them, without any sandbox: changed solutions of our own, nobody else's.
# Its sets have the order that they have in the sandbox: one of the changed solutions shows it.
_PLAINLY = """
import json, signal, sys
for source in json.load(sys.stdin):
    signal.alarm(5)
    try:
        exec(source, {"__name__": "plain"})
    except Exception:
        print(0.0)
    else:
        print(1.0)
"""


@needs_a_sandbox
def test_changed_solutions_pass_where_they_pass_when_they_are_plainly_executed() -> None:
    suite = opened(FUNCTIONS)
    changed = [_changed(one.fields["canonical_solution"]) for one in suite.samples]
    plain = [
        f"{row['prompt']}{solution}\n{row['test']}\ncheck({row['entry_point']})"
        for row, solution in zip((one.fields for one in suite.samples), changed, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _PLAINLY],
        input=json.dumps(plain).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    wanted = [float(line) for line in done.stdout.split()]
    assert len(wanted) == len(suite.samples), done.stderr
    assert 0 < sum(wanted) < len(wanted)
    assert passed(suite, changed) == wanted


def _changed(solution: str) -> str:
    """A solution with one sign in it changed: the first of these that it has."""
    for sign, other in ((" - ", " + "), ("<= ", "< "), (" + ", " - "), ("sorted(", "list("),
                        (" // ", " / "), ("[3:]", "[2:]")):  # fmt: skip
        if sign in solution:
            return solution.replace(sign, other, 1)
    return solution


def test_the_functions_are_asked_in_both_languages_and_their_solutions_are_not_shown() -> None:
    suite = opened(FUNCTIONS)
    languages = [one.slices["language"] for one in suite.samples]
    assert (languages.count("en"), languages.count("zh")) == (22, 10)
    for one in suite.samples:
        assert not isinstance(one.prompt, str)
        (turn,) = one.prompt
        assert turn.content.endswith(f"```python\n{one.fields['prompt']}```")
        assert one.fields["canonical_solution"].strip() not in turn.content
        chinese = any("\u4e00" <= sign <= "\u9fff" for sign in one.fields["prompt"])
        assert chinese == (one.slices["language"] == "zh")


@needs_a_sandbox
@pytest.mark.parametrize("layout", ["test.jsonl", "HumanEval.jsonl"])
def test_humaneval_is_read_from_the_data_root_in_its_own_form(here: Path, layout: str) -> None:
    file = here / "data/openai/openai_humaneval" / layout
    file.parent.mkdir(parents=True)
    other = {**PROBLEM, "task_id": "Test/1"}
    file.write_text(json.dumps(PROBLEM) + "\n" + json.dumps(other) + "\n", encoding="utf-8")
    solution = str(PROBLEM["canonical_solution"])

    text = opened("code/humaneval")
    assert [one.id for one in text.samples] == ["Test/0", "Test/1"]
    assert text.samples[0].prompt == PROBLEM["prompt"]
    assert list(text.stop) == ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
    assert passed(text, [solution, "    return numbers"]) == [1.0, 0.0]

    chat = opened("code/humaneval-chat")
    alone = "```python\ndef shifted(numbers, by):\n    return [shift(by, n) for n in numbers]\n```"
    assert passed(chat, [alone, "I cannot."]) == [1.0, 0.0]


def test_humanevals_stops_are_those_of_lm_eval() -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks._yaml_loader import load_yaml

    from evalkit.harnesses.suitefile import read_suite_file

    theirs = load_yaml(
        Path(lm_eval.__file__).parent / "tasks/humaneval/humaneval.yaml", resolve_func=False
    )
    ours = read_suite_file(Path(__file__).parents[2] / "suites/code/humaneval")
    assert list(ours.stop) == theirs["generation_kwargs"]["until"]
    assert ours.max_new_tokens == theirs["generation_kwargs"]["max_gen_toks"]
    assert ours.data is not None
    assert ours.data.dataset == theirs["dataset_path"]
    assert theirs["doc_to_text"] == "{{prompt}}"
    assert theirs["doc_to_target"] == "{{test}}\ncheck({{entry_point}})"
