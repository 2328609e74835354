"""A small local model as judge, end to end: a poor judge, and the report says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Bench
from tests.models.hf.tiny_models import SMOLLM2

pytestmark = [pytest.mark.slow, pytest.mark.smollm2]

REAL_HOME = os.environ.get("EVALKIT_HOME")
SUITE = "my/questions"
QUESTIONS = [
    ("What is the capital of France?", "The capital of France is Paris.", "I like bread a lot."),
    ("How many days are in a week?", "There are seven days in a week.", "Days are days."),
    ("What colour is the sky on a clear day?", "On a clear day it is blue.", "Bananas."),
    ("Which animal barks?", "A dog barks.", "Tables have four legs, most of the time."),
    ("What is two plus two?", "Two plus two is four.", "It depends on the weather in Rome."),
    ("What do bees make?", "Bees make honey.", "Bees is a word of four letters."),
]


@pytest.fixture
def smollm2(monkeypatch: pytest.MonkeyPatch) -> Path:
    """SmolLM2 from the model cache; skips where it is not there."""
    from evalkit.errors import ModelError
    from evalkit.models.weights import find_model

    with monkeypatch.context() as patch:
        if REAL_HOME is None:
            patch.delenv("EVALKIT_HOME", raising=False)
        else:
            patch.setenv("EVALKIT_HOME", REAL_HOME)
        try:
            return find_model(SMOLLM2, offline=True)
        except ModelError as error:
            pytest.skip(f"{SMOLLM2} is not in the model cache: {error}")


def write_bench(desk: Bench, judge: Path) -> None:
    desk.write(
        f"suites/{SUITE}/suite.yaml",
        "title: Questions\nlanguage: en\nlicense: Apache-2.0\nsource: a test\ntask: generate\n"
        "prompt: '{prompt}'\nscorers: [exact_match]\njudge: {rubrics: [helpful]}\n",
    )
    rows = [
        {"id": f"q{n}", "prompt": prompt, "target": "x"}
        for n, (prompt, _, _) in enumerate(QUESTIONS)
    ]
    desk.write(f"suites/{SUITE}/samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for place, name in enumerate(("tuned", "base"), start=1):
        said = [{"id": f"q{n}", "text": row[place]} for n, row in enumerate(QUESTIONS)]
        desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in said))
        desk.write(f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n")
    desk.write(
        "base.yaml",
        (desk.folder / "base.yaml").read_text() + f"suites: [{SUITE}]\n"
        f"gate: {{suites: {{{SUITE}: {{metric: judge.helpful, margin: 0.1}}}}}}\n"
        "judge:\n  probes: warn\n  judges:\n"
        "    - kind: model\n      name: small\n      model: "
        f"{{kind: hf, path: {judge}, dtype: float32, device: cpu}}\n",
    )


def test_smollm2_judges_and_is_not_trusted_and_refused_unless_told_otherwise(
    desk: Bench, smollm2: Path
) -> None:
    write_bench(desk, smollm2)
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--json")
    assert said.code == 1, said.err
    document = json.loads(said.out)
    (folder,) = (desk.folder / "runs" / "compare").iterdir()
    (comparison,) = json.loads((folder / "comparison.json").read_text())["comparisons"]
    (judging,) = comparison["judgings"]
    (health,) = judging["judges"]
    assert health["n"] == len(QUESTIONS)
    assert health["missing"] == {}  # verdicts that are scored cannot be misread
    assert health["probes_passed"] < health["probes"]
    assert any("probe" in reason for reason in health["untrusted"])
    failed = [one for one in document["arms"][0]["checks"] if one["status"] == "failed"]
    assert any("judge results not trustworthy" in one["message"] for one in failed)

    refusing = (desk.folder / "base.yaml").read_text().replace("probes: warn", "probes: refuse")
    desk.write("base.yaml", refusing)
    said = desk.run("compare", "base.yaml", "tuned.yaml", "--json")  # its probes are stored
    assert said.code == 4
    assert "fails the known-answer probes" in said.err
