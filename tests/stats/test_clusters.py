"""The wild cluster bootstrap against its definition, exact tests and simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from evalkit.stats import clusters
from evalkit.stats.base import Reals
from evalkit.stats.means import mean_difference, sign_flip_test, t_test


def _names(sizes: list[int]) -> list[str]:
    return [f"passage {place}" for place, size in enumerate(sizes) for _ in range(size)]


def _clustered(sizes: list[int], rng: np.random.Generator) -> Reals:
    shared = rng.normal(0, 1, len(sizes))
    return np.repeat(shared, sizes) + rng.normal(0, 1, sum(sizes))


def _by_definition(differences: Reals, names: list[str], null: float) -> float:
    """Turn whole clusters' residuals round, estimate again, count |t*| >= |t|."""
    known = sorted(set(names))
    place = np.array([known.index(name) for name in names])
    estimate = mean_difference(differences, names)
    reached = abs(estimate.mean - null) / estimate.standard_error
    hits = []
    for signs in product((-1.0, 1.0), repeat=len(known)):
        drawn = null + np.array(signs)[place] * (differences - null)
        again = mean_difference(drawn, names)
        hits.append(abs(again.mean - null) / again.standard_error >= reached * (1 - 1e-9))
    return float(np.mean(hits))


@pytest.mark.parametrize("null", [0.0, 0.8, -1.5])
def test_the_wild_bootstrap_is_what_its_definition_says(null: float) -> None:
    sizes = [3, 9, 1, 6, 6, 12, 4]
    names = _names(sizes)
    differences = _clustered(sizes, np.random.default_rng(1))
    found = clusters.wild_bootstrap_test(differences, names, null)
    assert found is not None
    assert found.p == pytest.approx(_by_definition(differences, names, null), abs=1e-12)


def test_clusters_of_one_are_the_sign_flip_test() -> None:
    """With equal sizes |t| grows with |mean|, so both order the signs alike."""
    differences = np.random.default_rng(2).normal(0.6, 1, 12)
    wild = clusters.wild_bootstrap_test(differences, [str(i) for i in range(12)])
    flips = sign_flip_test(differences)
    assert wild is not None
    assert flips is not None
    assert wild.p == pytest.approx(flips.p, abs=1e-12)


def test_drawn_signs_give_the_enumerated_p(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [5, 2, 8, 8, 3, 9, 4, 4, 7, 2, 6, 5]
    differences = _clustered(sizes, np.random.default_rng(3)) + 0.4
    exact = clusters.wild_bootstrap_test(differences, _names(sizes))
    clusters._cluster_signs.cache_clear()
    monkeypatch.setattr(clusters, "_ENUMERATED", 1)
    drawn = clusters.wild_bootstrap_test(differences, _names(sizes))
    clusters._cluster_signs.cache_clear()
    assert exact is not None
    assert drawn is not None
    assert 0.01 < exact.p < 0.6
    assert drawn.p != exact.p
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 9_999))


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("groups", [7, 12, 20])
def test_the_interval_ends_where_the_test_begins_to_reject(groups: int, level: float) -> None:
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 15, groups).tolist()
    names, differences = _names(sizes), _clustered(sizes, rng)
    interval = clusters.wild_bootstrap_interval(differences, names, level)
    assert interval is not None
    estimate = mean_difference(differences, names)
    assert interval.low < estimate.mean < interval.high
    step = 1e-4 * estimate.standard_error
    for end, outwards in ((interval.low, -step), (interval.high, step)):
        inside = clusters.wild_bootstrap_test(differences, names, end - outwards)
        outside = clusters.wild_bootstrap_test(differences, names, end + outwards)
        assert inside is not None
        assert outside is not None
        assert inside.p > 1 - level >= outside.p


def test_several_levels_at_once_give_the_intervals_of_each() -> None:
    sizes = [3, 9, 1, 6, 6, 12, 4]
    names, differences = _names(sizes), _clustered(sizes, np.random.default_rng(8))
    levels = [0.8, 0.95, 0.99]  # seven clusters have none at the last
    together = clusters.wild_bootstrap_intervals(differences, names, levels)
    assert together == [clusters.wild_bootstrap_interval(differences, names, x) for x in levels]
    assert together[1] is not None
    assert together[2] is None


def test_too_few_clusters_give_no_interval() -> None:
    """p cannot fall below 2^(1 − G): 6 clusters for 95 %, 5 for the one-sided bounds at 5 %."""
    rng = np.random.default_rng(5)
    for groups, level, known in (
        (4, 0.9, False),
        (5, 0.9, True),
        (5, 0.95, False),
        (6, 0.95, True),
    ):
        sizes = [4] * groups
        found = clusters.wild_bootstrap_interval(_clustered(sizes, rng), _names(sizes), level)
        assert (found is not None) == known
    one = np.array([0.1, 0.4, 0.2])
    assert clusters.wild_bootstrap_interval(one, ["a"] * 3, 0.9) is None
    assert clusters.wild_bootstrap_test(one, ["a"] * 3) is None
    assert clusters.wild_bootstrap_test(np.array([]), []) is None


def test_clusters_that_are_all_alike_give_no_interval() -> None:
    alike = np.tile([0.1, 0.3, -0.2], 8)
    assert clusters.wild_bootstrap_interval(alike, _names([3] * 8), 0.9) is None
    assert clusters.wild_bootstrap_test(np.full(24, 0.25), _names([3] * 8)) is None


@pytest.mark.parametrize("groups", [9, 20])
def test_neither_order_nor_names_matter_and_signs_mirror(groups: int) -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(2, 9, groups).tolist()
    names, differences = _names(sizes), _clustered(sizes, rng)
    interval = clusters.wild_bootstrap_interval(differences, names, 0.95)
    assert interval is not None
    order = rng.permutation(len(names))
    moved = [names[i] for i in order]
    assert clusters.wild_bootstrap_interval(differences[order], moved, 0.95) == interval
    renamed = [name[::-1] for name in names]
    assert clusters.wild_bootstrap_interval(differences, renamed, 0.95) == interval
    mirrored = clusters.wild_bootstrap_interval(-differences, names, 0.95)
    assert mirrored == pytest.approx((-interval.high, -interval.low), abs=1e-9)


UNEVEN = {6: [30, 2, 5, 3, 8, 2], 8: [30, 2, 5, 3, 8, 2, 2, 4], 12: [40, *range(2, 13)]}


@pytest.mark.slow
@pytest.mark.parametrize("groups", [6, 8, 12])
def test_the_wild_bootstrap_rejects_true_nulls_as_often_as_it_says(groups: int) -> None:
    """Size and so coverage: the interval leaves the truth out exactly where the test rejects.

    With symmetric errors the size is exact: the largest multiple of 2^(1 − G) up to 5 %.
    """
    simulations = 3_000
    rng = np.random.default_rng(7)
    sizes, steps = UNEVEN[groups], 2 ** (groups - 1)
    wild, student = [], []
    for _ in range(simulations):
        differences = _clustered(sizes, rng)
        found = clusters.wild_bootstrap_test(differences, _names(sizes))
        assert found is not None
        wild.append(found.p <= 0.05)
        p_value = t_test(mean_difference(differences, _names(sizes)))
        student.append(p_value is not None and p_value <= 0.05)
    exact = math.floor(0.05 * steps) / steps
    assert np.mean(wild) == pytest.approx(exact, abs=4 * math.sqrt(exact * 0.95 / simulations))
    # What it is for: with sizes like these Student's t rejects far more than it says.
    assert np.mean(student) > 0.075


@pytest.mark.slow
def test_bounds_of_clustered_flips_hold_on_both_sides() -> None:
    """Right and wrong within clusters, more lost than gained: nothing normal or symmetric."""
    simulations, groups, size = 2_000, 15, 6
    rng = np.random.default_rng(8)
    names = _names([size] * groups)
    truth, below, above = -0.1, 0, 0
    for _ in range(simulations):
        lost = np.repeat(rng.beta(2, 8, groups), size)
        uniform = rng.random(groups * size)
        differences = (uniform > 0.9).astype(float) - (uniform < lost)
        found = clusters.wild_bootstrap_test(differences, names, truth)
        if found is None:
            continue
        mean = mean_difference(differences, names).mean
        below += found.p <= 0.1 and mean < truth
        above += found.p <= 0.1 and mean > truth
    reach = 4 * math.sqrt(0.05 * 0.95 / simulations)
    assert below / simulations <= 0.05 + reach
    assert above / simulations <= 0.05 + reach
    assert (below + above) / simulations >= 0.1 - 2 * reach
