"""CSV for a spreadsheet: nothing in it computes, and what a spreadsheet does to it is undone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from evalkit.errors import StoreError, UsageError
from evalkit.judges.sheets import LONGEST_CELL, harmless, plain, read_sheet, write_sheet

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1", "＋1", "－1", "＠x", "'=1")


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_begins_as_a_formula_and_short_ones_come_back(cell: str, tmp_path: Path) -> None:
    assert harmless(cell).startswith("'")
    assert plain(harmless(cell)) == cell
    write_sheet(tmp_path / "a.csv", ("one", "two"), [(cell, "text")])
    (row,) = read_sheet(tmp_path / "a.csv")[1]
    assert plain(row.cells["one"]) == cell


@pytest.mark.parametrize("cell", ["plain", "'quoted'", "a=b", "1-2", "你好", "", "x;-)", "a;b"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert harmless(cell) == cell
    assert plain(cell) == cell


def test_a_text_cannot_begin_a_cell_of_its_own_where_semicolons_part_cells() -> None:
    assert harmless('a;=HYPERLINK("x")') == 'a;\'=HYPERLINK("x")'
    assert harmless("\t=1") == "'\t'=1"
    assert harmless("a\t@x; +1;-2+3") == "a\t'@x;' +1;'-2+3"


def test_control_characters_go_and_line_ends_become_plain() -> None:
    assert harmless("a\x00b\x07\r\nc\rd\te") == "ab\nc\nd\te"


def test_a_text_too_long_for_a_cell_says_how_much_is_missing() -> None:
    shown = harmless("x" * (LONGEST_CELL + 1234))
    assert len(shown) < 32_767
    assert shown.endswith("… [1,234 more characters do not fit here]")


def test_the_file_is_utf_8_with_a_mark_and_every_csv_reader_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.csv"
    texts = ["你好，\n“世界” 🙂", 'say "hi", or;not', "half \ud83d pair"]
    write_sheet(file, ("id", "text"), [(str(n), text) for n, text in enumerate(texts)])
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["text"] for row in rows] == [*texts[:2], "half ? pair"]
    assert [one.name for one in file.parent.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_are_read_however_a_spreadsheet_parted_them(delimiter: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        lines = csv.writer(out, delimiter=delimiter)
        lines.writerows([["ID", "Text", "choice"], ["1", "a\nb, c; d", "left"], ["2", "e", ""]])
    heads, rows = read_sheet(file)
    assert heads == ("id", "text", "choice")
    assert rows[0].cells == {"id": "1", "text": "a\nb, c; d", "choice": "left"}


def test_rows_know_the_line_they_begin_on_and_empty_ones_are_none(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('id,choice\n"1\nmore",left\n,\n\n2\n', encoding="utf-8")
    rows = read_sheet(file)[1]
    assert [(row.line, row.cells["id"]) for row in rows] == [(2, "1\nmore"), (6, "2")]
    assert rows[1].cells["choice"] == ""


def test_long_cells_are_read_and_python_keeps_its_own_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text("id\n" + "x" * 200_000 + "\n", encoding="utf-8")
    assert len(read_sheet(tmp_path / "a.csv")[1][0].cells["id"]) == 200_000
    assert csv.field_size_limit() == before


def test_what_is_wrong_with_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with pytest.raises(UsageError, match=r"a\.csv: cannot be read"):
        read_sheet(file)
    file.write_bytes("id,choice\n1,左".encode("gb18030"))
    with pytest.raises(UsageError, match=r"a\.csv:2: not UTF-8.*“CSV UTF-8”"):
        read_sheet(file)
    file.write_text('id,choice\n1,a\n"2"x,b\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"a\.csv:3: this row cannot be read as CSV"):
        read_sheet(file)
    file.write_text("", encoding="utf-8")
    assert read_sheet(file) == ((), [])


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_sheet(tmp_path / "file" / "a.csv", ("id",), [])
