"""How much the paired differences of a suite scatter, before they are known, and who says so.

A pilot is asked first, then what the gate declares, then what is usual. What is not known stays
unknown: no number is made up for a score without a scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from evalkit.config import Expected
from evalkit.estimates import grouped
from evalkit.records import Comparison, Delta, Metric, Result, Run, Sample, Score, metric_name
from evalkit.stats.means import mean_difference
from evalkit.stats.power import cautious_deviation_binary, resampled_deviation
from evalkit.stats.repeats import variance_components

Source: TypeAlias = Literal["pilot", "one_arm", "declared", "default", "threshold", "unknown"]

USUAL_FLIPS = 0.20
"""Share of right-or-wrong scores that flip. The two recipes of the demo flip 10 to 24 % in
knowledge, arithmetic and short answers (docs/results/demo.md)."""
USUAL_SPREAD = 0.25
"""Deviation of the differences as a share of the scale: that of two scores that are spread evenly
over it and correlate with 0.6 (√(2·(1 − 0.6)/12) = 0.26). The demo's style score has 0.17 to 0.20.
"""
USUAL_PREFERENCE = 0.8
"""Deviation of 2u − 1, where u is a judge's preference for the tuned arm, between models that are
near each other: AlpacaEval's recorded judgements of two models that win 63 and 65 % have 0.81."""
USUAL_CORRELATION = 0.5
"""Of the two arms' scores, where only one of them is known: the middle of the 0.3 to 0.7 that
Miller (2024) reports between models. The differences then scatter like the scores themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The deviation of the differences (for `absolute`, of the tuned score) in the metric's unit.

    `flips` is the share of samples whose binary score changes, where the deviation comes of it.
    `clustered`: the deviation already allows for samples that belong together. None: not known.
    """

    source: Source
    deviation: float | None = None
    flips: float | None = None
    clustered: bool = False


UNKNOWN = Noise(source="unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Earlier results: comparisons, or a run of one arm."""

    comparisons: tuple[Comparison, ...] = ()
    run: Run | None = None

    @property
    def suites(self) -> set[str]:
        """The suites it holds."""
        manifests = [one.base for one in self.comparisons]
        manifests += [self.run.manifest] if self.run else []
        return {info.name for manifest in manifests for info in manifest.suites}


def of_pilot(
    pilot: Pilot, suite: str, metric: Metric, part: str = "", completions: int = 1
) -> Noise:
    """The noise of the differences that a pilot shows; of several tuned arms, of the noisiest.

    A slice that the pilot lacks scatters like its whole suite.
    """
    if pilot.run is not None:
        return _of_one_arm(pilot.run, suite, metric, part, completions)
    for name in dict.fromkeys((part, "")):
        found = [_of_delta(one, completions) for one in _deltas(pilot, suite, metric, name)]
        known = [one for one in found if one.deviation is not None]
        if known:
            return max(known, key=lambda one: one.deviation or 0.0)
    return UNKNOWN


def own_of_pilot(pilot: Pilot, suite: str, metric: Metric) -> Noise:
    """The noise of the tuned arm's own score; of a run of one arm, of that arm's."""
    if pilot.run is not None:
        scores, clusters = _scores(pilot.run, suite, metric)
        return _known(_deviation([one.value for one in scores], clusters), "one_arm")
    errors = [
        one.tuned_error * math.sqrt(one.n)
        for one in _deltas(pilot, suite, metric, "")
        if one.tuned_error
    ]
    return _known(max(errors, default=None), "pilot")


def declared(metric: Metric, own: Expected | None, shared: Expected) -> Noise:
    """What the gate expects: a suite's own word, then that for all."""
    expected = own or Expected()
    if metric.kind == "binary":
        flips = expected.flips or shared.flips
        return _of_flips(flips, "declared") if flips else UNKNOWN
    return _known(expected.deviation or shared.deviation, "declared")


def usual(metric: Metric) -> Noise:
    """What is usual of such a score; unknown of one without a scale, and of a corpus."""
    if metric.kind == "binary":
        return _of_flips(USUAL_FLIPS, "default")
    if metric.name.startswith(metric_name("", "pairwise")):
        # A corrected one hangs on the number of labels.
        corrected = metric.name.endswith(".corrected")
        return UNKNOWN if corrected else _known(USUAL_PREFERENCE, "default")
    span = scale_of(metric)
    if metric.kind != "continuous" or span is None:
        return UNKNOWN
    return _known(USUAL_SPREAD * span, "default")


def at_threshold(metric: Metric, bounds: Iterable[float | None]) -> Noise:
    """The noise of a share that lies at its floor or ceiling: √(p(1 − p)), the larger of them."""
    if metric.kind != "binary":
        return UNKNOWN
    spreads = [p * (1 - p) for p in bounds if p is not None and 0 < p < 1]
    return _known(math.sqrt(max(spreads)) if spreads else None, "threshold")


def scale_of(metric: Metric) -> float | None:
    """The width of the metric's scale; None where it has no bounds."""
    if metric.kind == "binary":
        return 1.0
    if metric.least is None or metric.most is None:
        return None
    return metric.most - metric.least


def _known(deviation: float | None, source: Source) -> Noise:
    if not deviation or not math.isfinite(deviation):
        return UNKNOWN
    pilot = source in ("pilot", "one_arm")
    return Noise(source=source, deviation=deviation, clustered=pilot)


def _of_flips(flips: float, source: Source) -> Noise:
    return Noise(source=source, deviation=math.sqrt(flips), flips=flips)


def _deltas(pilot: Pilot, suite: str, metric: Metric, part: str) -> list[Delta]:
    wanted = (suite, metric.name, part)
    return [
        delta
        for comparison in pilot.comparisons
        for delta in comparison.deltas
        if (delta.suite, delta.metric.name, delta.slice) == wanted and delta.n
    ]


def _of_delta(delta: Delta, completions: int) -> Noise:
    """Flips are bounded from above: few of them in a small pilot do not make a quiet suite."""
    grouped_samples = 0 < delta.clusters < delta.n
    if delta.metric.kind == "binary" and delta.completions == 1 and not grouped_samples:
        cautious = cautious_deviation_binary(delta.gained + delta.lost, delta.n)
        return _of_flips(cautious**2, "pilot") if cautious else UNKNOWN
    if not delta.standard_error:
        return UNKNOWN
    seen = delta.standard_error * math.sqrt(delta.n)
    return _known(seen * _fewer_or_more(delta, completions), "pilot")


def _fewer_or_more(delta: Delta, completions: int) -> float:
    """What another number of completions makes of the deviation, as a factor."""
    if delta.between is None or delta.within_base is None or delta.within_tuned is None:
        return 1.0
    parts = delta.between, delta.within_base, delta.within_tuned
    now = resampled_deviation(*parts, delta.completions)
    return resampled_deviation(*parts, completions) / now if now > 0 else 1.0


def _of_one_arm(run: Run, suite: str, metric: Metric, part: str, completions: int) -> Noise:
    """σ_d² = 2σ²(1 − ρ), with an assumed correlation ρ of the arms (see USUAL_CORRELATION)."""
    if metric.kind not in ("binary", "continuous"):
        return UNKNOWN  # an aggregate over the corpus does not scatter like its documents' scores
    scores, clusters = _scores(run, suite, metric, part)
    if part and not scores:
        scores, clusters = _scores(run, suite, metric)
    apart = math.sqrt(2 * (1 - USUAL_CORRELATION))
    if metric.kind == "binary" and not any(one.values for one in scores) and not any(clusters):
        rate = _cautious_rate([one.value for one in scores])
        if rate is None:
            return UNKNOWN
        # With equal rates the share that flips is the variance of the differences (Connor 1987).
        return _of_flips(rate * (1 - rate) * apart**2, "one_arm")
    deviation = _deviation([one.value for one in scores], clusters)
    if deviation is None:
        return UNKNOWN
    return _known(deviation * apart * _of_completions(scores, completions), "one_arm")


def _cautious_rate(values: Sequence[float | None]) -> float | None:
    """A share moved towards one half as far as the scores allow: 0 of 50 is not a rate of 0."""
    right = sum(value == 1 for value in values)
    spread = cautious_deviation_binary(min(right, len(values) - right), len(values))
    return None if spread is None else min(spread**2, 0.5)


def _deviation(values: Sequence[float | None], clusters: Sequence[str]) -> float | None:
    """The (cluster-robust) standard error of a mean, times √n; None where there is none."""
    numbers = np.array(values, dtype=np.float64)
    error = mean_difference(numbers, grouped(clusters)).standard_error
    return error * math.sqrt(len(numbers)) if error > 0 else None


def _of_completions(scores: Sequence[Score], completions: int) -> float:
    """What another number of completions makes of one arm's deviation, as a factor."""
    answers = [(one.sample_id, value) for one in scores for value in one.values]
    parts = variance_components(
        np.array([value for _, value in answers], dtype=np.float64), [name for name, _ in answers]
    )
    if parts is None:
        return 1.0
    now = parts.between + parts.within / parts.repeats
    return math.sqrt((parts.between + parts.within / completions) / now) if now > 0 else 1.0


def _scores(
    run: Run, suite: str, metric: Metric, part: str = ""
) -> tuple[list[Score], Sequence[str]]:
    """A run's usable scores of a metric, and the clusters of their samples."""
    found = [
        (score, result.sample.cluster)
        for result in run.results
        if result.sample.suite == suite and in_slice(result.sample, part)
        for score in _usable(result, metric)
    ]
    return [score for score, _ in found], [cluster for _, cluster in found]


def _usable(result: Result, metric: Metric) -> Iterable[Score]:
    for score in result.scores:
        if score.scorer == metric.name and score.value is not None and math.isfinite(score.value):
            yield score


def in_slice(sample: Sample, part: str) -> bool:
    """Whether a sample lies in "key=value"; every sample lies in ""."""
    return not part or part in sample.slice_names
