"""The blind sheet: what stands in it, and how what people filled in is read back."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest

from evalkit.errors import UsageError
from evalkit.judges.blinding import Blind, blinded, blinding_key, drawn
from evalkit.judges.calibration import Label, corrected
from evalkit.judges.jobs import Job
from evalkit.judges.labels import (
    COLUMNS,
    labels_of,
    named,
    read_labels,
    read_words,
    write_labels,
)
from evalkit.judges.matters import Matter
from evalkit.judges.people import human_judgements
from evalkit.judges.votes import add_votes
from evalkit.records import Message, Preference
from tests.judges.examples import SUITE, make_arms, make_job, make_pairs

BASE, TUNED = make_arms(6, same=[2])
JOB = make_job(make_pairs(BASE, TUNED))
KEY = blinding_key(BASE.manifest, TUNED.manifest, 0, "")
PAIRS = blinded(drawn([JOB], None, seed=0), KEY)
BY_ID = {one.id: one for one in PAIRS}


def _filled(file: Path, choose: Callable[[Blind], str], person: str = "") -> Path:
    """A sheet as somebody fills it in with a spreadsheet's CSV."""
    write_labels(file, PAIRS, person)
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, COLUMNS, delimiter=";")
        lines.writeheader()
        lines.writerows({**row, "choice": choose(BY_ID[row["id"]])} for row in rows)
    return file


def _side_of(arm: str) -> Callable[[Blind], str]:
    return lambda pair: "left" if pair.left == arm else "right"


def _label(sample_id: str, preferred: str, person: str) -> Label:
    return Label(
        suite=SUITE,
        sample_id=sample_id,
        rubric="helpful",
        person=person,
        preferred=preferred,  # type: ignore[arg-type]
    )


def test_a_sheet_names_no_arm_and_shows_all_that_is_to_be_read(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.csv", PAIRS, "Ana")
    text = (tmp_path / "a.csv").read_text(encoding="utf-8-sig")
    assert not {"base", "tuned", "smollm2"} & set(text.lower().replace('"', ",").split(","))
    for run in (BASE, TUNED):
        assert run.manifest.run_id not in text
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 6
    for row in rows:
        pair = BY_ID[row["id"]]
        assert (row["left"],) == pair.shown[0]
        assert (row["right"],) == pair.shown[1]
        assert "Write note" in row["question"]
        assert "You write notes." in row["question"]
        assert row["task"] == JOB.rubric.question
        assert (row["person"], row["suite"], row["rubric"]) == ("Ana", SUITE, "helpful")
        assert row["choice"] == ""  # s2, too, where both answers are the same


@pytest.mark.parametrize("arm", ["base", "tuned"])
def test_choices_are_mapped_back_to_the_arms(arm: str, tmp_path: Path) -> None:
    file = _filled(tmp_path / "ana.csv", _side_of(arm))
    assert named(file) == ((SUITE,), ("helpful",))
    labels = read_labels(file, [JOB])
    expected = {_label(f"s{n}", "tie" if n == 2 else arm, "ana") for n in range(6)}
    assert set(labels) == expected


def test_ties_skips_and_empty_rows_are_kept_apart(tmp_path: Path) -> None:
    words = {"s0": "Tie", "s1": "skip", "s3": "", "s4": "平", "s5": " ="}
    file = _filled(tmp_path / "a.csv", lambda pair: words.get(pair.matter.sample_id, ""), "Ana")
    read = read_words(file, [JOB])
    assert read.empty == 2
    told = {one.sample_id: one.preferred for one in read.votes}
    assert told == {"s0": "tie", "s1": "skip", "s4": "tie", "s5": "tie"}
    assert {one.person for one in read.votes} == {"Ana"}
    assert [one.sample_id for one in read_labels(file, [JOB])].count("s1") == 0


def _by_order(file: Path, words: Sequence[str], job: Job) -> Path:
    """A sheet whose rows hold these words, from the top; the rest is left empty."""
    write_labels(file, blinded(drawn([job], None, seed=0), KEY), "Ana")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, COLUMNS)
        lines.writeheader()
        told = [*words, *[""] * (len(rows) - len(words))]
        lines.writerows({**row, "choice": one} for row, one in zip(rows, told, strict=True))
    return file


def test_the_same_answer_twice_is_a_tie_as_far_as_the_sheet_was_worked_through(
    tmp_path: Path,
) -> None:
    job = make_job(make_pairs(*make_arms(9)))
    order = [one.matter.sample_id for one in drawn([job], None, seed=0)]
    same = {order[place] for place in (0, 2, 4, 7)}
    matters = [replace(m, tuned=m.base) if m.sample_id in same else m for m in job.matters]
    job = replace(job, matters=tuple(matters))
    read = read_words(_by_order(tmp_path / "a.csv", ["", "left", "", "skip"], job), [job])
    # Rows 0, 2 and 4 are ties; row 5 was not come to, and so neither was row 7.
    assert [one.sample_id for one in read.votes] == order[:5]
    assert [one.preferred for one in read.votes if one.sample_id in same] == ["tie"] * 3
    assert read.empty == 4
    assert read.notes == (
        "3 of its rows that show the same answer twice were left empty: they are ties.",
    )
    untouched = read_words(_by_order(tmp_path / "b.csv", [], job), [job])
    assert (untouched.votes, untouched.empty) == ((), 9)
    holes = read_words(_by_order(tmp_path / "c.csv", ["", "left", "", "", "", "left"], job), [job])
    assert [one.sample_id for one in holes.votes] == [*order[:3], order[5]]
    assert "1 rows were left empty above others" in holes.notes[-1]


def test_labels_of_whoever_stops_early_set_a_judge_right(tmp_path: Path) -> None:
    """Half of the pairs are twice the same answer, the tuned arm wins a fifth of the others: a rate
    of .35. A judge tosses a coin; a person reads fifteen pairs that differ of a sheet of all 60.

    Over 60 sheets the mean lies within four of its standard errors of the truth, and 95 %
    intervals hold it in all but 10 at most (at a rate of 5 % more are missed in 1 of 5,000 tries).
    """
    chance = random.Random(7)
    job = make_job(make_pairs(*make_arms(60)))
    found, missed = [], 0
    for number in range(60):
        names = [one.sample_id for one in job.matters]
        chance.shuffle(names)
        same, wins = set(names[:30]), set(names[30:36])
        matters = [replace(m, tuned=m.base) if m.sample_id in same else m for m in job.matters]
        mine = replace(job, matters=tuple(matters))
        asked = blinded(drawn([mine], None, seed=number), KEY)
        votes = read_words(_stopped(tmp_path / "a.csv", asked, wins, 15), [mine]).votes
        words = [_coin(name, same, chance) for name in names]
        (told, *_) = corrected(words, labels_of(votes))
        found.append(told.rate.value)
        missed += not (told.rate.low or 0.0) <= 0.35 <= (told.rate.high or 1.0)
    assert abs(mean(found) - 0.35) < 4 * stdev(found) / len(found) ** 0.5
    assert stdev(found) / len(found) ** 0.5 < 0.015
    assert missed <= 10


def _stopped(file: Path, asked: Sequence[Blind], wins: set[str], count: int) -> Path:
    """A sheet filled in from the top by somebody who passes over twice the same answer, and stops
    after `count` others."""
    write_labels(file, asked, "Ana")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    differing = [n for n, one in enumerate(asked) if one.matter.base != one.matter.tuned]
    for place in differing[:count]:
        arm = "tuned" if asked[place].matter.sample_id in wins else "base"
        rows[place]["choice"] = _side_of(arm)(asked[place])
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, COLUMNS)
        lines.writeheader()
        lines.writerows(rows)
    return file


def _coin(sample_id: str, same: set[str], chance: random.Random) -> Preference:
    outcome, value = chance.choice([("tuned", 1.0), ("base", 0.0)])
    if sample_id in same:
        outcome, value = "tie", 0.5
    return Preference(
        suite=SUITE,
        sample_id=sample_id,
        judge="coin",
        rubric="helpful",
        value=value,
        outcome=outcome,  # type: ignore[arg-type]
    )


def test_a_name_is_the_cells_else_the_one_given_else_the_files(tmp_path: Path) -> None:
    file = _filled(tmp_path / "bo.csv", _side_of("base"))
    assert {one.person for one in read_words(file, [JOB]).votes} == {"bo"}
    assert {one.person for one in read_words(file, [JOB], "Cy").votes} == {"Cy"}
    named_file = _filled(tmp_path / "bo.csv", _side_of("base"), "Ana")
    assert {one.person for one in read_words(named_file, [JOB], "Cy").votes} == {"Ana"}


def test_a_file_of_other_answers_is_refused(tmp_path: Path) -> None:
    file = _filled(tmp_path / "a.csv", _side_of("tuned"))
    other = make_job(make_pairs(*make_arms(6, tuned="Something else, {n}.")))
    with pytest.raises(UsageError, match="of another comparison: none of its 6 rows"):
        read_labels(file, [other])


def test_rows_that_were_spoiled_are_named_all_together(tmp_path: Path) -> None:
    file = _filled(tmp_path / "a.csv", _side_of("tuned"))
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter=";"))
    rows[0]["choice"] = "better"
    rows[2]["id"] = "p0123"
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, COLUMNS)
        lines.writeheader()
        lines.writerows(rows)
    with pytest.raises(UsageError) as caught:
        read_labels(file, [JOB])
    # The questions have three lines each, so the third row begins on the eighth.
    assert str(caught.value) == (
        f"2 mistakes:\n  {file}:2: choice is 'better'; write left, right, tie or skip."
        f"\n  {file}:8: no pair 'p0123' is compared here."
    )


def test_two_words_of_one_person_on_one_pair_are_a_mistake(tmp_path: Path) -> None:
    file = _filled(tmp_path / "a.csv", _side_of("tuned"), "Ana")
    text = file.read_text(encoding="utf-8-sig")
    again = blinded(drawn([JOB], 1, seed=0), b"another key, other sides" * 2)[0]
    other = "right" if again.left == "tuned" else "left"
    file.write_text(f"{text}{again.id};{SUITE};helpful;Ana;;;;;{other}\n", encoding="utf-8")
    if again.matter.sample_id == "s2":
        pytest.fail("the first drawn sample must have two answers")
    with pytest.raises(UsageError, match="Ana said otherwise of this pair on line"):
        read_labels(file, [JOB])


def test_a_blind_file_cannot_be_read_without_the_answers(tmp_path: Path) -> None:
    file = _filled(tmp_path / "a.csv", _side_of("tuned"))
    with pytest.raises(UsageError, match=r"is blind: .*labels import"):
        read_labels(file)
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the column 'id' is missing"):
        read_labels(file)


def test_opened_labels_are_read_with_and_without_the_answers(tmp_path: Path) -> None:
    votes = read_words(_filled(tmp_path / "a.csv", _side_of("tuned"), "Ana"), [JOB]).votes
    add_votes(tmp_path / "labels.csv", votes)
    assert read_labels(tmp_path / "labels.csv") == read_labels(tmp_path / "labels.csv", [JOB])
    assert len(read_labels(tmp_path / "labels.csv")) == 6


def test_labels_of_answers_that_changed_since_are_not_used_and_said(tmp_path: Path) -> None:
    votes = read_words(_filled(tmp_path / "a.csv", _side_of("tuned"), "Ana"), [JOB]).votes
    file = tmp_path / "labels.csv"
    add_votes(file, votes)
    changed = replace(JOB.matters[0], tuned=("Another answer now.",))
    job = replace(JOB, matters=(changed, *JOB.matters[2:]))
    read = read_words(file, [job])
    assert {one.sample_id for one in read.votes} == {"s2", "s3", "s4", "s5"}
    others = f"1 of 6 labels in {file} are of other answers than these, of another tuned arm "
    others += "or from before, and are not used"
    assert read.notes == (
        f"{others} here.",
        f"1 of 6 labels in {file} are of samples that are not judged here.",
    )
    with pytest.raises(UsageError, match="of another comparison"):
        read_words(file, [replace(JOB, matters=(changed,))])


def test_turns_and_references_are_shown_in_their_places(tmp_path: Path) -> None:
    matter = Matter(
        suite=SUITE,
        sample_id="m",
        language="zh",
        turns=(Message(role="user", content="第一问"),),
        then=("第二问",),
        base=("甲一", "甲二"),
        tuned=("乙一", "乙二"),
        reference="标准答案",
    )
    job = make_job([], language="zh")
    job = replace(job, matters=(matter,), rubric=replace(job.rubric, reference=True))
    write_labels(tmp_path / "a.csv", blinded(drawn([job], None, 0), KEY))
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert row["question"] == "第一问\n\n[第2轮] 第二问\n\n参考答案： 标准答案"
    assert {row["left"], row["right"]} == {
        "[第1轮] 甲一\n\n[第2轮] 甲二",
        "[第1轮] 乙一\n\n[第2轮] 乙二",
    }


def _votes(file: Path, words: dict[str, Sequence[str]]) -> Path:
    """Labels of several people: by name, what they say of s0, s1 …"""
    for person, said in words.items():
        sheet = file.with_name(f"{person}.csv")
        told = dict(zip((f"s{n}" for n in range(6)), said, strict=True))
        _filled(sheet, lambda pair, told=told: _word(pair, told[pair.matter.sample_id]), person)  # type: ignore[misc]
        add_votes(file, read_words(sheet, [JOB]).votes)
    return file


def _word(pair: Blind, arm: str) -> str:
    return _side_of(arm)(pair) if arm in ("base", "tuned") else arm


def test_people_are_a_judge_whose_words_have_no_order(tmp_path: Path) -> None:
    file = _votes(
        tmp_path / "labels.csv",
        {
            "Bo": ["tuned", "base", "tie", "skip", "", "tuned"],
            "Ana": ["tuned", "tie", "tie", "skip", "", "base"],
        },
    )
    said = human_judgements(file, [JOB], "crowd")
    assert [(one.sample_id, one.status, one.value, one.repeat) for one in said] == [
        ("s0", "judged", 1.0, 0),
        ("s0", "judged", 1.0, 1),
        ("s1", "judged", 0.5, 0),  # Ana's, by name
        ("s1", "judged", 0.0, 1),
        ("s2", "judged", 0.5, 0),
        ("s2", "judged", 0.5, 1),
        ("s3", "refused", None, 0),
        ("s4", "unasked", None, 0),
        ("s5", "judged", 0.0, 0),
        ("s5", "judged", 1.0, 1),
    ]
    assert {(one.judge, one.rubric, one.order) for one in said} == {("crowd", "helpful", "")}


THIRD = make_job(make_pairs(*make_arms(6, tuned="Another arm says {n}.")))


def test_labels_of_two_tuned_arms_in_one_file_are_each_of_their_own_answers(tmp_path: Path) -> None:
    """One person, the same samples, other words: neither a contradiction nor a repetition."""
    file = tmp_path / "labels.csv"
    first = _filled(tmp_path / "one.csv", _side_of("tuned"), "Ana")
    assert add_votes(file, read_words(first, [JOB]).votes).new == 6
    pairs = blinded(drawn([THIRD], None, seed=3), b"other sides" * 3)
    second = _stopped(tmp_path / "two.csv", pairs, {"s1"}, 6)  # the base's, but of s1
    assert add_votes(file, read_words(second, [THIRD]).votes) == (6, 0)
    told = {one.sample_id: one.preferred for one in read_labels(file, [JOB])}
    assert told == {f"s{n}": "tie" if n == 2 else "tuned" for n in range(6)}
    told = {one.sample_id: one.preferred for one in read_labels(file, [THIRD])}
    assert told == {f"s{n}": "tuned" if n == 1 else "base" for n in range(6)}
    assert len(read_labels(file)) == 12
    said = human_judgements(file, [THIRD])
    assert [one.value for one in said] == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_later_word_stands_whichever_answer_was_on_the_left(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    for key, arm in ((b"some sides" * 4, "tuned"), (b"other sides!" * 4, "base")):
        pairs = blinded(drawn([THIRD], None, seed=0), key)
        wins = {f"s{n}" for n in range(6)} if arm == "tuned" else set()
        sheet = _stopped(tmp_path / "a.csv", pairs, wins, 6)
        add_votes(file, read_words(sheet, [THIRD]).votes)
    assert [one.preferred for one in read_labels(file)] == ["base"] * 6


def test_a_human_judge_whose_labels_are_of_another_arm_is_unasked(tmp_path: Path) -> None:
    file = _votes(tmp_path / "labels.csv", {"Bo": ["tuned"] * 6})
    said = human_judgements(file, [THIRD])
    assert [(one.sample_id, one.status) for one in said] == [(f"s{n}", "unasked") for n in range(6)]


def test_people_give_no_ratings(tmp_path: Path) -> None:
    file = _votes(tmp_path / "labels.csv", {"Bo": ["tuned"] * 6})
    with pytest.raises(UsageError, match="asks for ratings"):
        human_judgements(file, [replace(JOB, protocol="pointwise")])
