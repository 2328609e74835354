"""The loop that counts a rule's errors, tried on rules whose error rates are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import special, stats

from evalkit.stats.base import Reals
from evalkit.stats.calibrate import (
    ASKS,
    KINDS,
    SIZES,
    SUITES,
    Case,
    Outcome,
    Rate,
    cases,
    draw,
    error_rates,
)
from evalkit.stats.sequential import first_settled

ALPHA, MARGIN = 0.05, 0.05


def by_point(differences: Reals, clusters: Sequence[str]) -> Outcome:
    """The naive threshold."""
    return "pass" if differences.mean() > -MARGIN else "fail"


def by_t(differences: Reals, clusters: Sequence[str]) -> Outcome:
    """One-sided t tests, of the means of clusters where there are some (all of one size here)."""
    if clusters:
        labels = np.unique(clusters, return_inverse=True)[1]
        differences = np.bincount(labels, weights=differences) / np.bincount(labels)
    n = len(differences)
    if np.ptp(differences) == 0:
        return "inconclusive"
    statistic = (differences.mean() + MARGIN) / (differences.std(ddof=1) / math.sqrt(n))
    critical = special.stdtrit(n - 1, 1 - ALPHA)
    if statistic > critical:
        return "pass"
    return "fail" if statistic < -critical else "inconclusive"


def in_sequence(differences: Reals, clusters: Sequence[str]) -> Outcome:
    outcome = first_settled(differences, -MARGIN, -1, 1, ALPHA, len(differences)).outcome
    return "inconclusive" if outcome == "undecided" else outcome


@pytest.mark.parametrize("margin", [0.001, 0.05, 0.3])
def test_every_case_has_the_true_difference_and_stays_in_bounds(margin: float) -> None:
    for case in cases(margin):
        if case.n > 200:
            continue
        batch = draw(case, np.random.default_rng(1), 500)
        width = case.n * (SUITES if case.ask == "3 suites" else 1)
        assert batch.differences.shape == (500, width)
        assert len(batch.clusters) == (case.n if case.kind.startswith("clustered") else 0)
        means = batch.differences.mean(axis=1)
        truth = case.floor if case.ask == "absolute" else case.difference
        assert abs(means.mean() - truth) < 5 * means.std() / math.sqrt(500) + 1e-12
        assert np.abs(batch.differences).max() <= 1


def test_the_table_of_cases_crosses_kinds_sizes_and_truths() -> None:
    full, quick = cases(0.02), cases(0.02, quick=True)
    assert len(set(full)) == len(full)
    usual = {(case.kind, case.n) for case in full if case.ask == "non_inferiority"}
    assert {kind for kind, _ in usual} == set(KINDS)
    assert {n for kind, n in usual if kind == "binary"} == set(SIZES)
    assert (min(SIZES), max(SIZES)) == (20, 5000)
    assert {case.ask for case in full} == {case.ask for case in quick} == set(ASKS)
    assert set(quick) < set(full)
    assert {case.difference for case in quick} == {0.0, -0.02, 0.02}
    # 133 samples without a loss exclude .02 by the score bound, 149 by the exact one.
    lost = {case.n for case in full if case.kind == "binary, only losses"}
    assert lost == {25, 52, 59, 133, 149}
    for margin in (0.0, 0.4, math.nan):
        with pytest.raises(ValueError, match="margins"):
            cases(margin)


def test_what_counts_as_wrong_depends_on_the_truth() -> None:
    both = [
        Case("binary", 20, "no difference", MARGIN),
        Case("binary", 20, "at the margin", MARGIN),
    ]
    same, worse = error_rates(lambda d, c: "pass", both, 50, seed=1)
    assert same.wrong_pass is None
    assert worse.wrong_pass == Rate(50, 50)
    assert same.wrong_fail == worse.wrong_fail == same.inconclusive == Rate(0, 50)
    same, worse = error_rates(lambda d, c: "fail", both, 50, seed=1)
    assert same.wrong_fail == worse.wrong_fail == Rate(50, 50)
    assert worse.wrong_pass == Rate(0, 50)


def test_the_rule_sees_each_made_up_run_once_with_its_clusters() -> None:
    seen: list[tuple[int, int]] = []

    def rule(differences: Reals, clusters: Sequence[str]) -> Outcome:
        seen.append((len(differences), len(set(clusters))))
        return "inconclusive"

    chosen = [
        Case("clustered", 5000, "no difference", MARGIN),
        Case("binary", 20, "no difference", MARGIN),
    ]
    # 401 runs of 5,000 samples are drawn in two parts.
    large, small = error_rates(rule, chosen, 401, seed=1)
    assert seen == [(5000, 500)] * 401 + [(20, 0)] * 401
    assert large.inconclusive == small.inconclusive == Rate(401, 401)


def test_the_figures_of_a_case_do_not_depend_on_the_other_cases() -> None:
    chosen = cases(MARGIN, quick=True)[:6]
    together = error_rates(by_t, chosen, 60, seed=3)
    assert error_rates(by_t, chosen[::-1], 60, seed=3) == together[::-1]
    assert error_rates(by_t, chosen, 60, seed=4) != together


def test_a_naive_threshold_is_found_out() -> None:
    case = Case("continuous", 200, "at the margin", MARGIN)
    (found,) = error_rates(by_point, [case], 400, seed=1)
    assert found.wrong_pass is not None
    # At the margin it passes as often as a coin.
    assert found.wrong_pass.share == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 400))
    assert found.wrong_pass.exceeds(ALPHA)
    assert found.wrong_fail.exceeds(ALPHA)


def test_samples_of_a_cluster_taken_for_independent_are_found_out() -> None:
    case = Case("clustered", 1000, "at the margin", MARGIN)
    (careless,) = error_rates(lambda d, c: by_t(d, ()), [case], 400, seed=1)
    (careful,) = error_rates(by_t, [case], 400, seed=1)
    assert careless.wrong_pass is not None
    assert careful.wrong_pass is not None
    assert careless.wrong_pass.exceeds(ALPHA)
    assert not careful.wrong_pass.exceeds(ALPHA)
    assert not careful.wrong_fail.exceeds(ALPHA)


def test_a_one_sided_t_test_errs_as_often_as_it_says() -> None:
    case = Case("continuous", 200, "at the margin", MARGIN)
    (found,) = error_rates(by_t, [case], 1500, seed=2)
    assert found.wrong_pass is not None
    for rate in (found.wrong_pass, found.wrong_fail):
        assert rate.share == pytest.approx(ALPHA, abs=4 * rate.error)


@pytest.mark.slow
def test_deciding_early_errs_no_more_often_than_alpha() -> None:
    # In clusters, of which each is one draw, it is shown in tests/test_sequential.py.
    single = [one for one in cases(MARGIN) if not one.kind.startswith("clustered")]
    chosen = [one for one in single if one.n <= 1000 and one.ask == "non_inferiority"]
    for found in error_rates(in_sequence, chosen, 300, seed=5):
        assert not found.wrong_fail.exceeds(ALPHA), found
        assert found.wrong_pass is None or not found.wrong_pass.exceeds(ALPHA), found


def test_a_rate_exceeds_alpha_where_the_exact_test_says_so() -> None:
    for times in (0, 20, 29, 35, 37, 50):
        oracle = stats.binomtest(times, 400, 0.05, alternative="greater").pvalue
        assert Rate(times, 400).exceeds(0.05) == (oracle < 1e-3)
    assert Rate(20, 400).share == 0.05
    assert Rate(20, 400).error == pytest.approx(math.sqrt(0.05 * 0.95 / 400), rel=0.05)
    assert 0 < Rate(0, 400).error == pytest.approx(Rate(400, 400).error)
