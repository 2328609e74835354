"""Corpus metrics against sacrebleu and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from evalkit.stats import corpus, resampling
from evalkit.stats.base import Reals

SAYING = "the cat sat on a mat while dogs ran over green hills and sang old songs to the moon"
WORDS = SAYING.split()
METRICS: dict[str, corpus.ScoreFunction] = {"BLEU": corpus.bleu_score, "chrF2": corpus.chrf_score}


def _texts(segments: int, slips: tuple[float, float], seed: int) -> tuple[list[str], ...]:
    """References, and two arms that replace each word at random with these chances."""
    rng = np.random.default_rng(seed)
    written: tuple[list[str], ...] = ([], [], [])
    for _ in range(segments):
        words = rng.choice(WORDS, size=int(rng.integers(4, 14)))
        written[0].append(" ".join(words))
        for text, slip in zip(written[1:], slips, strict=True):
            swapped = np.where(rng.uniform(size=len(words)) < slip, rng.choice(WORDS), words)
            text.append(" ".join(swapped))
    return written


def _metric(name: str) -> Any:
    return BLEU(effective_order=True) if name == "BLEU" else CHRF()


def _statistics(metric: Any, texts: list[str], references: list[str]) -> Reals:
    return np.array(metric._extract_corpus_statistics(texts, [references]), dtype=np.float64)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("segments", [1, 2, 40])
def test_scores_of_sums_are_those_of_sacrebleu(name: str, segments: int) -> None:
    metric = _metric(name)
    for seed in range(10):
        references, *arms = _texts(segments, (0.2, 0.8), seed)
        for texts in (*arms, ["?!"] * segments, [""] * segments, ["the cat"] * segments):
            statistics = _statistics(metric, texts, references)
            expected = metric.corpus_score(texts, [references]).score
            assert METRICS[name](statistics.sum(axis=0)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("words", [1, 2, 3, 4, 9])
def test_without_effective_order_the_score_is_corpus_bleus(words: int) -> None:
    """A corpus without any text of four words has a BLEU of 0."""
    rng = np.random.default_rng(words)
    references = [" ".join(rng.choice(WORDS, size=words)) for _ in range(30)]
    texts = [*references[:20], *(" ".join(rng.choice(WORDS, size=words)) for _ in range(10))]
    statistics = _statistics(BLEU(), texts, references).sum(axis=0)
    found = corpus.bleu_score(statistics, effective_order=False)
    assert found == pytest.approx(sacrebleu.corpus_bleu(texts, [references]).score, abs=1e-9)
    assert (found > 0) == (words >= 4)
    assert corpus.bleu_score(statistics) > 0


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_of_one_arm_is_that_of_sacrebleus_bootstrap(name: str) -> None:
    """sacrebleu tells ± half the width of the plain percentiles (Koehn 2004)."""
    references, texts, _ = _texts(300, (0.3, 0.3), 11)
    metric = _metric(name)
    found = corpus.corpus_interval(_statistics(metric, texts, references), METRICS[name], 0.95)
    oracle = metric.corpus_score(texts, [references], n_bootstrap=2000)
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * oracle._ci, rel=0.08)
    assert found.low < oracle.score < found.high
    assert corpus.corpus_interval(np.ones((9, 18)), METRICS[name], 0.95) is None
    assert corpus.corpus_interval(np.ones((0, 18)), METRICS[name], 0.95) is None


def test_character_and_word_orders_make_chrf_plus_plus() -> None:
    metric = CHRF(word_order=2)
    references, texts, _ = _texts(20, (0.3, 0.3), 1)
    found = corpus.chrf_score(_statistics(metric, texts, references).sum(axis=0))
    assert found == pytest.approx(metric.corpus_score(texts, [references]).score)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("slips", [(0.30, 0.29), (0.30, 0.26), (0.36, 0.24)])
def test_both_tests_give_the_p_of_sacrebleu(name: str, slips: tuple[float, float]) -> None:
    references, base, tuned = _texts(120, slips, 2)
    metric = _metric(name)
    arms = _statistics(metric, base, references), _statistics(metric, tuned, references)
    found = corpus.corpus_difference(*arms, METRICS[name], 0.95)
    assert found is not None
    for kind, p, draws in (
        ("bs", found.bootstrap_p, 1000),
        ("ar", found.randomisation_p, 2000),
    ):
        named = [("base", base), ("tuned", tuned)]
        oracle = PairedTest(named, {name: metric}, [references], kind, n_samples=draws)()[1]
        (result,) = oracle[name][1:]
        assert found.tuned == pytest.approx(result.score)
        assert p is not None
        slack = math.sqrt(p * (1 - p) * (1 / draws + 1 / 2000))
        assert p == pytest.approx(result.p_value, abs=4 * slack + 2 / draws)


def test_the_interval_is_of_the_difference_and_narrower_than_unpaired() -> None:
    """Arms that share their easy and hard segments differ less than each of them varies."""
    references, base, _ = _texts(150, (0.3, 0.3), 3)
    tuned = [text.replace("cat", "dog") for text in base]
    metric = CHRF()
    arms = _statistics(metric, base, references), _statistics(metric, tuned, references)
    paired = corpus.corpus_difference(*arms, corpus.chrf_score, 0.95)
    turned = corpus.corpus_difference(arms[0], arms[1][::-1], corpus.chrf_score, 0.95)
    assert paired is not None
    assert turned is not None
    assert paired.interval is not None
    assert turned.interval is not None
    assert paired.interval.low < paired.difference < paired.interval.high
    assert np.ptp(paired.interval) < np.ptp(turned.interval) / 2


def _simulated(rng: np.random.Generator, segments: int, rates: tuple[float, float]) -> list[Reals]:
    """chrF statistics of one order: 20 n-grams each, hit with a chance shared by the arms."""
    ease = rng.normal(0, 0.15, segments)
    arms = []
    for rate in rates:
        hits = rng.binomial(20, np.clip(rate + ease, 0, 1))
        arms.append(np.stack([np.full(segments, 20), np.full(segments, 20), hits], 1).astype(float))
    return arms


def test_results_do_not_depend_on_the_order_of_segments() -> None:
    rng = np.random.default_rng(4)
    for segments in (60, resampling.MOST_UNITS + 501):
        base, tuned = _simulated(rng, segments, (0.6, 0.61))
        groups = [str(group) for group in rng.integers(0, 15, segments)]
        moved = rng.permutation(segments)
        for clusters in ([], groups):
            again = [clusters[place] for place in moved] if clusters else []
            there = corpus.corpus_difference(
                base[moved], tuned[moved], corpus.chrf_score, 0.95, again
            )
            here = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95, clusters)
            assert there is not None
            assert here is not None
            np.testing.assert_array_equal(there.draws, here.draws)
            assert there[:-1] == here[:-1]


def test_an_arm_against_itself_is_no_finding() -> None:
    base, _ = _simulated(np.random.default_rng(5), 50, (0.6, 0.6))
    same = corpus.corpus_difference(base, base, corpus.chrf_score, 0.95)
    assert same is not None
    assert (same.difference, same.interval, same.bootstrap_p) == (0.0, None, None)
    assert same.randomisation_p == 1.0


def test_one_segment_few_segments_and_none() -> None:
    base, tuned = _simulated(np.random.default_rng(6), 9, (0.9, 0.2))
    few = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95)
    assert few is not None
    assert (few.interval, few.bootstrap_p) == (None, None)
    # All nine are worse: two of 2⁹ swaps are as far off.
    assert few.randomisation_p == pytest.approx(2**-8, abs=4 * math.sqrt(2**-8 / 10_000))
    one = corpus.corpus_difference(base[:1], tuned[:1], corpus.chrf_score, 0.95)
    assert one is not None
    assert one.randomisation_p == 1.0
    assert corpus.corpus_difference(base[:0], tuned[:0], corpus.chrf_score, 0.95) is None
    with pytest.raises(ValueError, match="not paired"):
        corpus.corpus_difference(base, tuned[:5], corpus.chrf_score, 0.95)


def test_clusters_widen_the_interval() -> None:
    base, tuned = (
        np.repeat(arm, 5, 0) for arm in _simulated(np.random.default_rng(7), 40, (0.6, 0.6))
    )
    groups = [str(number // 5) for number in range(200)]
    alone = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95)
    grouped = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95, groups)
    assert alone is not None
    assert grouped is not None
    assert grouped.units == 40
    assert alone.interval is not None
    assert grouped.interval is not None
    # Five copies of each segment: √5 times wider when they are drawn together.
    ratio = np.ptp(grouped.interval) / np.ptp(alone.interval)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)


def test_many_segments_are_resampled_in_blocks_with_the_same_spread() -> None:
    base, tuned = _simulated(np.random.default_rng(8), 20_000, (0.6, 0.61))
    found = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95)
    assert found is not None
    assert found.units == resampling.MOST_UNITS
    assert found.interval is not None
    # 20 n-grams each on both sides: chrF is 5 · the mean of hits, so that its error is known.
    difference = 5 * (tuned[:, 2] - base[:, 2])
    expected = 2 * 1.96 * difference.std() / math.sqrt(20_000)
    assert found.difference == pytest.approx(difference.mean())
    assert np.ptp(found.interval) == pytest.approx(expected, rel=0.08)


def test_the_expanded_percentiles_are_t_wide() -> None:
    """The 10 tails of a normal sample are those of Hesterberg's (2015) formula, not of 2.5 %."""
    draws = np.random.default_rng(9).normal(size=200_000) * math.sqrt(9 / 10)
    interval = resampling.percentile_interval(draws, 10, 0.95)
    assert interval is not None
    # With the bootstrap's own √((n − 1)/n) undone, the reach is t's, 2.262, and not 1.960.
    assert interval == pytest.approx((-2.262, 2.262), abs=0.05)
    assert resampling.percentile_interval(draws, 9, 0.95) is None
    assert resampling.percentile_interval(np.ones(2000), 50, 0.95) is None
    lacking = np.where(np.arange(200_000) % 10 == 0, np.nan, draws)
    assert resampling.percentile_interval(lacking, 10, 0.95) is None


@pytest.mark.slow
@pytest.mark.parametrize("segments", [15, 60, 300])
def test_the_interval_covers_and_the_tests_reject_as_often_as_they_say(
    segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_BOOTSTRAP_DRAWS", 999)
    monkeypatch.setattr(corpus, "_SWAP_DRAWS", 999)
    rng = np.random.default_rng(10)
    runs, covered, randomised, bootstrapped = 1000, 0, 0, 0
    for _ in range(runs):
        base, tuned = _simulated(rng, segments, (0.6, 0.6))
        found = corpus.corpus_difference(base, tuned, corpus.chrf_score, 0.95)
        assert found is not None
        covered += found.interval is not None and found.interval.low <= 0 <= found.interval.high
        assert found.randomisation_p is not None
        randomised += found.randomisation_p <= 0.05
        assert found.bootstrap_p is not None
        bootstrapped += found.bootstrap_p <= 0.05
    slack = 4 * math.sqrt(0.05 * 0.95 / runs)
    assert covered / runs == pytest.approx(0.95, abs=slack)
    assert randomised / runs == pytest.approx(0.05, abs=slack)
    # As sacrebleu defines it, this p is half of what it should be (see corpus_difference).
    assert bootstrapped / runs == pytest.approx(0.10, abs=1.5 * slack + 0.2 / segments)
