"""Slices that the gate declares count like suites; all others only look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from statsmodels.stats.multitest import multipletests

from evalkit.compare import compare
from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import ExitCode, UsageError
from evalkit.gate.bounds import p_not_below
from evalkit.gate.decide import check_gate, decide
from evalkit.records import Comparison
from evalkit.store.runs import read_comparisons, write_comparisons
from tests.builders import make_info, make_run

SUITE = "knowledge/tiny"
HISTORY = "topic=history"


def _two_topics(
    history_lost: int, other_lost: int = 0, n: int = 400, *, slices: dict[str, int] | None = None
) -> Comparison:
    """Half of the samples are about history; the tuned arm loses some of each half."""
    half = n // 2
    infos = [replace(make_info(SUITE, samples=n), slices=slices)]
    topics = ["history"] * half + ["food"] * half
    tuned = [0.0] * history_lost + [1.0] * (half - history_lost)
    tuned += [0.0] * other_lost + [1.0] * (half - other_lost)
    return compare(
        make_run("base", {SUITE: [1.0] * n}, infos=infos, slices=topics),
        make_run("tuned", {SUITE: tuned}, infos=infos, slices=topics, adapter="a"),
    )


def _gate(*slices: str, **own: object) -> GateConfig:
    return GateConfig(suites={SUITE: SuiteGate.model_validate({"must_not_regress": slices, **own})})


def test_a_declared_slice_that_regresses_fails_a_suite_that_does_not() -> None:
    comparison = _two_topics(30, n=2000)
    assert decide(comparison, GateConfig(margin=0.03)).outcome == "pass"
    verdict = decide(comparison, _gate(HISTORY, margin=0.03, slice_margin=0.01))
    assert (verdict.outcome, verdict.exit_code) == ("fail", ExitCode.FAIL)
    whole, sliced = verdict.suites
    assert (whole.outcome, whole.slice, whole.margin) == ("pass", "", 0.03)
    assert (sliced.outcome, sliced.slice, sliced.margin) == ("fail", HISTORY, 0.01)
    assert (sliced.policy, sliced.threshold, sliced.ground) == ("non_inferiority", -0.01, "bounds")
    assert f"{SUITE}[{HISTORY}] failed" in verdict.advice


def test_a_slice_that_is_not_declared_never_gates() -> None:
    comparison = _two_topics(30, n=2000)
    verdict = decide(comparison, _gate("topic=food", margin=0.03))
    assert verdict.outcome == "pass"
    assert [one.slice for one in verdict.suites] == ["", "topic=food"]


def test_a_slice_takes_the_margin_its_suite_was_given_where_it_has_none() -> None:
    comparison = _two_topics(0)
    assert decide(comparison, _gate(HISTORY)).suites[1].margin == 0.05  # the suite's own
    wide = GateConfig(margin=0.2, suites={SUITE: SuiteGate(must_not_regress=(HISTORY,))})
    assert decide(comparison, wide).suites[1].margin == 0.2
    policy = _gate(HISTORY, policy="superiority", margin=0.1)
    assert [one.policy for one in decide(comparison, policy).suites] == [
        "superiority",
        "non_inferiority",
    ]


def test_a_small_slice_leaves_the_gate_open_and_says_what_it_would_need() -> None:
    verdict = decide(_two_topics(2, n=400), _gate(HISTORY, margin=0.5, slice_margin=0.02))
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", ExitCode.INCONCLUSIVE)
    assert verdict.suites[1].samples_needed is not None
    assert f"{SUITE}[{HISTORY}] (about " in verdict.advice


def test_fails_of_suites_and_slices_are_corrected_together() -> None:
    """Holm's adjusted p over the suite and both slices, from statsmodels."""
    verdict = decide(_two_topics(12, 0, n=200), _gate(HISTORY, "topic=food", margin=0.07))
    deltas = [one.delta for one in verdict.suites]
    chances = [p_not_below(delta, -0.07) for delta in deltas if delta is not None]
    adjusted = multipletests(chances, method="holm")[1]
    assert chances[1] < 0.05 < adjusted[1]
    assert verdict.suites[1].outcome == "inconclusive"
    assert "alone, but not among 3 suites and slices (Holm)" in verdict.suites[1].reason


def test_an_unknown_slice_is_refused_before_the_work() -> None:
    infos = [replace(make_info(SUITE), slices={HISTORY: 20, "topic=food": 20})]
    with pytest.raises(UsageError, match=r"no slice 'topic=histroy'.*mean 'topic=history'"):
        check_gate(infos, _gate("topic=histroy"))
    with pytest.raises(UsageError, match="It has: topic=food, topic=history"):
        check_gate(infos, _gate("zzz=1"))
    with pytest.raises(UsageError, match="It has no slices"):
        check_gate([replace(make_info(SUITE), slices={})], _gate("zzz=1"))
    check_gate(infos, _gate(HISTORY))


def test_a_run_that_does_not_tell_its_slices_can_be_gated_and_fails_closed(tmp_path: Path) -> None:
    """As runs of earlier versions: what lies in a file without the new keys."""
    write_comparisons(tmp_path, [_two_topics(0)])
    file = tmp_path / "comparison.json"
    document = json.loads(file.read_text())
    (row,) = document["comparisons"]
    for info in (*row["base"]["suites"], *row["tuned"]["suites"]):
        del info["available"], info["slices"]
    for delta in row["deltas"]:
        del delta["unpaired"]
    file.write_text(json.dumps(document))
    (comparison,) = read_comparisons(tmp_path)
    assert decide(comparison, _gate(HISTORY)).outcome == "pass"
    verdict = decide(comparison, _gate("topic=histroy"))
    assert verdict.exit_code == ExitCode.FAIL
    missing = verdict.suites[1]
    assert (missing.ground, missing.delta) == ("absent", None)
    assert missing.reason.endswith("in both runs. Did you mean 'topic=history'?")


def test_a_slice_that_a_limit_left_empty_fails_closed() -> None:
    comparison = _two_topics(0, slices={HISTORY: 200, "topic=food": 200, "topic=rare": 1})
    verdict = decide(comparison, _gate("topic=rare"))
    assert (verdict.outcome, verdict.suites[1].ground) == ("fail", "absent")
    assert verdict.suites[1].reason == "no sample of this slice is in both runs"


def test_missing_scores_of_a_slice_fail_closed_though_its_suite_has_few() -> None:
    topics = ["history"] * 20 + ["food"] * 180
    scores: list[float | None] = [None] * 4 + [1.0] * 196
    base = make_run("base", {SUITE: [1.0] * 200}, slices=topics)
    tuned = make_run("tuned", {SUITE: scores}, slices=topics, adapter="a")
    gate = _gate(HISTORY, margin=0.3).model_copy(update={"max_missing": 0.05})
    verdict = decide(compare(base, tuned), gate)
    assert [one.outcome for one in verdict.suites] == ["pass", "fail"]
    assert verdict.suites[1].ground == "missing"
    assert verdict.suites[1].reason.startswith("20.0% of the samples are missing")


def test_samples_of_one_run_only_count_as_missing_in_their_own_slice() -> None:
    def topics(n: int) -> Sequence[str]:
        return (["history"] * 90 + ["food"] * 110)[:n]

    base = make_run("base", {SUITE: [1.0] * 200}, slices=topics(200))
    tuned = make_run("tuned", {SUITE: [1.0] * 190}, slices=topics(190), adapter="a")
    comparison = compare(base, tuned)
    gate = _gate(HISTORY, "topic=food", margin=0.3).model_copy(update={"max_missing": 0.06})
    verdict = decide(comparison, gate)
    assert [one.outcome for one in verdict.suites] == ["pass", "pass", "fail"]
    assert verdict.suites[2].reason.startswith("9.1% of the samples")  # 10 of 110
    # An earlier version did not tell whose they are: they may all be of either slice.
    unknown = tuple(replace(one, unpaired=None) for one in comparison.deltas)
    old = decide(replace(comparison, deltas=unknown), gate)
    assert [one.outcome for one in old.suites] == ["pass", "fail", "fail"]


def test_a_slice_of_a_metric_that_was_not_compared_is_a_mistake() -> None:
    comparison = _two_topics(0)
    info = comparison.base.suites[0]
    more = replace(info, metrics=(*info.metrics, replace(info.metrics[0], name="f1")))
    base = replace(comparison.base, suites=(more,))
    with pytest.raises(UsageError, match="slices of knowledge/tiny were compared on 'accuracy'"):
        decide(replace(comparison, base=base), _gate(HISTORY, metric="f1"))


def test_slices_are_written_as_field_and_value_and_named_once() -> None:
    for wrong in ("history", "=x", "topic="):
        with pytest.raises(ValueError, match="write FIELD=VALUE"):
            SuiteGate(must_not_regress=(wrong,))
    with pytest.raises(ValueError, match="named twice"):
        SuiteGate(must_not_regress=(HISTORY, HISTORY))
    with pytest.raises(ValueError, match="slice_margin is of the slices"):
        SuiteGate(slice_margin=0.1)
