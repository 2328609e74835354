"""A task's fingerprint: the same in every process, another where what it asks or scores is."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evalkit.evaluate import open_suites
from evalkit.harnesses.lm_eval.identity import encoded
from tests.harnesses.lm_eval_tasks import mean, opening, questions, write_task

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and datasets' own deprecations

OWN = """
from functools import partial

def _scaled(value, by):
    return by * value

def _score(doc, results, by):
    return {"score": _scaled(float(doc["gold"]), by)}

process = partial(_score, by=1)
"""
TASK: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "text",
    "process_results": "!function own.process",
    "metric_list": [mean("score")],
}


def fingerprint(folder: Path) -> str:
    (suite,) = open_suites(opening(folder, "counting"))
    return suite.info.fingerprint


def test_it_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    write_task(tmp_path, "counting", questions(5), **TASK)
    code = (
        "from pathlib import Path\n"
        "from tests.harnesses.test_lm_eval_identity import fingerprint\n"
        f"print(fingerprint(Path({str(tmp_path)!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.split()[-1] == fingerprint(tmp_path)


def test_what_a_function_calls_or_is_given_makes_another_suite(tmp_path: Path) -> None:
    write_task(tmp_path, "counting", questions(5), **TASK)
    found = []
    for number, text in enumerate(
        [OWN, OWN.replace("by * value", "by + value"), OWN.replace("by=1", "by=2"), OWN]
    ):
        (tmp_path / "own.py").write_text(text)
        os.utime(tmp_path / "own.py", ns=(number, number))  # lm-eval reloads what was changed
        found.append(fingerprint(tmp_path))
    assert len(set(found)) == 3
    assert found[0] == found[3]


def test_a_file_beside_of_which_a_function_makes_use_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "counted_words.py").write_text("def fold(text):\n    return text.lower()\n")
    (tmp_path / "counted_scores.py").write_text(
        "from counted_words import fold\nimport json\n\ndef score(text):\n    return fold(text)\n"
    )
    from counted_scores import score  # type: ignore[import-not-found]

    before = encoded([score])
    (tmp_path / "unused.py").write_text("def other():\n    pass\n")
    assert encoded([score]) == before
    (tmp_path / "counted_words.py").write_text("def fold(text):\n    return text.upper()\n")
    assert encoded([score]) != before


class _Counting:
    def __call__(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize("value", [len, partial(len, "x"), _Counting(), _Counting, {"b", "a"}])
def test_nothing_is_told_by_its_address(value: Any) -> None:
    assert b"0x" not in encoded({"value": value})


def test_sets_are_told_in_one_order() -> None:
    assert encoded({"b", "a", "c"}) == encoded({"c", "a", "b"})
