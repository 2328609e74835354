"""One arm on its own: the value of every metric, with an interval and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.records import Metric, Run
from evalkit.stats import paired

LEVEL = 0.95


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
    scores: dict[tuple[str, str], list[float]] = {}
    clusters: dict[tuple[str, str], list[str]] = {}
    samples: dict[str, int] = {}
    for result in run.results:
        suite = result.sample.suite
        samples[suite] = samples.get(suite, 0) + 1
        for score in result.scores:
            if score.value is not None and math.isfinite(score.value):
                scores.setdefault((suite, score.scorer), []).append(score.value)
                clusters.setdefault((suite, score.scorer), []).append(result.sample.cluster)
    rows = []
    for info in run.manifest.suites:
        for metric in info.metrics:
            key = (info.name, metric.name)
            values = scores.get(key, [])
            low, high = _interval(values, clusters.get(key, []), metric)
            rows.append(
                MetricSummary(
                    suite=info.name,
                    metric=metric,
                    gated=metric.name == info.metric,
                    value=math.fsum(values) / len(values) if values else None,
                    low=low,
                    high=high,
                    n=len(values),
                    missing=samples.get(info.name, 0) - len(values),
                )
            )
    return rows


def _interval(
    values: Sequence[float], clusters: Sequence[str], metric: Metric
) -> tuple[float | None, float | None]:
    """Wilson's interval for a share (Wilson 1927); Student's t otherwise, clusters allowed for."""
    clustered = any(clusters)
    if values and metric.kind == "binary" and not clustered and set(values) <= {0.0, 1.0}:
        test = stats.binomtest(int(sum(values)), len(values))
        bounds = test.proportion_ci(LEVEL, method="wilson")
        return float(bounds.low), float(bounds.high)
    names = [name or f"\0{i}" for i, name in enumerate(clusters)] if clustered else []
    found = paired.t_interval(paired.mean_difference(np.array(values), names), LEVEL)
    return (found.low, found.high) if found else (None, None)
