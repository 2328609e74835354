"""What a suite's own regular expression takes out of an answer."""

from __future__ import annotations

import re

from evalkit.scorers.extraction.found import NOT_EXTRACTED, Found, Which, chosen


def pattern_in(
    text: str, pattern: re.Pattern[str], group: int | str, which: Which = "last"
) -> Found[str]:
    """What a group of the pattern holds where it matches first or last."""
    found = [Found(match[group]) for match in pattern.finditer(text) if match[group] is not None]
    return chosen(found, which) if found else Found(None, NOT_EXTRACTED)
