"""Opened labels: added to without losing any, each person's word on a pair once."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.errors import StoreError, UsageError
from evalkit.judges.votes import COLUMNS, Vote, add_votes, person_name, read_votes

ONE = Vote("p1", "chat/notes", "=s 1", "helpful", "Ana", "tuned")
OTHERS = (
    replace(ONE, id="p2", sample_id="s2", preferred="skip"),
    replace(ONE, person="波", preferred="base"),
)


def test_votes_are_kept_beside_those_that_were_there(tmp_path: Path) -> None:
    file = tmp_path / "new" / "labels.csv"
    assert add_votes(file, [ONE]) == (1, 0)
    assert add_votes(file, OTHERS) == (2, 0)
    assert read_votes(file) == (ONE, *OTHERS)
    assert sorted(one.name for one in file.parent.iterdir()) == [".labels.csv.lock", "labels.csv"]


def test_a_persons_later_word_stands_in_place_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    add_votes(file, [ONE, *OTHERS])
    assert add_votes(file, [replace(ONE, preferred="tie"), OTHERS[0]]) == (0, 1)
    assert read_votes(file) == (replace(ONE, preferred="tie"), *OTHERS)


def _add_many(file: Path, person: str, count: int) -> None:
    for n in range(count):
        add_votes(file, [replace(ONE, sample_id=f"s{n}", person=person)])


def test_people_who_vote_at_the_same_time_lose_no_vote(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    spawn = multiprocessing.get_context("spawn")
    people = [spawn.Process(target=_add_many, args=(file, name, 30)) for name in ("Ana", "Bo")]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert [one.exitcode for one in people] == [0, 0]
    votes = read_votes(file)
    assert {(one.person, one.sample_id) for one in votes} == {
        (name, f"s{n}") for name in ("Ana", "Bo") for n in range(30)
    }
    assert len(votes) == 60


def test_every_wrong_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    rows = [
        "p1,a/b,s1,helpful,Ana,tuned",
        "p1,a/b,s1,helpful,Ana,better",
        ",a/b,s1,helpful,Ana,tie",
        "p1,a/b,s1,helpful,,tie",
        "p1,a/b,s1,helpful,Ana,base",
    ]
    file.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_votes(file)
    told = str(caught.value)
    assert "labels.csv:3: preferred is 'better'; one of base, tuned, tie, skip." in told
    assert "labels.csv:4: the column 'id' is empty." in told
    assert "labels.csv:5: a name has 1 to 80 printable characters." in told
    assert "labels.csv:6: Ana said otherwise of this pair on line 2." in told
    assert told.startswith("4 mistakes:")


def test_a_file_that_is_none_is_told_from_votes_and_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("id,choice\n1,left\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"labels\.csv:1: .* the column 'suite' is missing"):
        add_votes(file, [ONE])
    assert file.read_text(encoding="utf-8") == "id,choice\n1,left\n"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        add_votes(tmp_path / "file" / "labels.csv", [ONE])


@pytest.mark.parametrize("name", ["", "  ", "a\u202eb", "x" * 81])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 80 printable"):
        person_name(name)


def test_a_name_is_kept_without_stray_spaces() -> None:
    assert person_name("  Ana  Ruiz ") == "Ana Ruiz"
