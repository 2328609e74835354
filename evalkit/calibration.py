"""Does the gate err as seldom as it says? It is asked about data whose truth is known.

The A/A test: pairs of arms without a difference, and pairs that differ by the margin exactly. What
decides is the gate itself, from a delta that is estimated as any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evalkit.config import GateConfig
from evalkit.errors import UsageError
from evalkit.estimates import Scored, estimated, grouped
from evalkit.gate import decide
from evalkit.progress import Progress, Silent
from evalkit.records import (
    Comparison,
    Delta,
    Manifest,
    Metric,
    MetricKind,
    Outcome,
    Result,
    Run,
    Score,
    SuiteInfo,
)
from evalkit.stats.base import Reals
from evalkit.stats.calibrate import (
    Case,
    ErrorRates,
    Kind,
    Rate,
    Rule,
    cases,
    error_rates,
    split_rates,
)

SIMULATIONS, QUICK_SIMULATIONS = 1000, 300
SEED = 20260105
_DOUBT = 0.01  # chance that a calibration in which every rate is alpha is called off
_CONTINUOUS: tuple[Kind, ...] = (
    "continuous",
    "continuous, long upper tail",
    "continuous, long lower tail",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the gate said of one kind of data, `n` samples a run, whose difference is known.

    `wrong_pass` is None where a pass is right. A fail is wrong always: no truth is below −margin.
    """

    data: str
    n: int
    difference: float
    margin: float
    wrong_pass: Rate | None
    wrong_fail: Rate
    inconclusive: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All that was tried at one alpha; `skipped` says which suites of a run were not, and why."""

    alpha: float
    simulations: int
    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()

    @property
    def rates(self) -> list[Rate]:
        """Every rate that alpha promises something of."""
        return [rate for row in self.rows for rate in (row.wrong_pass, row.wrong_fail) if rate]

    def exceeds(self, rate: Rate | None) -> bool:
        """Whether chance cannot explain a rate above alpha, among as many as were looked at.

        An exact binomial test of each at .01 over their number (Bonferroni).
        """
        return rate is not None and rate.exceeds(self.alpha, _DOUBT / len(self.rates))

    @property
    def excesses(self) -> int:
        """How many rates are above alpha by more than chance."""
        return sum(self.exceeds(rate) for rate in self.rates)


def gate_rule(metric: Metric, margin: float, alpha: float) -> Rule:
    """The gate as a rule: what `decide` says of one suite, by non-inferiority."""
    gate = GateConfig(policy="non_inferiority", margin=margin, alpha=alpha)
    delta = Delta(
        suite="suite", metric=metric, base=None, tuned=None, difference=None, low=None, high=None
    )
    around = _comparison(metric)
    origin = metric.least or 0.0

    def rule(differences: Reals, clusters: Sequence[str]) -> Outcome:
        scored = Scored(
            _scores(origin + np.maximum(-differences, 0.0)),
            _scores(origin + np.maximum(differences, 0.0)),
            clusters,
        )
        found = estimated(replace(delta, n=len(differences)), scored, whole=False)
        return decide(replace(around, deltas=(found,)), gate).outcome

    return rule


def calibrate_made_up(
    *, margin: float, alpha: float, quick: bool = False, progress: Progress | None = None
) -> Calibration:
    """The gate on made-up data of all kinds and sizes; UsageError for a margin not in (0, 0.3]."""
    _check(alpha)
    try:
        chosen = cases(margin, quick)
    except ValueError as error:
        raise UsageError(f"{error} Choose another --margin.") from None
    simulations = QUICK_SIMULATIONS if quick else SIMULATIONS
    shown = progress or Silent()
    for kind in dict.fromkeys(case.kind for case in chosen):
        shown.start(kind, simulations * sum(case.kind == kind for case in chosen))
    rows = []
    for case in chosen:
        rule = _told(gate_rule(_metric(case.kind), margin, alpha), case.kind, shown)
        rows += [_row(found) for found in error_rates(rule, [case], simulations, SEED)]
    return Calibration(alpha=alpha, simulations=simulations, rows=tuple(rows))


def calibrate_run(
    run: Run,
    *,
    margin: float | None = None,
    alpha: float,
    quick: bool = False,
    progress: Progress | None = None,
) -> Calibration:
    """The gate on a model against itself: half of its answers to each sample against the others.

    Every suite whose gated metric has several answers a sample is split many times, once at its
    margin (or the one given), where only a fail is wrong, and once at 0, where a pass is wrong too.
    UsageError where no suite has any.
    """
    _check(alpha)
    if margin is not None and not 0 < margin < math.inf:
        raise UsageError(f"A margin is more than 0, not {margin}. Choose another --margin.")
    found = [(info, _answers(run, info)) for info in run.manifest.suites]
    usable = [(info, answers) for info, answers in found if answers is not None]
    if not usable:
        raise UsageError(
            f"No suite of the run {run.manifest.name!r} has several answers to a sample, scored "
            "one by one, so there is nothing to split. Write `decoding: {temperature: 0.7, "
            "repeats: 10}` into the model's file and evaluate it with `evalkit run`; then give the "
            "folder of that run."
        )
    simulations = QUICK_SIMULATIONS if quick else SIMULATIONS
    shown = progress or Silent()
    for info, _ in usable:
        shown.start(info.name, 2 * simulations)
    rows = [
        _split_row(info, answers, at, alpha, simulations, shown)
        for info, answers in usable
        for at in (info.margin if margin is None else margin, 0.0)
    ]
    kept = {info.name for info, _ in usable}
    skipped = tuple(info.name for info in run.manifest.suites if info.name not in kept)
    return Calibration(alpha=alpha, simulations=simulations, rows=tuple(rows), skipped=skipped)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Scores [n, K] of one suite's samples, by sample id, and the samples' clusters."""

    scores: Reals
    clusters: Sequence[str]


def _answers(run: Run, info: SuiteInfo) -> _Answers | None:
    """None where fewer than two samples have two answers, or the metric is no mean of samples."""
    metric = _gated(info)
    if metric.kind not in ("binary", "continuous"):
        return None
    mine = sorted(
        (result for result in run.results if result.sample.suite == info.name),
        key=lambda result: result.sample.id,
    )
    rows = [(result, values) for result in mine if len(values := _values(result, metric)) > 1]
    if len(rows) < 2:
        return None
    fewest = min(len(values) for _, values in rows)
    scores = np.array([values[:fewest] for _, values in rows], dtype=np.float64)
    return _Answers(scores, grouped([result.sample.cluster for result, _ in rows]))


def _values(result: Result, metric: Metric) -> list[float]:
    scores = (score for score in result.scores if score.scorer == metric.name)
    return [value for score in scores for value in score.values if math.isfinite(value)]


def _gated(info: SuiteInfo) -> Metric:
    return next(metric for metric in info.metrics if metric.name == info.metric)


def _split_row(
    info: SuiteInfo,
    answers: _Answers,
    margin: float,
    alpha: float,
    simulations: int,
    progress: Progress,
) -> Row:
    rule = _told(gate_rule(_gated(info), margin, alpha), info.name, progress)
    found = split_rates(rule, answers.scores, answers.clusters, simulations, SEED)
    return Row(
        data=info.name,
        n=len(answers.scores),
        difference=0.0,
        margin=margin,
        wrong_pass=None if margin > 0 else found.passed,
        wrong_fail=found.failed,
        inconclusive=found.inconclusive,
    )


def _row(found: ErrorRates) -> Row:
    case: Case = found.case
    return Row(
        data=case.kind,
        n=case.n,
        difference=case.difference,
        margin=case.margin,
        wrong_pass=found.wrong_pass,
        wrong_fail=found.wrong_fail,
        inconclusive=found.inconclusive,
    )


def _told(rule: Rule, part: str, progress: Progress) -> Rule:
    """The rule, which also says that it was asked."""

    def telling(differences: Reals, clusters: Sequence[str]) -> Outcome:
        outcome = rule(differences, clusters)
        progress.advance(part)
        return outcome

    return telling


def _check(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise UsageError(f"Alpha lies between 0 and 0.5, not at {alpha}. Choose another --alpha.")


def _scores(values: Reals) -> list[Score]:
    """One record for each distinct value: there are far fewer of them than samples."""
    known = {one: Score(sample_id="", scorer="", value=one) for one in set(values.tolist())}
    return [known[one] for one in values.tolist()]


def _metric(kind: Kind) -> Metric:
    """Scores of made-up data lie between 0 and 1."""
    described: MetricKind = "continuous" if kind in _CONTINUOUS else "binary"
    return Metric(name="score", kind=described, least=0.0, most=1.0)


def _comparison(metric: Metric) -> Comparison:
    """Two arms that were evaluated on one suite."""
    info = SuiteInfo(
        name="suite",
        title="",
        language="",
        task="",
        metric=metric.name,
        metrics=(metric,),
        fingerprint="",
        path="",
        samples=0,
    )
    arms = [
        Manifest(
            schema_version=1,
            run_id=name,
            name=name,
            config={},
            fingerprints={},
            suites=(info,),
            versions={},
            git_commit="",
            seed=0,
            started="",
            finished="",
            counts={},
        )
        for name in ("base", "tuned")
    ]
    return Comparison(
        schema_version=1,
        base=arms[0],
        tuned=arms[1],
        base_path="",
        tuned_path="",
        deltas=(),
        checks=(),
        unpaired={},
    )
