"""Answers taken out of what models write: a table of cases, and what is promised beside it."""

from __future__ import annotations

import json
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from evalkit.scorers.extraction import AMBIGUOUS, Found, choice_in, number_in, parse_number

_FILE = Path(__file__).with_name("extraction_cases.jsonl")
CASES: list[dict[str, Any]] = [json.loads(line) for line in _FILE.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['text'][:40]!r}")
def test_the_answer_is_taken_out_of_the_text(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in case if key not in {"kind", "text", "answer"}}
    if case["kind"] == "choice":
        assert choice_in(case["text"], **options).answer == case["answer"]
    else:
        wanted = None if case["answer"] is None else Fraction(case["answer"])
        assert number_in(case["text"], **options).answer == wanted


def test_the_table_is_large_and_speaks_both_languages() -> None:
    chinese = sum(any("\u4e00" <= sign <= "\u9fff" for sign in case["text"]) for case in CASES)
    refused = sum(case["answer"] is None for case in CASES)
    assert len(CASES) >= 250
    assert chinese >= 100
    assert refused >= 40
    assert min(Counter(case["kind"] for case in CASES).values()) >= 100


@pytest.mark.parametrize("reply", ["The answer is B. {}", "{}", "答案：B {}", "**{}", "B {}"])
@pytest.mark.parametrize(
    "filling", ["A ", "1", "1,", "一", "万", '{"', "\\boxed{", "(", " ", "A\n"]
)
def test_hostile_answers_take_no_time(reply: str, filling: str) -> None:
    text = reply.format(filling * 20_000)
    started = time.thread_time()  # others may keep the machine busy
    choice_in(text)
    number_in(text)
    assert time.thread_time() - started < 2.0


def test_a_statement_of_two_answers_is_not_decided_by_what_stands_elsewhere() -> None:
    assert choice_in("B. So the answer is A or C.") == Found(None, AMBIGUOUS)
    assert number_in("I counted 4. The answer is 3 or 5.") == Found(None, AMBIGUOUS)


def test_gsm8ks_own_solutions_end_with_the_answers_that_are_taken() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/gsm8k")
    wrong = []
    rows = [
        json.loads(line)
        for file in sorted(folder.rglob("*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    for row in rows:
        _, _, wanted = row["answer"].partition("####")
        if number_in(row["answer"]).answer != parse_number(wanted):
            wrong.append(row["answer"])
    assert len(rows) > 1000
    assert not wrong
