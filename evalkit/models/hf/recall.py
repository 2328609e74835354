"""A trial after which texts lie side by side, kept: the very same model need not stand it again.

A trial costs some ten forward passes, which is seconds for a small model and a minute for a large
one on a CPU. One after which texts are read whole or written one at a time is not kept: the user
is told so every time, and what went wrong may have been the day's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

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
        kept = json.loads((home() / "trials" / key).read_text(encoding="ascii"))
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


def keep(fast: Network, key: str) -> None:
    """Note the trial of a network whose texts lie side by side, in scoring and in writing."""
    if not (fast.packs and fast.desks and fast.logits_from != "full"):
        return
    row = {
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
