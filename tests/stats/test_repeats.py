"""Several completions of a sample: Miller's figures, scipy's analysis of variance, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evalkit.stats import repeats
from evalkit.stats.base import Reals
from evalkit.stats.means import mean_difference, t_interval


def _names(counts: list[int]) -> list[str]:
    return [f"sample {place}" for place, count in enumerate(counts) for _ in range(count)]


def test_more_completions_cut_the_variance_as_miller_says() -> None:
    """Uniform chances of being right: K = 2, 4, 6 take away 1/3, 1/2, 5/9 of the variance."""
    example = repeats.Components(between=1 / 12, within=1 / 6, samples=198, repeats=1)
    for count, cut in ((2, 1 / 3), (4, 1 / 2), (6, 5 / 9), (1, 0), (math.inf, 2 / 3)):
        assert repeats.variance_cut(example, count) == pytest.approx(cut)
    ratio = repeats.standard_error(example, 4) / repeats.standard_error(example, 1)
    assert ratio**2 == pytest.approx(1 / 2)
    # From 2 to 4 completions: 1 − (1/2)/(2/3).
    assert repeats.variance_cut(example, 4, now=2) == pytest.approx(1 / 4)
    assert repeats.variance_cut(repeats.Components(0, 0, 10, 1), 4) == 0


def test_a_sample_counts_once_however_many_completions_it_has() -> None:
    scores = np.array([1, 0, 0, 0, 1, 0.5])
    found = repeats.sample_means(scores, ["b", "a", "a", "a", "a", "c"])
    assert found.samples == ["a", "b", "c"]
    assert found.means == pytest.approx([0.25, 1, 0.5])
    assert found.counts.tolist() == [4, 1, 1]


def test_the_components_are_those_of_an_analysis_of_variance() -> None:
    """Equal counts: F = 1 + K·between/within and within is the mean square error."""
    rng = np.random.default_rng(1)
    table = rng.normal(0, 1, (40, 1)) + rng.normal(0, 0.7, (40, 5))
    found = repeats.variance_components(table.ravel(), _names([5] * 40))
    assert found is not None
    oracle = stats.f_oneway(*table).statistic
    assert found.within == pytest.approx(table.var(axis=1, ddof=1).mean())
    assert 1 + 5 * found.between / found.within == pytest.approx(oracle)
    assert found.samples == 40
    assert found.repeats == pytest.approx(5)
    error = repeats.standard_error(found, found.repeats)
    assert error == pytest.approx(stats.sem(table.mean(axis=1)))


def test_what_cannot_be_told_apart_is_not_told() -> None:
    assert repeats.variance_components(np.array([1.0, 0.0, 1.0]), ["a", "b", "c"]) is None
    assert repeats.variance_components(np.array([1.0, 0.0, 1.0]), ["a", "a", "a"]) is None
    assert repeats.variance_components(np.array([]), []) is None
    # Means closer than chance would have them: nothing between, never a negative variance.
    level = repeats.variance_components(np.array([0.0, 1, 1, 0]), ["a", "a", "b", "b"])
    assert level is not None
    assert level.between == 0
    assert level.within == pytest.approx(0.5)


def test_components_do_not_depend_on_the_order_of_completions() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 6, 30).tolist()
    names, scores = _names(counts), rng.normal(0, 1, sum(counts))
    order = rng.permutation(len(names))
    moved = [names[i] for i in order]
    straight = repeats.variance_components(scores, names)
    assert straight is not None
    assert repeats.variance_components(scores[order], moved) == straight
    one, other = repeats.sample_means(scores, names), repeats.sample_means(scores[order], moved)
    assert one.means.tolist() == other.means.tolist()


def test_components_of_uneven_counts_are_right_on_average() -> None:
    rng = np.random.default_rng(3)
    counts = [1, 1, 2, 3, 3, 4, 6, 8, 8, 10] * 4
    names, found = _names(counts), []
    for _ in range(600):
        centres = np.repeat(rng.normal(0, 1.0, len(counts)), counts)
        components = repeats.variance_components(centres + rng.normal(0, 1.5, len(names)), names)
        assert components is not None
        found.append((components.between, components.within))
    for values, truth in zip(np.array(found).T, (1.0, 2.25), strict=True):
        assert values.mean() == pytest.approx(truth, abs=4 * stats.sem(values))


def test_the_components_of_a_difference_add_up_to_what_is_seen() -> None:
    base, tuned = _two_arms(200, 3, np.random.default_rng(4))
    names = _names([3] * 200)
    of_base = repeats.variance_components(base.ravel(), names)
    of_tuned = repeats.variance_components(tuned.ravel(), names)
    assert of_base is not None
    assert of_tuned is not None
    differences = tuned.mean(axis=1) - base.mean(axis=1)
    both = repeats.difference_components(of_base, of_tuned, differences)
    assert repeats.standard_error(both, 3) == pytest.approx(stats.sem(differences))
    assert both.within == pytest.approx(of_base.within + of_tuned.within)
    assert repeats.standard_error(both, 12) < repeats.standard_error(both, 3)
    assert repeats.standard_error(both, 3, samples=800) == pytest.approx(
        repeats.standard_error(both, 3) / 2
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n", "count"), [(20, 4), (30, 8)])
def test_averaging_first_covers_the_truth_where_pooling_does_not(n: int, count: int) -> None:
    simulations = 2_000
    rng = np.random.default_rng(5)
    names = _names([count] * n)
    averaged = pooled = 0
    for _ in range(simulations):
        base, tuned = _two_arms(n, count, rng)
        scores = (tuned - base).ravel()
        honest = t_interval(mean_difference(repeats.sample_means(scores, names).means), 0.95)
        narrow = t_interval(mean_difference(scores), 0.95)
        if honest is None or narrow is None:
            continue
        averaged += honest.low <= 0.1 <= honest.high
        pooled += narrow.low <= 0.1 <= narrow.high
    reach = 4 * math.sqrt(0.95 * 0.05 / simulations)
    assert averaged / simulations == pytest.approx(0.95, abs=reach)
    assert pooled / simulations < 0.95 - reach


def _two_arms(n: int, count: int, rng: np.random.Generator) -> tuple[Reals, Reals]:
    """Right or wrong [n, count] in two arms; the tuned one is right 0.1 more often on average."""
    base = rng.uniform(0.25, 0.55, (n, 1))
    tuned = base + 0.1 + rng.choice([-0.3, 0.3], (n, 1))
    return (
        (rng.random((n, count)) < base).astype(np.float64),
        (rng.random((n, count)) < tuned).astype(np.float64),
    )
