"""One arm, evaluated: metrics, results, what a run remembers of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from evalkit.records.samples import Completion, Sample, Score

CheckStatus: TypeAlias = Literal["ok", "warning", "failed"]
MetricKind: TypeAlias = Literal[
    "binary", "continuous", "ratio", "perplexity", "bleu", "chrf", "mcc"
]
Policy: TypeAlias = Literal["non_inferiority", "superiority", "equivalence", "absolute", "point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How the scores of one scorer are read; `higher_is_better` None: described, never judged.

    A "ratio" is the sum of the samples' first statistic over that of their second, a "perplexity"
    its exponential; "bleu" and "chrf" are computed from the sums of sacrebleu's statistics, "mcc"
    (Matthews' correlation) from the confusion matrix, the others are means over samples. `least`,
    `most` bound a sample's score, where its scale is bounded. `extraction_of` names the metric
    whose scores are 0 where this one says that no answer could be taken out of what was written.
    """

    name: str
    higher_is_better: bool | None = True
    kind: MetricKind = "continuous"
    unit: str = ""
    least: float | None = None
    most: float | None = None
    extraction_of: str = ""

    @property
    def scale(self) -> tuple[float, float] | None:
        """Between which values every sample's score lies; None where it has no bounds.

        A ratio of sums is no mean of its samples' scores, so bounds of theirs say nothing of it.
        """
        if self.kind == "binary":
            return (0.0, 1.0)
        if self.kind != "continuous" or self.least is None or self.most is None:
            return None
        return (self.least, self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that one run knows about one sample."""

    sample: Sample
    completions: tuple[Completion, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteInfo:
    """What a run remembers of a suite it was measured on; `metric` is the one that is gated.

    `references` holds the mean of a metric over the suite's reference texts, where one is known.
    `samples` were asked, of the `available` ones of the whole suite; `slices` counts the latter by
    slice ("topic=history"). Both are None where a run does not tell. `margin_metric` is the one
    that `margin` was declared for, where a gate names another; `aspect` the ability that the suite
    stands for, where it was asked as one of a set. `rubrics` are those by which its answers are
    judged, where a run has a judge.
    """

    name: str
    title: str
    language: str
    task: str
    metric: str
    metrics: tuple[Metric, ...]
    fingerprint: str
    path: str
    samples: int
    policy: Policy = "non_inferiority"
    margin: float = 0.02
    license: str = ""
    source: str = ""
    description: str = ""
    references: Mapping[str, float] = field(default_factory=dict)
    available: int | None = None
    slices: Mapping[str, int] | None = None
    margin_metric: str = ""
    aspect: str = ""
    rubrics: tuple[str, ...] = ()

    @property
    def gated(self) -> Metric:
        """The metric that is gated."""
        return next(one for one in self.metrics if one.name == self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """How far a run went with a suite that was looked at after every block of samples.

    `planned` samples were to be asked, and as many of them by slice as `slices` says; they count
    as `draws` clusters (one without a cluster is its own), the largest of which has `largest`
    samples. `asked` were, and are the run's results: the first in the order of the run's seed.
    `settled`: they were enough for the verdict; else the suite was asked to its end. `alphas` are
    the one-sided levels at which it was looked at. `requests` were made of `planned_requests`.
    The gate asks of `metric`, for each of `claims` ("" the whole suite, else a slice); with
    `absolute`, of the tuned score itself. Runs that do not tell the metric have it "".
    """

    planned: int
    draws: int
    largest: int
    slices: Mapping[str, int] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    metric: str = ""
    claims: tuple[str, ...] = ("",)
    absolute: bool = False
    asked: int = 0
    settled: bool = False
    planned_requests: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A canary: a condition without which the comparison would mean nothing."""

    name: str
    status: CheckStatus
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Who, what, when of a run; written last, so its existence means the run is complete.

    `early` holds the suites that could be stopped before their end, by name: no interval for a
    fixed number of samples is right for them.
    """

    schema_version: int
    run_id: str
    name: str
    config: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    suites: tuple[SuiteInfo, ...]
    versions: Mapping[str, str]
    git_commit: str
    seed: int
    started: str
    finished: str
    counts: Mapping[str, int]
    measures: Mapping[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    early: Mapping[str, EarlyStop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One arm, evaluated."""

    manifest: Manifest
    results: tuple[Result, ...]
    path: str = ""
