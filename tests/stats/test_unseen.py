"""What no sample showed may still be there: the exact bound of a rate with no success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evalkit.stats.unseen import p_of_unseen, unseen_bounds


def test_where_nothing_was_lost_it_is_scipys_exact_bound() -> None:
    oracle = stats.binomtest(0, 20).proportion_ci(0.9, method="exact")
    assert unseen_bounds(0.0, -1.0, 1.0, 20, 0.05) == pytest.approx((-oracle.high, oracle.high))


def test_twenty_questions_of_which_one_gained_cannot_decide_two_points() -> None:
    bounds = unseen_bounds(0.01, -1.0, 1.0, 20, 0.05)
    assert bounds is not None
    assert bounds.low < -0.1
    assert unseen_bounds(0.0, -1.0, 1.0, 0, 0.05) is None


@given(st.floats(-0.99, 0.99), st.floats(-0.99, 0.99), st.integers(1, 500), st.floats(0.001, 0.4))
def test_p_is_below_alpha_exactly_where_the_bound_excludes_the_threshold(
    mean: float, threshold: float, units: int, alpha: float
) -> None:
    bounds = unseen_bounds(mean, -1.0, 1.0, units, alpha)
    assert bounds is not None
    if abs(bounds.low - threshold) > 1e-9:
        assert (p_of_unseen(mean, threshold, -1.0, units) < alpha) == (bounds.low > threshold)
