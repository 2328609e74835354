"""How a judge did on one suite and rubric: what it favours, what it missed, what people say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from evalkit.estimates import LEVEL, grouped
from evalkit.judges.calibration import Label, corrected, share_rate
from evalkit.judges.doubts import untrusted_of, warnings_of
from evalkit.judges.families import same_family
from evalkit.judges.matters import Matter, lengths
from evalkit.judges.preferences import BOTH, AnswerKey, Valued, preferences, ratings, winner
from evalkit.records import JudgeHealth, Judgement, JuryHealth, Preference, Rate, Side
from evalkit.stats.agreement import Weights, cohen_kappa, krippendorff_alpha
from evalkit.stats.base import Interval, Reals
from evalkit.stats.binary import tango_interval
from evalkit.stats.length_control import LengthControlled, length_controlled
from evalkit.stats.preferences import win_rate

if TYPE_CHECKING:
    from evalkit.judges.jobs import Probed

_SIDES: tuple[Side, ...] = ("base", "tuned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the samples and the judge besides what it said.

    `lengths` of the base's and the tuned arm's answers, in characters, and `clusters`, by sample.
    `families` holds the candidates' model names by arm, `unanswered` the arms without a text to
    judge by sample, `probed` how the judge did on known answers, `labels` what people said.
    `width` is that of the rating scale. `controlled` is the win rate at equal lengths where it was
    fitted with other models'.
    """

    lengths: Mapping[str, tuple[int, int]]
    clusters: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[Side, str] = field(default_factory=dict)
    unanswered: Mapping[str, tuple[Side, ...]] = field(default_factory=dict)
    probed: Probed | None = None
    labels: Sequence[Label] = ()
    width: float = 4.0
    controlled: LengthControlled | None = None
    level: float = LEVEL

    def groups(self, samples: Iterable[str]) -> list[str]:
        """Each sample's cluster, one of its own where it has none; empty where none has any."""
        return grouped([self.clusters.get(one, "") for one in samples])


def judge_health(
    judge: str,
    model: str,
    prompt_hash: str,
    judgements: Sequence[Judgement],
    matters: Mapping[str, Matter],
    *,
    families: Mapping[Side, str] | None = None,
    unanswered: Mapping[str, tuple[Side, ...]] | None = None,
    probed: Probed | None = None,
    labels: Sequence[Label] = (),
    width: float = 4.0,
) -> JudgeHealth:
    """The health of one judge, of its judgements (stripped ones too) of one suite by one rubric.

    `matters` are the samples put before it, by id; for the other words see `Known`.
    """
    known = Known(
        lengths={name: lengths(matter) for name, matter in matters.items()},
        clusters={name: matter.cluster for name, matter in matters.items()},
        families=families or {},
        unanswered=unanswered or {},
        probed=probed,
        labels=labels,
        width=width,
    )
    return health_of(judge, model, prompt_hash, judgements, known)


def health_of(
    judge: str, model: str, prompt_hash: str, judgements: Sequence[Judgement], known: Known
) -> JudgeHealth:
    """The same where answers are known by their lengths alone, as in other tools' logs."""
    pointwise = any(one.protocol == "pointwise" for one in judgements)
    measured = _pointwise(judgements, known) if pointwise else _pairwise(judgements, known)
    asked = [one for one in judgements if one.status != "unasked"]
    health = replace(
        measured,
        judge=judge,
        model=model,
        prompt_hash=prompt_hash,
        same_family=same_family(model, known.families),
        probes_passed=known.probed.passed if known.probed else None,
        probes=known.probed.asked if known.probed else 0,
        calls=len(asked),
        tokens_in=sum(one.tokens_in for one in asked),
        tokens_out=sum(one.tokens_out for one in asked),
    )
    return replace(
        health,
        warnings=warnings_of(health),
        untrusted=untrusted_of(health, known.probed.failed if known.probed else ""),
    )


_NOBODY = JudgeHealth(judge="", model="", prompt_hash="", n=0)


def _pairwise(judgements: Sequence[Judgement], known: Known) -> JudgeHealth:
    words = preferences(judgements)
    judged = [one for one in words if one.value is not None]
    utilities = _values(judged)
    groups = known.groups(one.sample_id for one in judged)
    ordered = {one.sample_id for one in judgements if one.order in BOTH and not one.stripped}
    both = [one for one in judged if one.sample_id in ordered]
    controlled = _length_controlled(judged, known)
    silent = [one for one in words if one.value is None]
    return replace(
        _NOBODY,
        n=len(words) + len(known.unanswered),
        win_rate=_win_rate(utilities, groups, known.level),
        first_wins=_first_wins(judgements, both, known),
        flips=_outcome(both, "flip", known),
        ties=_outcome(both, "tie", known),
        wavered=_outcome(both, "wavered", known),
        longer_wins=_longer_wins(judged, known),
        length_coefficient=controlled and controlled[0],
        length_controlled=controlled and controlled[1],
        stripped=_stripped(judgements, known),
        missing=_missing((one.reason for one in silent), known),
        missing_by_arm=_missing_by_arm(dict.fromkeys(_SIDES, len(silent)), known),
        corrected=corrected(judged, known.labels, known.level, clusters=known.clusters),
    )


def _values(words: Sequence[Preference]) -> Reals:
    return np.array([one.value for one in words], dtype=np.float64)


def _win_rate(utilities: Reals, groups: Sequence[str], level: float) -> Rate | None:
    if not len(utilities):
        return None
    found = win_rate(utilities, level, groups)
    return _rate(found.rate, found.interval, len(utilities), level)


def _rate(value: float, bounds: Interval | None, n: int, level: float) -> Rate:
    low, high = bounds or (None, None)
    return Rate(value=value, low=low, high=high, n=n, level=level)


def _first_wins(
    judgements: Sequence[Judgement], both: Sequence[Preference], known: Known
) -> Rate | None:
    """Among the calls that named a winner, of samples judged in both orders.

    A sample's calls belong together. Where those of every sample cancel, none of them was swayed;
    how many like them would be is bounded as a difference of which no sample was seen.
    """
    judged = {one.sample_id for one in both}
    calls = [
        (one.sample_id, float((winner(one.value) > 0) == (one.order == "tuned_first")))
        for one in judgements
        if one.value is not None
        and not one.stripped
        and one.order in BOTH
        and one.sample_id in judged
        and winner(one.value)
    ]
    if not calls:
        return None
    names = [known.clusters.get(name) or f"\0{name}" for name, _ in calls]
    found = share_rate([first for _, first in calls], known.level, names)
    assert found is not None
    if found.low is None and found.value == 0.5:
        unseen = tango_interval(0, 0, len(set(names)), known.level)
        assert unseen is not None
        return replace(found, low=0.5 + unseen.low / 2, high=0.5 + unseen.high / 2)
    return found


def _outcome(words: Sequence[Preference], outcome: str, known: Known) -> Rate | None:
    """The share of samples, judged in both orders, that came out so."""
    groups = known.groups(one.sample_id for one in words)
    return share_rate([float(one.outcome == outcome) for one in words], known.level, groups)


def _longer_wins(words: Sequence[Preference], known: Known) -> Rate | None:
    won: list[float] = []
    samples: list[str] = []
    for one in words:
        base, tuned = known.lengths.get(one.sample_id, (0, 0))
        if one.outcome in _SIDES and base != tuned:
            won.append(float((one.outcome == "tuned") == (tuned > base)))
            samples.append(one.sample_id)
    return share_rate(won, known.level, known.groups(samples))


def _length_controlled(words: Sequence[Preference], known: Known) -> tuple[Rate, Rate] | None:
    """The coefficient of the length difference, and the win rate at equal lengths."""
    words = [one for one in words if one.sample_id in known.lengths]
    sizes = [known.lengths[one.sample_id] for one in words]
    away = np.array([tuned - base for base, tuned in sizes], dtype=np.float64)
    groups = known.groups(one.sample_id for one in words)
    found = known.controlled or length_controlled(_values(words), away, known.level, groups)
    if found is None:
        return None
    return (
        _rate(found.coefficient, found.coefficient_interval, found.n, known.level),
        _rate(found.rate, found.interval, found.n, known.level),
    )


def _stripped(judgements: Sequence[Judgement], known: Known) -> Rate | None:
    words = [one for one in preferences(judgements, stripped=True) if one.value is not None]
    groups = known.groups(one.sample_id for one in words)
    return _win_rate(_values(words), groups, known.level)


def _missing(reasons: Iterable[str], known: Known) -> dict[str, int]:
    """The samples that count for nothing, by reason."""
    return dict(Counter([*reasons, *["no_answer"] * len(known.unanswered)]))


def _missing_by_arm(silent: Mapping[Side, int], known: Known) -> dict[str, int]:
    """Samples that count for nothing, by arm: a pair nobody judged is missing from both."""
    counts = {
        side: silent[side] + sum(side in arms for arms in known.unanswered.values())
        for side in _SIDES
    }
    return {side: count for side, count in counts.items() if any(counts.values())}


def _pointwise(judgements: Sequence[Judgement], known: Known) -> JudgeHealth:
    rated = ratings(judgements)
    samples = _by_sample(rated)
    arms = {
        side: [found.value for (*_, arm), found in rated.items() if arm == side] for side in _SIDES
    }
    valued = {side: [one for one in found if one is not None] for side, found in arms.items()}
    reasons = [
        next(one.reason for one in answers.values() if one.value is None)
        for answers in samples.values()
        if any(one.value is None for one in answers.values())
    ]
    silent = {side: len(arms[side]) - len(valued[side]) for side in _SIDES}
    return replace(
        _NOBODY,
        n=len(samples) + len(known.unanswered),
        ratings={side: math.fsum(found) / len(found) for side, found in valued.items() if found},
        missing=_missing(reasons, known),
        missing_by_arm=_missing_by_arm(silent, known),
        corrected=corrected(
            rated, known.labels, known.level, width=known.width, clusters=known.clusters
        ),
    )


def _by_sample(rated: Mapping[AnswerKey, Valued]) -> dict[str, dict[Side, Valued]]:
    found: dict[str, dict[Side, Valued]] = {}
    for (_, _, sample, arm), value in rated.items():
        found.setdefault(sample, {})[arm] = value
    return found


def jury_health(judgements: Sequence[Judgement]) -> JuryHealth | None:
    """How the judges of one suite and rubric agree; None for a single judge.

    Pairwise they are compared by their utilities (κ: by whom they prefer), pointwise by each
    answer's rating (κ: rounded to whole ones, its disagreements weighed by their square).
    """
    names = list(dict.fromkeys(one.judge for one in judgements))
    if len(names) < 2:
        return None
    pointwise = any(one.protocol == "pointwise" for one in judgements)
    units, table = _table(judgements, names, pointwise=pointwise)
    levels = np.round(table) if pointwise else np.sign(np.round(table - 0.5, 12))
    weights: Weights = "quadratic" if pointwise else "none"
    kappas = [cohen_kappa(one, other, weights) for one, other in combinations(levels, 2)]
    known = [kappa for kappa in kappas if kappa is not None]
    without = {
        name: _jury_mean(units, np.delete(table, place, axis=0), pointwise=pointwise)
        for place, name in enumerate(names)
    }
    return JuryHealth(
        alpha=krippendorff_alpha(table, "interval"),
        kappa=math.fsum(known) / len(known) if known else None,
        without={name: value for name, value in without.items() if value is not None},
    )


def _table(
    judgements: Sequence[Judgement], names: Sequence[str], *, pointwise: bool
) -> tuple[list[tuple[str, str]], Reals]:
    """Units (sample and arm, empty where pairwise), and values [judges, units], NaN for missing."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name in names:
        mine = [one for one in judgements if one.judge == name]
        words = (
            {(sample, arm): one.value for (_, _, sample, arm), one in ratings(mine).items()}
            if pointwise
            else {(one.sample_id, ""): one.value for one in preferences(mine)}
        )
        for unit, value in words.items():
            if value is not None:
                found.setdefault(unit, {})[name] = value
    units = sorted(found)
    rows = [[found[unit].get(name, math.nan) for unit in units] for name in names]
    return units, np.array(rows, dtype=np.float64).reshape(len(names), len(units))


def _jury_mean(units: Sequence[tuple[str, str]], table: Reals, *, pointwise: bool) -> float | None:
    """The win rate of these judges; pointwise tuned − base of the samples rated in both arms."""
    means = {
        unit: math.fsum(known) / len(known)
        for unit, column in zip(units, table.T, strict=True)
        if len(known := column[~np.isnan(column)])
    }
    if pointwise:
        values = [
            means[sample, "tuned"] - means[sample, "base"]
            for sample, arm in means
            if arm == "tuned" and (sample, "base") in means
        ]
    else:
        values = list(means.values())
    return math.fsum(values) / len(values) if values else None
