"""One arm on its own: the value of every metric, with an interval and what is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalkit.estimates import LEVEL, alone
from evalkit.records import Metric, Run, Score

__all__ = ["LEVEL", "MetricSummary", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """A metric of one suite over one arm's samples; None where it cannot be told."""

    suite: str
    metric: Metric
    gated: bool
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


def summarise(run: Run) -> list[MetricSummary]:
    """Every metric of every suite, in the suites' order; missing scores are counted, not zero."""
    scores: dict[tuple[str, str], list[Score]] = {}
    clusters: dict[tuple[str, str], list[str]] = {}
    samples: dict[str, int] = {}
    for result in run.results:
        suite = result.sample.suite
        samples[suite] = samples.get(suite, 0) + 1
        for score in result.scores:
            if score.value is not None and math.isfinite(score.value):
                scores.setdefault((suite, score.scorer), []).append(score)
                clusters.setdefault((suite, score.scorer), []).append(result.sample.cluster)
    rows = []
    for info in run.manifest.suites:
        for metric in info.metrics:
            key = (info.name, metric.name)
            mine = scores.get(key, [])
            value, interval = alone(metric, mine, clusters.get(key, []))
            if info.name in run.manifest.early:
                interval = None  # it would be one for a number of samples fixed beforehand
            rows.append(
                MetricSummary(
                    suite=info.name,
                    metric=metric,
                    gated=metric.name == info.metric,
                    value=value,
                    low=interval.low if interval else None,
                    high=interval.high if interval else None,
                    n=len(mine),
                    missing=samples.get(info.name, 0) - len(mine),
                )
            )
    return rows
