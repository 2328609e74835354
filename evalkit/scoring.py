"""A suite's answers become scores: every metric of every sample once, with or without a value."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from typing import TypeAlias

from evalkit.harnesses.base import Suite
from evalkit.records import Completion, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.generated import unscored, unusable
from evalkit.scorers.repeats import score_each

Answered: TypeAlias = tuple[Sample, Sequence[Completion]]
"""A sample with the completions that are scored."""


def score_suite(
    suite: Suite, answered: Sequence[Answered]
) -> Generator[tuple[Score, ...], None, None]:
    """The scores of each sample, in order; close it to give up what was begun."""
    with ExitStack() as stack:
        columns = [
            stack.enter_context(closing(_column(suite, scorer, answered)))
            for scorer in suite.scorers
        ]
        for _, *row in zip(answered, *columns, strict=True):
            yield tuple(chain.from_iterable(row))


def _column(
    suite: Suite, scorer: Scorer, answered: Sequence[Answered]
) -> Generator[Sequence[Score], None, None]:
    """What one scorer says of each sample; where a completion is missing it says why."""
    if scorer.score_all is not None:
        yield from scorer.score_all(answered)
        return
    for sample, completions in answered:
        if suite.repeated and completions:
            yield score_each(scorer, sample, completions)
            continue
        broken = next(filter(None, map(unusable, completions)), "")
        if broken:
            yield unscored(sample, scorer.metrics, broken)
        else:
            yield scorer.score(sample, completions)
