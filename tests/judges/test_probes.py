"""Known-answer probes: a fair judge passes, one that guesses or looks at the place does not."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from evalkit.errors import ModelError
from evalkit.judges.asking import judge
from evalkit.judges.probes import good_is_tuned, known, least, probe_jobs, probed
from evalkit.records import Judgement, Protocol
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, job, pairs
from tests.judges.serving import JudgeServer


@pytest.mark.parametrize(
    ("protocol", "chance", "needed"), [("pairwise", 0.25, 8), ("pointwise", 0.4, 10)]
)
def test_guessing_reaches_enough_less_than_once_in_a_hundred(
    protocol: Protocol, chance: float, needed: int
) -> None:
    assert least(12, protocol) == needed
    assert binom.sf(needed - 1, 12, chance) <= 0.01 < binom.sf(needed - 2, 12, chance)


def test_the_figures_told_of_good_judges_are_right() -> None:
    assert binom.sf(7, 12, 0.9) == pytest.approx(0.996, abs=5e-4)
    assert binom.sf(9, 12, 0.97) == pytest.approx(0.995, abs=5e-4)
    assert binom.sf(7, 12, 0.25) == pytest.approx(0.003, abs=5e-4)
    assert binom.sf(9, 12, 0.4) == pytest.approx(0.003, abs=5e-4)


def test_two_random_levels_of_five_differ_the_right_way_in_two_of_five() -> None:
    better = sum(good > bad for good in range(5) for bad in range(5))
    assert better / 25 == 0.4


@pytest.mark.parametrize("language", ["en", "zh"])
def test_there_are_a_dozen_pairs_and_either_arm_has_half_of_the_good_ones(language: str) -> None:
    matters = known(language)
    assert len(matters) == 12
    assert sum(map(good_is_tuned, range(12))) == 6
    assert len({one.sample_id for one in matters}) == 12
    assert all(one.base != one.tuned and any(one.base + one.tuned) for one in matters)
    assert {one.sample_id for one in matters} >= {"empty", "off-topic", "cut-off", "wrong-language"}


def test_a_fair_judge_passes_in_each_language_it_is_to_judge(
    server: JudgeServer, store: CompletionStore
) -> None:
    jobs = [job(pairs(2)), job(pairs(1), language="zh", suite="other")]
    done = judge(jobs, config(server.judge(), probes="refuse"), store, offline=True)
    found = done.probes["scripted"]
    assert (found.passed, found.asked, found.failed) == (24, 24, "")
    assert done.spent["scripted"].calls == 48 + 6
    assert {one.suite for one in done.judgements} == {"style/test", "other"}, "probes stay apart"
    judge(jobs, config(server.judge(), probes="refuse"), store, offline=True)
    assert sorted(server.calls()["asked"].values()) == [1] * 54


def test_a_judge_that_looks_at_the_place_is_refused_before_it_costs_more(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(first=1.0)
    with pytest.raises(
        ModelError,
        match=r"'scripted' fails the known-answer probes: 0 of 12 in English.*probes: warn",
    ):
        judge([job(pairs(20))], config(server.judge(), probes="refuse"), store, offline=True)
    assert sum(server.calls()["asked"].values()) == 24


def test_warn_goes_on_and_says_so(server: JudgeServer, store: CompletionStore) -> None:
    server.script(first=1.0)
    done = judge([job(pairs(2))], config(server.judge(), probes="warn"), store, offline=True)
    assert done.probes["scripted"].passed == 0
    assert "0 of 12 in English, where a judge" in done.probes["scripted"].failed
    assert done.notes == (done.probes["scripted"].failed,)
    assert len(done.judgements) == 4


def test_ratings_are_probed_by_ratings(server: JudgeServer, store: CompletionStore) -> None:
    jobs = [job(pairs(2), protocol="pointwise")]
    done = judge(jobs, config(server.judge(), probes="refuse"), store, offline=True)
    assert (done.probes["scripted"].passed, done.probes["scripted"].asked) == (12, 12)


def test_an_answer_that_is_missing_passes_nothing(
    server: JudgeServer, store: CompletionStore
) -> None:
    server.script(faults=[{"kind": "refuse", "times": -1, "match": "basil"}])
    done = judge([job(pairs(1))], config(server.judge(), probes="refuse"), store, offline=True)
    assert done.probes["scripted"].passed == 11


def test_a_tie_passes_nothing() -> None:
    (probes,) = probe_jobs([job(pairs(1))])
    said = [
        Judgement(suite=probes.suite, sample_id=one.sample_id, judge="j", rubric="helpful",
                  protocol="pairwise", order=order, value=0.5)
        for one in probes.matters for order in ("base_first", "tuned_first")
    ]  # fmt: skip
    assert probed("j", [probes], said).passed == 0
