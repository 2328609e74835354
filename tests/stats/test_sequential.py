"""Confidence sequences against the authors' own package, exact bounds and simulation."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from evalkit.stats import simulate
from evalkit.stats.base import Interval, Reals
from evalkit.stats.power import samples_needed
from evalkit.stats.sequential import (
    ConfidenceSequence,
    blocks,
    by_cluster,
    first_settled,
    settled,
    values_needed,
)

ALPHA = 0.05


def series(name: str) -> Reals:
    """300 values in [0, 1] without a random generator, so that any program can make them."""
    i = np.arange(300)
    if name == "even":
        return np.asarray((i * 7919 % 101) / 100)
    if name == "rare":
        return np.asarray((i * 37 % 11 == 0) * 1.0)
    digit = i * 7919 % 10
    return np.asarray(((digit == 0) * 1.0 - (digit == 3) - (digit == 7) + 1) / 2)


def sequence(
    values: Reals, low: float = -1.0, high: float = 1.0, planned: int | None = None
) -> ConfidenceSequence:
    made = ConfidenceSequence(low, high, ALPHA, planned)
    made.add(values)
    return made


def excess(count: int, simulations: int, alpha: float) -> float:
    """How likely a rate of alpha is to give this many errors or more."""
    return float(stats.binom.sf(count - 1, simulations, alpha))


# confseq at 70b1ef3 (github.com/gostevehoward/confseq, by the paper's authors): betting_cs(x,
# alpha=0.05, breaks=20000, running_intersection=True); the planned ones with the bets
# lambda_predmix_eb(x, alpha=0.025, fixed_n=300, scale=s), s = 1, 2, 4, in equal parts.
CONFSEQ = [
    ("even", None, 20, 0.26865, 0.64765),
    ("even", None, 100, 0.40925, 0.57935),
    ("even", None, 300, 0.44310, 0.54945),
    ("rare", None, 20, 0.0, 0.39450),
    ("rare", None, 100, 0.03895, 0.19485),
    ("rare", None, 300, 0.05520, 0.15070),
    ("ternary", None, 20, 0.27240, 0.64230),
    ("ternary", None, 100, 0.37155, 0.53255),
    ("ternary", None, 300, 0.40140, 0.50060),
    ("even", 300, 20, 0.26760, 0.67775),
    ("even", 300, 100, 0.42125, 0.57950),
    ("even", 300, 300, 0.44895, 0.55110),
    ("rare", 300, 20, 0.0, 0.40715),
    ("rare", 300, 100, 0.03535, 0.19100),
    ("rare", 300, 300, 0.05240, 0.14755),
]


@pytest.mark.parametrize(("name", "planned", "n", "low", "high"), CONFSEQ)
def test_the_bounds_are_those_of_the_authors_package(
    name: str, planned: int | None, n: int, low: float, high: float
) -> None:
    # The package rounds outwards to its grid of 20,000 points.
    found = sequence(series(name)[:n], 0.0, 1.0, planned).interval
    assert found is not None
    assert found.low == pytest.approx(low + 2.5e-5, abs=2.6e-5 if low else 3e-5)
    assert found.high == pytest.approx(high - 2.5e-5, abs=2.6e-5)


@pytest.mark.parametrize("planned", [None, 200])
def test_reading_after_each_value_and_in_one_go_settle_at_the_same_value(
    planned: int | None,
) -> None:
    rng = np.random.default_rng(1)
    for difference in (-0.4, 0.0, 0.5):
        data = rng.choice(
            [-1.0, 0.0, 1.0], 200, p=[0.3 - difference / 2, 0.4, 0.3 + difference / 2]
        )
        stepwise = ConfidenceSequence(-1, 1, ALPHA, planned)
        used, outcome = 200, "undecided"
        for count, value in enumerate(data, start=1):
            stepwise.add([value])
            outcome = settled(stepwise.one_sided, -0.1)
            if outcome != "undecided":
                used = count
                break
        assert len(stepwise) == used
        assert first_settled(data, -0.1, -1, 1, ALPHA, planned) == (outcome, used)


def test_the_bounds_only_ever_tighten_and_one_sided_ones_are_tighter() -> None:
    rng = np.random.default_rng(2)
    data = rng.uniform(-1, 1, 300)
    growing = ConfidenceSequence(-1, 1, ALPHA)
    before = Interval(-1.0, 1.0)
    for block in np.split(data, 30):
        growing.add(block)
        now, one = growing.interval, growing.one_sided
        assert now is not None
        assert one is not None
        assert now.low <= one.low < one.high <= now.high
        # Up to the rounding of the root finding.
        assert before.low - 1e-9 <= now.low
        assert now.high <= before.high + 1e-9
        before = now
    assert before.high - before.low < 0.5


def test_the_unit_of_the_values_does_not_matter() -> None:
    data = series("even")
    unit = sequence(data, 0.0, 1.0).interval
    percent = sequence(100 * data - 50, -50.0, 50.0).interval
    mirrored = sequence(-data, -1.0, 0.0).interval
    assert unit is not None
    assert percent == pytest.approx((100 * unit.low - 50, 100 * unit.high - 50), abs=1e-6)
    assert mirrored == pytest.approx((-unit.high, -unit.low), abs=1e-8)


@pytest.mark.parametrize("n", [0, 1, 10, 30, 400])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3, 1.0])
def test_equal_values_leave_a_width(n: int, value: float) -> None:
    for planned in (None, 400):
        found = sequence(np.full(n, value), planned=planned).one_sided
        assert found is not None
        assert found.low <= value <= found.high
        assert found.high - found.low > 1e-3


@pytest.mark.parametrize("n", [5, 30, 400])
def test_none_of_n_is_never_bounded_more_tightly_than_the_exact_bound_for_that_n(n: int) -> None:
    exact = stats.binomtest(0, n).proportion_ci(1 - 2 * ALPHA, "exact").high
    for planned in (None, n):
        none_of_n = sequence(np.zeros(n), 0.0, 1.0, planned).one_sided
        all_of_n = sequence(np.ones(n), 0.0, 1.0, planned).one_sided
        assert none_of_n is not None
        assert all_of_n is not None
        assert none_of_n.low == 0.0
        assert exact <= none_of_n.high < max(4 * exact, 1.1)
        assert all_of_n == pytest.approx((1 - none_of_n.high, 1.0), abs=1e-8)


def test_values_outside_the_declared_bounds_and_missing_ones_are_refused() -> None:
    for wrong in (1.1, -1.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="not in"):
            sequence(np.array([0.0, wrong]))
    with pytest.raises(ValueError, match="threshold"):
        first_settled([0.0], 1.5, -1, 1, ALPHA)
    with pytest.raises(ValueError, match="No confidence sequence"):
        ConfidenceSequence(1, 1, ALPHA)
    with pytest.raises(ValueError, match="Weights"):
        ConfidenceSequence(-1, 1, ALPHA).add([0.1, 0.2], [0.5, 2.0])
    rounded = np.array([0.1 + 0.2 + 0.7 + 4e-16])
    assert sequence(rounded).interval is not None


def test_settled_says_on_which_side_all_of_the_interval_lies() -> None:
    assert settled(Interval(-0.01, 0.2), -0.02) == "pass"
    assert settled(Interval(-0.2, -0.03), -0.02) == "fail"
    assert settled(Interval(-0.02, 0.2), -0.02) == "undecided"
    assert settled(None, 0.0) == "undecided"


def wrong_stops(batch: Reals, truth: float, alpha: float, planned: int | None) -> tuple[int, int]:
    """In how many rows the truth was ever ruled out: as too small, as too large."""
    outcomes = [first_settled(row, truth, -1, 1, alpha, planned).outcome for row in batch]
    return outcomes.count("pass"), outcomes.count("fail")


def skewed(difference: float, simulations: int, n: int) -> Reals:
    rng = np.random.default_rng(3)
    return simulate.continuous(
        n, difference=difference, spread=0.7, rng=rng, simulations=simulations, shape=(4.0, 0.5)
    ).differences


def flips(difference: float, simulations: int, n: int, discordance: float = 0.2) -> Reals:
    return simulate.binary(
        n,
        base_rate=0.5,
        difference=difference,
        discordance=discordance,
        rng=np.random.default_rng(4),
        simulations=simulations,
    ).differences


def test_continuous_monitoring_at_the_margin_errs_no_more_often_than_alpha() -> None:
    for planned in (None, 300):
        for batch in (flips(-0.05, 500, 300), skewed(-0.05, 500, 300)):
            for wrong in wrong_stops(batch, -0.05, ALPHA, planned):
                assert excess(wrong, 500, ALPHA) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("planned", [None, 100, 1000])
@pytest.mark.parametrize(
    ("discordance", "truth"), [(0.06, -0.05), (0.2, -0.05), (0.2, 0.0), (1.0, 0.0)]
)
def test_the_truth_is_covered_at_all_times_at_once(
    planned: int | None, discordance: float, truth: float
) -> None:
    batch = flips(truth, 1500, 1000, discordance)
    low, high = wrong_stops(batch, truth, ALPHA, planned)
    assert excess(low, 1500, ALPHA) > 1e-3
    assert excess(high, 1500, ALPHA) > 1e-3
    # The two-sided interval spends half of alpha on each side.
    assert excess(sum(wrong_stops(batch, truth, ALPHA / 2, planned)), 1500, ALPHA) > 1e-3


def test_a_fixed_n_interval_read_after_every_value_errs_much_more_often() -> None:
    """The simulation can tell: what the confidence sequence is for."""
    batch = flips(-0.05, 300, 300)
    n = np.arange(1, 301)
    means = np.cumsum(batch, axis=1) / n
    deviations = np.sqrt(np.cumsum(batch**2, axis=1) / n - means**2)
    lower = means - stats.norm.ppf(1 - ALPHA) * deviations / np.sqrt(n)
    wrong = int(np.any((lower > -0.05)[:, 30:], axis=1).sum())
    assert excess(wrong, 300, ALPHA) < 1e-6


def test_a_large_effect_is_settled_with_a_fraction_of_the_samples() -> None:
    stops = [first_settled(row, -0.02, -1, 1, ALPHA, 2000) for row in flips(0.05, 200, 2000)]
    assert sum(stop.outcome == "pass" for stop in stops) == 200
    assert np.mean([stop.used for stop in stops]) < 0.2 * 2000
    worse = [first_settled(row, -0.02, -1, 1, ALPHA, 2000) for row in flips(-0.1, 200, 2000)]
    assert sum(stop.outcome == "fail" for stop in worse) == 200
    assert np.mean([stop.used for stop in worse]) < 0.2 * 2000


def test_knowing_how_many_samples_there_are_settles_more_suites() -> None:
    batch = flips(0.0, 200, 2000, discordance=0.1)
    planned, unplanned = (
        sum(first_settled(row, -0.02, -1, 1, ALPHA, n).outcome == "pass" for row in batch)
        for n in (2000, None)
    )
    # The fixed-n test would pass 90 % of these.
    assert planned > 0.55 * 200
    assert unplanned < 0.5 * 200


def test_blocks_grow_and_hold_every_sample_once_wherever_it_stands_in_the_file() -> None:
    ids = [f"sample-{i}" for i in range(300)]
    cut = blocks(ids, seed=7)
    assert [len(block) for block in cut] == [32, 48, 72, 108, 40]
    assert sorted(place for block in cut for place in block) == list(range(300))
    shuffled = [ids[i] for i in np.random.default_rng(5).permutation(300)]
    named = [[ids[place] for place in block] for block in cut]
    assert [[shuffled[place] for place in block] for block in blocks(shuffled, seed=7)] == named
    assert blocks(ids, seed=8) != cut
    assert blocks([], seed=7) == []
    with pytest.raises(ValueError, match="same id"):
        blocks(["a", "a"], seed=7)


def test_a_longer_file_keeps_the_order_of_the_samples_it_had() -> None:
    ids = [f"sample-{i}" for i in range(200)]
    short = [ids[place] for block in blocks(ids[:120], seed=1) for place in block]
    long = [ids[place] for block in blocks(ids, seed=1) for place in block]
    assert [one for one in long if one in set(short)] == short


def test_each_sample_is_as_likely_as_any_to_come_first() -> None:
    ids = [f"sample-{i}" for i in range(64)]
    firsts = np.zeros(64)
    for seed in range(500):
        firsts[blocks(ids, seed)[0]] += 1
    # Half of the samples come in the first block; draws without replacement vary less than χ².
    assert firsts.sum() == 32 * 500
    assert np.all(np.abs(firsts - 250) < 5 * math.sqrt(125))
    assert firsts.std() > 5


def test_no_block_cuts_a_cluster() -> None:
    ids = [f"sample-{i}" for i in range(400)]
    clusters = [f"passage-{i * 7 % 61}" for i in range(400)]
    cut = blocks(ids, seed=3, clusters=clusters)
    homes = [{clusters[place] for place in block} for block in cut]
    assert sum(len(home) for home in homes) == 61
    assert sorted(place for block in cut for place in block) == list(range(400))
    assert 32 <= len(cut[0]) < 32 + 7


def test_the_mean_of_clusters_of_any_size_is_the_mean_over_samples() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 9, 3000)
    clusters = [f"{g}" for g, size in enumerate(sizes) for _ in range(size)]
    # The larger a cluster, the better: the mean over clusters would be another number.
    wins = rng.random(len(clusters)) < np.repeat(sizes, sizes) / 10
    differences = np.where(wins, 1.0, -1.0)
    means, weights = by_cluster(differences, clusters, largest=8)
    assert np.dot(means, weights) / weights.sum() == pytest.approx(differences.mean())
    found = ConfidenceSequence(-1, 1, ALPHA, 3000)
    found.add(means, weights)
    truth = 2 * (np.arange(1, 9) ** 2).sum() / 10 / np.arange(1, 9).sum() - 1
    interval = found.interval
    assert interval is not None
    assert interval.low < truth < interval.high
    assert interval.high - interval.low < 0.15
    assert not interval.low < means.mean() < interval.high
    with pytest.raises(ValueError, match="more than 3"):
        by_cluster(differences, clusters, largest=3)


def test_clusters_taken_as_one_draw_keep_alpha_where_single_samples_do_not() -> None:
    drawn = simulate.clustered(
        600,
        difference=0.0,
        discordance=0.4,
        correlation=0.8,
        size=10,
        rng=np.random.default_rng(7),
        simulations=500,
    )
    single = sum(wrong_stops(drawn.differences, 0.0, ALPHA / 2, 600))
    assert excess(single, 500, ALPHA) < 1e-6
    whole = np.array([by_cluster(row, drawn.clusters, 10)[0] for row in drawn.differences])
    assert excess(sum(wrong_stops(whole, 0.0, ALPHA / 2, 60)), 500, ALPHA) > 1e-3


def test_a_sequence_is_wider_than_the_interval_for_one_n_but_of_its_kind() -> None:
    data = flips(0.0, 1, 2000)[0]
    fixed = stats.ttest_1samp(data, 0.0).confidence_interval(1 - ALPHA)
    for planned, most in ((2000, 1.6), (None, 2.2)):
        found = sequence(data, planned=planned).interval
        assert found is not None
        assert 1 < (found.high - found.low) / (fixed.high - fixed.low) < most


def test_100000_values_in_blocks_take_less_than_five_seconds() -> None:
    data = flips(0.0, 1, 100_000)[0]
    ids = [str(i) for i in range(100_000)]
    started = time.process_time()
    growing = ConfidenceSequence(-1, 1, ALPHA, 100_000)
    for block in blocks(ids, seed=1):
        growing.add(data[block])
        assert growing.one_sided is not None
    assert time.process_time() - started < 5


@pytest.mark.parametrize("distance", [0.06, 0.12])
def test_the_values_needed_settle_it_with_about_that_power(distance: float) -> None:
    deviation = math.sqrt(0.3 - distance**2)
    needed = values_needed(deviation, distance, ALPHA)
    assert needed is not None
    batch = flips(distance, 300, needed, discordance=0.3)
    share = np.mean(
        [first_settled(row, 0.0, -1, 1, ALPHA, needed).outcome == "pass" for row in batch]
    )
    assert 0.65 < share < 0.95
    assert 1.5 * (samples_needed(deviation, distance, ALPHA) or 0) < needed
    assert values_needed(deviation, 0.0, ALPHA) is None
    assert values_needed(0.0, distance, ALPHA) is None


LEVELS = (0.1, 0.05, 0.025, 0.01, 0.001)


@pytest.mark.parametrize("name", ["even", "rare", "ternary"])
def test_bounds_at_many_levels_are_nested_and_are_where_the_capital_reaches_them(name: str) -> None:
    for n in (0, 1, 20, 300):
        found = sequence(series(name)[:n], 0.0, 1.0, 300)
        bounds = found.one_sided_at(LEVELS)
        assert bounds[1] == pytest.approx(found.one_sided, abs=1e-9)
        for wide, narrow in pairwise(reversed(bounds)):
            assert wide is not None
            assert narrow is not None
            assert wide.low <= narrow.low <= narrow.high <= wide.high
    # By the definition: the product of the three gamblers' factors, one mean after the other.
    x = series(name)
    estimates = (0.5 + np.cumsum(x)) / np.arange(2, 302)
    spread = (0.25 + np.cumsum((x - estimates) ** 2)) / np.arange(2, 302)
    bets = np.sqrt(-2 * math.log(ALPHA) / (np.r_[0.25, spread[:-1]] * 300))

    def capital(m: float) -> float:
        factors = [1 + np.minimum(s * bets, 0.5 / m) * (x - m) for s in (1, 2, 4)]
        return float(np.mean(np.cumprod(factors, axis=1), axis=0).max())

    for level, interval in zip(LEVELS, bounds, strict=True):
        assert interval is not None
        if interval.low:
            assert capital(interval.low) == pytest.approx(1 / level, rel=1e-4)


def test_all_levels_of_100000_values_take_less_than_three_seconds() -> None:
    found = sequence(flips(0.0, 1, 100_000)[0], planned=100_000)
    started = time.process_time()
    assert None not in found.one_sided_at([*LEVELS, 0.005, 0.0025])
    assert time.process_time() - started < 3
