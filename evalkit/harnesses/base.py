"""What a harness gives: samples, how to score them, and the requests they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalkit.records import Sample, SuiteInfo
from evalkit.scorers.base import Scorer

Task: TypeAlias = Literal["choice", "generate", "perplexity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An opened suite: its samples with rendered prompts, and its scorers.

    Prompts are turns (rendered by the model's chat template) or plain text; for `choice`,
    `delimiter` stands between the prompt and each choice. `notes` are what a reader of the run
    should know (which of two suites of one name was taken).
    """

    info: SuiteInfo
    task: Task
    samples: tuple[Sample, ...]
    scorers: tuple[Scorer, ...]
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    delimiter: str = " "
    notes: tuple[str, ...] = ()
