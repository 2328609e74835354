"""The main job from the command line, on a tiny real model: verdict, files, resuming."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from reports.profile import STAGES
from tests.cli.conftest import PLACES, SUITE, Bench, started, write_suite


def test_compare_writes_runs_a_comparison_and_a_report(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml")
    assert said.code in (0, 1, 3), said.err
    assert "my/capitals" in said.out
    runs = bench.folder / "runs"
    assert len(list(runs.glob("*/manifest.json"))) == 2
    (report,) = runs.glob("compare/*/report.html")
    assert "<script src" not in report.read_text(encoding="utf-8")
    (comparison,) = runs.glob("compare/*/comparison.json")
    assert json.loads(comparison.read_text())["comparisons"][0]["deltas"][0]["n"] == len(PLACES)


def test_the_exit_code_is_the_verdicts_and_json_says_the_same(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--json")
    result = json.loads(said.out)
    assert result["exit_code"] == said.code
    (folder,) = (bench.folder / "runs" / "compare").iterdir()
    loose = bench.run("gate", str(folder), "--set", "margin=0.99", "--json")
    assert (loose.code, json.loads(loose.out)["verdict"]) == (0, "pass")
    strict = bench.run("gate", str(folder), "--set", "policy=superiority", "--set", "margin=0.9")
    assert strict.code in (1, 3)


def test_gate_takes_two_run_folders(bench: Bench) -> None:
    bench.run("compare", "base.yaml", "tuned.yaml")
    (base,) = (bench.folder / "runs").glob("base-*")
    (tuned,) = (bench.folder / "runs").glob("tuned-*")
    assert bench.run("gate", str(base), str(tuned), "--set", "margin=0.99").code == 0


def test_gate_reads_a_gate_from_a_file(bench: Bench) -> None:
    bench.run("compare", "base.yaml", "tuned.yaml")
    (folder,) = (bench.folder / "runs" / "compare").iterdir()
    bench.write("gate.yaml", "margin: 0.99\n")
    assert bench.run("gate", str(folder), "--gate", "gate.yaml").code == 0


def test_run_evaluates_one_model(bench: Bench) -> None:
    said = bench.run("run", "base.yaml", "--limit", "3", "--json")
    assert said.code == 0
    assert json.loads(said.out)["run"]["name"] == "base"
    assert len(list((bench.folder / "runs").glob("base-*/manifest.json"))) == 1


def test_a_dry_run_shows_the_plan_and_writes_nothing(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--dry-run")
    assert said.code == 0
    assert "my/capitals" in said.out
    assert not (bench.folder / "runs").exists()


def test_a_dry_run_says_what_sharing_saves_also_as_json(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--dry-run")
    assert " tokens asked, " in said.out
    document = json.loads(
        bench.run("compare", "base.yaml", "tuned.yaml", "--dry-run", "--json").out
    )
    totals = document["totals"]
    assert 0 < totals["unique_tokens"] < totals["tokens_asked"]
    assert [one["arms"] for one in document["engines"]] == [["base", "tuned"]]
    assert totals["packets"] == sum(one["packets"] for one in document["engines"])


def test_a_profile_is_printed_after_the_verdict(bench: Bench) -> None:
    said = bench.run("compare", "base.yaml", "tuned.yaml", "--profile")
    verdict, _, profile = said.out.partition("Where the time went: base, tuned")
    assert "Exit code" in verdict
    assert [line.split()[0] for line in profile.splitlines() if line.strip()][2:9] == list(STAGES)
    assert "Where the time went" not in bench.run("compare", "base.yaml", "tuned.yaml").out


def test_a_profile_is_a_part_of_the_json(bench: Bench) -> None:
    said = bench.run("run", "base.yaml", "--profile", "--json")
    (one,) = json.loads(said.out)["profile"]
    assert one["arms"] == ["base"]
    assert [stage["stage"] for stage in one["stages"]] == list(STAGES)
    assert one["seconds"] > 0


def test_every_report_format_is_written(bench: Bench) -> None:
    bench.run("compare", "base.yaml", "tuned.yaml")
    (folder,) = (bench.folder / "runs" / "compare").iterdir()
    said = bench.run("report", str(folder), "--format", "html,markdown,json,csv,junit")
    assert said.code == 0
    files = [Path(line) for line in said.out.split()]
    assert {file.suffix for file in files} == {".html", ".md", ".json", ".csv", ".xml"}
    assert all(file.stat().st_size > 100 for file in files)


def test_the_limit_takes_the_same_samples_for_both_arms(bench: Bench) -> None:
    bench.run("compare", "base.yaml", "tuned.yaml", "--limit", "4")
    (file,) = (bench.folder / "runs").glob("compare/*/comparison.json")
    comparison = json.loads(file.read_text())["comparisons"][0]
    assert comparison["deltas"][0]["n"] == 4
    assert comparison["unpaired"] == {}


RUN = "from evalkit.cli import main; main()"


def _start(bench: Bench, home: str, output: str) -> subprocess.Popen[bytes]:
    """A comparison in many small batches that are stored one by one."""
    return started(
        bench,
        *("compare", "base.yaml", "tuned.yaml", "-o", output, "--set", "model.batch_tokens=64"),
        program=("-c", f"import evalkit.store.shelf as s; s.KEEP_AFTER = 0.0; {RUN}"),
        environment={"EVALKIT_HOME": str(bench.folder / home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _stored(file: Path) -> int:
    if not file.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT COUNT(*) FROM completion").fetchone()[0])
    except sqlite3.Error:
        return 0


def _holds(file: Path, count: int) -> bool:
    return _stored(file) >= count


def _rows(file: Path) -> set[tuple[object, ...]]:
    """All that is stored: the bodies hold the seconds each answer took, so no two are the same."""
    with closing(sqlite3.connect(file)) as database:
        return set(database.execute("SELECT key, body, created FROM completion"))


def _kill_when(ready: Callable[[], bool], bench: Bench) -> None:
    """Start the comparison and kill it, which must still be at work, once that is so."""
    process = _start(bench, "home-killed", "killed")
    while process.poll() is None and not ready():
        time.sleep(0.001)
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output.decode()


def _compared(folder: Path) -> Any:
    """comparison.json without when, where and how fast."""
    (file,) = folder.glob("compare/*/comparison.json")
    (one,) = json.loads(file.read_text())["comparisons"]
    for arm in ("base", "tuned"):
        del one[f"{arm}_path"], one[arm]["started"], one[arm]["finished"], one[arm]["measures"]
    return one


def test_killed_anywhere_it_goes_on_and_ends_in_the_same_bytes(bench: Bench) -> None:
    write_suite(bench, "suites/" + SUITE, rows=60)
    whole = _start(bench, "home-whole", "whole")
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode in (0, 1, 3), output.decode()
    total = _stored(bench.folder / "home-whole" / "completions.sqlite")
    store, runs = bench.folder / "home-killed" / "completions.sqlite", bench.folder / "killed"
    kept: set[tuple[object, ...]] = set()
    for target in (1, total // 3, 2 * total // 3):
        wanted = max(target, len(kept) + 1)
        _kill_when(partial(_holds, store, wanted), bench)
        assert kept < _rows(store)
        kept = _rows(store)
    _kill_when(lambda: any(runs.glob("*/*.parquet")), bench)
    assert not list(runs.glob("compare/*/comparison.json"))
    assert kept <= _rows(store)
    kept = _rows(store)
    assert len(kept) == total
    last = _start(bench, "home-killed", "killed")
    output, _ = last.communicate(timeout=300)
    assert last.returncode == whole.returncode, output.decode()
    assert _rows(store) == kept
    assert _compared(runs) == _compared(bench.folder / "whole")
    files = sorted((bench.folder / "whole").glob("*/*.parquet"))
    assert len(files) == 6
    for file in files:
        again = bench.folder / "killed" / file.parent.name / file.name
        assert file.read_bytes() == again.read_bytes(), file.name


def test_two_runs_at_once_share_the_store(bench: Bench) -> None:
    both = [_start(bench, "shared", f"out{number}") for number in (1, 2)]
    outputs = [process.communicate(timeout=400)[0].decode() for process in both]
    assert {process.returncode for process in both} <= {0, 1, 3}, outputs
    files = sorted((bench.folder / "out1").glob("*/*.parquet"))
    assert len(files) == 6
    for file in files:
        other = bench.folder / "out2" / file.parent.name / file.name
        assert file.read_bytes() == other.read_bytes(), file.name
