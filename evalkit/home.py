"""Where evalkit keeps what outlives a run: downloaded models, the completion store, hashes."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`EVALKIT_HOME`, or ~/.cache/evalkit; not created here."""
    given = os.environ.get("EVALKIT_HOME", "").strip()
    return Path(given).expanduser() if given else Path.home() / ".cache" / "evalkit"
