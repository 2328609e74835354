"""Judgements made elsewhere: read, matched, and what is wrong with a file said with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import RecordedJudge
from evalkit.errors import UsageError
from evalkit.judges.asking import estimate, judge
from evalkit.judges.preferences import preferences, ratings
from evalkit.records import Judgement
from evalkit.store.completions import CompletionStore
from evalkit.store.judgements import write_judgements
from tests.judges.asked import SUITE, config, graded, job, pairs, values
from tests.judges.serving import JudgeServer


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """Writes rows and gives the judge that reads them."""

    def write(*rows: dict[str, Any] | str) -> RecordedJudge:
        file = tmp_path / "judge.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        file.write_text("\n".join(lines), encoding="utf-8")
        return RecordedJudge(kind="recorded", name="elsewhere", path=file)

    return write


def said(store: CompletionStore, judge_: RecordedJudge, *jobs: Any) -> tuple[Judgement, ...]:
    return judge(jobs, config(judge_), store, offline=True).judgements


def test_both_orders_by_preference_or_utility(recorded: Any, store: CompletionStore) -> None:
    rows = [
        {"id": "s0000", "order": "base_first", "preference": "tuned", "rationale": "好"},
        {"id": "s0000", "order": "tuned_first", "value": 0.75},
        {"id": "s0001", "order": "base_first", "preference": "tie"},
        {"id": "s0001", "order": "tuned_first", "status": "refused", "error": "would not"},
    ]
    found = said(store, recorded(*rows), job(pairs(2)))
    assert values(found) == {
        ("s0000", "base_first"): 1.0, ("s0000", "tuned_first"): 0.75,
        ("s0001", "base_first"): 0.5, ("s0001", "tuned_first"): None,
    }  # fmt: skip
    assert found[0].rationale == "好"
    assert (found[3].status, found[3].error) == ("refused", "would not")
    assert {one.judge for one in found} == {"elsewhere"}


def test_a_judge_that_tells_no_order_is_taken_at_its_word(
    recorded: Any, store: CompletionStore
) -> None:
    found = said(store, recorded({"id": "s0000", "preference": "tuned"}), job(pairs(1)))
    (one,) = preferences(found)
    assert (one.value, one.outcome) == (1.0, "tuned")


def test_what_was_not_recorded_is_missing_and_not_a_tie(
    recorded: Any, store: CompletionStore
) -> None:
    judge_ = recorded({"id": "s0000", "order": "base_first", "preference": "tuned"})
    found = said(store, judge_, job(pairs(2)))
    assert [(one.sample_id, one.order, one.status) for one in found] == [
        ("s0000", "tuned_first", "unasked"), ("s0000", "base_first", "judged"),
        ("s0001", "", "unasked"),
    ]  # fmt: skip
    assert all(one.value is None for one in preferences(found))
    assert found[0].error == f"{judge_.path} has no row for it"


def test_a_row_that_names_suite_and_rubric_goes_before_one_that_does_not(
    recorded: Any, store: CompletionStore
) -> None:
    judge_ = recorded(
        {"id": "s0000", "preference": "base"},
        {"id": "s0000", "suite": SUITE, "rubric": "helpful", "preference": "tuned"},
    )
    jobs = [job(pairs(1)), job(pairs(1), rubric="harmless")]
    found = said(store, judge_, *jobs)
    assert [(one.rubric, one.value) for one in found] == [("helpful", 1.0), ("harmless", 0.0)]


def test_ratings_by_arm_and_repeat(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded(
        {"id": "s0000", "arm": "base", "value": 2},
        {"id": "s0000", "arm": "base", "value": 3, "repeat": 1},
        {"id": "s0000", "arm": "tuned", "value": 4.5},
    )
    found = said(store, judge_, job(pairs(1), protocol="pointwise"))
    means = {arm: one.value for (_, _, _, arm), one in ratings(found).items()}
    assert means == {"base": 2.5, "tuned": 4.5}


def test_rows_of_other_judges_are_passed_over(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded(
        {"id": "s0000", "judge": "another", "preference": "base"},
        {"id": "s0000", "judge": "elsewhere", "preference": "tuned"},
    )
    (one,) = said(store, judge_, job(pairs(1)))
    assert one.value == 1.0


def test_what_is_not_judged_is_told(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded(
        {"id": "s0000", "preference": "base"}, {"id": "stranger", "preference": "tuned"}
    )
    done = judge([job(pairs(1))], config(judge_), store, offline=True)
    (note,) = done.notes
    assert note.startswith("elsewhere: 1 row")


def test_a_recorded_judge_costs_nothing_and_has_no_estimate(
    recorded: Any, store: CompletionStore
) -> None:
    how = config(recorded({"id": "s0000", "preference": "base"}), probes="refuse")
    assert estimate([job(pairs(1))], how, store) == ()
    done = judge([job(pairs(1))], how, store, offline=True)
    assert (done.spent, done.probes) == ({}, {})


def test_what_evalkit_wrote_itself_can_be_read_again(
    server: JudgeServer, store: CompletionStore, tmp_path: Path
) -> None:
    server.script(faults=[{"kind": "refuse", "match": "s0001", "times": -1}])
    jobs = [job(pairs(3), rubric="rednote")]
    first = judge(jobs, config(server.judge(), strip=True), store, offline=True).judgements
    file = write_judgements(tmp_path, first)
    again = said(store, RecordedJudge(kind="recorded", name="scripted", path=file), *jobs)

    def known(judgements: tuple[Judgement, ...]) -> set[tuple[Any, ...]]:
        return {
            (one.sample_id, one.order, one.stripped, one.status, one.value, one.rationale)
            for one in judgements
        }

    assert known(again) == known(first)


def written(
    server: JudgeServer, store: CompletionStore, tmp_path: Path, protocol: Any, *quality: int
) -> Path:
    """What evalkit writes of arms of these qualities, one arm after the other in one file."""
    lines: list[str] = []
    for number in quality:
        arm = [graded("s0000", 3, number)]
        told = judge([job(arm, protocol=protocol)], config(server.judge()), store, offline=True)
        lines.append(write_judgements(tmp_path / f"{number}", told.judgements).read_text("utf-8"))
    file = tmp_path / "joined.jsonl"
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("protocol", ["pairwise", "pointwise"])
def test_what_evalkit_wrote_of_several_arms_is_each_arms_own(
    server: JudgeServer, store: CompletionStore, tmp_path: Path, protocol: Any
) -> None:
    file = written(server, store, tmp_path, protocol, 2, 4)
    judge_ = RecordedJudge(kind="recorded", name="scripted", path=file)
    for number in (2, 4):
        jobs = [job([graded("s0000", 3, number)], protocol=protocol)]
        told = judge(jobs, config(judge_), store, offline=True, arm=f"of {number}", several=True)
        now = judge(jobs, config(server.judge()), store, offline=True)
        assert values(told.judgements) == values(now.judgements)
        assert None not in values(told.judgements).values()
        assert told.notes == ()


def test_what_was_said_of_other_answers_is_missing_and_told(
    server: JudgeServer, store: CompletionStore, tmp_path: Path
) -> None:
    file = written(server, store, tmp_path, "pairwise", 4)
    judge_ = RecordedJudge(kind="recorded", name="scripted", path=file)
    told = judge([job([graded("s0000", 3, 5)])], config(judge_), store, offline=True)
    (one,) = told.judgements
    assert (one.status, one.value) == ("unasked", None)
    assert one.error == f"{file} has a row for it that is of other answers"
    (note,) = told.notes
    assert note.startswith("scripted: of 1 sample, ")
    assert "other answers than are compared here" in note


def test_a_base_is_rated_whatever_the_tuned_arm_says_now(
    server: JudgeServer, store: CompletionStore, tmp_path: Path
) -> None:
    file = written(server, store, tmp_path, "pointwise", 4)
    judge_ = RecordedJudge(kind="recorded", name="scripted", path=file)
    jobs = [job([graded("s0000", 3, 5)], protocol="pointwise")]
    told = judge(jobs, config(judge_), store, offline=True)
    rated = {one.arm: one.status for one in told.judgements}
    assert rated == {"base": "judged", "tuned": "unasked"}
    assert len(told.notes) == 1


def test_of_several_arms_a_row_names_its_own(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded(
        {"id": "s0000", "tuned": "good", "preference": "tuned"},
        {"id": "s0000", "tuned": "bad", "preference": "base"},
    )
    for arm, value in (("good", 1.0), ("bad", 0.0), ("new", None)):
        how = config(judge_)
        told = judge([job(pairs(1))], how, store, offline=True, arm=arm, several=True)
        assert [one.value for one in told.judgements] == [value]
        assert bool(told.notes) == (value is None)


def test_of_several_arms_a_row_that_tells_none_is_refused(
    recorded: Any, store: CompletionStore
) -> None:
    judge_ = recorded({"id": "s0000", "preference": "tuned"})
    with pytest.raises(UsageError, match=r"judge.jsonl:1: several tuned arms.*as 'tuned'"):
        judge([job(pairs(1))], config(judge_), store, offline=True, arm="bad", several=True)


def test_one_call_in_two_ways_of_naming_its_answers_is_a_mistake(
    recorded: Any, store: CompletionStore
) -> None:
    judge_ = recorded(
        {"id": "s0000", "preference": "tuned"},
        {"id": "s0000", "tuned": "good", "preference": "base"},
    )
    with pytest.raises(UsageError, match=r":2: this judgement of 's0000' was made before, at"):
        judge([job(pairs(1))], config(judge_), store, offline=True, arm="good")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{broken", "not valid JSON"),
        ({"preference": "tuned"}, "id: Field required"),
        ({"id": "s0000"}, "expected either 'preference' or 'value'"),
        ({"id": "s0000", "preference": "tuned", "value": 1}, "either 'preference' or 'value'"),
        ({"id": "s0000", "preference": "mine"}, "preference: Input should be 'base'"),
        ({"id": "s0000", "value": 1.5}, "between 0 and 1"),
        ({"id": "s0000", "order": "first", "value": 1}, "order: Input should be"),
        ({"id": "s0000", "arm": "base", "order": "base_first", "value": 1}, "which has neither"),
        ({"id": "s0000", "status": "refused", "value": 1}, "expected neither"),
        ('{"id": "s0000", "value": NaN}', "NaN is not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    recorded: Any, store: CompletionStore, row: Any, message: str
) -> None:
    judge_ = recorded({"id": "s0000", "preference": "tuned"}, row)
    with pytest.raises(UsageError, match=message) as caught:
        said(store, judge_, job(pairs(1)))
    assert f"{judge_.path}:2: " in str(caught.value)


def test_the_same_judgement_twice_is_a_mistake(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded({"id": "s0000", "value": 1}, {"id": "s0000", "preference": "base"})
    with pytest.raises(UsageError, match=r":2: this judgement of 's0000' was made before, at .*:1"):
        said(store, judge_, job(pairs(1)))


def test_a_rating_off_the_scale_is_a_mistake(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded(*({"id": "s0000", "arm": arm, "value": 7} for arm in ("base", "tuned")))
    with pytest.raises(
        UsageError, match=r":1: value 7 is not on the scale of 'helpful', from 1 to 5"
    ):
        said(store, judge_, job(pairs(1), protocol="pointwise"))


def test_a_file_of_other_samples_is_a_mistake(recorded: Any, store: CompletionStore) -> None:
    judge_ = recorded({"id": "stranger", "preference": "base"})
    with pytest.raises(UsageError, match=r"no judgement of any sample.*'stranger'.*'s0000'"):
        said(store, judge_, job(pairs(1)))


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path, store: CompletionStore) -> None:
    judge_ = RecordedJudge(kind="recorded", name="e", path=tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        said(store, judge_, job(pairs(1)))
