"""JSONL is read with the same care wherever it comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit import jsonl
from evalkit.jsonl import MissingFileError, UnreadableError


def read(path: Path) -> list[tuple[int, dict[str, object]]]:
    return [
        (number, jsonl.parse_object(line))
        for number, line in jsonl.numbered_lines(jsonl.read_text(path))
    ]


def test_rows_know_their_line_and_blank_lines_hold_none(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": 2}')
    assert read(file) == [(1, {"a": 1}), (4, {"b": 2})]
    file.write_bytes(b"")
    assert read(file) == []


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\x0c", "\x1e"])
def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"a": f"b{mark}c"}, ensure_ascii=ord(mark) < 32), encoding="utf-8")
    assert read(file) == [(1, {"a": f"b{mark}c"})]


def test_a_file_that_cannot_be_read_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    with pytest.raises(MissingFileError, match=r"a\.jsonl: cannot be read: No such file"):
        jsonl.read_text(file)
    with pytest.raises(UnreadableError, match="cannot be read: Is a directory"):
        jsonl.read_text(tmp_path)
    file.write_bytes('{"a": 1}\n{"a": "é"}\n'.encode("latin-1"))
    with pytest.raises(UnreadableError, match=r"a\.jsonl:2: not UTF-8 text"):
        jsonl.read_text(file)


BROKEN = [
    ('{"a": ', "not valid JSON: Expecting value at column 7"),
    ("[1]", "expected an object, got list"),
    ("[" * 100_000, "nested too deeply"),
    ('{"a": ' + "9" * 5_000 + "}", "not valid JSON: a number of 5,000 digits"),
    ('"' + "x" * 4_000_000, "a row of 4,000,001 characters; at most 4,000,000 are read"),
    ('{"a": "\\ud83d"}', "half of a surrogate pair (\\ud800 to \\udfff) is no text"),
    ('{"\\ud83d": 1}', "half of a surrogate pair (\\ud800 to \\udfff) is no text"),
]


@pytest.mark.parametrize(("line", "why"), BROKEN, ids=[why for _, why in BROKEN])
@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_line_says_why(line: str, why: str, strict: bool) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the words are compared below
        jsonl.parse_object(line, strict=strict)
    assert str(raised.value) == why


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_json_are_refused_where_it_is_strict(constant: str) -> None:
    assert str(jsonl.parse_object(f'{{"a": {constant}}}')["a"]) in {"nan", "inf", "-inf"}
    with pytest.raises(ValueError, match=f"{constant} is not JSON"):
        jsonl.parse_object(f'{{"a": {constant}}}', strict=True)


def test_a_key_written_twice_is_refused_where_it_is_strict() -> None:
    assert jsonl.parse_object('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="the field 'a' is written twice"):
        jsonl.parse_object('{"b": {"a": 1, "a": 2}}', strict=True)


def test_halves_of_surrogate_pairs_may_be_left_to_the_caller() -> None:
    assert jsonl.parse_object('{"a": "\\ud83d"}', half_pairs=True) == {"a": "\ud83d"}


def test_an_example_shows_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r'expected an object such as {"id": 1}'):
        jsonl.parse_object("3", example='{"id": 1}')


def test_mistakes_are_listed_together_and_a_flood_is_cut() -> None:
    assert jsonl.listed(["one"]) == "one"
    assert jsonl.listed(["one", "two"]) == "2 mistakes:\n  one\n  two"
    assert jsonl.listed([str(n) for n in range(23)]).endswith("\n  19\n  … and 3 more")
