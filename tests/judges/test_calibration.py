"""Human labels set a judge right, and say how far it agrees with people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from evalkit.estimates import ALPHAS, SMALL_ALPHAS
from evalkit.gate.bounds import benefit_bounds, p_not_above, tuned_bounds
from evalkit.judges.calibration import Label, corrected, corrected_delta
from evalkit.judges.preferences import preferences, ratings
from evalkit.records import Judgement, Preference, Rate
from evalkit.stats.prediction_powered import prediction_powered
from tests.judges.said import both, rating

WORDS = {1.0: "tuned", 0.5: "tie", 0.0: "base"}


def label(sample: str, value: float, person: str = "ann", **fields: str) -> Label:
    """One person's word, as a utility."""
    told = {"suite": "chat", "rubric": "helpful", **fields}
    return Label(sample_id=sample, person=person, preferred=WORDS[value], **told)  # type: ignore[arg-type]


def _judged(rng: np.random.Generator, n: int, rate: float) -> tuple[list[Preference], np.ndarray]:
    """A judge that favours the tuned arm: it sees 95 % of its wins, and 40 % of its losses too."""
    truth = rng.random(n) < rate
    said = np.where(truth, rng.random(n) < 0.95, rng.random(n) < 0.4)
    calls: list[Judgement] = []
    for i, one in enumerate(said):
        calls += both(f"s{i}", float(one), float(one))
    return list(preferences(calls)), truth


def test_fifty_labels_set_a_biased_judge_right() -> None:
    """The people's win rate is .5, the judge's .675: both methods cover ½ as often as they say."""
    rng = np.random.default_rng(1)
    found: dict[str, list[tuple[float, bool]]] = {"ppi": [], "misclassification": []}
    for _ in range(120):
        words, truth = _judged(rng, 400, 0.5)
        labels = [label(f"s{i}", float(truth[i])) for i in rng.permutation(400)[:50]]
        for one in corrected(words, labels):
            assert one.rate.low is not None
            assert one.rate.high is not None
            assert (one.labels, one.rate.n) == (50, 400)
            found[one.method].append((one.rate.value, one.rate.low <= 0.5 <= one.rate.high))
    for results in found.values():
        values, held = zip(*results, strict=True)
        assert len(values) == 120
        assert np.mean(values) == pytest.approx(0.5, abs=0.03)
        assert np.mean(held) >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / 120)


def test_agreement_and_ceiling_are_those_of_the_labels() -> None:
    words = preferences(
        [c for i, one in enumerate([1.0, 1.0, 0.0, 0.5, 1.0, 0.0]) for c in both(f"s{i}", one, one)]
    )
    labels = [
        label("s0", 1.0), label("s0", 1.0, "bob"), label("s1", 0.0), label("s1", 1.0, "bob"),
        label("s2", 0.0), label("s3", 0.5), label("s4", 1.0),
        label("s5", 0.0), label("s5", 0.5, "bob"), label("s5", 0.0, "cyd"),
    ]  # fmt: skip
    found = corrected(words, labels)[0]
    assert found.agreement is not None
    assert found.agreement.value == pytest.approx((1 + 0.5 + 1 + 1 + 1 + 2 / 3) / 6)
    assert found.ceiling is not None
    assert found.ceiling.value == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert found.ceiling.n == 3
    judge = [2, 2, 2, 2, 0, 1, 2, 0, 0, 0]
    people = [2, 2, 0, 2, 0, 1, 2, 0, 1, 0]
    assert found.kappa == pytest.approx(cohen_kappa_score(judge, people))
    assert found.labels == 6


def test_a_persons_second_word_replaces_the_first() -> None:
    words = preferences([c for i in range(8) for c in both(f"s{i}", 1.0, 1.0)])
    labels = [label(f"s{i}", 0.0) for i in range(8)] + [label(f"s{i}", 1.0) for i in range(8)]
    (found,) = corrected(words, labels)
    assert found.agreement is not None
    assert found.agreement.value == 1.0
    assert found.ceiling is None


def test_labels_of_something_else_are_left_out() -> None:
    words = preferences([c for i in range(8) for c in both(f"s{i}", 1.0, 1.0)])
    others = [label(f"s{i}", 0.0, suite="x") for i in range(8)]
    others += [label(f"s{i}", 0.0, rubric="funny") for i in range(8)]
    assert corrected(words, [*others, label("elsewhere", 0.0)]) == ()


def test_two_suites_at_a_time_are_refused() -> None:
    words = preferences(both("s", 1.0, 1.0) + both("s", 1.0, 1.0, suite="x"))
    with pytest.raises(ValueError, match="one suite"):
        corrected(words, [])


def test_ties_and_people_who_differ_leave_the_binary_correction_out() -> None:
    rng = np.random.default_rng(2)
    words, truth = _judged(rng, 200, 0.5)
    labels = [label(f"s{i}", float(truth[i])) for i in range(40)]
    assert [one.method for one in corrected(words, labels)] == ["ppi", "misclassification"]
    tied = [*labels, label("s50", 0.5)]
    assert [one.method for one in corrected(words, tied)] == ["ppi"]
    differ = [*labels, label("s0", 1 - float(truth[0]), "bob")]
    assert [one.method for one in corrected(words, differ)] == ["ppi"]


def test_ratings_are_corrected_by_their_difference() -> None:
    rng = np.random.default_rng(3)
    calls: list[Judgement] = []
    labels = []
    for i in range(120):
        base, tuned = rng.integers(1, 6, 2).tolist()
        calls += [rating(f"s{i}", "base", base), rating(f"s{i}", "tuned", tuned)]
        if i < 60:
            labels.append(label(f"s{i}", 1.0 if tuned > base else 0.5 if tuned == base else 0.0))
    (found,) = corrected(ratings(calls), labels)
    assert found.method == "ppi"
    assert found.agreement is not None
    assert found.agreement.value == 1.0
    assert found.kappa == pytest.approx(1.0)


def test_a_gate_has_bounds_at_every_alpha_it_looks_for() -> None:
    rng = np.random.default_rng(4)
    words, truth = _judged(rng, 400, 0.8)
    labels = [label(f"s{i}", float(truth[i])) for i in range(60)]
    delta = corrected_delta("chat", "helpful", words, labels)
    assert delta.metric.name == "judge.helpful.corrected"
    assert delta.metric.higher_is_better
    assert delta.difference == pytest.approx(delta.tuned - delta.base)  # type: ignore[operator]
    assert delta.n == 60
    before = None
    for alpha in (*ALPHAS, *SMALL_ALPHAS):
        bounds, own = benefit_bounds(delta, alpha), tuned_bounds(delta, alpha)
        assert bounds is not None
        assert own is not None
        assert bounds == pytest.approx((2 * own.low - 1, 2 * own.high - 1))
        assert before is None or (bounds.low <= before.low and bounds.high >= before.high)
        before = bounds
    two_sided = benefit_bounds(delta, 0.025)
    assert (delta.low, delta.high) == pytest.approx(two_sided)
    assert p_not_above(delta, 0.0) <= 0.001
    assert delta.p_value is not None
    assert delta.p_value < 0.002


def test_without_enough_labels_the_gate_gets_a_note() -> None:
    words, truth = _judged(np.random.default_rng(5), 40, 0.8)
    delta = corrected_delta("chat", "helpful", words, [label("s0", float(truth[0]))])
    assert delta.difference is None
    assert benefit_bounds(delta, 0.05) is None
    assert "1 of the judged samples have human labels" in delta.note


def test_clusters_reach_the_error() -> None:
    words, truth = _judged(np.random.default_rng(6), 200, 0.6)
    labels = [label(f"s{i}", float(truth[i])) for i in range(60)]
    groups = {f"s{i}": f"g{i // 10}" for i in range(200)}
    alone, grouped = corrected(words, labels)[0], corrected(words, labels, clusters=groups)[0]
    assert grouped.rate.value == pytest.approx(alone.rate.value, abs=0.02)
    assert _width(grouped.rate) > 2 * _width(alone.rate)


def _width(rate: Rate) -> float:
    assert rate.low is not None
    assert rate.high is not None
    return rate.high - rate.low


def test_the_estimate_is_that_of_prediction_powered_inference() -> None:
    words, truth = _judged(np.random.default_rng(7), 100, 0.6)
    labels = [label(f"s{i}", float(truth[i])) for i in range(40)]
    values = np.array([one.value for one in words], dtype=np.float64)
    oracle = prediction_powered(truth[:40] * 1.0, values[:40], values[40:])
    assert oracle is not None
    assert corrected(words, labels)[0].rate.value == pytest.approx(oracle.mean, abs=1e-12)
