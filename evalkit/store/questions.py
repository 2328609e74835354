"""What tells one sample from another at a glance: its question, read from a run's samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb

from evalkit.errors import StoreError

_SOME = """
SELECT * FROM read_parquet($file) WHERE suite = $suite AND list_contains($ids, sample_id)
"""


def question(prompt: str, lead: int | None) -> str:
    """What tells the sample from the others: the text asked without what comes before the question
    or, where that is not known, its last block, which follows the examples it may begin with."""
    value = json.loads(prompt)
    text = str(value if isinstance(value, str) else value[-1]["content"])
    return text.strip().rsplit("\n\n", 1)[-1] if lead is None else text[lead:].strip()


def questions(folder: Path, suite: str, ids: Sequence[str]) -> dict[str, str]:
    """The questions of some samples of a run, by id; StoreError where they cannot be read."""
    file = folder / "samples.parquet"
    asked = {"file": str(file), "suite": suite, "ids": list(ids)}
    try:
        # Nothing may be fetched from the network behind the user's back.
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
            cursor = database.execute(_SOME, asked)
            columns = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    except (duckdb.Error, OSError) as error:
        raise StoreError(f"{file} cannot be read: {error}.") from error
    # `lead` is absent in runs of an earlier version.
    return {row["sample_id"]: question(row["prompt"], row.get("lead")) for row in rows}
