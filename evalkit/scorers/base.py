"""What a scorer is: a function with its options closed over, and the metrics it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from evalkit.records import Completion, Metric, Sample, Score

ScoreFunction: TypeAlias = Callable[[Sample, Sequence[Completion]], list[Score]]
"""One sample and its completion, or one for each choice, to one Score per metric.

Every metric of the scorer is answered every time; what could not be scored is a Score whose
value is None with a reason. `Score.scorer` is the metric's name.
"""

ScoreAll: TypeAlias = Callable[
    [Sequence[tuple[Sample, Sequence[Completion]]]], Iterator[Sequence[Score]]
]
"""Samples with their completions to the scores of each, in their order; see ScoreFunction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A family of scores of one completion; `metrics[0]` is the one to gate by default.

    `tasks` are the kinds of suite whose completions it can read; none means any.

    `notes` tell a reader of the run how far the numbers can be trusted (a classifier's held-out
    AUC, for instance). `references` holds the means of metrics over the reference texts it read.
    A `pooled` scorer is given all of a sample's generated answers at once, be it one or several;
    any other is given one at a time, and its scores are averaged.

    `score_all` stands in for `score` where a suite is scored: it works on several samples at once,
    and gives up what it has begun when its iterator is closed. A scorer that `runs_code` runs
    programs that a model wrote; nobody's suite does that without leave.
    """

    name: str
    metrics: tuple[Metric, ...]
    score: ScoreFunction
    notes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    references: Mapping[str, float] = field(default_factory=dict)
    pooled: bool = False
    score_all: ScoreAll | None = None
    runs_code: bool = False
