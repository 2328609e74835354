"""How many samples would settle it, held against statsmodels, enumeration and the bounds."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import normal_sample_size_one_tail

from evalkit.compare import compare
from evalkit.config import GateConfig, SuiteGate
from evalkit.gate.decide import decide
from evalkit.records import Comparison, MetricKind, SuiteVerdict
from evalkit.stats.base import Interval
from evalkit.stats.binary import rate_bounds, tango_bounds
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def _pair(
    base: list[float],
    tuned: list[float],
    *,
    kind: MetricKind = "continuous",
    available: int | None = None,
    clusters: tuple[str, ...] = (),
) -> Comparison:
    infos = [replace(make_info(SUITE, kind=kind, samples=len(base)), available=available)]
    return compare(
        make_run("base", {SUITE: base}, infos=infos, clusters=clusters),
        make_run("tuned", {SUITE: tuned}, infos=infos, clusters=clusters, adapter="a"),
    )


def _flips(gained: int, lost: int, n: int, available: int | None = None) -> Comparison:
    base = [0.0] * gained + [1.0] * (n - gained)
    tuned = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    return _pair(base, tuned, kind="binary", available=available)


def _noise(n: int, *, mean: float = 0.0, seed: int = 3) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1, n)
    change = rng.normal(0, 0.5, n)
    change += mean - change.mean()
    return base.tolist(), (base + change).tolist()


def _open(comparison: Comparison, **gate: object) -> SuiteVerdict:
    (one,) = decide(comparison, GateConfig.model_validate(gate)).suites
    assert one.outcome == "inconclusive"
    return one


@pytest.mark.parametrize("power", [0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_samples_of_a_mean_are_those_of_a_normal_test(power: float, alpha: float) -> None:
    base, tuned = _noise(60)
    one = _open(_pair(base, tuned), margin=0.05, alpha=alpha, power=power)
    deviation = float(np.std(np.subtract(tuned, base), ddof=1))
    oracle = normal_sample_size_one_tail(0.05, power, alpha, std_null=deviation)
    assert one.samples_needed == int(np.ceil(oracle - 1e-9))


def test_clustered_samples_need_the_same_error_to_shrink_by_the_same_root() -> None:
    """Doubling every cluster into two like ones must halve the variance: n counts samples."""
    base, tuned = _noise(200)
    clusters = tuple(f"c{i // 4}" for i in range(200))
    one = _open(_pair(base, tuned, clusters=clusters), margin=0.03)
    delta = one.delta
    assert delta is not None
    assert delta.standard_error is not None
    assert one.samples_needed is not None
    reach = float(stats.norm.ppf(0.95) + stats.norm.ppf(0.8))
    error_then = delta.standard_error * (200 / one.samples_needed) ** 0.5
    assert reach * error_then == pytest.approx(0.03, rel=0.01)


def test_too_few_clusters_ask_for_enough_of_them() -> None:
    """The wild bootstrap has a one-sided 95 % bound from five clusters on: 2^(1 − 5) ≤ 0.1."""
    base, tuned = _noise(30, mean=0.02)
    clusters = tuple(f"c{i // 10}" for i in range(30))
    one = _open(_pair(base, tuned, clusters=clusters), margin=5.0)
    assert (one.ground, one.samples_needed) == ("absent", 50)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_without_a_flip_it_is_the_n_at_which_tangos_bound_clears_the_margin(margin: float) -> None:
    one = _open(_flips(0, 0, 15), margin=margin)
    needed = one.samples_needed
    assert needed is not None
    enough, short = tango_bounds(0, 0, needed, 0.05), tango_bounds(0, 0, needed - 1, 0.05)
    assert enough is not None
    assert short is not None
    assert enough.low > -margin >= short.low - 1e-9


def test_as_many_samples_settle_a_share_with_about_the_power_that_was_asked() -> None:
    """Exact: all tables of that size, drawn with the shares that were seen, read by Tango."""
    one = _open(_flips(2, 3, 30), margin=0.05)
    n = one.samples_needed
    assert n is not None
    gain, loss = 2 / 30, 3 / 30
    settled = 0.0
    fewest, most = stats.binom.interval(1 - 1e-4, n, loss)
    for lost in range(int(fewest), int(most) + 1):
        # More samples gained raise both bounds: it fails below one number, passes from another.
        def bounds(gained: int, lost: int = lost) -> Interval:
            found = tango_bounds(gained, lost, n, 0.05)
            assert found is not None
            return found

        counts = range(n - lost + 1)
        spared = bisect_left(counts, True, key=lambda gained: bounds(gained).high >= -0.05)
        passed = bisect_left(counts, True, key=lambda gained: bounds(gained).low > -0.05)
        gains = stats.binom(n - lost, gain / (1 - loss))
        chance = gains.cdf(spared - 1) + gains.sf(passed - 1)
        settled += stats.binom.pmf(lost, n, loss) * chance
    assert settled == pytest.approx(0.8, abs=0.05)


def test_a_score_of_its_own_needs_the_samples_of_its_nearest_bound() -> None:
    suites = {SUITE: {"policy": "absolute", "floor": 0.85, "ceiling": 0.999}}
    one = _open(_flips(0, 10, 100), suites=suites)
    oracle = normal_sample_size_one_tail(0.05, 0.8, 0.05, std_null=0.3)
    assert one.samples_needed == int(np.ceil(oracle))
    assert (one.floor, one.ceiling, one.threshold) == (0.85, 0.999, None)


def test_all_right_needs_the_n_at_which_the_exact_bound_clears_the_floor() -> None:
    suites = {SUITE: {"policy": "absolute", "floor": 0.95}}
    one = _open(_flips(0, 0, 20), suites=suites)
    n = one.samples_needed
    assert n is not None
    enough, short = rate_bounds(n, n, 0.05), rate_bounds(n - 1, n - 1, 0.05)
    assert enough is not None
    assert short is not None
    assert enough.low > 0.95 >= short.low - 1e-9


def test_the_suite_is_asked_whether_it_holds_them() -> None:
    for held, reachable in ((30, False), (100_000, True)):
        one = _open(_flips(2, 3, 30, available=held), margin=0.05)
        assert one.reachable is reachable
    whole = _open(_flips(2, 3, 30), margin=0.05)  # an earlier run that had no limit
    assert whole.reachable is False
    limited = _flips(2, 3, 30)
    base = replace(limited.base, config={**limited.base.config, "limit": 30})
    assert _open(replace(limited, base=base), margin=0.05).reachable is None


def test_no_number_of_samples_settles_what_lies_on_the_margin() -> None:
    one = _open(_flips(0, 5, 100), margin=0.05)
    assert (one.samples_needed, one.reachable) == (None, False)
    verdict = decide(_flips(0, 5, 100), GateConfig(margin=0.05))
    assert "came out at the margin, which no samples settle" in verdict.advice


def test_nothing_is_said_where_nothing_is_known_of_the_noise() -> None:
    same = _open(_pair([1.0] * 20, [1.0] * 20), margin=0.05)
    assert (same.samples_needed, same.reachable) == (None, None)


def test_a_fail_that_holms_correction_opens_needs_the_samples_of_the_stricter_test() -> None:
    names = [f"suite/{number}" for number in range(8)]
    infos = [make_info(name, samples=100) for name in names]
    unlucky = [0.0] * 11 + [1.0] * 89
    tuned = {name: unlucky if name == names[0] else [1.0] * 100 for name in names}
    pair = compare(
        make_run("base", dict.fromkeys(names, [1.0] * 100), infos=infos),
        make_run("tuned", tuned, infos=infos, adapter="a"),
    )
    one = decide(pair, GateConfig()).suites[0]
    assert one.outcome == "inconclusive"
    oracle = normal_sample_size_one_tail(0.06, 0.8, 0.05 / 8, std_null=(0.11 * 0.89) ** 0.5)
    assert one.samples_needed == int(np.ceil(oracle))


def test_power_of_the_gate_has_its_effect() -> None:
    needed = [_open(_flips(2, 3, 30), margin=0.05, power=p).samples_needed for p in (0.6, 0.8, 0.9)]
    assert needed == sorted(needed, key=lambda one: one or 0)
    assert len(set(needed)) == 3


def test_a_fail_of_an_own_score_must_stand_among_all_suites_too() -> None:
    """Wilson's bound and the score test agree, so a floor's fail is corrected like any other."""
    names = [f"suite/{number}" for number in range(8)]
    infos = [make_info(name) for name in names]
    poor = [1.0] * 83 + [0.0] * 17
    base = dict.fromkeys(names, [1.0] * 100)
    own = {names[0]: SuiteGate(policy="absolute", floor=0.9)}

    def outcome(wanted: list[str]) -> str:
        chosen = [info for info in infos if info.name in wanted]
        tuned = {name: poor if name == names[0] else [1.0] * 100 for name in wanted}
        pair = compare(
            make_run("base", {name: base[name] for name in wanted}, infos=chosen),
            make_run("tuned", tuned, infos=chosen, adapter="a"),
        )
        return decide(pair, GateConfig(suites=own)).suites[0].outcome

    z = (0.83 - 0.9) / (0.9 * 0.1 / 100) ** 0.5
    assert 0.05 / 8 < stats.norm.cdf(z) < 0.05
    assert outcome(names[:1]) == "fail"
    assert outcome(names) == "inconclusive"
