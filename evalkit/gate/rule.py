"""The gate as a rule on bare numbers, for data that are made up: what `decide` says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evalkit.config import GateConfig, SuiteGate
from evalkit.estimates import Scored, estimated
from evalkit.gate.decide import decide
from evalkit.records import Comparison, Delta, Manifest, Metric, Outcome, Policy, Score, SuiteInfo
from evalkit.stats.base import Reals
from evalkit.stats.calibrate import SUITES, Ask, Rule

_POLICY: dict[Ask, Policy] = {"superiority": "superiority", "equivalence": "equivalence"}


def gate_rule(
    metric: Metric,
    margin: float,
    alpha: float,
    ask: Ask = "non_inferiority",
    floor: float | None = None,
) -> Rule:
    """The gate as a rule from differences [n] (of "lower is better" benefits; of "absolute" the
    tuned scores) and clusters.

    Where the outcome hangs on counts of gained and lost samples it is worked out once for each.
    """
    metric = replace(metric, higher_is_better=False) if ask == "lower is better" else metric
    suites = SUITES if ask == "3 suites" else 1
    gate = _gate(margin, alpha, ask, floor)
    around = _comparison(metric, suites)
    known: dict[tuple[int, ...], Outcome] = {}

    def decided(values: Reals, clusters: Sequence[str]) -> Outcome:
        deltas = [
            _delta(info.name, metric, part, clusters, ask)
            for info, part in zip(around.base.suites, np.split(values, suites), strict=True)
        ]
        return decide(replace(around, deltas=tuple(deltas)), gate).outcome

    def rule(values: Reals, clusters: Sequence[str]) -> Outcome:
        key = None if clusters or suites > 1 or metric.kind != "binary" else _counts(values)
        if key is None:
            return decided(values, clusters)
        if key not in known:
            known[key] = decided(values, clusters)
        return known[key]

    return rule


def _counts(values: Reals) -> tuple[int, ...] | None:
    """How many of -1, 0, 1 there are; None where there is anything else."""
    found = tuple(int(np.count_nonzero(values == one)) for one in (-1, 0, 1))
    return found if sum(found) == len(values) else None


def _gate(margin: float, alpha: float, ask: Ask, floor: float | None) -> GateConfig:
    if ask == "absolute":
        own = SuiteGate(policy="absolute", floor=floor)
        return GateConfig(alpha=alpha, suites={"suite 1": own})
    return GateConfig(policy=_POLICY.get(ask, "non_inferiority"), margin=margin, alpha=alpha)


def _delta(suite: str, metric: Metric, values: Reals, clusters: Sequence[str], ask: Ask) -> Delta:
    """One suite, estimated as any other."""
    if ask == "absolute":
        base, tuned = np.roll(values, 1), values
    else:
        change = -values if ask == "lower is better" else values
        least = metric.least or 0.0
        base, tuned = least + np.maximum(-change, 0.0), least + np.maximum(change, 0.0)
    empty = Delta(
        suite=suite,
        metric=metric,
        n=len(values),
    )
    return estimated(empty, Scored(_scores(base), _scores(tuned), clusters), whole=False)


def _scores(values: Reals) -> list[Score]:
    """One record for each distinct value: there are far fewer of them than samples."""
    known = {one: Score(sample_id="", scorer="", value=one) for one in set(values.tolist())}
    return [known[one] for one in values.tolist()]


def _comparison(metric: Metric, suites: int) -> Comparison:
    """Two arms that were evaluated on as many suites."""
    infos = tuple(
        SuiteInfo(
            name=f"suite {number}",
            title="",
            language="",
            task="",
            metric=metric.name,
            metrics=(metric,),
            fingerprint="",
            path="",
            samples=0,
        )
        for number in range(1, suites + 1)
    )
    arms = [
        Manifest(
            schema_version=1,
            run_id=name,
            name=name,
            config={},
            fingerprints={},
            suites=infos,
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
