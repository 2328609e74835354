"""Preferences against AlpacaEval's recorded judgements, scipy and simulation."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from evalkit.stats import preferences
from evalkit.stats.base import Reals
from evalkit.stats.binary import mcnemar
from evalkit.stats.means import mean_difference, t_test

MODELS = (
    "FuseChat-Llama-3.1-8B-Instruct",
    "FuseChat-Qwen-2.5-7B-Instruct",
    "NullModel",
    "Qwen-14B-Chat",
    "alpaca-7b",
    "alpaca-7b_concise",
    "alpaca-7b_verbose",
    "claude-2",
    "gemma-2b-it",
)


def _folder() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data" / "alpaca_eval"
    if not folder.is_dir():
        pytest.skip("needs the recorded judgements of ../shared/data/alpaca_eval")
    return folder


def _recorded(model: str) -> dict[str, float]:
    with gzip.open(_folder() / f"{model}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["instruction"]: row["preference"] - 1 for row in rows}


@pytest.mark.parametrize("model", MODELS)
def test_the_published_win_rates_and_errors_are_found(model: str) -> None:
    with (_folder() / "leaderboard.csv").open(encoding="utf-8", newline="") as lines:
        published = {row[""]: row for row in csv.DictReader(lines)}[model]
    found = preferences.win_rate(np.array(list(_recorded(model).values())), 0.95)
    assert 100 * found.rate == pytest.approx(float(published["win_rate"]), abs=5e-5)
    assert 100 * found.standard_error == pytest.approx(float(published["standard_error"]), abs=5e-5)
    outcomes = [int(published[key]) for key in ("n_wins", "n_draws", "n_wins_base")]
    assert [found.wins, found.ties, found.losses] == outcomes
    assert found.interval is not None
    assert found.interval.low < found.rate < found.interval.high


def test_two_models_judged_on_the_same_prompts_are_compared_in_pairs() -> None:
    llama, qwen = (_recorded(model) for model in MODELS[:2])
    assert llama.keys() == qwen.keys()
    base = np.array(list(llama.values()))
    tuned = np.array([qwen[prompt] for prompt in llama])
    estimate = mean_difference(tuned - base)
    assert 100 * estimate.mean == pytest.approx(1.309, abs=5e-4)
    assert 100 * estimate.standard_error == pytest.approx(1.452, abs=5e-4)
    assert estimate.mean / estimate.standard_error == pytest.approx(0.902, abs=5e-4)
    assert t_test(estimate) == pytest.approx(0.3675, abs=5e-5)
    alone = [preferences.win_rate(arm, 0.95).standard_error for arm in (base, tuned)]
    assert 100 * math.hypot(*alone) == pytest.approx(2.017, abs=5e-4)
    flips = preferences.win_flips(base, tuned)
    assert flips == (123, 110)
    assert mcnemar(*flips) == pytest.approx(0.432, abs=5e-4)


def test_orders_are_averaged_first_and_then_judges() -> None:
    found = preferences.sample_utilities(
        ["b", "a", "a", "a", "b", "b"],
        ["one", "one", "one", "two", "one", "two"],
        [1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    )
    assert found.samples == ("a", "b")
    # Judge one contradicts itself on a: a tie there, so ¾ with judge two's win.
    assert found.values == pytest.approx([0.75, 0.5])
    counted = preferences.win_rate(found.values, 0.95)
    assert (counted.wins, counted.ties, counted.losses) == (1, 1, 0)


def test_a_position_bias_cancels_over_both_orders() -> None:
    """A judge that always takes the first answer says nothing: all ties, and no interval."""
    samples = [f"s{number}" for number in range(30)] * 2
    found = preferences.sample_utilities(samples, ["j"] * 60, [1.0] * 30 + [0.0] * 30)
    rate = preferences.win_rate(found.values, 0.95)
    assert (rate.rate, rate.wins, rate.ties, rate.losses) == (0.5, 0, 30, 0)
    assert rate.sign_p == 1.0
    assert rate.interval is None


def test_three_judges_in_thirds_still_tie_exactly() -> None:
    thirds = np.array([1 / 3 + 1 / 6, 0.1 + 0.4, 1 - (0.2 + 0.3), 0.7])
    rate = preferences.win_rate(thirds, 0.95)
    assert (rate.wins, rate.ties, rate.losses) == (1, 3, 0)


def test_the_sign_test_is_the_binomial_test_of_scipy() -> None:
    utilities = np.repeat([1.0, 0.5, 0.0], [19, 40, 7])
    rate = preferences.win_rate(utilities, 0.95)
    assert rate.sign_p == pytest.approx(stats.binomtest(19, 26).pvalue)
    groups = [str(number // 2) for number in range(66)]
    clustered = preferences.win_rate(utilities, 0.95, groups)
    # Pairs in order: 10 above ½ (the last of them a win and a tie), 4 below (one a tie and a loss).
    assert clustered.sign_p == pytest.approx(stats.binomtest(10, 14).pvalue)
    assert clustered.clusters == 33


@pytest.mark.parametrize("wins", [0, 1, 7, 30])
def test_the_interval_of_wins_and_losses_is_close_to_wilsons(wins: int) -> None:
    """Closer than the difference of z from t and of n from n − 1; with width at 0 and n of n."""
    utilities = np.repeat([1.0, 0.0], [wins, 30 - wins])
    interval = preferences.win_rate(utilities, 0.95).interval
    assert interval is not None
    oracle = proportion_confint(wins, 30, 0.05, method="wilson")
    assert interval == pytest.approx(oracle, abs=0.015)
    assert 0 <= interval.low < interval.high <= 1


def test_one_sample_none_and_one_cluster_give_no_interval() -> None:
    assert preferences.win_rate(np.array([1.0]), 0.95).interval is None
    assert math.isnan(preferences.win_rate(np.array([]), 0.95).rate)
    assert preferences.win_rate(np.array([]), 0.95).interval is None
    assert preferences.win_rate(np.array([1.0, 0.0, 1.0]), 0.95, ["a"] * 3).interval is None
    assert preferences.win_rate(np.full(20, 0.75), 0.95).interval is None


def test_what_is_no_utility_is_refused() -> None:
    for wrong in (math.nan, -0.5, 2.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            preferences.win_rate(np.array([0.5, wrong]), 0.95)
    with pytest.raises(ValueError, match="as many"):
        preferences.sample_utilities(["a"], [], [0.5])


def test_rates_do_not_depend_on_the_order_of_samples() -> None:
    rng = np.random.default_rng(4)
    utilities = rng.uniform(size=53)
    groups = [str(group) for group in rng.integers(0, 9, 53)]
    moved = rng.permutation(53)
    again = preferences.win_rate(utilities[moved], 0.95, [groups[place] for place in moved])
    assert again == preferences.win_rate(utilities, 0.95, groups)


def _coverage(utilities: Reals, truth: float, clusters: int | None = None) -> float:
    """Share of intervals that hold the truth; samples are in clusters of equal size, if any."""
    hits = 0
    for row in utilities:
        size = len(row) // (clusters or len(row))
        groups = [str(number // size) for number in range(len(row))] if clusters else []
        interval = preferences.win_rate(row, 0.95, groups).interval
        hits += interval is not None and interval.low <= truth <= interval.high
    return hits / len(utilities)


@pytest.mark.slow
@pytest.mark.parametrize("n", [25, 60, 400])
@pytest.mark.parametrize("shares", [(0.45, 0.2, 0.35), (0.06, 0.02, 0.92), (0.9, 0.1, 0.0)])
def test_the_interval_covers_the_truth(n: int, shares: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(5)
    draws = rng.choice([1.0, 0.5, 0.0], p=shares, size=(2000, n))
    slack = 4 * math.sqrt(0.95 * 0.05 / 2000)
    # Discrete outcomes near the edge make coverage wave about its level, more so for small n.
    wave = 0.035 if n * shares[1] < 10 and min(shares) < 0.1 else 0.01
    covered = _coverage(draws, shares[0] + shares[1] / 2)
    assert covered > 0.95 - wave - slack
    assert covered < 0.95 + wave + slack + (0.02 if n == 25 else 0)


@pytest.mark.slow
def test_the_interval_allows_for_clusters() -> None:
    rng = np.random.default_rng(6)
    shared = rng.uniform(size=(2000, 60, 1))
    draws = (rng.uniform(size=(2000, 60, 4)) < shared).astype(np.float64).reshape(2000, 240)
    slack = 4 * math.sqrt(0.95 * 0.05 / 2000)
    assert _coverage(draws, 0.5, clusters=60) == pytest.approx(0.95, abs=0.01 + slack)
    assert _coverage(draws, 0.5) < 0.9  # as if all were independent


@pytest.mark.slow
def test_the_sign_test_rejects_no_more_than_it_says() -> None:
    rng = np.random.default_rng(7)
    draws = rng.choice([1.0, 0.5, 0.0], p=[0.4, 0.2, 0.4], size=(4000, 80))
    p_values = np.array([preferences.win_rate(row, 0.95).sign_p for row in draws])
    assert 0.02 < (p_values <= 0.05).mean() < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 4000)
