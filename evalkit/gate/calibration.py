"""Does the gate err as seldom as it says? It is asked about data whose truth is known.

The A/A test: pairs of arms without a difference, and pairs that differ by the margin exactly. What
decides is the gate itself, from a delta that is estimated as any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.errors import UsageError
from evalkit.estimates import grouped
from evalkit.gate.asked import asked_of
from evalkit.gate.declared import declared_gate
from evalkit.gate.rule import gate_rule as gate_rule
from evalkit.progress import Progress, Silent
from evalkit.records import (
    Metric,
    MetricKind,
    Outcome,
    Result,
    Run,
    SuiteInfo,
)
from evalkit.stats.base import Reals
from evalkit.stats.calibrate import (
    CHEAP,
    QUICK_CHEAP,
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
_DOUBT = 0.005  # chance that one in which every rate is alpha is called off, twice: see `exceeds`
_CONTINUOUS: tuple[Kind, ...] = (
    "continuous",
    "continuous, long upper tail",
    "continuous, long lower tail",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the gate said of one kind of data, `n` samples a run, whose difference is known.

    `wrong_pass` is None where a pass is right. A fail is wrong always: no truth is worse than what
    is asked for. `ask` is the policy, or what else is tried.
    """

    data: str
    ask: str = "non_inferiority"
    n: int
    difference: float
    margin: float
    wrong_pass: Rate | None
    wrong_fail: Rate
    inconclusive: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All sizes of one kind of data together, where the truth is the margin itself."""

    data: str
    ask: str
    wrong_pass: Rate
    wrong_fail: Rate


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

    @property
    def pools(self) -> list[Pool]:
        """Each kind of data that was tried at several sizes.

        An error of a few per cent too many at every size is lost in the noise of each, and is
        found in their sum.
        """
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            if row.wrong_pass is not None:
                groups.setdefault((row.data, row.ask), []).append(row)
        return [
            Pool(
                data=data,
                ask=ask,
                wrong_pass=_sum(row.wrong_pass for row in rows),
                wrong_fail=_sum(row.wrong_fail for row in rows),
            )
            for (data, ask), rows in groups.items()
            if len(rows) > 1
        ]

    def exceeds(self, rate: Rate | None) -> bool:
        """Whether chance cannot explain a rate above alpha, among as many as were looked at.

        An exact binomial test of each at .005 over their number (Bonferroni).
        """
        return rate is not None and rate.exceeds(self.alpha, _DOUBT / len(self.rates))

    def pool_exceeds(self, rate: Rate) -> bool:
        """The same of a pooled rate, among the pooled ones."""
        return rate.exceeds(self.alpha, _DOUBT / (2 * len(self.pools)))

    @property
    def excesses(self) -> int:
        """How many rates, pooled ones too, are above alpha by more than chance."""
        pooled = [rate for pool in self.pools for rate in (pool.wrong_pass, pool.wrong_fail)]
        return sum(map(self.exceeds, self.rates)) + sum(map(self.pool_exceeds, pooled))

    @property
    def tried(self) -> int:
        """How many rates were held against alpha."""
        return len(self.rates) + 2 * len(self.pools)


def _sum(rates: Iterable[Rate | None]) -> Rate:
    known = [rate for rate in rates if rate is not None]
    return Rate(sum(one.times for one in known), sum(one.simulations for one in known))


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
    cheap = QUICK_CHEAP if quick else CHEAP
    times = [simulations * (cheap if case.countable else 1) for case in chosen]
    parts: dict[str, int] = {}
    for case, count in zip(chosen, times, strict=True):
        parts[_part(case)] = parts.get(_part(case), 0) + count
    for part, count in parts.items():
        shown.start(part, count)
    rows = []
    for case, count in zip(chosen, times, strict=True):
        floor = case.floor if case.ask == "absolute" else None
        rule = gate_rule(_metric(case.kind), margin, alpha, case.ask, floor)
        told = _told(rule, _part(case), shown)
        rows += [_row(found) for found in error_rates(told, [case], count, SEED)]
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
        for at in (_margin(run, info) if margin is None else margin, 0.0)
    ]
    kept = {info.name for info, _ in usable}
    skipped = tuple(info.name for info in run.manifest.suites if info.name not in kept)
    return Calibration(alpha=alpha, simulations=simulations, rows=tuple(rows), skipped=skipped)


def _margin(run: Run, info: SuiteInfo) -> float:
    """That of the gate the run was made with; where it asks for none, the suite's own."""
    asked = asked_of(info, declared_gate(run.manifest))[0]
    return asked.margin or info.margin


@dataclass(frozen=True, slots=True)
class _Answers:
    """Scores [n, K] of one suite's samples, by sample id, and the samples' clusters."""

    scores: Reals
    clusters: Sequence[str]


def _answers(run: Run, info: SuiteInfo) -> _Answers | None:
    """None where fewer than two samples have two answers, or the metric is no mean of samples.

    As many answers of each sample as most have: the few samples with fewer are left out.
    """
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
    usual = int(np.median([len(values) for _, values in rows]))
    rows = [(result, values) for result, values in rows if len(values) >= usual]
    scores = np.array([values[:usual] for _, values in rows], dtype=np.float64)
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


def _part(case: Case) -> str:
    return case.kind if case.ask == "non_inferiority" else f"{case.kind}, {case.ask}"


def _row(found: ErrorRates) -> Row:
    case: Case = found.case
    return Row(
        data=case.kind,
        ask=case.ask,
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


def _metric(kind: Kind) -> Metric:
    """Scores of made-up data lie between 0 and 1."""
    described: MetricKind = "continuous" if kind in _CONTINUOUS else "binary"
    return Metric(name="score", kind=described, least=0.0, most=1.0)
