"""Samples, completions and contexts for tests of scorers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.records import Completion, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import Reference, ScorerContext
from evalkit.scorers.registry import build
from evalkit.scorers.repeats import score_each

SUITES = Path(__file__).parents[2] / "suites"


def make_sample(*targets: str, prompt: str = "?", name: str = "s1", **fields: Any) -> Sample:
    """A sample with targets and the fields of its row."""
    return Sample(id=name, suite="tests/tiny", prompt=prompt, targets=targets, fields=fields)


def make_context(
    *samples: Sample,
    language: str = "en",
    references: Mapping[str, Sequence[Reference]] | None = None,
    folder: Path | None = None,
) -> ScorerContext:
    """The context of a suite `tests/tiny`."""
    given = references or {}
    return ScorerContext(
        suite="tests/tiny",
        language=language,
        samples=samples,
        references=lambda name: given[name] if name in given else shipped_references(name),
        folder=folder,
    )


def make_scorer(name: str, *samples: Sample, language: str = "en", **options: object) -> Scorer:
    """A scorer of the suite `tests/tiny`."""
    return build(name, options, make_context(*samples, language=language))


def scores(scorer: Scorer, sample: Sample, *texts: str) -> dict[str, Score]:
    """The scores of generated texts by metric."""
    completions = [Completion(key=text, text=text, stop_reason="stop") for text in texts]
    return {score.scorer: score for score in score_each(scorer, sample, completions)}


def values(scorer: Scorer, sample: Sample, *texts: str) -> dict[str, float | None]:
    """The values of generated texts by metric."""
    return {name: score.value for name, score in scores(scorer, sample, *texts).items()}


def value(scorer: Scorer, text: str, sample: Sample | None = None) -> float | None:
    """The value of the scorer's first metric."""
    return values(scorer, sample or make_sample(), text)[scorer.metrics[0].name]


@cache
def rows(path: Path) -> tuple[dict[str, Any], ...]:
    """The rows of a JSONL file."""
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


@cache
def shipped_references(suite: str) -> tuple[Reference, ...]:
    """The references of a shipped suite."""
    return tuple(
        Reference(id=row["id"], kind=row["kind"], topic=row["topic"], text=row["text"])
        for row in rows(SUITES / suite / "references.jsonl")
    )


@cache
def shipped_samples(suite: str) -> tuple[Sample, ...]:
    """The samples of a shipped suite, their prompts as written."""
    found = []
    for row in rows(SUITES / suite / "samples.jsonl"):
        target = row.get("target", ())
        found.append(
            Sample(
                id=row["id"],
                suite=suite,
                prompt=row.get("prompt") or row.get("question") or row["text"],
                targets=(target,) if isinstance(target, str) else tuple(target),
                choices=tuple(row.get("choices", ())),
                answer=row.get("answer"),
                fields=row,
            )
        )
    return tuple(found)
