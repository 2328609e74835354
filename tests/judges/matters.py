"""Matters, rubrics and real texts for the tests of judging."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.judges.matters import Matter
from evalkit.records import Completion, Message, Pair, Result, Sample

SUITES = Path(__file__).parents[2] / "suites"


def make_matter(
    base: str | Sequence[str] = "It is Lyon.",
    tuned: str | Sequence[str] = "It is Paris.",
    *,
    question: str = "What is the capital of France?",
    then: Sequence[str] = (),
    reference: str = "",
    language: str = "en",
) -> Matter:
    """One question with two answers."""
    return Matter(
        suite="knowledge/tiny",
        sample_id="s1",
        language=language,
        turns=(Message(role="user", content=question),),
        then=tuple(then),
        base=(base,) if isinstance(base, str) else tuple(base),
        tuned=(tuned,) if isinstance(tuned, str) else tuple(tuned),
        reference=reference,
    )


def make_pair(base: Sequence[Completion], tuned: Sequence[Completion], **sample: Any) -> Pair:
    """A pair of one sample with these completions."""
    told = {"id": "s1", "suite": "knowledge/tiny", "prompt": "What is it?", **sample}
    one = Sample(**told)
    return Pair(
        base=Result(sample=one, completions=tuple(base), scores=()),
        tuned=Result(sample=one, completions=tuple(tuned), scores=()),
    )


def said(*texts: str) -> list[Completion]:
    """Completions that came to their end."""
    return [Completion(key=f"k{n}", text=text, stop_reason="stop") for n, text in enumerate(texts)]


def references(suite: str, kind: str) -> list[str]:
    """The reference texts of a shipped style suite: notes or plain answers."""
    lines = (SUITES / suite / "references.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["text"] for row in map(json.loads, lines) if row["kind"] == kind]


def recorded(model: str, field: str = "output_2") -> dict[str, str]:
    """A model's recorded answers to AlpacaEval's prompts."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "alpaca_eval"
    if not folder.is_dir():
        pytest.skip("needs the recorded answers of ../shared/data/alpaca_eval")
    with gzip.open(folder / f"{model}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {str(number): row[field] for number, row in enumerate(rows)}
