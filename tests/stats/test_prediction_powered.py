"""The mean of what people would say: against the paper's formulas, and simulated judges."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from evalkit.stats import prediction_powered as ppi
from evalkit.stats.base import Interval, Reals

Rng = np.random.Generator


def _samples(
    rng: Rng, n: int, count: int, rate: float, hit: float, false: float
) -> tuple[Reals, Reals, Reals]:
    """Labels and a judge's words of n samples, and its words on others: it calls `hit` of the won
    ones won, and `false` of the lost ones, too."""
    truth = rng.random(n + count) < rate
    judged = np.where(truth, rng.random(n + count) < hit, rng.random(n + count) < false)
    words = judged.astype(np.float64)
    return truth[:n].astype(np.float64), words[:n], words[n:]


def test_a_known_weight_gives_the_papers_estimate_and_error() -> None:
    labels, judged, others = _samples(np.random.default_rng(1), 60, 400, 0.6, 0.8, 0.3)
    for weight in (0.0, 0.4, 1.0):
        found = ppi.prediction_powered(labels, judged, others, tuning=weight)
        assert found is not None
        mean = weight * others.mean() + (labels - weight * judged).mean()
        parts = (labels - weight * judged).var(ddof=1) / 60 + weight**2 * others.var(ddof=1) / 400
        assert found.mean == pytest.approx(mean)
        assert found.estimate.standard_error == pytest.approx(math.sqrt(parts))


def test_the_weight_is_where_the_error_is_least() -> None:
    """Of all weights on a grid, the one with the least variance by the formula of the error."""
    labels, judged, others = _samples(np.random.default_rng(2), 200, 900, 0.6, 0.8, 0.3)
    found = ppi.prediction_powered(labels, judged, others)
    assert found is not None
    grid = np.linspace(0, 1, 1001)
    errors = [
        one.estimate.standard_error
        for weight in grid
        if (one := ppi.prediction_powered(labels, judged, others, tuning=float(weight)))
    ]
    assert found.tuning == pytest.approx(grid[int(np.argmin(errors))], abs=0.03)


def test_each_sample_is_weighed_by_the_others() -> None:
    """The λ of a sample is that of the rest without it, and so for whole clusters."""
    labels, judged, others = _samples(np.random.default_rng(6), 30, 90, 0.6, 0.8, 0.3)
    groups = [f"g{place // 3}" for place in range(120)]
    for named, size in (([], 1), (groups, 3)):
        total = 0.0
        for start in range(0, 30, size):
            held = np.arange(start, start + size)
            y, f = np.delete(labels, held), np.delete(judged, held)
            spread = np.concatenate([f, others]).var(ddof=1)
            weight = np.cov(y, f, ddof=0)[0, 1] / ((1 + len(y) / 90) * spread)
            total += float(np.sum(labels[held] - weight * (judged[held] - others.mean())))
        found = ppi.prediction_powered(labels, judged, others, named)
        assert found is not None
        assert found.mean == pytest.approx(total / 30, abs=1e-12)


def test_a_judge_that_says_nothing_changes_nothing() -> None:
    labels = np.repeat([1.0, 0.0], [30, 20])
    told = ppi.prediction_powered(labels, np.full(50, 0.5), np.full(400, 0.5))
    alone = ppi.prediction_powered(labels, np.full(50, 0.5), np.array([]))
    assert told is not None
    assert alone is not None
    assert (told.tuning, told.mean) == (0.0, 0.6)
    assert told.estimate == alone.estimate
    error = math.sqrt(labels.var(ddof=1) / 50)
    assert told.estimate.standard_error == pytest.approx(error)
    skewness = stats.skew(labels, bias=False)
    assert told.estimate.skewness == pytest.approx(skewness)


def test_a_perfect_judge_is_not_taken_for_one_that_never_errs() -> None:
    """Fifty labels, all as judged: up to 1 − .025^(1/50) = 7.1 % of mistakes may be hidden."""
    labels = np.repeat([1.0, 0.0], [30, 20])
    others = np.repeat([1.0, 0.0], [600, 400])
    found = ppi.prediction_powered(labels, labels, others, tuning=1.0)
    assert found is not None
    bounds = ppi.prediction_powered_bounds(found, 0.025)
    assert bounds is not None
    assert bounds == pytest.approx(Interval(0.6 - 0.0711, 0.6 + 0.0711), abs=5e-4)


def test_too_few_labels_give_nothing() -> None:
    few = np.array([1.0, 0.0, 1.0, 1.0])
    assert ppi.prediction_powered(few, few, np.ones(50)) is None
    many = np.ones(20)
    groups = ["one"] * 10 + ["two"] * 10 + [str(place) for place in range(30)]
    assert ppi.prediction_powered(many, many, np.ones(30), groups) is None


def test_the_order_of_samples_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    labels, judged, others = _samples(rng, 50, 300, 0.6, 0.8, 0.3)
    moved = rng.permutation(50)
    one = ppi.prediction_powered(labels, judged, others)
    other = ppi.prediction_powered(labels[moved], judged[moved], rng.permutation(others))
    assert one is not None
    assert other is not None
    assert one.mean == pytest.approx(other.mean, abs=1e-14)
    assert one.estimate == pytest.approx(other.estimate, abs=1e-12)


def test_the_test_and_the_bounds_agree() -> None:
    labels, judged, others = _samples(np.random.default_rng(4), 50, 300, 0.7, 0.8, 0.3)
    found = ppi.prediction_powered(labels, judged, others)
    assert found is not None
    bounds = ppi.prediction_powered_bounds(found, 0.01)
    assert bounds is not None
    assert ppi.prediction_powered_test(found, bounds.low) == pytest.approx(0.02, abs=1e-6)
    assert ppi.prediction_powered_test(found, bounds.high) == pytest.approx(0.02, abs=1e-6)
    assert ppi.prediction_powered_test(found, found.mean) == 1.0


JUDGES = {
    "good": (0.92, 0.08),
    "biased to the tuned arm": (0.98, 0.55),
    "biased to the base": (0.5, 0.03),
    "blind": (0.6, 0.6),
}


def _simulated(
    judge: str, rate: float, n: int, count: int, simulations: int
) -> tuple[float, float, float, float]:
    """Mean error, coverage of 95 % intervals, and how often each 97.5 % bound misses."""
    rng = np.random.default_rng(20261126)
    errors, below, above = [], 0, 0
    for _ in range(simulations):
        found = ppi.prediction_powered(*_samples(rng, n, count, rate, *JUDGES[judge]))
        assert found is not None
        bounds = ppi.prediction_powered_bounds(found, 0.025)
        assert bounds is not None
        errors.append(found.mean - rate)
        below += bounds.high < rate
        above += bounds.low > rate
    kept = 1 - (below + above) / simulations
    return float(np.mean(errors)), kept, below / simulations, above / simulations


@pytest.mark.parametrize("judge", JUDGES)
def test_fifty_labels_set_any_judge_right(judge: str) -> None:
    """Judged alone, the biased ones are wrong by .13 and more."""
    bias, kept, _, _ = _simulated(judge, 0.6, 50, 450, 400)
    assert abs(bias) < 4 * 0.5 / math.sqrt(50 * 400)
    assert kept >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("rate", [0.5, 0.65, 0.9])
@pytest.mark.parametrize(("n", "count"), [(25, 200), (50, 450), (200, 1000)])
def test_intervals_cover_closely(judge: str, rate: float, n: int, count: int) -> None:
    bias, kept, below, above = _simulated(judge, rate, n, count, 4000)
    slack = 4 * math.sqrt(0.05 * 0.95 / 4000)
    assert abs(bias) < 4 * 0.5 / math.sqrt(n * 4000)
    assert kept >= 0.95 - 0.01 - slack
    assert max(below, above) <= 0.025 + 0.01 + slack


@pytest.mark.slow
def test_clusters_are_allowed_for() -> None:
    """Twenty labelled and sixty other passages of five samples that share most of their fate."""
    rng = np.random.default_rng(5)
    hits = alone = 0
    groups = np.repeat([f"g{place}" for place in range(80)], 5).tolist()
    for _ in range(1500):
        chance = np.repeat(rng.beta(0.6, 0.4, 80), 5)
        truth = (rng.random(400) < chance).astype(np.float64)
        judged = np.where(rng.random(400) < 0.75, truth, 1 - truth)
        for named in (groups, []):
            found = ppi.prediction_powered(truth[:100], judged[:100], judged[100:], named)
            assert found is not None
            bounds = ppi.prediction_powered_bounds(found, 0.025)
            assert bounds is not None
            held = bounds.low <= 0.6 <= bounds.high
            hits, alone = hits + (held and bool(named)), alone + (held and not named)
    assert hits / 1500 >= 0.95 - 0.02 - 4 * math.sqrt(0.05 * 0.95 / 1500)
    assert alone / 1500 < 0.9  # as if all were independent


PPI_PYTHON = {
    None: (0.6003276353276354, 0.4892933542981398, 0.7113619163571311),
    0.0: (0.6166666666666667, 0.49364375671786176, 0.7396895766154716),
    0.5: (0.595, 0.4830297012075902, 0.7069702987924098),
    1.0: (0.5733333333333334, 0.4352036313097475, 0.7114630353569192),
}
"""What ppi-python 0.2.3 gave of `_shared_case`, by its `lam`: the mean and its 95 % interval. It is
no dependency: its wheel puts a package called `tests` beside it, which hides these here."""


def _shared_case() -> tuple[Reals, Reals, Reals]:
    rng = np.random.default_rng(20261126)
    truth = rng.random(260) < 0.6
    judged = np.where(truth, rng.random(260) < 0.85, rng.random(260) < 0.35)
    words = judged.astype(np.float64)
    return truth[:60].astype(np.float64), words[:60], words[60:]


@pytest.mark.parametrize("weight", PPI_PYTHON)
def test_ppi_python_gives_the_same(weight: float | None) -> None:
    """Its interval is the normal one, with variances over n instead of n − 1."""
    _compared(weight, PPI_PYTHON[weight])


def test_ppi_python_itself_gives_the_same() -> None:
    """Run where EVALKIT_PPI_PYTHON names a folder of `pip install --target` (with numba)."""
    folder = os.environ.get("EVALKIT_PPI_PYTHON")
    if not folder:
        pytest.skip("needs ppi-python in a folder of its own, named by EVALKIT_PPI_PYTHON")
    code = (
        "import json, sys; from ppi_py import ppi_mean_ci, ppi_mean_pointestimate\n"
        "import numpy as np; *case, weights = json.load(sys.stdin)\n"
        "case = [np.array(one) for one in case]\n"
        "print(json.dumps([[float(np.ravel(one)[0]) for one in ("
        "ppi_mean_pointestimate(*case, lam=lam), *ppi_mean_ci(*case, alpha=0.05, lam=lam))] "
        "for lam in weights]))"
    )
    told = [*(one.tolist() for one in _shared_case()), [*PPI_PYTHON]]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(told),
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    for weight, oracle in zip(PPI_PYTHON, json.loads(done.stdout), strict=True):
        _compared(weight, oracle)


def _compared(weight: float | None, oracle: Sequence[float]) -> None:
    """At its own λ; where it chose that, it is the λ here, and no sample was left out of it."""
    labels, judged, others = _shared_case()
    if weight is None:
        weight = (labels.mean() - oracle[0]) / (judged.mean() - others.mean())
        tuned = ppi.prediction_powered(labels, judged, others)
        assert tuned is not None
        assert tuned.tuning == pytest.approx(weight, abs=1e-9)
        assert tuned.mean == pytest.approx(oracle[0], abs=0.005)
    found = ppi.prediction_powered(labels, judged, others, tuning=weight)
    assert found is not None
    assert found.mean == pytest.approx(oracle[0], abs=1e-12)
    error = math.sqrt((labels - weight * judged).var() / 60 + weight**2 * others.var() / 200)
    reach = float(stats.norm.ppf(0.975)) * error
    assert (oracle[0] - reach, oracle[0] + reach) == pytest.approx(tuple(oracle[1:]), abs=1e-12)
    assert found.estimate.standard_error == pytest.approx(error, rel=0.02)
