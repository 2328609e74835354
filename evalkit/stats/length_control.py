"""Preferences at equal lengths: a logistic regression on how much longer an answer is.

For model m on prompt x with utility u (1 it is preferred to the baseline, ½ a tie, 0 it is not):

    logit E[u] = θ_m + φ · tanh(Δ/s) + γ_x

Δ is the length of the model's answer minus that of the baseline's, s the root mean square of the Δ
of all models, so that 0 stays "equally long"; tanh, since ten times too long is not ten times
worse. φ is one for all models: it tells the taste of the one judge. γ_x is how hard prompt x is for
every model. The length-controlled win rate of m is what the
model says at Δ = 0, averaged over its prompts. Utilities may lie between 0 and 1: only the mean is
modelled, and the errors are the robust ones (Papke & Wooldridge 1996).

With one model γ is left out: every prompt is seen once, so its difficulty cannot be told from
noise. With several it is fitted jointly, as a normal deviate of its own variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from evalkit.stats.base import Codes, Interval, Reals, number
from evalkit.stats.mixed_logit import MixedLogit, fit_mixed

FEWEST = 10
SLOPE_SPREAD = 5.0
"""Standard deviation of the normal prior of φ, on the scale of log-odds: so weak that it only
matters where the lengths cannot show a slope, as where they never vary; the error is wide then."""
_STEPS = 100
_PRECISE = 1e-10
_FARTHEST = 30.0  # log-odds beyond which a maximum is taken for infinite


class LogitFit(NamedTuple):
    """Coefficients [k] of a logistic regression and their robust covariance [k, k]."""

    coefficients: Reals
    covariance: Reals
    units: int


class LengthControlled(NamedTuple):
    """A win rate at equal lengths, and the coefficient φ of the length, with their intervals."""

    rate: float
    interval: Interval
    coefficient: float
    coefficient_interval: Interval
    n: int


def length_controlled(
    utilities: Reals, differences: Reals, level: float, clusters: Sequence[str] = ()
) -> LengthControlled | None:
    """The length-controlled win rate of one pair of models, σ(θ), with t intervals on the logit.

    `utilities` of the tuned arm and `differences` of length (tuned − base, in characters) are [n].
    Samples of one cluster may depend on each other. None below FEWEST samples, where all lengths
    are equal, or all utilities, and where the length alone tells every winner: no finite θ and φ
    fit wins alone, and ties alone tell nothing of what was not seen.
    """
    if not _usable(utilities, differences) or _parted(utilities, differences):
        return None
    design = np.column_stack([np.ones(len(utilities)), squashed(differences)])
    fit = fit_logit(design, utilities, np.array([0.0, SLOPE_SPREAD**-2]), clusters)
    if fit is None or fit.units < 3:
        return None
    reach = float(stats.t.ppf(0.5 + level / 2, fit.units - 2))
    errors = reach * np.sqrt(np.diag(fit.covariance))
    centre, slope = fit.coefficients.tolist()
    ends = special.expit([centre, centre - errors[0], centre + errors[0]]).tolist()
    return LengthControlled(
        ends[0],
        Interval(ends[1], ends[2]),
        slope,
        Interval(slope - float(errors[1]), slope + float(errors[1])),
        len(utilities),
    )


def _parted(utilities: Reals, differences: Reals) -> bool:
    """Whether all beyond some difference of length won, and all below it lost, or the reverse."""
    won, lost = utilities > 0, utilities < 1
    return any(
        float((side * differences)[won].min()) >= float((side * differences)[lost].max())
        for side in (1.0, -1.0)
        if np.ptp(differences) > 0
    )


def squashed(differences: Reals) -> Reals:
    """tanh(Δ/s), s the root mean square of the differences, not all of which are 0."""
    return np.asarray(np.tanh(differences / math.sqrt(float(np.mean(differences**2)))))


def fit_logit(
    design: Reals, responses: Reals, precision: Reals, clusters: Sequence[str] = ()
) -> LogitFit | None:
    """Logistic regression of responses [n], 0 to 1, on the design [n, k], by Newton's steps.

    `precision` [k] is that of a normal prior about 0 of each coefficient, 0 for none. The
    covariance is H⁻¹(J + P)H⁻¹: J the (cluster) sum of the squared scores times n/(n − k) (by
    cluster G/(G − 1) · (n − 1)/(n − k)), P the prior's precision, H the curvature with it. None
    where there is no finite maximum.
    """
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        means = special.expit(design @ found)
        slope = design.T @ (responses - means) - precision * found
        curvature = (design.T * (means * (1 - means))) @ design + np.diag(precision)
        try:
            step = np.linalg.solve(curvature, slope)
        except np.linalg.LinAlgError:
            return None
        found = found + step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(found).max() > _FARTHEST:
            return None
        if np.abs(step).max() < _PRECISE:
            scores = design * (responses - special.expit(design @ found))[:, None]
            return _with_errors(found, curvature, scores, precision, clusters)
    return None


def _with_errors(
    found: Reals, curvature: Reals, scores: Reals, precision: Reals, clusters: Sequence[str]
) -> LogitFit | None:
    n, count = scores.shape
    units, factor = n, n / max(n - count, 1)
    if clusters:
        names, codes = number(clusters)
        units = len(names)
        factor = units / max(units - 1, 1) * (n - 1) / max(n - count, 1)
        scores = np.stack([np.bincount(codes, weights=one) for one in scores.T], axis=1)
    inverse = np.linalg.inv(curvature)
    meat = factor * scores.T @ scores + np.diag(precision)
    return LogitFit(found, inverse @ meat @ inverse, units)


def length_controlled_jointly(
    models: Sequence[str],
    prompts: Sequence[str],
    utilities: Reals,
    differences: Reals,
    level: float,
) -> dict[str, LengthControlled | None]:
    """The length-controlled win rate of each model against one baseline, over the same prompts.

    One entry per judgement. The difficulty of a prompt is fitted from all models that were asked
    it, and φ from all of them: a model that hardly ever wins tells next to nothing of it alone, and
    would be taken far beyond the lengths it has. Errors are those of independent prompts. One model
    alone gets `length_controlled`; None for models that `length_controlled` has none for.
    """
    names, codes = number(models)
    told = {name: np.flatnonzero(codes == place) for place, name in enumerate(names)}
    usable = [name for name in names if _usable(utilities[told[name]], differences[told[name]])]
    found: dict[str, LengthControlled | None] = dict.fromkeys(names)
    if len(usable) < 2:
        for name in usable:
            rows = told[name]
            found[name] = length_controlled(utilities[rows], differences[rows], level)
        return found
    rows = np.concatenate([told[name] for name in usable])
    places = np.concatenate([np.full(len(told[name]), i) for i, name in enumerate(usable)])
    groups = number([prompts[row] for row in rows.tolist()])[1]
    member = np.equal.outer(places, np.arange(len(usable))).astype(np.float64)
    design = np.column_stack([member, squashed(differences[rows])])
    precision = np.append(np.zeros(len(usable)), SLOPE_SPREAD**-2)
    fit = fit_mixed(design, utilities[rows], groups, precision)
    if fit is not None:
        for place, name in enumerate(usable):
            found[name] = _at_equal_lengths(fit, place, groups[places == place], level)
    return found


def _usable(utilities: Reals, differences: Reals) -> bool:
    return len(utilities) >= FEWEST and float(np.ptp(utilities)) > 0 and bool(differences.any())


def _at_equal_lengths(fit: MixedLogit, place: int, asked: Codes, level: float) -> LengthControlled:
    """Mean of σ(θ_m + γ_x) over the prompts `asked` of model m, its error by the delta method."""
    effects, total = fit.effects, len(fit.effects)
    chances = special.expit(fit.coefficients[place] + effects[asked])
    rate = float(np.sort(chances).mean())
    slopes = chances * (1 - chances)
    gradient = fit.sway[asked].T @ slopes / len(asked)
    gradient[place] += float(slopes.mean())
    lever = fit.inverse @ gradient
    moved = fit.pulls @ lever
    np.add.at(moved, asked, (chances - rate) / len(asked))
    variance = total / (total - 1) * float(moved @ moved) + float(lever**2 @ fit.precision)
    reach = float(stats.t.ppf(0.5 + level / 2, total - 1))
    away = reach * math.sqrt(variance) / (rate * (1 - rate))
    odds = math.log(rate / (1 - rate))
    ends = special.expit([odds - away, odds + away]).tolist()
    slope = float(fit.coefficients[-1])
    error = reach * math.sqrt(float(fit.covariance()[-1, -1]))
    return LengthControlled(
        rate, Interval(*ends), slope, Interval(slope - error, slope + error), len(asked)
    )
