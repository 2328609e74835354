"""How varied a text is, and whether it has fallen into a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import words


def diversity(_context: ScorerContext, *, repeated: Annotated[int, Field(ge=1)] = 4) -> Scorer:
    """distinct-1 and distinct-2 (Li et al. 2016), repeated n-grams and loops.

    Tokens are words, and single characters of Chinese. `repetition` is the share of `repeated`-
    grams that occurred before in the text (seq-rep-n, Welleck et al. 2020); `loop` the share of
    the text taken by its longest run of one piece said three times or more in a row. A higher
    distinct-n is no merit by itself (it falls with length), so these two are described only.
    """
    metrics = (
        Metric(name="repetition", higher_is_better=False, unit="share", least=0.0, most=1.0),
        Metric(name="loop", higher_is_better=False, unit="share", least=0.0, most=1.0),
        Metric(name="distinct_1", higher_is_better=None, unit="share", least=0.0, most=1.0),
        Metric(name="distinct_2", higher_is_better=None, unit="share", least=0.0, most=1.0),
    )

    def measure(_sample: Sample, text: str) -> list[Value]:
        tokens = [word.casefold() for word in words(text)]
        if not tokens:
            return [Value(None, "no words to count")] * len(metrics)
        return [
            Value(_repetition(tokens, repeated)),
            Value(longest_loop(tokens) / len(tokens)),
            Value(distinct(tokens, 1)),
            _distinct_2(tokens),
        ]

    return text_scorer("diversity", metrics, measure)


def distinct(tokens: Sequence[str], n: int) -> float:
    """Different n-grams per n-gram; raises ValueError where there is none."""
    grams = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    if not grams:
        raise ValueError(f"fewer than {n} tokens")
    return len(set(grams)) / len(grams)


def _repetition(tokens: Sequence[str], n: int) -> float:
    # A text of fewer than n tokens repeats nothing.
    return 1 - distinct(tokens, n) if len(tokens) >= n else 0.0


def _distinct_2(tokens: Sequence[str]) -> Value:
    return Value(distinct(tokens, 2)) if len(tokens) > 1 else Value(None, "a single word")


def longest_loop(tokens: Sequence[str]) -> int:
    """Tokens in the longest run of one piece repeated three times or more without a break."""
    _, codes = np.unique(np.array(list(tokens), dtype=str), return_inverse=True)
    longest = 0
    for period in range(1, len(tokens) // 3 + 1):
        same = codes[period:] == codes[:-period]
        if np.count_nonzero(same) < 2 * period:
            continue
        breaks = np.flatnonzero(np.concatenate(([True], ~same, [True])))
        run = int(np.diff(breaks).max()) - 1
        if run >= 2 * period:
            longest = max(longest, run + period)
    return longest
