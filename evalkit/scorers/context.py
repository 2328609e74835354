"""What a scorer is told about the suite it will score, when it is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from evalkit.records import Sample
from evalkit.scorers.text import Language, language_of

ReferenceKind: TypeAlias = Literal["note", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A text that shows a style (`note`) or its absence (`plain`); never used for training."""

    id: str
    kind: ReferenceKind
    topic: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerContext:
    """The suite around a scorer.

    `samples` allow mistakes in the data to be reported before any model runs; `references`
    loads the references.jsonl of a suite by name; `folder` is where relative paths start.
    """

    suite: str
    language: str
    samples: Sequence[Sample]
    references: Callable[[str], Sequence[Reference]]
    folder: Path | None = None

    def language_for(self, sample: Sample, text: str = "") -> Language:
        """The sample's own language, else the suite's; in a mixed suite, that of `text`."""
        for told in (sample.fields.get("language"), self.language):
            if told == "zh":
                return "zh"
            if told == "en":
                return "en"
        return language_of(text) or "en"
