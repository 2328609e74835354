"""Several answers to each question: how much of the noise is theirs, how much the questions'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evalkit.records import Delta, Score
from evalkit.stats.base import Reals
from evalkit.stats.repeats import (
    Components,
    difference_components,
    paired_components,
    variance_components,
)


def answers_of(scores: Sequence[Score]) -> int:
    """The most answers that were averaged for a sample; 1 where there was nothing to average."""
    return max((len(one.values) for one in scores), default=0) or 1


def with_components(delta: Delta, base: Sequence[Score], tuned: Sequence[Score]) -> Delta:
    """The delta with its number of answers and the components of their variance.

    Scores are those of the pairs [n], in one order. A component is None where no sample has two
    answers, or where there is one sample.
    """
    count = answers_of((*base, *tuned))
    if count == 1:
        return delta
    delta = replace(delta, completions=count)
    of_base, of_tuned = _components(base), _components(tuned)
    both = None
    if {len(one.values) for one in (*base, *tuned)} == {count}:
        both = paired_components(_table(base), _table(tuned))
    elif of_base and of_tuned:
        both = difference_components(of_base, of_tuned, _means(tuned) - _means(base))
    return replace(
        delta,
        between=both.between if both else None,
        within_base=of_base.within if of_base else None,
        within_tuned=of_tuned.within if of_tuned else None,
    )


def _components(scores: Sequence[Score]) -> Components | None:
    names = [str(place) for place, one in enumerate(scores) for _ in one.values]
    values = [value for one in scores for value in one.values]
    return variance_components(np.array(values, dtype=np.float64), names)


def _table(scores: Sequence[Score]) -> Reals:
    return np.array([one.values for one in scores], dtype=np.float64)


def _means(scores: Sequence[Score]) -> Reals:
    return np.array([one.value for one in scores], dtype=np.float64)
