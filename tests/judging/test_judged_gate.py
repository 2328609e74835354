"""A gate that goes by a judge's word: trust, what is missing, and people's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from evalkit.compare import compare
from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import UsageError
from evalkit.gate.decide import check_gate, decide
from evalkit.records import (
    Comparison,
    Delta,
    JudgeHealth,
    Judging,
    Metric,
    Score,
    SuiteInfo,
    Tail,
    Verdict,
)
from tests.builders import make_info, make_run

SUITE = "style/tiny"
METRIC = "judge.rednote"
JUDGE: Mapping[str, Any] = {"judges": [{"kind": "human", "path": "labels.csv"}]}


def judged(
    utilities: Sequence[float | None],
    *,
    judge: Mapping[str, Any] = JUDGE,
    untrusted: tuple[str, ...] = (),
    flagged: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
    unasked: int = 0,
) -> Comparison:
    """Arms that are equal by their own metric, and a judge's utilities for the tuned one; the last
    `unasked` samples were not put before it."""
    samples = len(utilities) + unasked
    plain = make_info(SUITE, samples=samples)
    info = replace(plain, metrics=(*plain.metrics, SCALE), rubrics=("rednote",))
    values = [float(n % 2 == 0) for n in range(samples)]
    arms = []
    for name, turned in (("base", True), ("tuned", False)):
        run = make_run(name, {SUITE: values}, infos=[info], adapter=name)
        results = [
            replace(result, scores=(*result.scores, _score(result.sample.id, value, turned)))
            for result, value in zip(run.results, utilities, strict=False)
        ]
        whole = (*results, *run.results[len(results) :])
        config = {**run.manifest.config, "judge": dict(judge)}
        arms.append(replace(run, results=whole, manifest=replace(run.manifest, config=config)))
    judging = Judging(
        suite=SUITE,
        rubric="rednote",
        metric=METRIC,
        protocol="pairwise",
        judges=(JudgeHealth(judge="j", model="m", prompt_hash="p", n=9, untrusted=untrusted),),
        flagged=flagged or {},
    )
    return replace(compare(arms[0], arms[1]), judgings=(judging,))


SCALE = Metric(name=METRIC, least=0.0, most=1.0)


def _score(sample: str, value: float | None, turned: bool) -> Score:
    told = 1 - value if turned and value is not None else value
    return Score(sample_id=sample, scorer=METRIC, value=told)


def gated(metric: str = METRIC, margin: float = 0.1, **more: Any) -> GateConfig:
    return GateConfig(suites={SUITE: SuiteGate(metric=metric, margin=margin, **more)})


def delta_of(comparison: Comparison, metric: str = METRIC) -> Delta:
    (found,) = [one for one in comparison.deltas if one.metric.name == metric and not one.slice]
    return found


def failed(verdict: Verdict) -> list[str]:
    return [one.message for one in verdict.checks if one.status == "failed"]


BETTER = [1.0, 1.0, 1.0, 0.5] * 50


def test_the_difference_is_twice_the_win_rate_less_one() -> None:
    delta = delta_of(judged(BETTER))
    assert delta.tuned == pytest.approx(0.875)
    assert delta.base == pytest.approx(0.125)
    assert delta.difference == pytest.approx(2 * 0.875 - 1)


def test_a_gate_may_go_by_a_judged_metric() -> None:
    verdict = decide(judged(BETTER), gated(policy="superiority"))
    assert verdict.outcome == "pass"
    worse = decide(judged([1 - one for one in BETTER]), gated())
    assert worse.outcome == "fail"


def test_what_is_not_trustworthy_fails_the_gate_that_goes_by_it() -> None:
    comparison = judged(BETTER, untrusted=("j contradicts itself",))
    verdict = decide(comparison, gated())
    assert verdict.outcome == "fail"
    (message,) = failed(verdict)
    assert message.startswith("judge results not trustworthy: ")
    assert "j contradicts itself" in message


def test_it_is_a_warning_where_the_gate_goes_by_something_else() -> None:
    verdict = decide(judged(BETTER, untrusted=("j contradicts itself",)), GateConfig(margin=0.2))
    assert verdict.outcome == "pass"
    warned = [one.message for one in verdict.checks if one.status == "warning"]
    assert any("not trustworthy" in message for message in warned)


def test_a_gate_of_another_day_is_told_too() -> None:
    """The check belongs to the gate that decides, not to the one that was declared."""
    comparison = judged(BETTER, untrusted=("j contradicts itself",))
    assert decide(comparison, GateConfig(margin=0.2)).outcome == "pass"
    assert decide(comparison, gated()).outcome == "fail"


@pytest.mark.parametrize(("count", "outcome"), [(4, "pass"), (5, "fail")])
def test_more_than_one_flagged_answer_in_fifty_is_too_many(count: int, outcome: str) -> None:
    flagged = {"tuned": {f"s{n}": ("constant",) for n in range(count)}}
    verdict = decide(judged(BETTER, flagged=flagged), gated())
    assert verdict.outcome == outcome
    assert bool(failed(verdict)) == (outcome == "fail")


def test_flags_of_the_base_do_not_stop_the_tuned_arm() -> None:
    flagged = {"base": {f"s{n}": ("constant",) for n in range(200)}}
    assert decide(judged(BETTER, flagged=flagged), gated()).outcome == "pass"


@pytest.mark.parametrize(("missing", "outcome"), [(10, "pass"), (11, "fail")])
def test_the_judge_has_a_ceiling_of_its_own_for_what_is_missing(missing: int, outcome: str) -> None:
    """5 % of 200 by default, whatever gate.max_missing (0) says."""
    utilities = [*[None] * missing, *BETTER[missing:]]
    verdict = decide(judged(utilities), gated())
    assert verdict.outcome == outcome
    if outcome == "fail":
        assert "judge.max_missing" in verdict.suites[0].reason
        assert verdict.suites[0].ground == "missing"
        assert "reason" in verdict.advice


def test_the_ceiling_is_the_declared_one() -> None:
    utilities = [*[None] * 11, *BETTER[11:]]
    comparison = judged(utilities, judge={**JUDGE, "max_missing": 0.06})
    assert decide(comparison, gated()).outcome == "pass"


def test_what_was_not_put_before_the_judge_is_not_missing() -> None:
    comparison = judged(BETTER, unasked=300)
    delta = delta_of(comparison)
    assert (delta.n, delta.missing) == (200, 0)
    assert delta_of(comparison, "accuracy").n == 500


def test_a_judge_that_judged_nothing_decides_nothing() -> None:
    verdict = decide(judged([None] * 20), gated())
    assert (verdict.outcome, verdict.suites[0].ground) == ("fail", "missing")


LABELLED = {**JUDGE, "demand": "corrected", "labels": "labels.csv"}


def with_corrected(comparison: Comparison, low: float, high: float) -> Comparison:
    """The comparison with a corrected preference between these bounds at every alpha."""
    metric = Metric(name=f"{METRIC}.corrected", least=0.0, most=1.0)
    delta = Delta(
        suite=SUITE,
        metric=metric,
        base=0.5,
        tuned=0.5,
        difference=(low + high) / 2,
        interval="corrected",
        tails=tuple(Tail(alpha, low, high) for alpha in (0.05, 0.001)),
        n=50,
        clusters=50,
    )
    infos: tuple[SuiteInfo, ...] = tuple(
        replace(one, metrics=(*one.metrics, metric)) for one in comparison.base.suites
    )
    return replace(
        comparison,
        base=replace(comparison.base, suites=infos),
        tuned=replace(comparison.tuned, suites=infos),
        deltas=(*comparison.deltas, delta),
    )


def test_a_demand_for_the_corrected_number_is_met_by_it_alone() -> None:
    """The judge prefers the tuned arm by far, and people do not."""
    demanding = with_corrected(judged(BETTER, judge=LABELLED), -0.4, -0.2)
    verdict = decide(demanding, gated())
    assert verdict.outcome == "fail"
    assert verdict.suites[0].delta is not None
    assert verdict.suites[0].delta.metric.name == f"{METRIC}.corrected"
    easy = with_corrected(judged(BETTER), -0.4, -0.2)
    assert decide(easy, gated()).outcome == "pass"


def test_the_corrected_number_can_be_gated_by_name() -> None:
    comparison = with_corrected(judged(BETTER), -0.4, -0.2)
    assert decide(comparison, gated(f"{METRIC}.corrected")).outcome == "fail"


def test_what_the_judge_missed_counts_for_the_corrected_number_too() -> None:
    utilities = [*[None] * 30, *BETTER[30:]]
    comparison = with_corrected(judged(utilities, judge=LABELLED), 0.2, 0.4)
    verdict = decide(comparison, gated())
    assert (verdict.outcome, verdict.suites[0].ground) == ("fail", "missing")


def test_corrected_numbers_know_no_slices() -> None:
    comparison = with_corrected(judged(BETTER, judge=LABELLED), 0.2, 0.4)
    infos = tuple(replace(one, metric=METRIC, slices=None) for one in comparison.base.suites)
    comparison = replace(comparison, base=replace(comparison.base, suites=infos))
    with pytest.raises(UsageError, match="too few to tell slices apart"):
        decide(comparison, gated(must_not_regress=("topic=history",)))


def test_a_judged_metric_without_a_judge_is_refused_with_where_it_would_be() -> None:
    with pytest.raises(UsageError, match=r"comparison's folder .*--no-judge"):
        check_gate([make_info(SUITE)], gated())


def test_a_misspelt_judged_metric_is_told_with_the_nearest() -> None:
    info = make_info(SUITE)
    info = replace(info, metrics=(*info.metrics, SCALE), rubrics=("rednote",))
    with pytest.raises(UsageError, match=r"Did you mean 'judge\.rednote'"):
        check_gate([info], gated("judge.rednot"))


def test_a_margin_of_a_share_fits_the_judged_scale() -> None:
    info = make_info(SUITE)
    info = replace(info, metrics=(*info.metrics, SCALE), rubrics=("rednote",), metric=METRIC)
    with pytest.raises(UsageError, match="lies between 0 and 1"):
        check_gate([info], gated(margin=5.0))


def test_a_judge_that_always_prefers_the_tuned_arm_decides() -> None:
    """As sure as n wins of n are: the exact sign test, and the exact bound of no failure."""
    comparison = judged([1.0] * 60)
    delta = delta_of(comparison)
    assert delta.difference == 1.0
    assert delta.p_value == pytest.approx(stats.binomtest(60, 60).pvalue)
    verdict = decide(comparison, gated(policy="superiority", margin=0.8))
    assert verdict.outcome == "pass"
    low = verdict.suites[0].low
    assert low is not None
    lost = stats.binomtest(0, 60).proportion_ci(confidence_level=0.9, method="exact").high
    assert low == pytest.approx(1 - 2 * lost)  # had as many been lost, one would have been drawn
    assert decide(comparison, gated(policy="superiority", margin=0.95)).outcome == "inconclusive"
    assert decide(judged([0.0] * 60), gated()).outcome == "fail"


def test_ties_alone_are_no_loss_beyond_what_was_not_seen() -> None:
    comparison = judged([0.5] * 60)
    assert delta_of(comparison).p_value == 1.0
    assert decide(comparison, gated(margin=0.1)).outcome == "pass"
    assert decide(comparison, gated(margin=0.04)).outcome == "inconclusive"


def test_one_loss_among_many_wins_leaves_room_for_others_not_seen() -> None:
    """Student's t alone, of 59 wins and a loss, would put the bound too near."""
    verdict = decide(judged([1.0] * 59 + [0.0]), gated(policy="superiority"))
    one = verdict.suites[0]
    assert one.delta is not None
    assert one.delta.difference is not None
    assert one.low is not None
    hidden = 1 - 0.05 ** (1 / 60)
    assert one.low <= one.delta.difference - hidden * (one.delta.difference + 1) + 1e-12


def test_an_absolute_floor_holds_for_a_unanimous_judge() -> None:
    comparison = judged([1.0] * 60)
    gate = GateConfig(suites={SUITE: SuiteGate(metric=METRIC, policy="absolute", floor=0.9)})
    assert decide(comparison, gate).outcome == "pass"
    high = GateConfig(suites={SUITE: SuiteGate(metric=METRIC, policy="absolute", floor=0.97)})
    assert decide(comparison, high).outcome == "inconclusive"


@pytest.mark.parametrize(("missing", "outcome"), [(10, "pass"), (11, "fail")])
def test_where_others_judged_the_usual_ceiling_holds(missing: int, outcome: str) -> None:
    """A comparison of an imported log declares no judge."""
    comparison = judged([*[None] * missing, *BETTER[missing:]])
    base = replace(comparison.base, config={"name": "base", "gate": {}})
    assert decide(replace(comparison, base=base), gated()).outcome == outcome
