"""What a model's answer is, taken out of all that it wrote around it; one place for all scorers.

A strategy finds an answer, finds none, or finds several that contradict each other. Strategies are
tried in order, and the first that finds anything decides; what is contradictory is not extracted,
and nothing is guessed. tests/scorers/extraction_cases.jsonl and code_cases.jsonl hold what is
promised of them.
"""

from __future__ import annotations

from evalkit.scorers.extraction.choices import choice_in
from evalkit.scorers.extraction.code import Code, code_in, joined
from evalkit.scorers.extraction.found import AMBIGUOUS, NOT_EXTRACTED, Found, Strategy, Which
from evalkit.scorers.extraction.numbers import number_in, numbers, parse_number
from evalkit.scorers.extraction.patterns import pattern_in

__all__ = [
    "AMBIGUOUS",
    "NOT_EXTRACTED",
    "Code",
    "Found",
    "Strategy",
    "Which",
    "choice_in",
    "code_in",
    "joined",
    "number_in",
    "numbers",
    "parse_number",
    "pattern_in",
]
