"""One judging as JSON holds it: the record's own fields, and what the gate goes by."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evalkit.gate.trust import reasons
from evalkit.records import Comparison, Judging
from reports.judging.words import win_rate


def judging_row(comparison: Comparison, judging: Judging) -> dict[str, Any]:
    """The record, flat; `win_rate` is that of all its judges, `untrusted` every reason."""
    rate = win_rate(comparison, judging)
    return {
        **asdict(judging),
        "win_rate": asdict(rate) if rate else None,
        "untrusted": list(reasons(comparison, judging)),
    }
