"""Rows of every format are the same rows, and what is wrong with one is told by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from evalkit.data import read_rows
from evalkit.errors import DataError

ROWS = [{"q": "谁？", "a": "我\n你"}, {"q": 'a "b", c', "a": "\u2028"}]


def spoiled(text: bytes) -> bytes:
    """Compressed, with some bytes in the middle changed on the way."""
    whole = gzip.compress(text, mtime=0)
    middle = len(whole) // 2
    return (
        whole[:middle]
        + bytes(255 - one for one in whole[middle : middle + 8])
        + whole[middle + 8 :]
    )


def written(folder: Path, name: str) -> Path:
    """ROWS in the format of the name, by pandas or the standard library."""
    file = folder / name
    frame = pd.DataFrame(ROWS)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    match name.partition(".")[2]:
        case "parquet":
            frame.to_parquet(file)
        case "csv" | "csv.gz":
            frame.to_csv(file)  # with its index, a column without a name
        case "tsv":
            frame.to_csv(file, sep="\t", index=False, encoding="utf-8-sig")
        case "json":
            file.write_text(json.dumps(ROWS), encoding="utf-8")
        case "jsonl.gz":
            file.write_bytes(gzip.compress(lines.encode()))
        case _:
            file.write_text(lines, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "name",
    ["a.parquet", "a.csv", "a.csv.gz", "a.tsv", "a.json", "a.jsonl", "a.jsonl.gz"],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name)
    rows = list(read_rows([file]))
    assert [dict(row.fields) for row in rows] == ROWS
    assert rows[0].place == f"{file}:{2 if 'sv' in name else 1}"


def test_json_may_be_lines_too(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('\n{"q": 1}\n\n{"q": 2}\n')
    assert [(row.line, row.fields["q"]) for row in read_rows([file])] == [(2, 1), (4, 2)]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.jsonl", b'{"q": 1}\n{"q": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: expected an object"),
        ("a.json", b"[1]", r"a\.json:1: expected an array of objects, got int"),
        ("a.json", b"[{", r"a\.json: not valid JSON"),
        ("a.csv", b"q,a\n1,2\n3\n", r"a\.csv:3: 1 columns, but the first line names 2"),
        ("a.csv", b"q,q\n1,2\n", r"a\.csv:1: a column's name stands twice"),
        ("a.csv", "q\n问\n".encode("gb18030"), r"a\.csv: not UTF-8"),
        ("a.parquet", b"PAR1", r"a\.parquet: not a readable Parquet file"),
        ("a.jsonl.gz", b"nothing", r"a\.jsonl\.gz: cannot be read"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"q": 1}\n' * 99, mtime=0)[:-9],
            r"a\.jsonl\.gz: ends too early",
        ),
        ("a.bin", b"", r"a\.bin: no data file"),
        ("a.csv", b'q,a\nx,"1\ny,2\nz,3\n', r"a\.csv:2: not valid CSV"),
        ("a.jsonl.gz", spoiled(b'{"q": "abcdefgh"}\n' * 99), r"a\.jsonl\.gz: is damaged"),
        ("a.json", b'[{"q": ' + b"1" * 5000 + b"}]", r"a\.json: .*a number of 5,000 digits"),
        ("a.json", b'[{"q": "\\ud800"}]', r"a\.json: half of a surrogate pair"),
        ("a.json", b"[" * 100_000, r"a\.json: nested too deeply"),
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, name: str, text: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=told):
        list(read_rows([tmp_path / name]))


def test_rows_are_streamed(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"q": 1}\nbroken\n')
    rows = read_rows([file])
    assert next(rows).fields == {"q": 1}
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        next(rows)


def test_a_cell_may_be_as_long_as_a_row(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "a.csv").write_text(f"q\n{long}\n")
    assert [row.fields["q"] for row in read_rows([tmp_path / "a.csv"])] == [long]


def test_cells_of_a_parquet_file_are_what_json_has(tmp_path: Path) -> None:
    when = pd.Timestamp("2026-01-02 03:04:05")
    pd.DataFrame({"q": ["?"], "when": [when], "all": [[when]]}).to_parquet(tmp_path / "a.parquet")
    (row,) = read_rows([tmp_path / "a.parquet"])
    told = "2026-01-02 03:04:05"
    assert row.fields == {"q": "?", "when": told, "all": [told]}
