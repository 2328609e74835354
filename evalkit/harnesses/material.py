"""What a suite is made of, wherever it lies: rows, worked examples, and what identifies them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalkit.harnesses.rows import Mistakes, Row, read_rows, read_text
from evalkit.harnesses.suitefile import SuiteConfig, without_judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The rows of a suite and of its worked examples, read but not yet understood.

    `told_in` is where the suite is described and `path` where its rows are, for messages;
    `texts` are what its fingerprint is taken of, `notes` what a reader of the run should know.
    """

    told_in: Path
    path: Path
    rows: tuple[Row, ...]
    texts: tuple[str, ...]
    examples: tuple[Row, ...] = ()
    examples_path: Path | None = None
    notes: tuple[str, ...] = ()


def read_folder(folder: Path, told: SuiteConfig, mistakes: Mistakes) -> Material:
    """The files of a suite's folder; raises SuiteError where one cannot be read."""
    told_in, path = folder / "suite.yaml", folder / "samples.jsonl"
    texts = [without_judging(read_text(told_in)), read_text(path)]
    shots, shots_path = list[Row](), None
    if told.fewshot is not None:
        shots_path = folder / told.fewshot.file
        shots = read_rows(shots_path, mistakes)
        texts.append(read_text(shots_path))
    else:
        texts.append("")  # fingerprints are those of runs that were made before
    return Material(
        told_in=told_in,
        path=path,
        rows=tuple(read_rows(path, mistakes)),
        texts=tuple(texts),
        examples=tuple(shots),
        examples_path=shots_path,
    )
