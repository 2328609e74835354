"""`compare --sequential` from the command line, on models whose answers were recorded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.cli.conftest import Bench, Said

SUITE = "my/letters"
SAMPLES = 400
Rates = tuple[float, float]


def write_suite(desk: Bench, name: str = SUITE, rows: int = SAMPLES, **told: str) -> None:
    """A suite of questions whose right answer is always "yes"."""
    given = {
        "title": "Letters", "version": "1", "language": "en", "license": "Apache-2.0",
        "source": "a test", "task": "generate", "prompt": "'Say {id}'", "scorers": "[exact_match]",
        "slices": "[topic]", **told,
    }  # fmt: skip
    lines = "".join(f"{key}: {value}\n" for key, value in given.items())
    desk.write(f"suites/{name}/suite.yaml", lines)
    samples = [
        {"id": f"q{n}", "target": "yes", "topic": ("odd", "even")[n % 2], "passage": f"p{n // 4}"}
        for n in range(rows)
    ]
    desk.write(f"suites/{name}/samples.jsonl", "".join(json.dumps(s) + "\n" for s in samples))


def write_arm(desk: Bench, name: str, right: Callable[[int], bool], more: str = "") -> None:
    """A recorded arm that is right on some of the samples."""
    rows = [{"id": f"q{n}", "text": "yes" if right(n) else f"no, {name}"} for n in range(SAMPLES)]
    desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    desk.write(
        f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n{more}"
    )


def draws(seed: int, rate: float) -> Callable[[int], bool]:
    """A coin for each sample."""
    rng = random.Random(seed)
    coins = [rng.random() < rate for _ in range(SAMPLES)]
    return coins.__getitem__


BASE = f"suites: [{SUITE}]\ngate: {{margin: 0.1}}\n"


@pytest.fixture
def letters(desk: Bench) -> Bench:
    """A base that is right seven times in ten."""
    write_suite(desk)
    write_arm(desk, "base", draws(1, 0.7), BASE)
    return desk


def compared(desk: Bench, *more: str) -> tuple[Said, dict[str, Any]]:
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--sequential", "--json", *more)
    return said, json.loads(said.out) if said.out else {}


def gated(document: Mapping[str, Any], arm: int = 0) -> dict[str, Any]:
    delta: dict[str, Any] = document["arms"][arm]["suites"][0]["delta"]
    return delta


@pytest.mark.parametrize(
    ("rate", "seed", "code"), [(0.2, 2, 1), (0.97, 2, 0)], ids=["clearly worse", "clearly better"]
)
def test_what_is_clear_is_settled_after_a_few_samples(
    letters: Bench, rate: float, seed: int, code: int
) -> None:
    write_arm(letters, "tuned", draws(seed, rate))
    said, document = compared(letters)
    delta = gated(document)
    assert (said.code, document["exit_code"]) == (code, code), said.err
    assert delta["interval"] == "sequence"
    assert (delta["planned"], delta["n"] < 160) == (SAMPLES, True)
    assert "settled after" in said.err
    saved = document["saved"]
    assert saved["samples"] == SAMPLES - delta["n"]
    assert (saved["planned_samples"], saved["planned_requests"]) == (SAMPLES, 2 * SAMPLES)
    assert saved["requests"] == 2 * saved["samples"]


def test_what_cannot_be_settled_is_asked_to_the_end_and_stays_open(letters: Bench) -> None:
    right = draws(1, 0.7)
    write_arm(letters, "tuned", lambda n: right(n) if n % 5 else draws(3, 0.3)(n))
    said, document = compared(letters, "--set", "gate.margin=0.08")
    delta = gated(document)
    assert (said.code, delta["n"], document["saved"]["samples"]) == (3, SAMPLES, 0)
    assert delta["interval"] == "sequence"
