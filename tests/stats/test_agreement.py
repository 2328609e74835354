"""Agreement against the krippendorff package, scikit-learn and Krippendorff's own example."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from evalkit.stats.agreement import Scale, Weights, cohen_kappa, krippendorff_alpha
from evalkit.stats.base import Reals

_ = np.nan  # not rated
# Four observers, twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
SCALES: tuple[Scale, ...] = ("nominal", "ordinal", "interval")


def _rated(seed: int, raters: int = 4, units: int = 60, missing: float = 0.25) -> Reals:
    """Raters who lean towards the truth, on a scale of 1 to 5 with gaps."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, units)
    own = rng.integers(1, 6, (raters, units))
    ratings = np.where(rng.random((raters, units)) < 0.5, truth, own).astype(np.float64) ** 1.5
    ratings[rng.random((raters, units)) < missing] = np.nan
    return ratings


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example_has_the_published_alphas(scale: Scale, alpha: float) -> None:
    assert krippendorff_alpha(PUBLISHED, scale) == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_krippendorff_package(scale: Scale, seed: int) -> None:
    ratings = _rated(seed, raters=2 + seed)
    expected = krippendorff.alpha(reliability_data=ratings, level_of_measurement=scale)
    assert krippendorff_alpha(ratings, scale) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_depends_neither_on_order_nor_on_units_rated_once(scale: Scale) -> None:
    ratings = _rated(7)
    alpha = krippendorff_alpha(ratings, scale)
    rng = np.random.default_rng(8)
    mixed = ratings[:, rng.permutation(ratings.shape[1])][rng.permutation(len(ratings))]
    assert krippendorff_alpha(mixed, scale) == pytest.approx(alpha, abs=1e-12)
    once = np.full((len(ratings), 3), np.nan)
    once[0] = 99
    assert krippendorff_alpha(np.hstack([ratings, once]), scale) == alpha


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_is_one_where_all_agree_and_none_where_nothing_varies(scale: Scale) -> None:
    assert krippendorff_alpha(np.array([[1.0, 2, 5], [1, 2, 5]]), scale) == pytest.approx(1)
    for nothing in (np.ones((2, 4)), np.array([[1.0, _], [_, 2]]), np.empty((2, 0))):
        assert krippendorff_alpha(nothing, scale) is None


def test_an_interval_alpha_keeps_its_digits_far_from_zero() -> None:
    ratings = _rated(9)
    near = krippendorff_alpha(ratings, "interval")
    assert krippendorff_alpha(ratings + 1e6, "interval") == pytest.approx(near, abs=1e-8)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_that_of_scikit_learn(weights: Weights, seed: int) -> None:
    first, second = np.round(_rated(seed, raters=2, missing=0.0))
    known = None if weights == "none" else weights
    expected = cohen_kappa_score(first, second, weights=known)
    assert cohen_kappa(first, second, weights) == pytest.approx(expected, abs=1e-12)
    # A pair with a missing rating is no pair.
    gaps = np.append(first, [_, 1.0]), np.append(second, [2.0, _])
    assert cohen_kappa(*gaps, weights) == pytest.approx(expected, abs=1e-12)


def test_kappa_of_nothing_and_of_one_category_is_not_known() -> None:
    assert cohen_kappa(np.array([]), np.array([])) is None
    assert cohen_kappa(np.ones(5), np.ones(5)) is None
    assert cohen_kappa(np.array([1.0, 1, 2, 2]), np.array([2.0, 2, 1, 1])) == -1
    with pytest.raises(ValueError, match="not paired"):
        cohen_kappa(np.ones(2), np.ones(3))
