"""Before hours are spent: is what will be learned what was meant?"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from evalkit.errors import StoreError, TrainingError
from trainers.data.encode import IGNORED, Encoder, Example
from trainers.data.rows import Row

SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The examples that are fit to learn from, and what the user should know of the others."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    unanswered: int
    notes: tuple[str, ...]


def check_examples(train: Sequence[Row], held_out: Sequence[Row], encoder: Encoder) -> Checked:
    """Encode all rows and refuse what would train on nothing or never learn to stop.

    Raises TrainingError when no row has a token to learn, or when the token that ends an answer
    is in no label, so that the tuned model would talk on for ever.
    """
    known: dict[str, Example] = {}
    for row in (*train, *held_out):
        known.setdefault(row.content_hash, encoder.encode(row))
    fit = {key: example for key, example in known.items() if example.learned}
    unanswered = len(known) - len(fit)
    kept = tuple(fit[row.content_hash] for row in train if row.content_hash in fit)
    if not kept:
        raise TrainingError(_nothing_to_learn(list(known.values()), encoder.max_length))
    _refuse_endless(kept, encoder)
    return Checked(
        train=kept,
        held_out=tuple(fit[row.content_hash] for row in held_out if row.content_hash in fit),
        unanswered=unanswered,
        notes=tuple(_notes(list(known.values()), unanswered, encoder.max_length)),
    )


def _nothing_to_learn(examples: Sequence[Example], max_length: int) -> str:
    cut = [example for example in examples if example.cut]
    if cut:
        longest = max(len(example.input_ids) + example.cut for example in examples)
        return (
            f"Every label is masked: the questions alone fill `max_length` ({max_length} tokens), "
            f"so no answer is left to learn from. The longest row has {longest} tokens; raise "
            "`max_length`."
        )
    return (
        "Every label is masked: no row has a token to learn from. The chat template renders the "
        f"answers as nothing (look at {examples[0].row.place}); give another `chat_template`."
    )


def _refuse_endless(train: Sequence[Example], encoder: Encoder) -> None:
    whole = [example for example in train if not example.cut]
    if not whole:
        longest = max(len(example.input_ids) + example.cut for example in train)
        raise TrainingError(
            f"Every row is cut at `max_length` ({encoder.max_length} tokens), so the end of an "
            f"answer is never learned. The longest row has {longest} tokens; raise `max_length`."
        )
    if not any(encoder.stop_ids & set(example.labels) for example in whole):
        ends = encoder.tokenizer.convert_ids_to_tokens(sorted(encoder.stop_ids))
        last = encoder.tokenizer.decode(whole[0].input_ids[-8:])
        raise TrainingError(
            f"The token that ends an answer ({', '.join(ends)}) is in no label, so the tuned "
            f"model would never stop. The template ends a row with {last!r}; give a "
            "`chat_template` that ends an assistant's turn with one of those tokens."
        )


def _notes(examples: Sequence[Example], unanswered: int, max_length: int) -> list[str]:
    notes = []
    if cut := sum(example.cut > 0 for example in examples):
        notes.append(
            f"{cut} of {len(examples)} rows are longer than max_length ({max_length} tokens) and "
            "lose their end."
        )
    if unanswered:
        notes.append(f"{unanswered} rows have no answer left after the cut and are left out.")
    return notes


def shown_example(example: Example, tokenizer: Any) -> str:
    """The row as the model will see it, cut into what is only read and what is learned."""
    parts = [f"One row as it will be learned ({example.row.place}):"]
    position = 0
    for learned, group in groupby(example.labels, key=lambda label: label != IGNORED):
        length = len(list(group))
        ids = list(example.input_ids[position : position + length])
        position += length
        text = _middle_out(tokenizer.decode(ids))
        parts.append(f"  {'learned' if learned else 'read   '} │ " + text.replace("\n", "⏎"))
    return "\n".join(parts)


def _middle_out(text: str) -> str:
    """Both ends of a long text: the end is where the end-of-turn token must be."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"


def check_space(folder: Path, trainable: int, checkpoints: int = 3) -> None:
    """Refuse to start where checkpoints of `trainable` parameters would not fit.

    A checkpoint holds the adapter and AdamW's two moments in float32; unless all are kept, two
    are while a third is written. The finished adapter comes beside them.
    """
    needed = trainable * 4 * (3 * checkpoints + 1) + 64 * 2**20
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"{folder} has {free / 2**20:.0f} MiB free, and this run's checkpoints need about "
            f"{math.ceil(needed / 2**20)} MiB. Free some space or give another `output`."
        )
