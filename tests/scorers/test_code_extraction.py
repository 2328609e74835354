"""Functions taken out of what models write: a table of cases, and what is promised beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from evalkit.scorers.extraction import Found, code_in

_FILE = Path(__file__).with_name("code_cases.jsonl")
CASES: list[dict[str, Any]] = [json.loads(line) for line in _FILE.read_text("utf-8").splitlines()]
HEAD = 'def add(a, b):\n    """Sum."""\n'


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"][:50]))
def test_the_function_is_taken_out_of_the_text(case: dict[str, Any]) -> None:
    found = code_in(case["text"], case.get("head", HEAD), "add")
    if case["code"] is None:
        assert found == Found(None, "not extracted")
    else:
        assert found.answer == (case["code"], case.get("continues", False))


def test_the_table_holds_every_way_to_write_it() -> None:
    ways = [case.get("continues", case["code"] is None and "none") for case in CASES]
    assert len(CASES) >= 80
    assert min(ways.count(one) for one in (False, True, "none")) >= 20


@pytest.mark.parametrize(
    "text",
    [
        "    return 1" + "+1" * 50_000,
        "    return a" + ".b" * 50_000,
        "    return " + "(" * 50_000,
        "    return " + "-" * 90_000 + "1",
        "    return " + "lambda:" * 10_000 + "1",
        "    return f" + "()" * 50_000,
        "    x = " + "[" * 90 + "]" * 90 + "\n    return " + "1 if x else " * 700 + "1",
        "```\n" * 30_000,
        "```\nx\n```\n" * 10_000,
        "def add(\n" * 12_000,
        "\n" * 100_000,
        " " * 100_000,
        "if a " * 20_000,
        "a[" * 40_000,
        "a: b" * 25_000,
        "a.b" * 30_000 + "\n",
    ],
    ids=lambda text: repr(text[:16]),
)
def test_hostile_answers_take_no_time_and_no_crash(text: str) -> None:
    started = time.thread_time()  # others may keep the machine busy
    code_in(text, HEAD, "add")
    assert time.thread_time() - started < 2.0
