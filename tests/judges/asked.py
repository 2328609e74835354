"""What these tests have judged: questions, and answers that claim their own quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.config import JudgeConfig, JudgeMember
from evalkit.judges.asking import Job
from evalkit.judges.matters import Matter
from evalkit.judges.rubrics import open_rubric
from evalkit.records import Judgement, Message, Protocol

SUITE = "style/test"


def matter(name: str, base: str, tuned: str, *, language: str = "en") -> Matter:
    """One sample with an answer of each arm."""
    question = Message(role="user", content=f"Question {name}: what is to be done?")
    return Matter(
        suite=SUITE,
        sample_id=name,
        language=language,
        turns=(question,),
        base=(base,),
        tuned=(tuned,),
    )


def graded(name: str, base: int, tuned: int) -> Matter:
    """Answers of a quality that the scripted judge reads off them."""
    return matter(name, f"Of {name}: quality {base}.", f"Of {name}, tuned: quality {tuned}.")


def job(
    matters: Sequence[Matter],
    *,
    rubric: str = "helpful",
    protocol: Protocol = "pairwise",
    language: str = "en",
    suite: str = SUITE,
) -> Job:
    """The matters, to be judged by a shipped rubric."""
    opened = open_rubric(rubric, language)
    return Job(suite=suite, rubric=opened, protocol=protocol, matters=tuple(matters))


def pairs(number: int) -> list[Matter]:
    """That many, of which the tuned answer is better in every other, by more or less."""
    return [graded(f"s{n:04}", 3, 3 + (1 + n % 3) * (-1) ** n) for n in range(number)]


def config(*judges: JudgeMember, **told: Any) -> JudgeConfig:
    """A judging without probes, unless told otherwise."""
    return JudgeConfig.model_validate({"judges": judges, "probes": "skip", "strip": False} | told)


def values(judgements: Sequence[Judgement]) -> dict[tuple[str, str], float | None]:
    """Values by sample and order or arm."""
    return {(one.sample_id, one.order or one.arm): one.value for one in judgements}


def store_path(tmp_path: Path) -> Path:
    """Where a test's completions are stored."""
    return tmp_path / "completions.sqlite"
