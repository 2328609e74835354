"""Perplexities against plain sums, the delta method and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.stats.base import Reals
from evalkit.stats.perplexity import bits_and_bytes, perplexity_difference, rate_difference


def _documents(
    rng: np.random.Generator, count: int, shift: float = 0.0, spread: float = 0.1
) -> tuple[Reals, Reals]:
    """(nats, tokens) of both arms: shared difficulty, the tuned arm `shift` nats per token off."""
    tokens = rng.integers(50, 400, count).astype(np.float64)
    rate = rng.gamma(30, 0.1, count)
    change = shift + rng.normal(0, spread, count)
    base = np.stack([tokens * rate, tokens], axis=1)
    return base, np.stack([tokens * (rate + change), tokens], axis=1)


def test_a_perplexity_is_of_sums_and_not_a_mean_of_perplexities() -> None:
    base = np.array([[10.0, 10.0], [600.0, 200.0]])
    tuned = np.array([[20.0, 10.0], [500.0, 200.0]])
    found = perplexity_difference(base, tuned, 0.95)
    assert found is not None
    assert found.base == pytest.approx(math.exp(610 / 210))
    assert found.tuned == pytest.approx(math.exp(520 / 210))
    assert found.log_ratio == pytest.approx(math.log(found.tuned / found.base))
    assert found.interval is None
    assert found.ratio_interval is None
    assert found.documents == 2


def test_the_interval_is_that_of_the_delta_method_where_documents_are_many() -> None:
    base, tuned = _documents(np.random.default_rng(1), 1500, -0.02)
    found = perplexity_difference(base, tuned, 0.95)
    assert found is not None
    tokens = base[:, 1]
    residuals = tuned[:, 0] - base[:, 0] - found.log_ratio * tokens
    error = math.sqrt(float((residuals**2).sum())) / float(tokens.sum())
    reach = 1.96 * error
    assert found.interval is not None
    expected = (found.log_ratio - reach, found.log_ratio + reach)
    assert found.interval == pytest.approx(expected, abs=0.15 * reach)
    assert found.ratio_interval == pytest.approx(tuple(np.exp(found.interval)))
    assert found.randomisation_p is not None
    assert found.randomisation_p < 0.001


def test_bits_per_byte_compares_what_tokenizers_split_differently() -> None:
    rng = np.random.default_rng(2)
    base, tuned = _documents(rng, 40)
    sizes = base[:, 1] * 4
    fewer = np.stack([tuned[:, 0], np.ceil(tuned[:, 1] / 2)], axis=1)
    with pytest.raises(ValueError, match="tokenizers differ"):
        perplexity_difference(base, fewer, 0.95)
    found = rate_difference(
        bits_and_bytes(base[:, 0], sizes), bits_and_bytes(fewer[:, 0], sizes), 0.95
    )
    assert found is not None
    assert found.base == pytest.approx(base[:, 0].sum() / math.log(2) / sizes.sum())
    assert found.tuned == pytest.approx(fewer[:, 0].sum() / math.log(2) / sizes.sum())
    assert found.interval is not None
    assert found.interval.low < found.difference < found.interval.high


def test_equal_arms_and_equal_changes_have_no_interval() -> None:
    base, _ = _documents(np.random.default_rng(3), 30)
    same = perplexity_difference(base, base, 0.95)
    assert same is not None
    assert (same.log_ratio, same.interval, same.randomisation_p) == (0.0, None, 1.0)


def test_nothing_to_divide_by_is_no_estimate() -> None:
    empty = np.zeros((4, 2))
    assert perplexity_difference(empty, empty, 0.95) is None
    assert perplexity_difference(empty[:0], empty[:0], 0.95) is None
    with pytest.raises(ValueError, match="not paired"):
        rate_difference(np.ones((3, 2)), np.ones((4, 2)), 0.95)
    with pytest.raises(ValueError, match="fewer than no"):
        rate_difference(np.ones((3, 2)), -np.ones((3, 2)), 0.95)


def test_a_perplexity_beyond_floats_is_infinite_and_no_crash() -> None:
    found = perplexity_difference(np.array([[5.0, 5.0]]), np.array([[5e6, 5.0]]), 0.95)
    assert found is not None
    assert math.isinf(found.tuned)


def test_results_do_not_depend_on_the_order_of_documents() -> None:
    rng = np.random.default_rng(4)
    base, tuned = _documents(rng, 70)
    groups = [str(group) for group in rng.integers(0, 12, 70)]
    moved = rng.permutation(70)
    again = perplexity_difference(base[moved], tuned[moved], 0.95, [groups[k] for k in moved])
    assert again == perplexity_difference(base, tuned, 0.95, groups)


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, 50, 250])
def test_the_interval_covers_and_the_test_rejects_as_often_as_it_says(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.stats.corpus._BOOTSTRAP_DRAWS", 999)
    monkeypatch.setattr("evalkit.stats.corpus._SWAP_DRAWS", 999)
    rng = np.random.default_rng(5)
    runs, covered, rejected = 1000, 0, 0
    for _ in range(runs):
        found = perplexity_difference(*_documents(rng, count), 0.95)
        assert found is not None
        covered += found.interval is not None and found.interval.low <= 0 <= found.interval.high
        assert found.randomisation_p is not None
        rejected += found.randomisation_p <= 0.05
    slack = 4 * math.sqrt(0.05 * 0.95 / runs)
    assert covered / runs == pytest.approx(0.95, abs=slack + 0.2 / count)
    assert rejected / runs == pytest.approx(0.05, abs=slack)
