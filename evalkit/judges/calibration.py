"""Human labels: how far a judge agrees with people, and the win rate that people would give."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from evalkit.estimates import ALPHAS, LEVEL, SMALL_ALPHAS
from evalkit.judges.preferences import AnswerKey, Valued, utilities, winner
from evalkit.records import Corrected, Delta, Metric, Preference, Rate, Tail
from evalkit.stats.agreement import cohen_kappa
from evalkit.stats.base import Interval, Reals
from evalkit.stats.means import mean_difference
from evalkit.stats.misclassification import misclassification, misclassification_bounds
from evalkit.stats.prediction_powered import (
    PredictionPowered,
    prediction_powered,
    prediction_powered_bounds,
    prediction_powered_test,
)
from evalkit.stats.preferences import utility_interval

_UTILITIES: Mapping[str, float] = {"tuned": 1.0, "tie": 0.5, "base": 0.0}

Words: TypeAlias = Sequence[Preference] | Mapping[AnswerKey, Valued]
"""What judges said of one suite by one rubric: preferences (those of several judges are averaged),
or the ratings of both arms' answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said of one sample's two answers, blind to which arm wrote which."""

    suite: str
    sample_id: str
    rubric: str
    person: str
    preferred: Literal["base", "tuned", "tie"]


@dataclass(frozen=True, slots=True)
class _Matched:
    """The judged utilities of samples, and of those with labels what each person said (0, ½, 1)."""

    judged: Mapping[str, float]
    said: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def labelled(self) -> list[str]:
        """The samples that have both, in an order of their own."""
        return sorted(self.said)

    @property
    def others(self) -> list[str]:
        """The samples that only judges saw."""
        return sorted(self.judged.keys() - self.said.keys())

    def people(self) -> Reals:
        """The people's mean utility of each labelled sample."""
        return np.array([math.fsum(self.said[one]) / len(self.said[one]) for one in self.labelled])

    def judge(self, samples: Sequence[str]) -> Reals:
        """The judge's utility of each of these samples."""
        return np.array([self.judged[one] for one in samples], dtype=np.float64)


def corrected(
    words: Words,
    labels: Iterable[Label],
    level: float = LEVEL,
    *,
    width: float = 4.0,
    clusters: Mapping[str, str] | None = None,
) -> tuple[Corrected, ...]:
    """The win rate that people would give, by each method that the labels allow; may be empty.

    The rate is P(tuned preferred) + ½ P(tie) over all judged samples, those with labels being a
    random part of them. Several people's labels of a sample count as their mean, one person's
    second label of it replaces the first. Of ratings, the difference of the arms' over the scale's
    `width` (4 from 1 to 5, 1 for a checklist) stands for the preference. The binary correction
    needs every label to name a winner, the same as all other labels of its sample. `clusters`
    names the samples' clusters.
    """
    matched = _matched(words, labels, width)
    count = len(matched.labelled)
    told = _agreement(matched, level)
    found = []
    predicted = _predicted(matched, clusters)
    if predicted is not None:
        bounds = prediction_powered_bounds(predicted, (1 - level) / 2)
        rate = _rate(predicted.mean, bounds, len(matched.judged), level)
        found.append(_corrected("ppi", count, rate, told))
    binary = _binary(matched, level)
    if binary is not None:
        found.append(_corrected("misclassification", count, binary, told))
    return tuple(found)


def agreement(
    words: Words, labels: Iterable[Label], level: float = LEVEL, *, width: float = 4.0
) -> Agreement:
    """How far judges and people agree on the samples that have labels, however few they are."""
    return _agreement(_matched(words, labels, width), level)


def corrected_delta(
    suite: str,
    rubric: str,
    words: Words,
    labels: Iterable[Label],
    *,
    width: float = 4.0,
    clusters: Mapping[str, str] | None = None,
) -> Delta:
    """The corrected preference as a difference that a gate can decide on: 2 · win rate − 1.

    Its one-sided bounds are kept as tails at every alpha that a gate looks for, those of
    prediction-powered inference. `n` counts the labelled samples, for they are what more of would
    settle it. `note` says why there are no bounds.
    """
    metric = Metric(name=f"judge.{rubric}.corrected", least=0.0, most=1.0)
    matched = _matched(words, labels, width)
    count = len(matched.labelled)
    found = _predicted(matched, clusters)
    if found is None:
        return Delta(
            suite=suite,
            metric=metric,
            n=count,
            note=f"{count} of the judged samples have human labels: too few to correct by",
        )
    rate = min(1.0, max(0.0, found.mean))
    bounds = prediction_powered_bounds(found, (1 - LEVEL) / 2)
    tails = _tails(found)
    return Delta(
        suite=suite,
        metric=metric,
        base=1 - rate,
        tuned=rate,
        difference=2 * rate - 1,
        low=2 * bounds.low - 1 if bounds else None,
        high=2 * bounds.high - 1 if bounds else None,
        level=LEVEL,
        standard_error=2 * found.estimate.standard_error,
        tuned_error=found.estimate.standard_error,
        p_value=prediction_powered_test(found, 0.5),
        interval="corrected" if tails else "none",
        method=f"prediction-powered inference, {count} human labels, λ = {found.tuning:.2f}",
        tails=tuple(Tail(one.alpha, 2 * one.low - 1, 2 * one.high - 1) for one in tails),
        tuned_tails=tails,
        n=count,
        clusters=found.estimate.clusters,
    )


def _tails(found: PredictionPowered) -> tuple[Tail, ...]:
    """The rate's one-sided bounds at every alpha that is kept."""
    pairs = [(one, prediction_powered_bounds(found, one)) for one in (*ALPHAS, *SMALL_ALPHAS)]
    return tuple(Tail(alpha, one.low, one.high) for alpha, one in pairs if one)


def _matched(words: Words, labels: Iterable[Label], width: float) -> _Matched:
    """Labels laid beside the judge's words; those of other suites, rubrics and samples are left."""
    judged: dict[tuple[str, str, str], float] = (
        _rated(words, width)
        if isinstance(words, Mapping)
        else {key: one.value for key, one in utilities(words).items() if one.value is not None}
    )
    if len({key[:2] for key in judged}) > 1:
        raise ValueError("the words of one suite by one rubric are corrected at a time")
    said: dict[str, dict[str, float]] = defaultdict(dict)
    for one in labels:
        if (one.suite, one.rubric, one.sample_id) in judged:
            said[one.sample_id][one.person] = _UTILITIES[one.preferred]
    return _Matched(
        {sample: value for (_, _, sample), value in judged.items()},
        {sample: tuple(people.values()) for sample, people in said.items()},
    )


def _rated(words: Mapping[AnswerKey, Valued], width: float) -> dict[tuple[str, str, str], float]:
    """The difference of both arms' ratings as a utility, 0 to 1; only where both have one."""
    found: dict[tuple[str, str, str], float] = {}
    for (suite, rubric, sample, arm), tuned in words.items():
        base = words.get((suite, rubric, sample, "base"))
        if arm == "tuned" and base and base.value is not None and tuned.value is not None:
            away = (tuned.value - base.value) / (2 * width)
            found[suite, rubric, sample] = min(1.0, max(0.0, 0.5 + away))
    return found


def _predicted(matched: _Matched, clusters: Mapping[str, str] | None) -> PredictionPowered | None:
    ids = [*matched.labelled, *matched.others]
    named = clusters or {}
    groups = [named.get(one) or f"\0{one}" for one in ids] if any(map(named.get, ids)) else []
    return prediction_powered(
        matched.people(), matched.judge(matched.labelled), matched.judge(matched.others), groups
    )


def _binary(matched: _Matched, level: float) -> Rate | None:
    people = matched.people()
    if not np.isin(people, (0.0, 1.0)).all():
        return None
    words = matched.judge(matched.labelled)
    others = matched.judge(matched.others)
    found = misclassification(words[people == 1], words[people == 0], others)
    if found is None:
        return None
    bounds = misclassification_bounds(found, (1 - level) / 2)
    return _rate(found.rate, bounds, len(matched.judged), level)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of judge and people, and of people among each other; None where too few samples tell.

    `judge` is the share of the labels that say what the judge says, `kappa` Cohen's; `people` the
    share of the pairs of one sample's labels that say the same.
    """

    judge: Rate | None
    kappa: float | None
    people: Rate | None


def _agreement(matched: _Matched, level: float) -> Agreement:
    """Of judge and people: the share of a sample's labels that say what the judge says; of people
    among each other: the share of the pairs of a sample's labels that say the same."""
    words = {one: 0.5 + winner(matched.judged[one]) / 2 for one in matched.labelled}
    pairs = [(words[one], said) for one in matched.labelled for said in matched.said[one]]
    alike = [_share([said == words[one] for said in matched.said[one]]) for one in words]
    several = [matched.said[one] for one in matched.labelled if len(matched.said[one]) > 1]
    among = [_share([a == b for a, b in combinations(said, 2)]) for said in several]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return Agreement(
        share_rate(alike, level), cohen_kappa(both[:, 0], both[:, 1]), share_rate(among, level)
    )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def share_rate(values: Sequence[float], level: float, clusters: Sequence[str] = ()) -> Rate | None:
    """The mean of values between 0 and 1 as a Rate, one value a case; None without any."""
    if not values:
        return None
    mean = mean_difference(np.array(values, dtype=np.float64), clusters)
    bounds = utility_interval(mean.mean, mean.standard_error, mean.clusters, level)
    return _rate(mean.mean, bounds, len(values), level)


def _rate(value: float, bounds: Interval | None, n: int, level: float) -> Rate:
    low, high = bounds or (None, None)
    return Rate(value=min(1.0, max(0.0, value)), low=low, high=high, n=n, level=level)


def _corrected(method: str, labels: int, rate: Rate, told: Agreement) -> Corrected:
    return Corrected(
        method=method,
        labels=labels,
        rate=rate,
        agreement=told.judge,
        kappa=told.kappa,
        ceiling=told.people,
    )
