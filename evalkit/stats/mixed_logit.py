"""Logistic regression with an effect of its own for each group, drawn from one normal deviate.

logit E[u] = design · β + γ_group, γ ~ N(0, τ²). β and γ maximise the penalised quasi-likelihood
(Breslow & Clayton 1993); τ² is the mean of what the effects are and what is not known of them,
γ̂² + var(γ̂), until it stays (the EM step for it). Responses may lie between 0 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from evalkit.stats.base import Codes, Reals

_STEPS = 100
_PRECISE = 1e-9
_FARTHEST = 30.0  # log-odds beyond which a maximum is taken for infinite
_ROUNDS = 200
_SETTLED = 1e-4  # relative change of τ²
_LEAST = 1e-4  # of τ²: effects of this size are none


class MixedLogit(NamedTuple):
    """Coefficients β [k], the groups' effects γ [groups], and what their errors are computed from.

    `pulls` [groups, k] is what each group adds to the score of β, `inverse` [k, k] the inverse
    curvature of β with γ maximised for it, `sway` [groups, k] the derivative of γ by β, and
    `precision` [k] that of the priors of β.
    """

    coefficients: Reals
    effects: Reals
    variance: float
    inverse: Reals
    pulls: Reals
    sway: Reals
    precision: Reals

    def covariance(self) -> Reals:
        """Robust covariance [k, k] of β, groups being independent: S⁻¹(J + P)S⁻¹."""
        count = len(self.effects)
        meat = count / (count - 1) * self.pulls.T @ self.pulls + np.diag(self.precision)
        return np.asarray(self.inverse @ meat @ self.inverse)


class _Top(NamedTuple):
    """Where the likelihood is greatest, and its curvature there."""

    found: Reals
    effects: Reals
    schur: Reals
    weights: Reals  # [groups]: curvature of each γ
    crossed: Reals  # [groups, k]: curvature between γ and β


def fit_mixed(
    design: Reals, responses: Reals, groups: Codes, precision: Reals
) -> MixedLogit | None:
    """Fit responses [n], 0 to 1, on the design [n, k] with an effect for each of the groups [n].

    `precision` [k] is that of a normal prior about 0 of each coefficient, 0 for none. Groups are
    numbered from 0. None where there is no finite maximum.
    """
    count, variance = int(groups.max()) + 1, 1.0
    found, effects = np.zeros(design.shape[1]), np.zeros(count)
    for _ in range(_ROUNDS):
        top = _climb(design, responses, groups, precision, variance, found, effects)
        if top is None:
            return None
        found, effects = top.found, top.effects
        inverse: Reals = np.linalg.inv(top.schur).astype(np.float64)
        sway = -top.crossed / top.weights[:, None]
        unknown = 1 / top.weights + np.einsum("gi,ij,gj->g", sway, inverse, sway)
        before, variance = variance, max(_LEAST, float(np.mean(effects**2 + unknown)))
        if abs(variance / before - 1) < _SETTLED:
            break
    rests = responses - special.expit(design @ found + effects[groups])
    pulls = _by_group(design * rests[:, None], groups, count)
    return MixedLogit(found, effects, before, inverse, pulls, sway, precision)


def _by_group(rows: Reals, groups: Codes, count: int) -> Reals:
    """The rows [n, k] added up by group, [groups, k]."""
    columns = [np.bincount(groups, weights=one, minlength=count) for one in rows.T]
    return np.stack(columns, axis=1).astype(np.float64)


def _climb(
    design: Reals,
    responses: Reals,
    groups: Codes,
    precision: Reals,
    variance: float,
    found: Reals,
    effects: Reals,
) -> _Top | None:
    """Newton's steps for β and γ together; the block of γ is diagonal and eliminated."""
    count = len(effects)
    for _ in range(_STEPS):
        means = special.expit(design @ found + effects[groups])
        rests, weights = responses - means, means * (1 - means)
        weighed = design * weights[:, None]
        curved = np.bincount(groups, weights=weights, minlength=count) + 1 / variance
        crossed = _by_group(weighed, groups, count)
        slope = design.T @ rests - precision * found
        pull = np.bincount(groups, weights=rests, minlength=count) - effects / variance
        schur = design.T @ weighed + np.diag(precision) - crossed.T @ (crossed / curved[:, None])
        try:
            step = np.linalg.solve(schur, slope - crossed.T @ (pull / curved))
        except np.linalg.LinAlgError:
            return None
        steps = (pull - crossed @ step) / curved
        far = max(1.0, float(np.abs(step).max()) / 2, float(np.abs(steps).max()) / 2)
        found, effects = found + step / far, effects + steps / far
        if max(np.abs(found).max(), np.abs(effects).max()) > _FARTHEST:
            return None
        if max(np.abs(step).max(), np.abs(steps).max()) < _PRECISE:
            return _Top(
                found, effects, schur.astype(np.float64), curved.astype(np.float64), crossed
            )
    return None
