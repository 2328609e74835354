"""Places in report.html that other reports lead to: a suite's row, a changed answer."""

from __future__ import annotations

import hashlib


def suite_anchor(run_id: str, label: str) -> str:
    """The id of the row of a suite, or of a gated slice, in the table of one tuned arm."""
    return f"suite-{_mark(run_id, label)}"


def sample_anchor(run_id: str, suite: str, sample_id: str) -> str:
    """The id of a changed answer of one tuned arm."""
    return f"sample-{_mark(run_id, suite, sample_id)}"


def _mark(*names: str) -> str:
    # Names are untrusted and may hold anything: a hash needs no escaping in any format.
    whole = "\0".join(names).encode("utf-8", "surrogatepass")
    return hashlib.sha256(whole).hexdigest()[:12]
