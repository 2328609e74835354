"""Bradley–Terry strengths against choix, evalica, a direct maximisation and simulation."""

from __future__ import annotations

import math

import choix
import evalica
import numpy as np
import pytest
from scipy import optimize

from evalkit.stats.base import Reals
from evalkit.stats.ranking import Ranking, bradley_terry, gap_interval, rank

Judgements = tuple[list[str], list[str], list[str], list[float]]


def _add(judged: Judgements, sample: str, first: str, second: str, utility: float) -> None:
    samples, firsts, seconds, utilities = judged
    samples.append(sample)
    firsts.append(first)
    seconds.append(second)
    utilities.append(utility)


def _simulated(
    rng: np.random.Generator, strengths: Reals, samples: int, ties: float = 0.2
) -> Judgements:
    """Every pair once per sample; outcomes of one sample lean together, ties with this chance."""
    rows: Judgements = ([], [], [], [])
    for sample in range(samples):
        lean = strengths + rng.normal(0, 0.5, len(strengths))
        for i in range(len(strengths)):
            for j in range(i):
                chance = 1 / (1 + math.exp(lean[j] - lean[i]))
                outcome = 0.5 if rng.uniform() < ties else float(rng.uniform() < chance)
                _add(rows, str(sample), f"m{i}", f"m{j}", outcome)
    return rows


def _wins(judged: Judgements) -> Reals:
    names = sorted({*judged[1], *judged[2]})
    wins = np.zeros((len(names), len(names)))
    for _, first, second, utility in zip(*judged, strict=True):
        wins[names.index(first), names.index(second)] += utility
        wins[names.index(second), names.index(first)] += 1 - utility
    return wins


STRENGTHS = np.array([0.6, 0.1, -0.1, -0.9])


def test_strengths_are_those_of_choix() -> None:
    wins = _wins(_simulated(np.random.default_rng(1), STRENGTHS, 80, ties=0.0))
    pairs = [
        (i, j) for i in range(4) for j in range(4) for _ in range(int(wins[i, j]))
    ]  # choix knows no ties
    expected = choix.mm_pairwise(4, pairs, tol=1e-12)
    assert bradley_terry(wins) == pytest.approx(expected, abs=1e-6)


def test_strengths_with_ties_are_those_of_evalica() -> None:
    judged = _simulated(np.random.default_rng(2), STRENGTHS, 60)
    winners = [
        {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}[utility]
        for utility in judged[3]
    ]
    result = evalica.bradley_terry(
        judged[1], judged[2], winners, tie_weight=0.5, tolerance=1e-12, limit=10_000
    )
    expected = np.log(result.scores.sort_index().to_numpy())
    found = rank(*judged)
    assert found.models == ("m0", "m1", "m2", "m3")
    assert found.strengths == pytest.approx(expected - expected.mean(), abs=1e-6)
    assert found.notes == ()


def test_strengths_maximise_the_likelihood() -> None:
    wins = _wins(_simulated(np.random.default_rng(3), STRENGTHS * 3, 50))

    def loss(logs: Reals) -> float:
        return float((wins * np.logaddexp(0, logs[None, :] - logs[:, None])).sum())

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    assert bradley_terry(wins) == pytest.approx(best - best.mean(), abs=1e-5)


def test_two_models_have_the_log_odds_of_the_score() -> None:
    samples = [str(number) for number in range(40)]
    found = rank(samples, ["a"] * 40, ["b"] * 40, [1.0] * 25 + [0.5] * 10 + [0.0] * 5)
    assert found.strengths[0] - found.strengths[1] == pytest.approx(math.log(30 / 10))


def _named(found: Ranking) -> dict[str, float]:
    return dict(zip(found.models, found.strengths.tolist(), strict=True))


def test_an_undefeated_model_is_said_to_be_one() -> None:
    judged = _simulated(np.random.default_rng(4), STRENGTHS[:3], 30)
    for sample in range(30):
        for other in ("m0", "m1", "m2"):
            _add(judged, str(sample), "best", other, 1.0)
    _add(judged, "0", "m0", "worst", 1.0)
    found = rank(*judged)
    strengths = _named(found)
    assert strengths["best"] == math.inf
    assert strengths["worst"] == -math.inf
    alone = rank(*_simulated(np.random.default_rng(4), STRENGTHS[:3], 30))
    assert [strengths[name] for name in alone.models] == pytest.approx(alone.strengths.tolist())
    assert found.notes == (
        "undefeated, so of unbounded strength: best (by m0, m1, m2)",
        "without a point, so of unbounded weakness: worst (from m0, m1, m2)",
    )
    assert found.intervals[found.models.index("best")] is None
    assert found.intervals[found.models.index("m1")] == alone.intervals[1]
    assert gap_interval(found, "best", "m0") is None


def test_models_that_were_never_compared_are_not_ranked() -> None:
    samples = [str(number) for number in range(20)] * 2
    firsts, seconds = ["a"] * 20 + ["c"] * 20, ["b"] * 20 + ["d"] * 20
    found = rank(samples, firsts, seconds, [1.0, 0.0, 0.5, 1.0] * 10)
    assert found.notes == (
        "never compared, not even through others: a, b | c, d",
        "no strength can be given: c, d",
    )
    assert np.isnan(found.strengths[2:]).all()
    assert found.strengths[0] - found.strengths[1] == pytest.approx(math.log(12.5 / 7.5))
    assert np.isnan(
        bradley_terry(_wins((samples, firsts, seconds, [1.0, 0.0, 0.5, 1.0] * 10)))
    ).all()


def test_a_pure_order_places_the_ends_only() -> None:
    found = rank(["1", "2"] * 10, ["a", "b"] * 10, ["b", "c"] * 10, [1.0] * 20)
    assert _named(found) == pytest.approx(
        {"a": math.inf, "b": math.nan, "c": -math.inf}, nan_ok=True
    )
    assert found.intervals == (None, None, None)
    assert "no strength can be given: b" in found.notes


def test_few_samples_and_bad_judgements() -> None:
    few = rank(["1", "2"], ["a", "a"], ["b", "b"], [1.0, 0.0])
    assert few.strengths == pytest.approx([0.0, 0.0])
    assert few.intervals == (None, None)
    with pytest.raises(ValueError, match="against itself"):
        rank(["1"], ["a"], ["a"], [1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        rank(["1"], ["a"], ["b"], [math.nan])
    with pytest.raises(ValueError, match="as many"):
        rank(["1"], ["a"], ["b"], [])


def test_rankings_do_not_depend_on_the_order_or_on_who_stands_first() -> None:
    rng = np.random.default_rng(5)
    judged = _simulated(rng, STRENGTHS, 25)
    moved = rng.permutation(len(judged[0])).tolist()
    samples, firsts, seconds = ([column[place] for place in moved] for column in judged[:3])
    utilities = [judged[3][place] for place in moved]
    one, other = rank(*judged), rank(samples, firsts, seconds, utilities)
    turned = rank(samples, seconds, firsts, [1 - utility for utility in utilities])
    for again in (other, turned):
        assert np.array_equal(one.strengths, again.strengths)
        assert one.intervals == again.intervals


def test_a_gap_has_a_narrower_interval_than_two_models_apart() -> None:
    found = rank(*_simulated(np.random.default_rng(6), STRENGTHS, 100))
    gap = gap_interval(found, "m0", "m3")
    assert gap is not None
    assert gap.low < found.strengths[0] - found.strengths[3] < gap.high
    assert found.intervals[0] is not None
    assert found.intervals[3] is not None
    assert np.ptp(gap) < np.ptp(found.intervals[0]) + np.ptp(found.intervals[3])


@pytest.mark.slow
def test_the_intervals_cover_the_strengths_of_the_population(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The truth is the estimate from very many samples, whose judgements lean together too."""
    monkeypatch.setattr("evalkit.stats.ranking._DRAWS", 399)
    rng = np.random.default_rng(7)
    truth = bradley_terry(_wins(_simulated(rng, STRENGTHS, 20_000)))
    runs, covered = 300, np.zeros(4)
    for _ in range(runs):
        for place, interval in enumerate(rank(*_simulated(rng, STRENGTHS, 60)).intervals):
            assert interval is not None
            covered[place] += interval.low <= truth[place] <= interval.high
    slack = 4 * math.sqrt(0.05 * 0.95 / runs)
    assert covered / runs == pytest.approx(np.full(4, 0.95), abs=slack)
