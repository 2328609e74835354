"""How long an answer is, in the unit that suits its language."""

from __future__ import annotations

from typing import Literal

from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import characters, words


def length(
    context: ScorerContext, *, unit: Literal["auto", "characters", "words"] = "auto"
) -> Scorer:
    """The length of the answer, described and never judged.

    `auto` counts characters without white space in suites that are Chinese or mixed, where
    words have no borders, and words in all others. An empty answer has a length of 0.
    """
    chosen = unit
    if unit == "auto":
        chosen = "characters" if context.language in {"zh", "mixed"} else "words"

    def measure(_sample: Sample, text: str) -> tuple[Value]:
        return (Value(float(characters(text) if chosen == "characters" else len(words(text)))),)

    metric = Metric(name="length", higher_is_better=None, unit=chosen, least=0.0)
    return text_scorer("length", (metric,), measure)
