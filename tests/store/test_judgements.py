"""judgements.jsonl: read back as written, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from evalkit.errors import StoreError, UsageError
from evalkit.records import Judgement
from evalkit.store.judgements import JUDGEMENTS, read_judgements, write_judgements

SAID = (
    Judgement(
        suite="style/rednote-zh",
        sample_id="1",
        judge="j",
        rubric="funny",
        protocol="pairwise",
        order="base_first",
        value=0.5,
        level="tie",
        rationale="两个都\u2028一样\n好 🙂",
        key="k",
        tokens_in=7,
        tokens_out=3,
    ),
    Judgement(
        suite="style/rednote-zh",
        sample_id="2",
        judge="j",
        rubric="funny",
        protocol="pointwise",
        arm="tuned",
        repeat=2,
        stripped=True,
        status="unparsed",
        error="no verdict",
    ),
)


def test_judgements_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    file = write_judgements(tmp_path / "new", SAID)
    assert file == tmp_path / "new" / JUDGEMENTS
    assert read_judgements(file) == read_judgements(tmp_path / "new") == SAID
    write_judgements(tmp_path / "new", SAID[:1])
    assert read_judgements(file) == SAID[:1]
    assert [one.name for one in (tmp_path / "new").iterdir()] == [JUDGEMENTS]


def test_each_tuned_arm_can_have_a_file_of_its_own(tmp_path: Path) -> None:
    write_judgements(tmp_path, SAID)
    other = write_judgements(tmp_path, (), "judgements-2.jsonl")
    assert (read_judgements(tmp_path), read_judgements(other)) == (SAID, ())


def test_half_a_surrogate_pair_does_not_lose_the_rest(tmp_path: Path) -> None:
    broken = Judgement(**{**asdict(SAID[0]), "rationale": "cut \ud83d here"})
    write_judgements(tmp_path, (broken, SAID[1]))
    assert [one.rationale for one in read_judgements(tmp_path)] == ["cut ? here", ""]


def test_a_folder_without_judgements_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was judged there"):
        read_judgements(tmp_path)


def test_a_file_that_was_cut_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    file = write_judgements(tmp_path, SAID)
    lines = file.read_text(encoding="utf-8").split("\n")
    file.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"holds 1 judgements, and says that it has 2"):
        read_judgements(file)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{}", r":1: not a file of judgements that evalkit wrote"),
        ('{"suite": "a"}', r":1: not a file of judgements that evalkit wrote"),
        ("[]", r":1: expected an object, got list"),
        ('{"schema_version": 9, "judgements": 1}', "written by a newer evalkit"),
    ],
)
def test_a_file_of_another_kind_is_told_from_judgements(
    line: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / JUDGEMENTS).write_text(line, encoding="utf-8")
    with pytest.raises(StoreError, match=told):
        read_judgements(tmp_path)


def test_an_empty_file_is_no_file_of_judgements(tmp_path: Path) -> None:
    (tmp_path / JUDGEMENTS).write_bytes(b"")
    with pytest.raises(StoreError, match="not a file of judgements"):
        read_judgements(tmp_path)
    (tmp_path / JUDGEMENTS).write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="not UTF-8"):
        read_judgements(tmp_path)


def test_every_damaged_line_is_named(tmp_path: Path) -> None:
    good = asdict(SAID[0])
    rows = [good, {**good, "status": "fine"}, {**good, "value": "much"}, {**good, "value": 0.0}]
    head = json.dumps({"schema_version": 1, "judgements": 4})
    body = "\n".join([head, *map(json.dumps, rows)])
    (tmp_path / JUDGEMENTS).write_text(body + '\n{"value": NaN}', encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        read_judgements(tmp_path)
    told = str(caught.value)
    assert told.startswith("3 mistakes:")
    assert all(f"{JUDGEMENTS}:{line}: " in told for line in (3, 4, 6))
    assert "NaN is not JSON" in told


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="could not be written"):
        write_judgements(tmp_path / "file", SAID)
