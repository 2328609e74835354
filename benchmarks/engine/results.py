"""docs/results/engine.json: one record for each row and dtype that was measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import cores, memory, processor, system, versions

PACKAGES = ("evalkit-compare", "lm_eval", "torch", "transformers", "peft", "tokenizers", "numpy")

Record = dict[str, Any]
"""What one row measured; see `Results.put` for what every record has."""


@dataclass(slots=True)
class Results:
    """The records by row and dtype; those that were not measured say why under `reason`.

    `places` are the machines and versions they were measured with, named by their index.
    """

    file: Path
    rows: dict[str, dict[str, Record]] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Results:
        """What was measured before; empty where there is no file."""
        if not file.is_file():
            return cls(file)
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(file, rows=content["rows"], places=content["places"])

    def put(self, row: str, dtype: str, record: Record, place: Mapping[str, Any]) -> None:
        """Replace one record and write the file: what is measured is never lost."""
        if place not in self.places:
            self.places.append(dict(place))
        where = self.places.index(dict(place))
        today = datetime.now(UTC).date().isoformat()
        self._set(row, dtype, {**record, "date": today, "commit": _commit(), "place": where})

    def is_current(self, row: str, dtype: str, place: Mapping[str, Any], asked: str) -> bool:
        """Whether a record is of this place and these sizes, and of the code that is here now."""
        record = self.rows.get(row, {}).get(dtype, {})
        return (
            "value" in record
            and "failed" not in record
            and record.get("asked") == asked
            and self.places[record["place"]] == place
            and _is_unchanged(record["commit"])
        )

    def adopt(self, other: Results, row: str, dtype: str) -> None:
        """Take a record from a checkout's notes, with its date, commit and place; what was asked,
        folders of that machine among it, stays there."""
        record = {name: one for name, one in other.rows[row][dtype].items() if name != "asked"}
        place = other.places[record["place"]]
        if place not in self.places:
            self.places.append(place)
        self._set(row, dtype, {**record, "place": self.places.index(place)})

    def leave_out(self, row: str, dtype: str, reason: str) -> None:
        """Say why a row was not measured; a record of an earlier run stays."""
        if "value" not in self.rows.get(row, {}).get(dtype, {}):
            self._set(row, dtype, {"reason": reason})

    def fail(self, row: str, dtype: str, reason: str) -> None:
        """Say that a row failed, beside what an earlier run measured."""
        record = self.rows.get(row, {}).get(dtype, {})
        self._set(row, dtype, {**record, "reason": reason, "failed": _commit()})

    def _set(self, row: str, dtype: str, record: Record) -> None:
        self.rows.setdefault(row, {})[dtype] = record
        self._forget_places()
        content = {"places": self.places, "rows": self.rows}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded(content), indent=1, ensure_ascii=False)
        self.file.write_text(text + "\n", encoding="utf-8")

    def _forget_places(self) -> None:
        """Drop places whose records have all been measured anew elsewhere."""
        records = [one for each in self.rows.values() for one in each.values() if "place" in one]
        used = sorted({one["place"] for one in records})
        for one in records:
            one["place"] = used.index(one["place"])
        self.places = [self.places[index] for index in used]


def place_of(device: str, threads: int) -> dict[str, Any]:
    """The machine and what is installed on it."""
    return {
        "system": system(),
        "processor": processor(),
        "cores": cores(),
        "threads": threads,
        "memory_gib": round(memory() / 2**30),
        "gpu": _gpu() if device != "cpu" else "",
        "versions": versions(PACKAGES),
    }


def _gpu() -> str:
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return told.stdout.strip() or "unknown"


MEASURED = ("evalkit", "benchmarks/engine", "examples", "suites")
"""What a record is a measure of, by and with."""


def _commit() -> str:
    """What was measured; a plus where files of it were changed since, or are not in git."""
    changed = _git("status", "--porcelain", "--", *MEASURED)
    return (_git("rev-parse", "--short", "HEAD") or "") + ("+" if changed else "")


def _is_unchanged(commit: str) -> bool:
    """Whether the files are those of this commit, which a plus says that they never were."""
    new = _git("ls-files", "--others", "--exclude-standard", "--", *MEASURED)
    return new == "" == _git("diff", commit, "--", *MEASURED)


def _git(*arguments: str) -> str | None:
    """What git says; None where it fails, or is not there."""
    try:
        told = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def middle(values: list[float]) -> float:
    """The median of the repeats."""
    return float(median(values))


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as mean something, so that the file stays small."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: _rounded(one) for key, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
        case _:
            return value
