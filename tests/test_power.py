"""Before the run: what the gate will be able to decide, held against the gate itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from evalkit.compare import compare
from evalkit.config import Expected, GateConfig, SuiteGate
from evalkit.errors import UsageError
from evalkit.gate.decide import decide
from evalkit.harnesses.base import Suite, Task
from evalkit.noise import Pilot
from evalkit.power import SuitePower, power_of
from evalkit.records import Comparison, Delta, Metric, Policy, Sample
from evalkit.stats import power as formulas
from evalkit.stats.clusters import wild_bootstrap_test
from evalkit.stats.sequential import first_settled
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"
YES_NO = Metric(name="accuracy", kind="binary")
SHARE = Metric(name="share", least=0.0, most=1.0)
ENDLESS = Metric(name="length")
DRAWS = 2000
NEAR = 4 * math.sqrt(0.16 / DRAWS)  # four standard errors of a simulated 80 %


def _suite(
    n: int,
    metric: Metric = YES_NO,
    *,
    clusters: Sequence[str] = (),
    slices: Sequence[str] = (),
    task: Task = "generate",
) -> Suite:
    samples = tuple(
        Sample(
            id=f"s{number}",
            suite=SUITE,
            prompt="?",
            cluster=clusters[number] if clusters else "",
            slices={"topic": slices[number]} if slices else {},
        )
        for number in range(n)
    )
    info = replace(make_info(SUITE, samples=n), metric=metric.name, metrics=(metric,))
    return Suite(info=info, task=task, samples=samples, scorers=())


def _gate(
    margin: float = 0.05,
    policy: Policy = "non_inferiority",
    *,
    flips: float | None = None,
    deviation: float | None = None,
    alpha: float = 0.05,
    **own: object,
) -> GateConfig:
    told = {} if policy == "absolute" else {"margin": margin}
    suite = SuiteGate.model_validate({**told, "policy": policy, **own})
    expect = Expected(flips=flips, deviation=deviation)
    return GateConfig(suites={SUITE: suite}, expect=expect, alpha=alpha)


def _only(suite: Suite, gate: GateConfig, pilot: Pilot | None = None) -> SuitePower:
    (found,) = power_of([suite], gate, pilot)
    return found


def test_scores_have_the_power_of_a_t_test() -> None:
    found = _only(_suite(40, SHARE), _gate(0.1, deviation=0.3))
    oracle = TTestPower().solve_power(None, 40, 0.05, 0.8, alternative="larger")
    assert found.detectable == pytest.approx(0.3 * float(oracle), rel=1e-4)
    chance = TTestPower().power(0.1 / 0.3, 40, 0.05, alternative="larger")
    assert found.chance == pytest.approx(chance, abs=1e-6)
    needed = TTestPower().solve_power(0.1 / 0.3, None, 0.05, 0.8, alternative="larger")
    assert found.needed == math.ceil(float(needed))
    assert (found.decides, found.samples, found.clusters) == (False, 40, 40)


@pytest.mark.parametrize("policy", ["non_inferiority", "superiority"])
def test_a_suite_decides_from_the_size_that_is_said_to_be_needed(policy: Policy) -> None:
    for gate, metric in (
        (_gate(0.05, policy, flips=0.2), YES_NO),
        (_gate(0.05, policy, deviation=0.25), SHARE),
    ):
        needed = _only(_suite(30, metric), gate).needed
        assert needed is not None
        enough, short = (_only(_suite(n, metric), gate) for n in (needed, needed - 1))
        assert (enough.decides, short.decides) == (True, False)
        assert enough.needed == short.needed == needed


def test_no_samples_without_a_flip_meet_less_than_the_least_margin() -> None:
    found = _only(_suite(20), _gate(0.1, flips=0.01))
    least = found.least_margin
    assert least is not None
    pair = _compared([1.0] * 20, [1.0] * 20, YES_NO)
    for margin, outcome in ((least + 1e-6, "pass"), (least - 1e-6, "inconclusive")):
        assert decide(pair, _gate(margin)).outcome == outcome


def _compared(base: list[float], tuned: list[float], metric: Metric) -> Comparison:
    infos = [replace(make_info(SUITE), metric=metric.name, metrics=(metric,))]
    return compare(
        make_run("base", {SUITE: base}, infos=infos),
        make_run("tuned", {SUITE: tuned}, infos=infos, adapter="a"),
    )


def _passes(deltas: Sequence[Delta], comparison: Comparison, gate: GateConfig) -> float:
    """The share of these deltas that the gate lets pass."""
    made = [replace(comparison, deltas=(delta,)) for delta in deltas]
    return sum(decide(one, gate).outcome == "pass" for one in made) / len(made)


@pytest.mark.parametrize(("flips", "margin"), [(0.2, 0.05), (0.1, 0.05)])
def test_an_unchanged_model_passes_as_often_as_promised_right_or_wrong(
    flips: float, margin: float
) -> None:
    gate = _gate(margin, flips=flips)
    n = _only(_suite(30), gate).needed
    assert n is not None
    template = _compared([1.0] * 10 + [0.0], [1.0] * 10 + [1.0], YES_NO)
    rng, draws = np.random.default_rng(11), DRAWS
    counts = rng.multinomial(n, [flips / 2, flips / 2, 1 - flips], size=draws)
    deltas = [
        replace(template.deltas[0], n=n, difference=(up - down) / n, gained=up, lost=down)
        for up, down, _ in counts.tolist()
    ]
    # The size is cautious by what exact enumeration shows of it: see tests/stats/test_power.py.
    simulated = _passes(deltas, template, gate)
    assert 0.8 - NEAR <= simulated <= 0.82 + NEAR


@pytest.mark.parametrize("policy", ["non_inferiority", "equivalence"])
def test_an_unchanged_model_passes_as_often_as_promised_by_scores(policy: Policy) -> None:
    gate = _gate(0.1, policy, deviation=0.3)
    n = _only(_suite(30, SHARE), gate).needed
    assert n is not None
    template = _compared([0.1, 0.4, 0.3], [0.2, 0.1, 0.7], SHARE)
    rng, draws = np.random.default_rng(12), DRAWS
    made = rng.normal(0.0, 0.3, size=(draws, n))
    means, errors = made.mean(axis=1), made.std(axis=1, ddof=1) / math.sqrt(n)
    deltas = [
        replace(
            template.deltas[0],
            n=n,
            clusters=n,
            difference=mean,
            standard_error=error,
            interval="t",
        )
        for mean, error in zip(means.tolist(), errors.tolist(), strict=True)
    ]
    assert _passes(deltas, template, gate) == pytest.approx(0.8, abs=NEAR)


def test_superiority_is_refused_and_met_as_its_reach_says() -> None:
    gate = _gate(0.1, "superiority", deviation=0.3)
    n = 80
    found = _only(_suite(n, SHARE), gate)
    assert found.detectable is not None
    template = _compared([0.1, 0.4, 0.3], [0.2, 0.1, 0.7], SHARE)
    rng, draws = np.random.default_rng(13), DRAWS
    made = rng.normal(0.1 + found.detectable, 0.3, size=(draws, n))
    errors = made.std(axis=1, ddof=1) / math.sqrt(n)
    deltas = [
        replace(template.deltas[0], n=n, clusters=n, difference=mean, standard_error=error)
        for mean, error in zip(made.mean(axis=1).tolist(), errors.tolist(), strict=True)
    ]
    assert _passes(deltas, template, gate) == pytest.approx(0.8, abs=NEAR)


def test_equivalence_needs_more_than_non_inferiority() -> None:
    """Both of its tests must hold; z for a miss of 10 % in each (Phillips 1990)."""
    one = _only(_suite(300, SHARE), _gate(0.05, deviation=0.3))
    both = _only(_suite(300, SHARE), _gate(0.05, "equivalence", deviation=0.3))
    reach = stats.norm.ppf(0.95) + stats.norm.ppf(0.9)
    assert both.needed == pytest.approx((reach * 0.3 / 0.05) ** 2, abs=3)
    assert one.needed is not None
    assert both.needed is not None
    assert both.needed > one.needed
    assert one.chance is not None
    assert both.chance == pytest.approx(2 * one.chance - 1)


def test_samples_of_a_cluster_count_as_one_unless_a_pilot_says_better() -> None:
    groups = [f"g{number // 4}" for number in range(200)]
    loose = _only(_suite(200, SHARE), _gate(deviation=0.3))
    tied = _only(_suite(200, SHARE, clusters=groups), _gate(deviation=0.3))
    fifty = _only(_suite(50, SHARE), _gate(deviation=0.3))
    assert tied.clusters == 50
    assert tied.detectable == pytest.approx(fifty.detectable)
    assert loose.needed is not None
    assert tied.needed == 4 * loose.needed
    rng = np.random.default_rng(14)
    values = rng.normal(size=200)
    infos = [replace(make_info(SUITE), metric=SHARE.name, metrics=(SHARE,))]
    runs = [
        make_run(name, {SUITE: scores}, infos=infos, adapter=name, clusters=groups)
        for name, scores in (("base", [0.0] * 200), ("tuned", values.tolist()))
    ]
    pilot = Pilot(comparisons=(compare(*runs),))
    seen = _only(_suite(200, SHARE, clusters=groups), _gate(), pilot)
    error = pilot.comparisons[0].deltas[0].standard_error
    assert error is not None
    assert seen.detectable == pytest.approx(formulas.detectable_mean(error, 49, 0.05))


def test_clustered_flips_are_not_held_to_a_test_of_single_ones() -> None:
    groups = [f"g{number // 4}" for number in range(200)]
    tied = _only(_suite(200, clusters=groups), _gate(flips=0.2))
    assert tied.least_margin is None
    oracle = TTestPower().solve_power(None, 50, 0.05, 0.8, alternative="larger")
    assert tied.detectable == pytest.approx(math.sqrt(0.2) * float(oracle), rel=1e-4)


def test_samples_that_are_each_a_cluster_are_still_a_matter_of_clusters() -> None:
    found = _only(_suite(60, clusters=[f"g{number}" for number in range(60)]), _gate(flips=0.2))
    assert found.least_margin is None
    assert found.detectable == _only(_suite(60, SHARE), _gate(deviation=0.2**0.5)).detectable


@pytest.mark.parametrize(("count", "decides"), [(4, False), (5, True)])
def test_too_few_clusters_decide_nothing(count: int, decides: bool) -> None:
    """A one-sided bound at .05 needs 2^(1 − G) at most .10 (see evalkit.stats.clusters)."""
    groups = [f"g{number % count}" for number in range(100)]
    found = _only(_suite(100, SHARE, clusters=groups), _gate(0.9, deviation=0.01))
    assert found.decides is decides
    assert ("fewer than 5 clusters" in found.note) is not decides


@pytest.mark.parametrize(("count", "power"), [(5, 0.64), (8, 0.79), (12, 0.79)])
def test_few_clusters_have_about_the_power_of_as_many_samples(count: int, power: float) -> None:
    """The wild bootstrap against what is told by t: five clusters, the fewest, fall short of it."""
    names, rng, draws = [str(number) for number in range(count)], np.random.default_rng(15), 800
    gate = _gate(0.9, deviation=1.0)
    told = _only(_suite(count, ENDLESS, clusters=names), gate).detectable
    assert told is not None
    found = 0
    for _ in range(draws):
        values = rng.normal(size=count)
        test = wild_bootstrap_test(values, names, null=-told)
        found += test is not None and test.p <= 0.1 * (1 + 1e-9) and values.mean() > -told
    assert found / draws == pytest.approx(power, abs=4 * math.sqrt(0.16 / draws))


def test_too_few_samples_and_none_decide_nothing() -> None:
    gate = _gate(0.5, deviation=0.1, must_not_regress=["topic=war"])
    whole, part = power_of([_suite(1, SHARE, slices=["art"])], gate)
    assert (whole.decides, whole.note) == (False, "fewer than 2 samples give no interval")
    assert (part.decides, part.samples, part.note) == (False, 0, "it has no sample")
    assert part.needed == whole.needed


def test_a_slice_has_the_power_of_its_own_samples() -> None:
    topics = ["art"] * 150 + ["war"] * 50
    gate = _gate(0.05, flips=0.2, must_not_regress=["topic=war"], slice_margin=0.2)
    whole, part = power_of([_suite(200, slices=topics)], gate)
    assert (whole.samples, part.samples, part.asked.slice) == (200, 50, "topic=war")
    assert part.detectable == _only(_suite(50), _gate(0.05, flips=0.2)).detectable
    assert (whole.decides, part.decides) == (False, True)


def test_a_margin_of_nothing_is_never_met_by_an_unchanged_model() -> None:
    none = _only(_suite(10_000), _gate(0.0, flips=0.2))
    assert (none.decides, none.needed, none.chance) == (False, None, None)
    gain = _only(_suite(10_000), _gate(0.0, "superiority", flips=0.2))
    assert (gain.decides, gain.needed) == (None, None)
    assert gain.detectable is not None


def test_what_is_not_known_is_not_made_up() -> None:
    found = _only(_suite(100, ENDLESS), _gate())
    assert (found.detectable, found.decides, found.needed) == (None, None, None)
    assert found.note == "its noise is not known"
    assert _only(_suite(100, ENDLESS), _gate(deviation=0.1)).decides is True
    huge = _only(_suite(3, SHARE), _gate(0.5, deviation=0.9))
    assert (huge.detectable, huge.decides) == (None, False)  # beyond the scale


def test_a_score_of_its_own_and_a_bare_threshold() -> None:
    floor = _gate(policy="absolute", floor=0.9)
    found = _only(_suite(200), floor)
    oracle = TTestPower().solve_power(None, 200, 0.05, 0.8, alternative="larger")
    assert found.detectable == pytest.approx(0.3 * float(oracle), rel=1e-4)
    assert (found.decides, found.needed, found.least_margin) == (None, None, None)
    bare = _only(_suite(200), _gate(policy="point"))
    assert bare.decides is None
    assert "no account of noise" in bare.note


def test_bounds_that_are_kept_at_some_alphas_are_reckoned_with() -> None:
    ratio = Metric(name="bits", kind="ratio")
    at = {
        alpha: _only(_suite(100, ratio), _gate(0.5, deviation=0.3, alpha=alpha))
        for alpha in (0.01, 0.02, 0.0001)
    }
    assert at[0.02].detectable == at[0.01].detectable
    assert (at[0.0001].decides, at[0.0001].note) == (False, "no bounds are kept at alpha 0.0001")


def test_several_completions_count_where_text_is_generated() -> None:
    """A share over several answers is no longer right or wrong: it is a mean, with its error."""
    gate = _gate(0.1, flips=0.2)
    (several,) = power_of([_suite(200)], gate, completions=5)
    (single,) = power_of([_suite(200, task="choice")], gate, completions=5)
    assert several.least_margin is None
    assert single.least_margin is not None


def test_a_pilot_of_other_suites_is_a_mistake() -> None:
    other = make_run("base", {"style/other": [1.0, 0.0]})
    with pytest.raises(UsageError, match=r"none of the suites knowledge/tiny, but style/other"):
        power_of([_suite(10)], _gate(), Pilot(run=other))


def _settled(drawn: np.ndarray, margin: float) -> float:
    """The share of these rows of differences that a sequence lets pass, by its own bounds."""
    n = drawn.shape[1]
    outcomes = [first_settled(row, -margin, -1, 1, 0.05, n).outcome for row in drawn]
    return outcomes.count("pass") / len(outcomes)


@pytest.mark.parametrize(("flips", "margin"), [(0.2, 0.1), (0.2, 0.05), (0.05, 0.05), (0.02, 0.1)])
def test_a_sequence_passes_an_unchanged_model_about_as_often_as_promised(
    flips: float, margin: float
) -> None:
    """Few flips too, where the plain formula promises 80 % and 0 to 44 % come of it."""
    suite, gate = _suite(30), _gate(margin, flips=flips)
    (found,) = power_of([suite], gate, sequential=True)
    assert found.needed is not None
    rng = np.random.default_rng(21)
    for n, least, most in ((found.needed, 0.75, 0.93), (found.needed // 2, 0.0, 0.7)):
        rows = rng.choice([-1.0, 0.0, 1.0], (300, n), p=[flips / 2, 1 - flips, flips / 2])
        (told,) = power_of([_suite(n)], gate, sequential=True)
        simulated = _settled(rows, margin)
        assert least <= simulated <= most
        assert told.chance is not None
        assert -0.05 < simulated - told.chance < 0.17
        assert told.decides is (n == found.needed)


def test_a_sequence_of_scores_and_of_clusters_needs_what_it_says() -> None:
    gate = _gate(0.1, deviation=0.25)
    (found,) = power_of([_suite(30, SHARE)], gate, sequential=True)
    assert found.needed is not None
    rows = np.clip(np.random.default_rng(22).normal(0, 0.25, (300, found.needed)), -1, 1)
    assert 0.75 < _settled(rows, 0.1) < 0.93
    names = [f"p{place // 4}" for place in range(40)]
    (grouped,) = power_of([_suite(40, SHARE, clusters=names)], gate, sequential=True)
    assert grouped.needed == 4 * found.needed


def test_no_change_at_all_meets_the_least_margin_of_a_sequence_and_none_smaller() -> None:
    (found,) = power_of([_suite(60)], _gate(0.05), sequential=True)
    least = found.least_margin
    assert least is not None
    assert (found.chance, found.decides) == (0.0, False)
    rows = np.zeros((1, 60))
    assert (_settled(rows, least + 1e-6), _settled(rows, least - 1e-6)) == (1.0, 0.0)


def test_a_suite_that_is_asked_whole_keeps_the_power_of_its_test() -> None:
    gate = _gate(policy="point")
    assert power_of([_suite(60)], gate, sequential=True) == power_of([_suite(60)], gate)
    endless = _suite(60, ENDLESS), _gate(deviation=0.1)
    assert [one.sequential for one in power_of(endless[:1], endless[1], sequential=True)] == [False]


def test_a_floor_is_farther_for_a_sequence() -> None:
    gate = _gate(policy="absolute", floor=0.9)
    whole, early = (power_of([_suite(400)], gate, sequential=s)[0] for s in (False, True))
    assert whole.detectable is not None
    assert early.detectable is not None
    assert 1.2 < early.detectable / whole.detectable < 2
