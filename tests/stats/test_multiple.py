"""Corrections against the example of Benjamini & Hochberg (1995) and statsmodels."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evalkit.stats.multiple import benjamini_hochberg, holm

# Benjamini & Hochberg (1995), section 4.1: fifteen comparisons of thrombolysis.
PUBLISHED = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
    0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000,
]  # fmt: skip


def test_the_published_example_is_rejected_as_published() -> None:
    assert int((benjamini_hochberg(PUBLISHED) <= 0.05).sum()) == 4
    assert int((holm(PUBLISHED) <= 0.05).sum()) == 3
    assert sum(p <= 0.05 / 15 for p in PUBLISHED) == 3


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    # statsmodels asks for a collection of garbage in every call: a second, where torch is loaded.
    with mock.patch("gc.collect"):
        expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected)
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert benjamini_hochberg(p_values) == pytest.approx(expected)


def test_the_order_given_is_the_order_returned() -> None:
    shuffled = np.random.default_rng(1).permutation(15)
    values = np.array(PUBLISHED)
    assert np.array_equal(holm(values[shuffled]), holm(values)[shuffled])
    assert np.array_equal(
        benjamini_hochberg(values[shuffled]), benjamini_hochberg(values)[shuffled]
    )


def test_an_empty_family_stays_empty_and_a_p_that_is_none_is_refused() -> None:
    for adjust in (holm, benjamini_hochberg):
        assert len(adjust([])) == 0
        assert adjust([0.3]) == pytest.approx([0.3])
        for wrong in (math.nan, -0.1, 1.1):
            with pytest.raises(ValueError, match="between 0 and 1"):
                adjust([0.5, wrong])


@pytest.mark.slow
def test_holm_keeps_the_chance_of_any_wrong_claim_and_bh_the_share_of_wrong_claims() -> None:
    rng = np.random.default_rng(2)
    families, wrong_anywhere, wrong_share = 4000, 0, 0.0
    for _ in range(families):
        p_values = rng.uniform(size=10)
        p_values[7:] = rng.uniform(size=3) * 0.002  # three true effects
        wrong_anywhere += bool((holm(p_values)[:7] <= 0.05).any())
        claimed = benjamini_hochberg(p_values) <= 0.05
        wrong_share += claimed[:7].sum() / max(1, claimed.sum())
    slack = 4 * math.sqrt(0.05 * 0.95 / families)
    # With strong true effects Holm spends nearly all of α on the seven nulls; BH has q · 7/10.
    assert 0.03 < wrong_anywhere / families < 0.05 + slack
    assert wrong_share / families == pytest.approx(0.035, abs=slack)
