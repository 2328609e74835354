"""What a harness gives: samples, how to score them, and the requests they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from evalkit.config import SuiteJudging
from evalkit.records import Decoding, Prompt, RequestKind, Sample, SuiteInfo
from evalkit.scorers.base import Scorer

Task: TypeAlias = Literal["choice", "generate", "perplexity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One thing to ask of every arm, as another harness words it; see `records.Request`."""

    kind: RequestKind
    prompt: Prompt = ""
    continuation: str = ""
    decoding: Decoding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An opened suite: its samples with rendered prompts, and its scorers.

    Prompts are turns (rendered by the model's chat template) or plain text; for `choice`,
    `delimiter` stands between the prompt and each choice. `notes` are what a reader of the run
    should know (which of two suites of one name was taken). `asks`: what is asked of each sample,
    by id, where the harness says so itself; its scorers then get one completion for each.
    `judging`: by which rubrics its answers are judged where there is a judge.
    `remarks` gives what the harness says of the answers that were scored last, for their run.
    """

    info: SuiteInfo
    task: Task
    samples: tuple[Sample, ...]
    scorers: tuple[Scorer, ...]
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    delimiter: str = " "
    notes: tuple[str, ...] = ()
    judging: SuiteJudging | None = None
    asks: Mapping[str, tuple[Asked, ...]] = field(default_factory=dict)
    remarks: Callable[[], tuple[str, ...]] = tuple

    @property
    def repeated(self) -> bool:
        """Whether the run's `repeats` are drawn, and each answer is scored by itself."""
        return self.task == "generate" and not self.asks
