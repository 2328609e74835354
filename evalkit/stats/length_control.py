"""Preferences at equal lengths: a logistic regression on how much longer an answer is.

For model m on prompt x with utility u (1 it is preferred to the baseline, ½ a tie, 0 it is not):

    logit E[u] = θ_m + φ_m · tanh(Δ/s) + γ_x

Δ is the length of the model's answer minus that of the baseline's, s the root mean square of the Δ
of all models, so that 0 stays "equally long"; tanh, since ten times too long is not ten times
worse. γ_x is how hard prompt x is for every model. The length-controlled win rate of m is what the
model says at Δ = 0, averaged over its prompts. Utilities may lie between 0 and 1: only the mean is
modelled, and the errors are the robust ones (Papke & Wooldridge 1996).

With one model γ is left out: every prompt is seen once, so its difficulty cannot be told from
noise. With several it is fitted jointly, as a normal deviate of its own variance (below).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from evalkit.stats.base import Interval, Reals, number

FEWEST = 10
SLOPE_SPREAD = 5.0
"""Standard deviation of the normal prior of φ: so weak that it only keeps a slope finite where
length tells every winner, and the error of a slope that the lengths cannot show."""
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
    are equal, and where every utility is 0, or every one 1: no finite θ fits those.
    """
    if len(utilities) < FEWEST or not np.any(differences):
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


def squashed(differences: Reals, scale: float | None = None) -> Reals:
    """tanh(Δ/s), s the root mean square of the differences unless it is given."""
    spread = math.sqrt(float(np.mean(differences**2))) if scale is None else scale
    return np.asarray(np.tanh(differences / spread))


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
