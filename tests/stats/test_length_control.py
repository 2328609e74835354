"""Win rates at equal lengths: against statsmodels, scikit-learn, scipy, a planted bias, and what
AlpacaEval publishes of its recorded judgements."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize, special, stats
from sklearn.linear_model import LogisticRegression

from evalkit.stats.base import Interval, Reals
from evalkit.stats.length_control import (
    SLOPE_SPREAD,
    fit_logit,
    length_controlled,
    length_controlled_jointly,
    squashed,
)
from evalkit.stats.mixed_logit import fit_mixed

Rng = np.random.Generator


def _data(rng: Rng, n: int = 150) -> tuple[Reals, Reals]:
    """Utilities between 0 and 1, not only at the ends, and differences of length."""
    away = rng.normal(40, 300, n)
    chance = special.expit(-0.4 + 1.1 * np.tanh(away / 300))
    return np.clip(np.round(rng.beta(2 * chance, 2 * (1 - chance)) * 4) / 4, 0, 1), away


def _design(away: Reals) -> Reals:
    return np.column_stack([np.ones(len(away)), squashed(away)])


def test_the_regression_is_statsmodels_fractional_logit() -> None:
    utilities, away = _data(np.random.default_rng(1))
    found = fit_logit(_design(away), utilities, np.zeros(2))
    oracle = sm.GLM(utilities, _design(away), family=sm.families.Binomial()).fit(cov_type="HC0")
    assert found is not None
    assert found.coefficients == pytest.approx(oracle.params, abs=1e-7)
    few = len(away) / (len(away) - 2)  # n/(n − k), which statsmodels leaves out
    assert found.covariance == pytest.approx(few * np.asarray(oracle.cov_params()), abs=1e-7)


def test_clusters_have_the_errors_of_statsmodels() -> None:
    utilities, away = _data(np.random.default_rng(2))
    groups = np.random.default_rng(3).integers(0, 30, len(away))
    found = fit_logit(_design(away), utilities, np.zeros(2), [str(one) for one in groups])
    model = sm.GLM(utilities, _design(away), family=sm.families.Binomial())
    oracle = model.fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert found is not None
    assert found.units == 30
    assert found.covariance == pytest.approx(np.asarray(oracle.cov_params()), abs=1e-7)


def test_the_weak_prior_of_the_slope_is_scikit_learns_ridge() -> None:
    utilities, away = _data(np.random.default_rng(4), 60)
    found = length_controlled(utilities, away, 0.95)
    lengths = np.tile(squashed(away)[:, None], (2, 1))
    sides = np.repeat([1, 0], len(away))
    weights = np.concatenate([utilities, 1 - utilities])
    oracle = LogisticRegression(C=SLOPE_SPREAD**2, tol=1e-10, max_iter=1000)
    oracle.fit(lengths, sides, sample_weight=weights)
    assert found is not None
    assert found.coefficient == pytest.approx(oracle.coef_.item(), abs=1e-5)
    assert found.rate == pytest.approx(special.expit(oracle.intercept_.item()), abs=1e-6)


def test_equal_lengths_are_what_the_rate_is_of() -> None:
    """Tenfold lengths change nothing: they are standardised."""
    utilities, away = _data(np.random.default_rng(5))
    once, tenfold = (length_controlled(utilities, times * away, 0.95) for times in (1, 10))
    assert once is not None
    assert tenfold is not None
    assert tenfold.rate == pytest.approx(once.rate)
    assert tenfold.coefficient == pytest.approx(once.coefficient)


def test_lengths_that_never_vary_tell_nothing_of_equal_ones() -> None:
    """The tuned arm is always 100 longer and wins 70 %: the interval says that 0 was not seen."""
    utilities = np.repeat([1.0, 0.0], [70, 30])
    found = length_controlled(utilities, np.full(100, 100.0), 0.95)
    assert found is not None
    assert found.interval.low < 0.1
    assert found.interval.high > 0.9


def test_where_nothing_can_be_fitted_there_is_no_rate() -> None:
    utilities, away = _data(np.random.default_rng(6))
    assert length_controlled(np.ones(50), away[:50], 0.95) is None
    assert length_controlled(np.zeros(50), away[:50], 0.95) is None
    assert length_controlled(np.full(50, 0.5), away[:50], 0.95) is None
    assert length_controlled(utilities, np.zeros(len(away)), 0.95) is None
    assert length_controlled(utilities[:9], away[:9], 0.95) is None
    longer_wins = (away > 20).astype(np.float64)
    assert length_controlled(longer_wins, away, 0.95) is None
    assert length_controlled(1 - longer_wins, away, 0.95) is None


def test_the_order_of_samples_changes_nothing() -> None:
    utilities, away = _data(np.random.default_rng(7))
    moved = np.random.default_rng(8).permutation(len(away))
    one, other = (
        length_controlled(utilities, away, 0.95),
        length_controlled(utilities[moved], away[moved], 0.95),
    )
    assert one is not None
    assert other is not None
    assert one.rate == pytest.approx(other.rate, abs=1e-12)


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def _kept(simulations: int, n: int) -> tuple[float, float]:
    """How often the intervals hold a planted win rate of .45 and a planted bias of 1.5."""
    rng = np.random.default_rng(9)
    hits = np.zeros(2)
    for _ in range(simulations):
        away = rng.normal(150, 300, n)
        odds = special.logit(0.45) + 1.5 * squashed(away)
        won = (rng.random(n) < special.expit(odds)).astype(np.float64)
        found = length_controlled(won, away, 0.95)
        assert found is not None
        hits += [_holds(found.interval, 0.45), _holds(found.coefficient_interval, 1.5)]
    return hits[0] / simulations, hits[1] / simulations


def _slack(simulations: int) -> float:
    return 4 * math.sqrt(0.05 * 0.95 / simulations)


def test_a_planted_length_bias_is_covered() -> None:
    for share in _kept(250, 120):
        assert share >= 0.95 - _slack(250)


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 120, 600])
def test_a_planted_length_bias_is_covered_closely(n: int) -> None:
    for share in _kept(3000, n):
        assert share == pytest.approx(0.95, abs=0.015 + _slack(3000))


def _field(rng: Rng, prompts: int) -> tuple[list[str], list[str], Reals, Reals, Reals]:
    """Four models on the same prompts of unequal difficulty, one of them long-winded."""
    hard = rng.normal(0, 1.2, prompts)
    centres, longer = [-1.5, -0.5, 0.2, 1.0], [-100.0, 300.0, 0.0, 80.0]
    away = np.array([rng.normal(one, 250, prompts) for one in longer])
    scale = math.sqrt(float(np.mean(away**2)))
    odds = np.array(centres)[:, None] + 1.2 * np.tanh(away / scale) + hard
    utilities = (rng.random(odds.shape) < special.expit(odds)).astype(np.float64)
    models = np.repeat([f"m{place}" for place in range(4)], prompts).tolist()
    names = np.tile([f"p{place}" for place in range(prompts)], 4).tolist()
    spread = np.linspace(-6, 6, 2001) * 1.2
    weights = stats.norm.pdf(spread, 0, 1.2)
    truth = [float(np.average(special.expit(one + spread), weights=weights)) for one in centres]
    return models, names, utilities.ravel(), away.ravel(), np.array(truth)


def _jointly_kept(simulations: int, prompts: int) -> Reals:
    rng = np.random.default_rng(10)
    hits = np.zeros((2, 4))
    for _ in range(simulations):
        models, names, utilities, away, truth = _field(rng, prompts)
        found = length_controlled_jointly(models, names, utilities, away, 0.95)
        for place in range(4):
            one = found[f"m{place}"]
            assert one is not None
            hits[0, place] += _holds(one.interval, truth[place])
            hits[1, place] += _holds(one.coefficient_interval, 1.2)
    return hits / simulations


def test_several_models_are_fitted_with_the_difficulty_of_their_prompts() -> None:
    kept = _jointly_kept(40, 150)
    assert kept[0].mean() >= 0.95 - _slack(160)
    assert kept[1].mean() >= 0.90 - _slack(160)  # shrunken effects: slopes a little too small


@pytest.mark.slow
def test_several_models_are_covered_closely() -> None:
    kept = _jointly_kept(400, 200)
    assert kept[0].min() >= 0.95 - 0.02 - _slack(400)


def test_the_joint_fit_is_where_scipy_finds_the_least() -> None:
    """At the variance that it found: the penalised likelihood, minimised from another start."""
    rng = np.random.default_rng(11)
    models, names, utilities, away, _ = _field(rng, 40)
    places = np.array([int(one[1:]) for one in models])
    groups = np.array([int(one[1:]) for one in names])
    member = np.equal.outer(places, np.arange(4)).astype(np.float64)
    design = np.column_stack([member, squashed(away)])
    precision = np.array([0.0, 0.0, 0.0, 0.0, SLOPE_SPREAD**-2])
    fit = fit_mixed(design, utilities, groups, precision)
    assert fit is not None

    def loss(found: Reals) -> float:
        odds = design @ found[:5] + found[5:][groups]
        data = np.sum(np.logaddexp(0, odds) - utilities * odds)
        prior = precision @ found[:5] ** 2 + np.sum(found[5:] ** 2) / fit.variance
        return float(data + prior / 2)

    least = optimize.minimize(loss, np.full(45, 0.1), method="BFGS", options={"gtol": 1e-7})
    assert fit.coefficients == pytest.approx(least.x[:5], abs=1e-4)
    assert fit.effects == pytest.approx(least.x[5:], abs=1e-4)
    assert 0.3 < fit.variance < 3  # 1.44 was planted


def test_a_model_that_never_won_has_no_rate_and_spoils_no_other() -> None:
    models, names, utilities, away, _ = _field(np.random.default_rng(12), 60)
    before = length_controlled_jointly(models, names, utilities, away, 0.95)
    more = length_controlled_jointly(
        [*models, *["loser"] * 60],
        [*names, *names[:60]],
        np.concatenate([utilities, np.zeros(60)]),
        np.concatenate([away, away[:60]]),
        0.95,
    )
    assert more.pop("loser") is None
    assert more == before


def test_one_model_alone_is_fitted_without_difficulties() -> None:
    utilities, away = _data(np.random.default_rng(13))
    names = [str(place) for place in range(len(away))]
    found = length_controlled_jointly(["m"] * len(away), names, utilities, away, 0.95)
    assert found == {"m": length_controlled(utilities, away, 0.95)}


MODELS = (
    "FuseChat-Llama-3.1-8B-Instruct", "FuseChat-Qwen-2.5-7B-Instruct", "NullModel",
    "Qwen-14B-Chat", "alpaca-7b", "alpaca-7b_concise", "alpaca-7b_verbose", "claude-2",
    "gemma-2b-it",
)  # fmt: skip


def _folder() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data" / "alpaca_eval"
    if not folder.is_dir():
        pytest.skip("needs the recorded judgements of ../shared/data/alpaca_eval")
    return folder


def _recorded(*names: str) -> tuple[list[str], list[str], Reals, Reals]:
    rows: list[dict[str, Any]] = []
    for name in names:
        with gzip.open(_folder() / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows += [{**json.loads(line), "model": name} for line in lines]
    return (
        [row["model"] for row in rows],
        [row["instruction"] for row in rows],
        np.array([row["preference"] - 1 for row in rows]),
        np.array([row["len_2"] - row["len_1"] for row in rows], dtype=np.float64),
    )


def _published() -> dict[str, float]:
    with (_folder() / "leaderboard.csv").open(encoding="utf-8", newline="") as lines:
        return {row[""]: float(row["length_controlled_winrate"]) for row in csv.DictReader(lines)}


def test_the_ranks_are_those_that_alpaca_eval_publishes() -> None:
    found = length_controlled_jointly(*_recorded(*MODELS), 0.95)
    published = _published()
    rates = [one.rate if (one := found[name]) else math.nan for name in MODELS]
    recorded = [published[name] for name in MODELS]
    assert stats.spearmanr(rates, recorded).statistic >= 0.95
    # And the values are near: the raw win rates are up to 11 points away.
    assert np.abs(100 * np.array(rates) - recorded).max() < 5


def test_a_lead_by_length_shrinks() -> None:
    """FuseChat's Qwen leads its Llama by 1.31 points and writes 140 characters more."""
    pair = MODELS[:2]
    for names in (pair, MODELS):
        found = length_controlled_jointly(*_recorded(*names), 0.95)
        llama, qwen = (found[name] for name in pair)
        assert llama is not None
        assert qwen is not None
        assert 100 * (qwen.rate - llama.rate) <= 1.309 - 1
        assert qwen.rate < llama.rate, "as in the published column, the lead turns"
