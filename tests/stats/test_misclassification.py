"""The binary correction: against its formula, by simulation, and where it knows nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.stats.base import Reals
from evalkit.stats.misclassification import (
    Misclassification,
    misclassification,
    misclassification_bounds,
)

Rng = np.random.Generator


def _words(ones: int, zeros: int) -> Reals:
    return np.repeat([1.0, 0.0], [ones, zeros])


def test_of_right_and_wrong_it_is_rogan_and_gladens() -> None:
    """Sensitivity .8, specificity .9, apparent rate .45: (.45 + .9 − 1)/(.8 + .9 − 1) = .5."""
    found = misclassification(_words(24, 6), _words(2, 18), _words(90, 110))
    assert found is not None
    assert found.rate == pytest.approx(0.5)
    assert (found.won.mean, found.lost.mean) == (0.8, 0.1)


def test_a_tie_is_half_a_word() -> None:
    """A judge that calls half of the lost ones ties says ¼ of them on average."""
    lost = np.repeat([0.5, 0.0], [10, 10])
    found = misclassification(_words(20, 0), lost, np.full(40, 0.625))
    assert found is not None
    assert found.rate == pytest.approx((0.625 - 0.25) / 0.75)


def test_a_rate_stays_one() -> None:
    found = misclassification(_words(16, 4), _words(4, 16), _words(95, 5))
    assert found is not None
    assert found.rate == 1.0


def test_a_judge_that_tells_nothing_apart_corrects_nothing() -> None:
    assert misclassification(_words(10, 10), _words(15, 15), _words(50, 50)) is None
    found = misclassification(_words(11, 9), _words(10, 10), _words(52, 48))
    assert found is not None
    assert misclassification_bounds(found, 0.025) == (0.0, 1.0)


def test_too_few_of_a_kind_give_nothing() -> None:
    assert misclassification(_words(4, 0), _words(2, 18), _words(50, 50)) is None
    assert misclassification(_words(18, 2), _words(2, 18), _words(2, 2)) is None


def test_a_judge_without_a_seen_mistake_may_make_some() -> None:
    found = misclassification(_words(30, 0), _words(0, 20), _words(600, 400))
    assert found is not None
    bounds = misclassification_bounds(found, 0.025)
    assert found.rate == pytest.approx(0.6)
    assert bounds.low < 0.57
    assert bounds.high > 0.61


def test_an_adverse_judge_is_turned_round() -> None:
    """One that prefers the losers tells as much as one that prefers the winners."""
    plain = misclassification(_words(24, 6), _words(2, 18), _words(90, 110))
    adverse = misclassification(_words(6, 24), _words(18, 2), _words(110, 90))
    assert plain is not None
    assert adverse is not None
    assert adverse.rate == pytest.approx(plain.rate)
    assert misclassification_bounds(adverse, 0.025) == pytest.approx(
        misclassification_bounds(plain, 0.025)
    )


def _drawn(rng: Rng, rate: float, hit: float, false: float, n: int) -> Misclassification | None:
    truth = rng.random(n + 450) < rate
    judged = np.where(truth, rng.random(n + 450) < hit, rng.random(n + 450) < false) * 1.0
    words, labels = judged[:n], truth[:n]
    return misclassification(words[labels], words[~labels], judged[n:])


def _kept(rate: float, hit: float, false: float, n: int, simulations: int) -> tuple[float, float]:
    """Coverage of 95 % intervals and the mean error, where there are enough of each kind."""
    rng = np.random.default_rng(7)
    held: list[bool] = []
    errors: list[float] = []
    while len(held) < simulations:
        found = _drawn(rng, rate, hit, false, n)
        if found is not None:
            bounds = misclassification_bounds(found, 0.025)
            held.append(bounds.low <= rate <= bounds.high)
            errors.append(found.rate - rate)
    return float(np.mean(held)), float(np.mean(errors))


@pytest.mark.parametrize(("hit", "false"), [(0.92, 0.08), (0.98, 0.45), (0.6, 0.05)])
def test_fifty_labels_set_a_biased_judge_right(hit: float, false: float) -> None:
    kept, bias = _kept(0.6, hit, false, 50, 400)
    assert kept >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400)
    assert abs(bias) < 0.03  # a ratio: its bias falls with the labels, not with the simulations


@pytest.mark.slow
@pytest.mark.parametrize(("hit", "false"), [(0.92, 0.08), (0.98, 0.45), (0.6, 0.05), (0.7, 0.5)])
@pytest.mark.parametrize("rate", [0.5, 0.65, 0.85])
@pytest.mark.parametrize("n", [50, 100, 400])
def test_intervals_cover_closely(rate: float, hit: float, false: float, n: int) -> None:
    kept, _ = _kept(rate, hit, false, n, 4000)
    assert kept >= 0.95 - 0.015 - 4 * math.sqrt(0.05 * 0.95 / 4000)
