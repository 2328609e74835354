"""How a model's trial ended, noted: one after which texts lie side by side is not repeated.

A trial costs some ten forward passes, which is seconds for a small model and a minute for a large
one on a CPU. One after which texts are read whole or written one at a time is repeated all the
same: the user is told so every time, and what went wrong may have been the day's. Until then its
note says what the work will cost.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from evalkit.home import home
from evalkit.models.hf.logits import UNCHANGED, finish_of
from evalkit.models.hf.network import Network
from evalkit.models.hf.trimming import last_feed_forward


def trial_key(identity: Mapping[str, str]) -> str:
    """Hash of what decides how a base's trial ends: all that its answers' keys hold, and more."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def recall(plain: Network, key: str) -> Network | None:
    """The network with the shortcuts of a trial that was kept; else None."""
    try:
        kept = _noted(key)
        if not (kept["packs"] and kept["desks"]):
            return None
        finish = finish_of(plain.model) if kept["finish"] else UNCHANGED
        logits_from, chains = kept["logits_from"], bool(kept["chains"])
        trimmed = last_feed_forward(plain.model) if kept["trims"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if logits_from not in ("head", "tail"):
        return None
    return replace(
        plain,
        logits_from=logits_from,
        finish=finish,
        packs=True,
        chains=chains,
        desks=True,
        trimmed=trimmed,
    )


def shares(key: str) -> bool | None:
    """Whether all texts are read on shared starts after this model's trial; None: it had none."""
    try:
        return bool(_noted(key)["packs"] and _noted(key)["desks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _noted(key: str) -> dict[str, Any]:
    noted: dict[str, Any] = json.loads((home() / "trials" / key).read_text(encoding="ascii"))
    return noted


def keep(fast: Network, key: str) -> None:
    """Note how the trial of this network ended."""
    row = {
        "packs": fast.packs,
        "desks": fast.desks,
        "logits_from": fast.logits_from,
        "finish": fast.finish != UNCHANGED,
        "chains": fast.chains,
        "trims": fast.trimmed is not None,
    }
    note = home() / "trials" / key
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_name(f"{key}.{os.getpid()}")
        fresh.write_text(json.dumps(row) + "\n", encoding="ascii")
        fresh.replace(note)
