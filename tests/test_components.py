"""Several answers to each question, compared: means by sample, and whose the noise is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.estimates import LEVEL, alone
from evalkit.gate.decide import decide
from evalkit.records import Delta, Run
from evalkit.stats.base import Reals
from evalkit.stats.means import mean_difference
from evalkit.stats.repeats import paired_components
from evalkit.stats.skewed import mean_bounds
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def arm(name: str, answers: list[list[float]]) -> Run:
    """A run whose samples have the mean of these scores; the kind of the metric is binary."""
    run = make_run(name, {SUITE: [float(np.mean(row)) for row in answers]}, adapter=name)
    results = tuple(
        replace(
            result,
            scores=(replace(result.scores[0], values=tuple(row) if len(row) > 1 else ()),),
        )
        for result, row in zip(run.results, answers, strict=True)
    )
    return replace(run, results=results)


def compared(base: list[list[float]], tuned: list[list[float]]) -> Delta:
    return compare(arm("base", base), arm("tuned", tuned)).deltas[0]


def drawn(n: int, count: int, seed: int, shared: bool = False) -> tuple[Reals, Reals]:
    """Right or wrong [n, count] in two arms, the tuned one right by .1 more often on average.

    Where shared, the arms are drawn with the same random numbers, and every sample gains alike.
    """
    rng = np.random.default_rng(seed)
    chances = rng.uniform(0.3, 0.6, (n, 1))
    gains = np.full((n, 1), 0.1) if shared else 0.1 + rng.choice([-0.3, 0.3], (n, 1))
    first = rng.random((n, count))
    second = first if shared else rng.random((n, count))
    return (first < chances).astype(float), (second < chances + gains).astype(float)


def test_the_means_of_the_samples_are_compared_and_nothing_is_pooled() -> None:
    base, tuned = drawn(40, 5, 1)
    delta = compared(base.tolist(), tuned.tolist())
    differences = tuned.mean(axis=1) - base.mean(axis=1)
    wanted = mean_bounds(mean_difference(differences), (1 - LEVEL) / 2)
    assert (delta.n, delta.clusters, delta.completions) == (40, 40, 5)
    assert delta.difference == pytest.approx(differences.mean())
    assert (delta.low, delta.high) == pytest.approx(wanted)
    assert delta.standard_error == pytest.approx(stats.sem(differences))


def test_the_components_are_those_of_an_analysis_of_variance() -> None:
    base, tuned = drawn(60, 4, 2)
    delta = compared(base.tolist(), tuned.tolist())
    assert delta.within_base == pytest.approx(base.var(axis=1, ddof=1).mean())
    assert delta.within_tuned == pytest.approx(tuned.var(axis=1, ddof=1).mean())
    within = (tuned - base).var(axis=1, ddof=1).mean()
    assert delta.between is not None
    assert 1 + 4 * delta.between / within == pytest.approx(
        stats.f_oneway(*(tuned - base)).statistic
    )


def test_components_of_arms_drawn_with_the_same_random_numbers_are_right_on_average() -> None:
    """No sample differs from another in its gain of 0.1: there is nothing between them."""
    found, assumed = [], []
    for seed in range(300):
        base, tuned = drawn(40, 4, seed, shared=True)
        components = paired_components(base, tuned)
        assert components is not None
        found.append((components.between, components.within))
        apart = base.var(axis=1, ddof=1) + tuned.var(axis=1, ddof=1)
        assumed.append(apart.mean())
    # A Bernoulli of .1 for each answer: the arms differ where the number falls into the gap.
    within = [one for _, one in found]
    assert np.mean(within) == pytest.approx(0.09, abs=4 * stats.sem(within))
    assert np.mean(assumed) > 0.3, "taken for independent, the noise would seem far larger"


def test_what_is_said_of_the_noise_does_not_depend_on_the_order() -> None:
    base, tuned = drawn(30, 6, 3)
    straight = compared(base.tolist(), tuned.tolist())
    rng = np.random.default_rng(4)
    repeats = rng.permutation(6)
    assert compared(base[:, repeats].tolist(), tuned[:, repeats].tolist()) == straight
    samples = rng.permutation(30)
    assert compared(base[samples].tolist(), tuned[samples].tolist()) == straight
    # Which answer of one arm stands beside which of the other tells only of shared chance.
    turned = compared(base[:, ::-1].tolist(), tuned.tolist())
    assert replace(turned, between=None) == replace(straight, between=None)


def test_uneven_answers_are_taken_for_independent() -> None:
    base, tuned = drawn(50, 3, 5)
    rows = base.tolist()
    rows[0] = rows[0][:1]  # two of its answers could not be scored
    delta = compared(rows, tuned.tolist())
    assert delta.completions == 3
    assert delta.between is not None
    assert delta.within_base is not None


def test_one_answer_each_is_compared_as_before() -> None:
    base, tuned = drawn(40, 1, 6)
    delta = compared(base.tolist(), tuned.tolist())
    assert (delta.interval, delta.completions) == ("tango", 1)
    assert (delta.between, delta.within_base, delta.within_tuned) == (None, None, None)
    assert delta.gained + delta.lost > 0


def test_shares_that_happen_to_be_whole_are_no_right_or_wrong() -> None:
    rng = np.random.default_rng(7)
    base = [[float(value)] * 3 for value in rng.integers(0, 2, 20)]
    tuned = [[float(value)] * 3 for value in rng.integers(0, 2, 20)]
    delta = compared(base, tuned)
    assert (delta.interval, delta.gained, delta.lost) == ("t", 0, 0)
    assert "sign" in delta.method
    scores = [result.scores[0] for result in arm("base", base).results]
    _, found = alone(make_info(SUITE).metrics[0], scores, [])
    values = np.array([row[0] for row in base])
    assert found == mean_bounds(mean_difference(values), (1 - LEVEL) / 2)


def test_where_all_answers_agree_there_is_no_interval_and_the_gate_stays_open() -> None:
    comparison = compare(arm("base", [[0.5] * 4] * 12), arm("tuned", [[0.5] * 4] * 12))
    delta = comparison.deltas[0]
    assert (delta.low, delta.high, delta.between, delta.within_base) == (None, None, 0.0, 0.0)
    assert decide(comparison, GateConfig()).outcome == "inconclusive"


def test_a_single_sample_has_no_components() -> None:
    delta = compared([[1.0, 0.0]], [[1.0, 1.0]])
    assert (delta.completions, delta.difference) == (2, 0.5)
    assert (delta.between, delta.within_base, delta.low) == (None, None, None)
