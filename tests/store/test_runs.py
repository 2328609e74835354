"""Run folders: complete or not at all, and the same bytes for the same results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.compare import compare
from evalkit.errors import StoreError, UsageError
from evalkit.records import Message
from evalkit.store.runs import (
    check_writable,
    read_comparisons,
    read_manifest,
    read_run,
    write_comparisons,
    write_run,
)
from tests.builders import make_run

RUN = make_run("base", {"knowledge/tiny": [1.0, 0.0, None]}, slices=["水果", "b", "c"])


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    turns = replace(RUN.results[0].sample, prompt=(Message(role="user", content="你好"),))
    results = (replace(RUN.results[0], sample=turns), *RUN.results[1:])
    written = write_run(tmp_path / "r", RUN.manifest, results)
    again = read_run(tmp_path / "r")
    assert again == written
    assert again.results[2].scores[0].value is None


def test_equal_results_are_equal_bytes_whatever_the_times(tmp_path: Path) -> None:
    slower = [
        replace(r, completions=tuple(replace(c, seconds=9.0) for c in r.completions))
        for r in RUN.results
    ]
    write_run(tmp_path / "a", RUN.manifest, RUN.results)
    write_run(tmp_path / "b", RUN.manifest, slower)
    for file in sorted((tmp_path / "a").glob("*.parquet")):
        other = (tmp_path / "b" / file.name).read_bytes()
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(other).digest()


def test_a_run_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    write_run(tmp_path / "r", RUN.manifest, RUN.results)
    (tmp_path / "r" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="unfinished"):
        read_run(tmp_path / "r")
    with pytest.raises(UsageError, match="does not exist"):
        read_manifest(tmp_path / "elsewhere")


def test_a_damaged_run_says_which_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "r", RUN.manifest, RUN.results)
    (tmp_path / "r" / "results.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(StoreError, match="damaged"):
        read_run(tmp_path / "r")
    (tmp_path / "r" / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read as a Manifest"):
        read_run(tmp_path / "r")


def test_a_comparison_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    tuned = make_run(
        "tuned", {"knowledge/tiny": [1.0, 1.0, 0.0]}, adapter="a", slices=["水果", "b", "c"]
    )
    comparison = compare(RUN, tuned)
    write_comparisons(tmp_path, [comparison])
    assert read_comparisons(tmp_path) == (comparison,)
    assert read_comparisons(tmp_path / "comparison.json") == (comparison,)
    (tmp_path / "comparison.json").write_text('{"comparisons": [{"schema_version": 1}]}')
    with pytest.raises(StoreError, match="not a comparison written by evalkit"):
        read_comparisons(tmp_path)
    with pytest.raises(UsageError, match="Make one with"):
        read_comparisons(tmp_path / "none")


def test_a_run_of_a_newer_evalkit_is_refused_and_not_half_understood(tmp_path: Path) -> None:
    write_run(tmp_path / "r", RUN.manifest, RUN.results)
    file = tmp_path / "r" / "manifest.json"
    file.write_text('{"schema_version": 2, "fields": "of another shape"}')
    with pytest.raises(StoreError, match=r"newer evalkit: its format is version 2.*upgrade"):
        read_run(tmp_path / "r")


@pytest.mark.parametrize("part", ["comparison", "base", "tuned"])
def test_a_comparison_with_a_part_of_a_newer_evalkit_is_refused(tmp_path: Path, part: str) -> None:
    tuned = make_run("tuned", {"knowledge/tiny": [1.0, 1.0, 0.0]}, adapter="a")
    file = write_comparisons(tmp_path, [compare(RUN, tuned)])
    document = json.loads(file.read_text())
    row = document["comparisons"][0]
    (row if part == "comparison" else row[part])["schema_version"] = 2
    file.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"newer evalkit: its format is version 2.*upgrade"):
        read_comparisons(tmp_path)


def test_a_folder_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreError, match="--output"):
        check_writable(tmp_path / "runs")
