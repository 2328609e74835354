"""The data card of a training, laid out as the trainer's own data_card.md is.

The card is read from a file and may be an older one, or no card at all: what is not there is shown
as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.dashboard import markup
from reports.dashboard.markup import Markup
from reports.wording import UNKNOWN

_FILE = {
    "path": "File",
    "rows": "Rows",
    "duplicates": "Duplicates",
    "train": "Train",
    "held_out": "Held out",
    "weight": "Weight",
    "license": "Licence",
    "sha256": "SHA-256",
}
_COUNTS = ("rows", "duplicates", "train", "held_out", "weight")
_QUANTILES = {"shortest": "Shortest", "median": "Median", "p95": "95 %", "longest": "Longest"}


def files(card: Mapping[str, Any]) -> Markup:
    """One row for each file of the data."""
    listed = card.get("files")
    told = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    rows = [[_cell(one, key) for key in _FILE] for one in told]
    numeric = [index for index, key in enumerate(_FILE) if key in _COUNTS]
    return markup.table(list(_FILE.values()), rows, numeric=numeric)


def counts(card: Mapping[str, Any]) -> Markup:
    """What became of the rows, and how many tokens an epoch has."""
    longest = value(card.get("max_length"))
    names = {
        "train_rows": "rows in an epoch",
        "held_out_rows": "rows held out, never trained on",
        "tokens": "tokens in an epoch",
        "learned_tokens": "tokens learned (the answers)",
        "truncated": f"rows cut at {longest} tokens",
        "unanswered": "rows left out, no answer left after the cut",
        "seed": "seed of the split",
    }
    rows = [[name, value(card.get(key))] for key, name in names.items()]
    return markup.table(["", ""], rows, numeric=(1,))


def lengths(card: Mapping[str, Any]) -> Markup:
    """Tokens per row, of the whole and of the answer."""
    parts = {"whole": card.get("lengths"), "answer": card.get("answer_lengths")}
    rows = [
        [name, *(value(found.get(key)) for key in _QUANTILES)]
        for name, found in parts.items()
        if isinstance(found, dict)
    ]
    return markup.table(["Tokens per row", *_QUANTILES.values()], rows, numeric=range(1, 5))


def _cell(one: Mapping[str, Any], key: str) -> str:
    if key == "license":
        return value(one.get(key) or "not stated")
    if key == "sha256":
        return str(one.get(key) or UNKNOWN)[:16]
    return value(one.get(key))


def value(found: object) -> str:
    """A value of a JSON file as a reader would write it."""
    match found:
        case None | "":
            return UNKNOWN
        case bool():
            return "yes" if found else "no"
        case int():
            return f"{found:,}"
        case float():
            return f"{found:g}"
        case list():
            return ", ".join(map(value, found))
        case _:
            text = str(found)
            return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text  # a SHA-256
