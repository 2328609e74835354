"""The expected rating: not the digit that a judge wrote, but the mean of those it weighed up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evalkit.judges.levels import rating_of, yes_of
from evalkit.judges.replies import ITEM, RATING, places
from evalkit.judges.rubrics import Rubric

_LEAST_MASS = 0.5
_MOST_TRAILING = 4  # tokens at the end that are no text: the end of the turn, and the like


def expected_rating(
    alternatives: Sequence[Mapping[str, float]], text: str, rubric: Rubric
) -> float | None:
    """The mean rating (on a checklist the mean share of items that hold) over the probabilities of
    the tokens at the verdict's place.

    `alternatives` holds, for each token of the reply in order, natural log-probabilities of the
    likeliest tokens there, the written one among them. None where the verdict's token cannot be
    found, or where ratings have less than half the probability there.
    """
    found = {key.casefold(): start for key, start in places(text, _keys(rubric))}
    if len(found) != (1 if rubric.scale == "rating" else len(rubric.items)):
        return None
    held = []
    for start in found.values():
        index = _token_at(alternatives, text, start)
        value = None if index is None else _mean(alternatives[index], rubric)
        if value is None:
            return None
        held.append(value)
    return math.fsum(held) / len(held)


def _keys(rubric: Rubric) -> str:
    return RATING if rubric.scale == "rating" else ITEM


def _token_at(alternatives: Sequence[Mapping[str, float]], text: str, place: int) -> int | None:
    """Which token holds a place of the text.

    Which tokens were written is not told, so the text is walked from its end (a rationale may hold
    half characters, which no token's text shows), over all tokens that it may be made of; of
    several ways the likeliest counts.
    """
    text = text.rstrip()
    for trailing in range(_MOST_TRAILING):
        ends = {len(text): 0.0}
        for index in reversed(range(len(alternatives) - trailing)):
            ends = _step_back(alternatives[index], text, ends)
            if not ends:
                break
            likeliest = max(ends, key=lambda start: ends[start])
            if likeliest <= place:
                return index
            ends = {start: value for start, value in ends.items() if start > place}
    return None


def _step_back(
    tokens: Mapping[str, float], text: str, ends: Mapping[int, float]
) -> dict[int, float]:
    """From where a token may end to where it may begin, with the best log-probability of each."""
    begins: dict[int, float] = {}
    for end, so_far in ends.items():
        for token, logprob in tokens.items():
            # White space at the very end is not in the text.
            shown = token.rstrip() if end == len(text) else token
            start = end - len(shown)
            if token and start >= 0 and text.startswith(shown, start, end):
                begins[start] = max(begins.get(start, -math.inf), so_far + logprob)
    return begins


def _mean(tokens: Mapping[str, float], rubric: Rubric) -> float | None:
    """The mean over those tokens that are a rating, weighted by probability."""
    mass = total = 0.0
    for token, logprob in tokens.items():
        value = _value(token, rubric)
        if value is not None:
            probability = math.exp(min(logprob, 0.0))
            mass += probability
            total += probability * value
    return total / mass if mass >= _LEAST_MASS else None


def _value(token: str, rubric: Rubric) -> float | None:
    """What a token says at the verdict's place; quotes, colons and brackets may be part of it."""
    if rubric.scale == "rating":
        return rating_of(token)
    held = yes_of(token)
    return None if held is None else float(held)
