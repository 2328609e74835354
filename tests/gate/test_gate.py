"""The gate: three outcomes, fails closed, and one object behind the exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from evalkit.compare import compare
from evalkit.config import Expected, GateConfig, SuiteGate
from evalkit.errors import ExitCode, UsageError
from evalkit.gate.asked import asked_of
from evalkit.gate.bounds import benefit_bounds, p_not_above, p_not_below, tuned_bounds
from evalkit.gate.decide import check_gate, decide, meaning, worst
from evalkit.records import Comparison, MetricKind, Outcome, Policy
from evalkit.stats.base import Reals
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"


def _binary(gained: int, lost: int, n: int, **info: object) -> Comparison:
    base = [0.0] * gained + [1.0] * (n - gained)
    tuned = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    infos = [make_info(SUITE, **info)]  # type: ignore[arg-type]
    return compare(
        make_run("base", {SUITE: base}, infos=infos),
        make_run("tuned", {SUITE: tuned}, infos=infos, adapter="a"),
    )


def test_a_tuned_model_that_gets_worse_fails_the_gate() -> None:
    verdict = decide(_binary(5, 60, 300), GateConfig())
    assert (verdict.outcome, verdict.exit_code) == ("fail", ExitCode.FAIL)
    assert "Do not ship tuned" in verdict.advice


def test_a_tuned_model_that_changes_little_on_many_samples_passes() -> None:
    verdict = decide(_binary(12, 11, 1000), GateConfig())
    assert (verdict.outcome, verdict.exit_code) == ("pass", ExitCode.PASS)
    assert "Ship tuned" in verdict.advice


def test_few_samples_are_inconclusive_and_say_how_many_would_do() -> None:
    verdict = decide(_binary(2, 3, 30), GateConfig())
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", ExitCode.INCONCLUSIVE)
    needed = verdict.suites[0].samples_needed
    assert needed is not None
    assert needed > 30


def test_few_flips_are_not_mistaken_for_safety() -> None:
    """No discordant pair among 20 samples leaves room for a loss of 12 points."""
    comparison = _binary(0, 0, 20)
    verdict = decide(comparison, GateConfig(margin=0.05))
    assert verdict.outcome == "inconclusive"


def test_lower_is_better_turns_the_gate_round() -> None:
    worse = _binary(60, 2, 300, higher_is_better=False, metric="style_leak")
    assert decide(worse, GateConfig()).outcome == "fail"
    better = _binary(2, 60, 300, higher_is_better=False, metric="style_leak")
    assert decide(better, GateConfig()).outcome == "pass"


def test_superiority_asks_for_more_than_its_margin() -> None:
    gate = GateConfig(suites={SUITE: SuiteGate(policy="superiority", margin=0.10)})
    assert decide(_binary(100, 5, 300), gate).outcome == "pass"
    assert decide(_binary(5, 5, 300), gate).outcome == "fail"
    assert decide(_binary(33, 3, 300), gate).outcome == "inconclusive"


def test_a_suites_gate_wins_over_the_files_and_that_over_the_suites_own() -> None:
    comparison = _binary(0, 9, 300, margin=0.5)
    assert decide(comparison, GateConfig()).suites[0].margin == 0.5
    assert decide(comparison, GateConfig(margin=0.3)).suites[0].margin == 0.3
    own = GateConfig(margin=0.3, suites={SUITE: SuiteGate(margin=0.001)})
    assert decide(comparison, own).suites[0].margin == 0.001
    assert decide(comparison, own).outcome == "fail"


def test_missing_scores_fail_closed() -> None:
    base = make_run("base", {SUITE: [1.0] * 100})
    scores: list[float | None] = [1.0] * 99
    tuned = make_run("tuned", {SUITE: [*scores, None]}, adapter="a")
    verdict = decide(compare(base, tuned), GateConfig(margin=0.3))
    assert verdict.outcome == "fail"
    assert "1.0% of the samples are missing" in verdict.suites[0].reason
    assert decide(compare(base, tuned), GateConfig(margin=0.3, max_missing=0.02)).outcome == "pass"


def test_scores_missing_in_one_arm_or_the_other_are_all_counted() -> None:
    gaps: list[float | None] = [None] * 5
    full: list[float | None] = [1.0] * 5
    rest: list[float | None] = [1.0] * 90
    base = make_run("base", {SUITE: [*gaps, *full, *rest]})
    tuned = make_run("tuned", {SUITE: [*full, *gaps, *rest]}, adapter="a")
    verdict = decide(compare(base, tuned), GateConfig(margin=0.5, max_missing=0.08))
    assert verdict.outcome == "fail"
    assert verdict.suites[0].reason.startswith("10.0% of the samples")


def test_unpaired_samples_count_as_missing() -> None:
    base = make_run("base", {SUITE: [1.0] * 100})
    tuned = make_run("tuned", {SUITE: [1.0] * 90}, adapter="a")
    assert decide(compare(base, tuned), GateConfig(margin=0.5)).outcome == "fail"


def test_a_suite_the_tuned_run_lacks_fails_closed() -> None:
    base = make_run("base", {SUITE: [1.0] * 50, "style/other": [1.0] * 50})
    tuned = make_run("tuned", {SUITE: [1.0] * 50}, adapter="a")
    verdict = decide(compare(base, tuned), GateConfig(margin=0.5))
    assert verdict.outcome == "fail"
    assert verdict.suites[1].reason == "tuned was not evaluated on it"


def test_a_failed_canary_fails_whatever_the_numbers_say() -> None:
    comparison = _binary(12, 11, 1000)
    broken = replace(comparison.checks[2], status="failed")
    verdict = decide(replace(comparison, checks=(broken,)), GateConfig())
    assert verdict.outcome == "fail"
    assert "Do not trust" in verdict.advice


def test_a_gate_for_an_unknown_suite_or_metric_is_a_mistake() -> None:
    comparison = _binary(1, 1, 30)
    with pytest.raises(UsageError, match="knowledge/tinny"):
        decide(comparison, GateConfig(suites={"knowledge/tinny": SuiteGate()}))
    with pytest.raises(UsageError, match="no metric 'acc'"):
        decide(comparison, GateConfig(suites={SUITE: SuiteGate(metric="acc")}))


def test_all_that_is_wrong_in_a_gate_is_told_at_once() -> None:
    gates = {"a/b": SuiteGate(), "c/d": SuiteGate(), SUITE: SuiteGate(metric="acuracy")}
    with pytest.raises(UsageError) as caught:
        decide(_binary(1, 1, 30), GateConfig(suites=gates))
    first, second = str(caught.value).splitlines()
    assert "'a/b', 'c/d', which are not among the suites" in first
    assert "'acuracy'" in second
    assert "Did you mean 'accuracy'?" in second


def test_a_metric_that_only_describes_cannot_be_gated() -> None:
    with pytest.raises(UsageError, match="only describes"):
        decide(_binary(1, 1, 30, higher_is_better=None), GateConfig())


def _continuous(base: Reals, tuned: Reals, **info: object) -> Comparison:
    infos = [make_info(SUITE, kind="continuous", **info)]  # type: ignore[arg-type]
    return compare(
        make_run("base", {SUITE: base.tolist()}, infos=infos),
        make_run("tuned", {SUITE: tuned.tolist()}, infos=infos, adapter="a"),
    )


def test_bounds_of_a_file_without_skewness_are_those_of_a_one_sided_t_test() -> None:
    rng = np.random.default_rng(7)
    base, tuned = rng.normal(0, 1, 80), rng.normal(0.1, 1, 80)
    delta = _continuous(base, tuned).deltas[0]
    bounds = benefit_bounds(replace(delta, skewness=None), alpha=0.05)
    oracle = stats.ttest_rel(tuned, base, alternative="greater")
    assert bounds is not None
    assert bounds.low == pytest.approx(oracle.confidence_interval(0.95).low)
    assert p_not_above(replace(delta, skewness=None), 0.0) == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_long_tail_moves_the_bound_on_its_side(higher_is_better: bool) -> None:
    """Of the differences and of the tuned arm's own scores; p goes with the bounds."""
    tuned = np.random.default_rng(8).beta(4, 0.5, 60)
    delta = _continuous(np.full(60, 0.5), tuned, higher_is_better=higher_is_better).deltas[0]
    assert delta.skewness == pytest.approx(stats.skew(tuned, bias=False))
    assert delta.tuned_skewness == pytest.approx(delta.skewness)
    plain = replace(delta, skewness=None, tuned_skewness=None)
    for bounds_of in (benefit_bounds, tuned_bounds):
        found, student = bounds_of(delta, 0.05), bounds_of(plain, 0.05)
        assert found is not None
        assert student is not None
        turned = bounds_of is benefit_bounds and not higher_is_better
        far, near = (found.high, found.low) if turned else (found.low, found.high)
        far_t, near_t = (student.high, student.low) if turned else (student.low, student.high)
        assert near == pytest.approx(near_t)
        assert abs(far - far_t) > 0.1 * (student.high - student.low)
        assert found.low <= student.low + 1e-12
        assert found.high >= student.high - 1e-12
    bounds = benefit_bounds(delta, 0.05)
    assert bounds is not None
    assert p_not_below(delta, bounds.high + 1e-6) < 0.05 < p_not_below(delta, bounds.high - 1e-6)
    assert p_not_above(delta, bounds.low - 1e-6) < 0.05 < p_not_above(delta, bounds.low + 1e-6)


def test_wrong_passes_are_as_rare_as_promised() -> None:
    """At a true loss of exactly the margin, at most α of the comparisons pass."""
    rng = np.random.default_rng(8)
    n, loss, gain, rounds = 300, 0.10, 0.05, 400
    passes = 0
    for gained, lost, _ in rng.multinomial(n, [gain, loss, 1 - gain - loss], size=rounds):
        comparison = _binary(int(gained), int(lost), n)
        passes += decide(comparison, GateConfig(margin=0.05)).outcome == "pass"
    assert passes / rounds <= 0.05 + 4 * (0.05 * 0.95 / rounds) ** 0.5


def test_the_worst_verdict_speaks_for_several_arms() -> None:
    good = decide(_binary(12, 11, 1000), GateConfig())
    unsure = decide(_binary(2, 3, 30), GateConfig())
    bad = decide(_binary(5, 60, 300), GateConfig())
    assert worst([good, unsure]) is unsure
    assert worst([unsure, bad, good]) is bad


def test_a_fail_must_stand_among_all_suites() -> None:
    """One of eight equal suites that looks worse by chance is no fail (Holm 1979)."""
    names = [f"suite/{number}" for number in range(8)]
    infos = [make_info(name) for name in names]
    same = [1.0] * 100
    base = dict.fromkeys(names, same)
    unlucky = [0.0] * 11 + [1.0] * 89

    def verdict(worse: list[float], wanted: list[str]) -> Outcome:
        chosen = [info for info in infos if info.name in wanted]
        tuned = {name: worse if name == names[0] else same for name in wanted}
        pair = compare(
            make_run("base", {name: base[name] for name in wanted}, infos=chosen),
            make_run("tuned", tuned, infos=chosen, adapter="a"),
        )
        return decide(pair, GateConfig()).suites[0].outcome

    assert verdict(unlucky, names[:1]) == "fail"
    assert verdict(unlucky, names) == "inconclusive"
    assert verdict([0.0] * 40 + [1.0] * 60, names) == "fail"


@pytest.mark.parametrize(
    ("policy", "gained", "lost", "outcome"),
    [
        ("equivalence", 30, 30, "pass"),
        ("equivalence", 10, 120, "fail"),
        ("equivalence", 120, 10, "fail"),
        ("equivalence", 40, 90, "inconclusive"),
        ("point", 0, 49, "pass"),
        ("point", 0, 51, "fail"),
    ],
)
def test_the_other_policies(policy: Policy, gained: int, lost: int, outcome: Outcome) -> None:
    verdict = decide(_binary(gained, lost, 1000), GateConfig(policy=policy, margin=0.05))
    assert verdict.outcome == outcome
    if policy == "point":
        assert "takes no account of noise" in verdict.suites[0].reason


@pytest.mark.parametrize(
    ("bounds", "outcome"),
    [
        ({"floor": 0.9}, "pass"),
        ({"floor": 0.95}, "inconclusive"),
        ({"floor": 0.99}, "fail"),
        ({"ceiling": 0.9}, "fail"),
        ({"floor": 0.9, "ceiling": 0.99}, "pass"),
    ],
)
def test_an_absolute_policy_holds_the_tuned_score_itself(
    bounds: dict[str, float], outcome: Outcome
) -> None:
    """950 of 1,000 right: the exact one-sided 95 % bounds are .937 and .961."""
    suites = {SUITE: SuiteGate.model_validate({"policy": "absolute", **bounds})}
    verdict = decide(_binary(0, 50, 1000), GateConfig(suites=suites))
    assert verdict.outcome == outcome
    found = tuned_bounds(_binary(0, 50, 1000).deltas[0], 0.05)
    oracle = stats.binomtest(950, 1000).proportion_ci(0.9, method="exact")
    assert found == pytest.approx((oracle.low, oracle.high))


def test_absolute_needs_a_bound_and_bounds_need_absolute() -> None:
    with pytest.raises(ValueError, match="needs a floor"):
        SuiteGate(policy="absolute")
    with pytest.raises(ValueError, match="are of policy: absolute"):
        SuiteGate(floor=0.5)
    # The margin of its slices has an effect, where they have none of their own.
    sliced = SuiteGate(policy="absolute", floor=0.9, margin=0.1, must_not_regress=("a=b",))
    assert sliced.margin == 0.1
    with pytest.raises(ValueError, match="margin has no effect"):
        SuiteGate(
            policy="absolute", floor=0.9, margin=0.1, must_not_regress=("a=b",), slice_margin=0.2
        )
    with pytest.raises(UsageError, match="needs a floor or a ceiling of its own"):
        decide(_binary(5, 5, 300), GateConfig(policy="absolute"))


@pytest.mark.parametrize(
    ("asked", "code"),
    [("fail", ExitCode.FAIL), ("pass", ExitCode.PASS), ("exit3", ExitCode.INCONCLUSIVE)],
)
def test_how_an_open_gate_ends_is_declared(
    asked: Literal["fail", "pass", "exit3"], code: ExitCode
) -> None:
    verdict = decide(_binary(2, 3, 30), GateConfig(on_inconclusive=asked))
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", code)
    assert meaning(verdict).startswith("inconclusive: the samples cannot settle it")
    assert ("ends like a" in meaning(verdict)) == (asked != "exit3")


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_p_of_a_threshold_and_its_bound_agree(alpha: float, higher_is_better: bool) -> None:
    """A threshold just inside the upper bound is not rejected at alpha; just outside it is."""
    delta = _binary(12, 40, 300, higher_is_better=higher_is_better).deltas[0]
    bounds = benefit_bounds(delta, alpha)
    assert bounds is not None
    assert p_not_below(delta, bounds.high - 1e-6) > alpha > p_not_below(delta, bounds.high + 1e-6)
    assert p_not_above(delta, bounds.low + 1e-6) > alpha > p_not_above(delta, bounds.low - 1e-6)


def test_what_the_gate_will_ask_is_known_before_there_is_an_answer() -> None:
    own = SuiteGate(policy="superiority", must_not_regress=("topic=history", "topic=art"))
    gate = GateConfig(margin=0.1, suites={SUITE: own})
    whole, history, art = asked_of(make_info(SUITE), gate)
    assert (whole.slice, whole.policy, whole.threshold) == ("", "superiority", 0.1)
    assert (history.slice, history.policy, history.threshold) == (
        "topic=history", "non_inferiority", -0.1,
    )  # fmt: skip
    assert art.slice == "topic=art"
    assert whole.threshold == decide(_binary(5, 5, 300), gate).suites[0].threshold
    wide = own.model_copy(update={"slice_margin": 0.2})
    assert asked_of(make_info(SUITE), GateConfig(suites={SUITE: wide}))[1].margin == 0.2


@pytest.mark.parametrize(
    ("kind", "own", "told"),
    [
        ("binary", {"expect": {"deviation": 0.2}}, "Declare expect.flips"),
        ("continuous", {"expect": {"flips": 0.2}}, "Declare expect.deviation"),
        (
            "binary",
            {"policy": "absolute", "floor": 0.5, "expect": {"flips": 0.2}},
            "expect is of the noise",
        ),
    ],
)
def test_an_expectation_that_would_have_no_effect_is_a_mistake(
    kind: MetricKind, own: dict[str, object], told: str
) -> None:
    gate = GateConfig(suites={SUITE: SuiteGate.model_validate(own)})
    with pytest.raises(UsageError, match=told):
        check_gate([make_info(SUITE, kind=kind)], gate)
    # What is expected of all suites is for those that it fits.
    check_gate([make_info(SUITE, kind=kind)], GateConfig(expect=Expected(flips=0.1, deviation=0.1)))


def test_an_expectation_has_no_effect_where_the_policy_of_all_knows_no_noise() -> None:
    own = SuiteGate.model_validate({"expect": {"flips": 0.2}})
    with pytest.raises(UsageError, match="by policy point, which knows no noise"):
        check_gate([make_info(SUITE)], GateConfig(policy="point", suites={SUITE: own}))
    check_gate([make_info(SUITE)], GateConfig(suites={SUITE: own}))
