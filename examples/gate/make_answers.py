"""Make the answers of this example up: no model said any of them.

    python examples/gate/make_answers.py

The base is right on about three of four questions. Each tuned arm repeats it, but for the flips in
`ARMS`: questions it newly gets right, and questions it newly gets wrong.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SUITES = HERE.parents[1] / "suites"
ARITHMETIC, KNOWLEDGE = "reasoning/arithmetic", "knowledge/everyday-en"
SEED = 20261126
BASE_SHARE = 0.75


class Flips(NamedTuple):
    """How many questions turn right and wrong; where a topic is named, all the wrong are in it."""

    gained: int
    lost: int
    topic: str = ""


ARMS: Mapping[str, Mapping[str, Flips]] = {
    "pass": {ARITHMETIC: Flips(24, 2), KNOWLEDGE: Flips(4, 3)},
    "fail": {ARITHMETIC: Flips(24, 2), KNOWLEDGE: Flips(13, 12, "safety")},
    "inconclusive": {ARITHMETIC: Flips(24, 2), KNOWLEDGE: Flips(8, 13)},
}


def make(folder: Path) -> None:
    """Write base.jsonl and a file for each tuned arm."""
    samples = {name: _read(SUITES / name / "samples.jsonl") for name in (ARITHMETIC, KNOWLEDGE)}
    luck = random.Random(SEED)  # noqa: S311
    base = {row["id"]: luck.random() < BASE_SHARE for rows in samples.values() for row in rows}
    _write(folder / "base.jsonl", samples, base)
    for arm, flips in ARMS.items():
        right = dict(base)
        for name, rows in samples.items():
            _flip(right, rows, flips[name], random.Random(f"{arm} {name}"))  # noqa: S311
        _write(folder / f"{arm}.jsonl", samples, right)


def _read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _flip(
    right: dict[str, bool], rows: Sequence[dict[str, Any]], flips: Flips, luck: random.Random
) -> None:
    losing = [row["id"] for row in rows if flips.topic in ("", row.get("topic"))]
    gaining = [row["id"] for row in rows if not flips.topic or row["id"] not in losing]
    lost = luck.sample([one for one in losing if right[one]], flips.lost)
    gained = luck.sample([one for one in gaining if not right[one]], flips.gained)
    right.update(dict.fromkeys(lost, False) | dict.fromkeys(gained, True))


def _write(
    file: Path, samples: Mapping[str, Sequence[dict[str, Any]]], right: dict[str, bool]
) -> None:
    rows = [_number(row, right[row["id"]]) for row in samples[ARITHMETIC]]
    rows += [_choice(row, right[row["id"]]) for row in samples[KNOWLEDGE]]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


def _number(row: Mapping[str, Any], right: bool) -> dict[str, Any]:
    """A generated text; one wrong answer of its own for each question, whoever gives it."""
    slip = random.Random(row["id"]).choice((1, 2, 9, 10))  # noqa: S311
    number = int(row["target"]) + (0 if right else slip)
    return {"suite": ARITHMETIC, "id": row["id"], "text": f"The answer is {number}."}


def _choice(row: Mapping[str, Any], right: bool) -> dict[str, Any]:
    """A log-likelihood for each choice; the picked one is the likeliest."""
    luck = random.Random(row["id"])  # noqa: S311
    values = [round(-luck.uniform(4.0, 9.0), 2) for _ in row["choices"]]
    wrong = (row["answer"] + luck.randrange(1, len(values))) % len(values)
    values[row["answer"] if right else wrong] = round(-luck.uniform(0.5, 3.0), 2)
    return {"suite": KNOWLEDGE, "id": row["id"], "choices": values}


if __name__ == "__main__":
    make(HERE / "answers")
