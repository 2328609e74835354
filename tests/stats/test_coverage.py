"""Every row of the table of estimators keeps its level: 95 % intervals hold the truth so often.

A small simulation of each row runs always, one that sees smaller faults in `make test-all`. The
tests of each estimator try more sizes and harder data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from evalkit.stats import binary, clusters, corpus, means, perplexity, preferences, ranking, repeats
from evalkit.stats.base import Interval, NamedInterval, Reals

LEVEL = 0.95
Rng = np.random.Generator


def _holds(interval: Interval | NamedInterval | None, truth: float) -> bool:
    return interval is not None and interval.low <= truth <= interval.high


def _flips(rng: Rng, n: int) -> tuple[int, int, int, int]:
    """Both right, gained, lost, neither; the true difference is −0.05."""
    both, gained, lost, neither = rng.multinomial(n, [0.5, 0.1, 0.15, 0.25]).tolist()
    return both, gained, lost, neither


def wilson(rng: Rng) -> bool:
    return _holds(binary.wilson_interval(int(rng.binomial(80, 0.6)), 80, LEVEL), 0.6)


def tango(rng: Rng) -> bool:
    _, gained, lost, _ = _flips(rng, 100)
    return _holds(binary.tango_interval(gained, lost, 100, LEVEL), -0.05)


def newcombe(rng: Rng) -> bool:
    return _holds(binary.newcombe_interval(*_flips(rng, 100), LEVEL), -0.05)


def student(rng: Rng) -> bool:
    return _holds(means.t_interval(means.mean_difference(rng.normal(0.1, 1, 15)), LEVEL), 0.1)


def bca(rng: Rng) -> bool:
    return _holds(means.bootstrap_interval(rng.normal(0.1, 1, 30), LEVEL), 0.1)


def sign_flips(rng: Rng) -> bool:
    found = means.sign_flip_test(rng.standard_t(3, 25))
    return found is not None and found.p > 1 - LEVEL


def _clustered(rng: Rng, groups: int) -> tuple[Reals, list[str]]:
    """Clusters of 2 to 6 samples that share half of their variance, about 0.1."""
    sizes = rng.integers(2, 7, groups)
    names = np.repeat([f"passage {place}" for place in range(groups)], sizes)
    shared = np.repeat(rng.normal(0, 1, groups), sizes)
    return 0.1 + shared + rng.normal(0, 1, len(names)), names.tolist()


def many_clusters(rng: Rng) -> bool:
    mean = means.mean_difference(*_clustered(rng, 60))
    return _holds(means.t_interval(mean, LEVEL), 0.1)


def few_clusters(rng: Rng) -> bool:
    found = clusters.wild_bootstrap_test(*_clustered(rng, 12), 0.1)
    return found is not None and found.p > 1 - LEVEL


def completions(rng: Rng) -> bool:
    """Four right-or-wrong answers to each sample and arm, averaged first."""
    chance = rng.uniform(0.1, 0.8, (60, 1))
    base, tuned = (rng.random((60, 4)) < chance), (rng.random((60, 4)) < chance + 0.1)
    names = np.repeat(np.arange(60).astype(str), 4).tolist()
    scores = (tuned.astype(np.float64) - base).ravel()
    averaged = repeats.sample_means(scores, names).means
    return _holds(means.t_interval(means.mean_difference(averaged), LEVEL), 0.1)


def preference(rng: Rng) -> bool:
    found = preferences.win_rate(rng.choice([1.0, 0.5, 0.0], 100, p=[0.4, 0.2, 0.4]), LEVEL)
    return _holds(found.interval, 0.5)


def bradley_terry(rng: Rng) -> bool:
    """Four equal models, all pairs judged on 40 samples: every strength is 0."""
    samples, firsts, seconds = [], [], []
    for sample in range(40):
        for i in range(4):
            for j in range(i):
                samples.append(str(sample))
                firsts.append(f"m{i}")
                seconds.append(f"m{j}")
    utilities = rng.choice([1.0, 0.5, 0.0], len(samples), p=[0.4, 0.2, 0.4]).tolist()
    return _holds(ranking.rank(samples, firsts, seconds, utilities).intervals[0], 0.0)


def bleu(rng: Rng) -> bool:
    arms = []
    reference = rng.integers(8, 30, 60)
    for _ in range(2):
        length = np.maximum(reference + rng.integers(-3, 4, 60), 4)
        totals = length[:, None] - np.arange(4)
        correct = rng.binomial(totals, rng.beta(6, 3, (60, 1)) ** np.arange(1, 5))
        arms.append(np.column_stack([length, reference, correct, totals]).astype(np.float64))
    found = corpus.corpus_difference(arms[0], arms[1], corpus.bleu_score, LEVEL)
    return found is not None and _holds(found.interval, 0.0)


def chrf(rng: Rng) -> bool:
    arms = []
    reference = rng.integers(30, 120, (60, 1)) - np.arange(6)
    for _ in range(2):
        hypothesis = np.maximum(reference + rng.integers(-9, 10, (60, 1)), 1)
        shorter = np.minimum(hypothesis, reference)
        both = rng.binomial(shorter, rng.beta(6, 3, (60, 1)) ** np.arange(1, 7))
        counts = np.stack([hypothesis, reference, both], axis=2)
        arms.append(counts.reshape(60, 18).astype(np.float64))
    found = corpus.corpus_difference(arms[0], arms[1], corpus.chrf_score, LEVEL)
    return found is not None and _holds(found.interval, 0.0)


def documents(rng: Rng) -> bool:
    tokens = rng.integers(50, 400, 60).astype(np.float64)
    rates = rng.gamma(30, 0.1, (2, 60))
    base, tuned = (np.column_stack([tokens * rate, tokens]) for rate in rates)
    found = perplexity.perplexity_difference(base, tuned, LEVEL)
    return found is not None and _holds(found.interval, 0.0)


ROWS: tuple[Callable[[Rng], bool], ...] = (
    wilson, tango, newcombe, student, bca, sign_flips, many_clusters, few_clusters, completions,
    preference, bradley_terry, bleu, chrf, documents,
)  # fmt: skip


def _kept(row: Callable[[Rng], bool], simulations: int) -> float:
    rng = np.random.default_rng(20260106)
    return sum(row(rng) for _ in range(simulations)) / simulations


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level does not depend on the number of draws, only how smooth the bounds are."""
    monkeypatch.setattr(corpus, "_BOOTSTRAP_DRAWS", 399)
    monkeypatch.setattr(corpus, "_SWAP_DRAWS", 39)
    monkeypatch.setattr(means, "_BOOTSTRAP_DRAWS", 1000)
    monkeypatch.setattr(means, "_SIGN_DRAWS", 999)
    monkeypatch.setattr(ranking, "_DRAWS", 199)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_keeps_its_level(row: Callable[[Rng], bool], fewer_draws: None) -> None:
    simulations = 150
    slack = 4 * math.sqrt(LEVEL * (1 - LEVEL) / simulations)
    assert _kept(row, simulations) >= LEVEL - slack


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_row_keeps_its_level_closely(row: Callable[[Rng], bool], fewer_draws: None) -> None:
    simulations = 2000
    slack = 4 * math.sqrt(LEVEL * (1 - LEVEL) / simulations)
    # Counts and percentiles of few draws step: a hundredth beside chance.
    assert _kept(row, simulations) == pytest.approx(LEVEL, abs=slack + 0.01)
