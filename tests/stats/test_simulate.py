"""Made-up data: the mean, the flips and the correlations are the ones asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evalkit.stats import simulate
from evalkit.stats.base import Reals

SIMULATIONS, N = 400, 500


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def within_five_errors(values: Reals, truth: float) -> bool:
    return abs(float(values.mean()) - truth) < 5 * float(values.std()) / math.sqrt(values.size)


@pytest.mark.parametrize("difference", [-0.1, 0.0, 0.03, 0.2])
def test_flips_have_the_mean_and_the_discordance(difference: float) -> None:
    batch = simulate.binary(
        N,
        base_rate=0.6,
        difference=difference,
        discordance=0.2,
        rng=rng(),
        simulations=SIMULATIONS,
    )
    assert batch.differences.shape == (SIMULATIONS, N)
    assert batch.clusters == ()
    assert set(np.unique(batch.differences)) <= {-1.0, 0.0, 1.0}
    assert within_five_errors(batch.differences, difference)
    assert within_five_errors(np.abs(batch.differences), 0.2)
    # As many in each row as the binomial says: the samples are independent.
    flips = np.abs(batch.differences).sum(axis=1)
    assert flips.var() == pytest.approx(N * 0.2 * 0.8, rel=5 * math.sqrt(2 / SIMULATIONS))


def test_flips_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="needs more flips"):
        simulate.binary(5, base_rate=0.5, difference=0.3, discordance=0.2, rng=rng(), simulations=1)
    with pytest.raises(ValueError, match=r"base rate of 0\.9"):
        simulate.binary(5, base_rate=0.9, difference=0.2, discordance=0.2, rng=rng(), simulations=1)
    with pytest.raises(ValueError, match=r"base rate of 0\.1"):
        simulate.binary(
            5, base_rate=0.1, difference=-0.2, discordance=0.2, rng=rng(), simulations=1
        )


@pytest.mark.parametrize("shape", [(2.0, 2.0), (0.5, 4.0), (4.0, 0.5)])
@pytest.mark.parametrize("difference", [-0.05, 0.0, 0.2])
def test_continuous_differences_have_the_mean_the_skew_and_the_bounds(
    difference: float, shape: tuple[float, float]
) -> None:
    drawn = simulate.continuous(
        N,
        difference=difference,
        spread=0.7,
        rng=rng(),
        simulations=SIMULATIONS,
        shape=shape,
    ).differences
    oracle = stats.beta(*shape)
    assert within_five_errors(drawn, difference)
    assert drawn.std() == pytest.approx(0.7 * oracle.std(), rel=0.02)
    assert stats.skew(drawn, axis=None) == pytest.approx(float(oracle.stats("s")), abs=0.06)
    assert drawn.min() >= -1
    assert drawn.max() <= 1
    assert np.ptp(drawn) <= 0.7


def test_continuous_differences_that_leave_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="leave"):
        simulate.continuous(5, difference=0.8, spread=0.7, rng=rng(), simulations=1)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_samples_of_a_cluster_correlate_as_asked_and_others_do_not(correlation: float) -> None:
    batch = simulate.clustered(
        23,
        difference=-0.05,
        discordance=0.3,
        correlation=correlation,
        size=5,
        rng=rng(),
        simulations=20_000,
    )
    assert len(batch.clusters) == 23
    assert [batch.clusters.count(f"cluster {g}") for g in range(5)] == [5, 5, 5, 5, 3]
    between = np.asarray(np.corrcoef(batch.differences, rowvar=False))
    labels = np.array(batch.clusters)
    same = labels[:, None] == labels[None, :]
    assert np.all(np.abs(between[~same]) < 5 / math.sqrt(20_000))
    off = same & ~np.eye(23, dtype=bool)
    # The correlation of rare flips varies more than that of normal values.
    assert np.all(np.abs(between[off] - correlation) < 8 / math.sqrt(20_000))
    # One sample of each cluster, so that the error of the mean is the plain one.
    first = batch.differences[:, ::5]
    assert within_five_errors(first, -0.05)
    assert within_five_errors(np.abs(first), 0.3)


@pytest.mark.parametrize("difference", [-0.2, 0.0, 0.1])
@pytest.mark.parametrize("completions", [1, 5])
def test_averaged_completions_have_the_mean_and_steps_of_one_over_k(
    difference: float, completions: int
) -> None:
    drawn = simulate.repeated(
        N, difference=difference, completions=completions, rng=rng(), simulations=SIMULATIONS
    ).differences
    assert within_five_errors(drawn, difference)
    steps = drawn * completions
    assert np.allclose(steps, np.round(steps))
    assert np.abs(drawn).max() <= 1


def test_more_completions_cut_the_variance_within_samples_by_their_number() -> None:
    for completions in (1, 2, 4):
        drawn = simulate.repeated(
            N, difference=0.0, completions=completions, rng=rng(), simulations=SIMULATIONS
        ).differences
        # Var d = 2·E p(1 − p)/K, and E p(1 − p) = ab/((a + b)(a + b + 1)) = 1/8.
        assert drawn.var() == pytest.approx(0.25 / completions, rel=0.03)


def test_splitting_a_model_s_own_completions_compares_it_with_itself() -> None:
    scores = np.random.default_rng(12).random((30, 4))
    drawn = simulate.split(scores, rng=rng(), simulations=4000).differences
    assert drawn.shape == (4000, 30)
    # Two of four dealt without replacement: Var = 4·s²/K.
    variance = 4 * scores.var(axis=1, ddof=1) / 4
    assert np.all(np.abs(drawn.mean(axis=0)) < 5 * np.sqrt(variance / 4000))
    assert drawn.var(axis=0) == pytest.approx(variance, rel=0.15)
    odd = simulate.split(scores[:, :3], rng=rng(), simulations=50).differences
    possible = np.abs(scores[:, :3, None] - scores[:, None, :3]).reshape(30, 9)
    assert np.all(np.isclose(np.abs(odd)[:, :, None], possible[None]).any(axis=2))
    with pytest.raises(ValueError, match="Two completions"):
        simulate.split(scores[:, :1], rng=rng(), simulations=5)


def test_the_same_seed_gives_the_same_data() -> None:
    one, two = (
        simulate.repeated(9, difference=0.1, completions=3, rng=rng(), simulations=4).differences
        for _ in range(2)
    )
    assert np.array_equal(one, two)
