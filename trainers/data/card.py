"""The data card: what a model was trained on, in numbers that can be checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainers.data.encode import Example
from trainers.data.split import FileRows, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCard:
    """One file of the data; `train` and `held_out` count distinct rows."""

    path: str
    sha256: str
    license: str
    rows: int
    duplicates: int
    train: int
    held_out: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens per row, after cutting; nearest-rank quantiles."""

    shortest: int
    median: int
    p95: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCard:
    """All files, and what became of their rows.

    `train_rows` counts a row as often as an epoch sees it; `tokens` and `learned_tokens` are of
    one epoch. `unanswered` rows lost their whole answer to `max_length` and are left out.
    """

    files: tuple[FileCard, ...]
    train_rows: int
    held_out_rows: int
    duplicates: int
    truncated: int
    unanswered: int
    max_length: int
    tokens: int
    learned_tokens: int
    lengths: Lengths
    answer_lengths: Lengths
    seed: int


def data_card(
    split: Split,
    train: Sequence[Example],
    held_out: Sequence[Example],
    *,
    unanswered: int,
    max_length: int,
    seed: int,
) -> DataCard:
    """Count what goes into training; `train` and `held_out` are what is really used."""
    return DataCard(
        files=tuple(_file_card(part) for part in split.files),
        train_rows=len(train),
        held_out_rows=len(held_out),
        duplicates=sum(part.duplicates for part in split.files),
        truncated=sum(example.cut > 0 for example in (*train, *held_out)),
        unanswered=unanswered,
        max_length=max_length,
        tokens=sum(len(example.input_ids) for example in train),
        learned_tokens=sum(example.learned for example in train),
        lengths=_lengths([len(example.input_ids) for example in train]),
        answer_lengths=_lengths([example.learned for example in train]),
        seed=seed,
    )


def _file_card(part: FileRows) -> FileCard:
    with part.file.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return FileCard(
        # The name alone: where it lay on the training machine is nobody's business.
        path=part.file.path.name,
        sha256=digest,
        license=part.file.license,
        rows=part.read,
        duplicates=part.duplicates,
        train=len(part.train),
        held_out=len(part.held_out),
        weight=part.file.weight,
    )


def _lengths(counts: Sequence[int]) -> Lengths:
    ranked = sorted(counts)
    last = len(ranked) - 1
    return Lengths(
        shortest=ranked[0],
        median=ranked[round(0.5 * last)],
        p95=ranked[round(0.95 * last)],
        longest=ranked[last],
    )


def write_card(card: DataCard, folder: Path, name: str) -> None:
    """Leave data_card.json for programs and data_card.md for people."""
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
    (folder / "data_card.json").write_text(text + "\n", encoding="utf-8")
    (folder / "data_card.md").write_text(_markdown(card, name), encoding="utf-8")


def _markdown(card: DataCard, name: str) -> str:
    files = "\n".join(
        f"| {_cell(each.path)} | {each.rows} | {each.duplicates} | {each.train} | "
        f"{each.held_out} | {each.weight:g} | {_cell(each.license) or 'not stated'} | "
        f"`{each.sha256[:16]}` |"
        for each in card.files
    )
    return f"""# Training data of {name}

| file | rows | duplicates | train | held out | weight | licence | SHA-256 |
|---|---:|---:|---:|---:|---:|---|---|
{files}

| | |
|---|---:|
| rows in an epoch | {card.train_rows} |
| rows held out, never trained on | {card.held_out_rows} |
| tokens in an epoch | {card.tokens:,} |
| tokens learned (the answers) | {card.learned_tokens:,} |
| rows cut at {card.max_length} tokens | {card.truncated} |
| rows left out, no answer left after the cut | {card.unanswered} |
| seed of the split | {card.seed} |

| tokens per row | shortest | median | 95 % | longest |
|---|---:|---:|---:|---:|
| whole | {_four(card.lengths)} |
| answer | {_four(card.answer_lengths)} |
"""


def _four(lengths: Lengths) -> str:
    return f"{lengths.shortest} | {lengths.median} | {lengths.p95} | {lengths.longest}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
