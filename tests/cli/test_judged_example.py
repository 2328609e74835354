"""examples/judged as its README tells it: seconds, no model, and a judge that is found out."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Bench

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "judged"


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The example's own server on a free port."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "server.py"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    match = re.fullmatch(r"Judging at http://127\.0\.0\.1:(\d+)/v1\n", said)
    assert match, said
    yield process, int(match.group(1))
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_comparison_passes_and_its_judge_is_found_out(
    desk: Bench, server: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, port = server
    shutil.copytree(EXAMPLE, tmp_path / "judged")
    base = tmp_path / "judged" / "base.yaml"
    text = base.read_text()
    assert text.count(":8642/") == 1
    base.write_text(text.replace(":8642/", f":{port}/"))
    command = ("compare", str(base), str(tmp_path / "judged" / "tuned.yaml"))

    done = desk.run(*command)
    assert done.code == 0, done.err
    (folder,) = (desk.folder / "runs" / "compare").iterdir()
    lines = (folder / "judgements.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 160
    document = json.loads((folder / "comparison.json").read_text())
    (comparison,) = document["comparisons"]
    (judging,) = comparison["judgings"]
    (health,) = judging["judges"]

    # Of forty notes five fell back into plain prose: there the judge names whatever it saw first.
    assert health["win_rate"]["value"] == pytest.approx((35 + 5 / 2) / 40)
    assert health["flips"]["value"] == 5 / 40
    assert health["first_wins"]["value"] == pytest.approx((35 + 2 * 5) / 80)
    assert health["stripped"]["value"] == 0.5
    assert (health["probes_passed"], health["probes"]) == (9, 12)

    # What it said is stored: 24 probes, 80 calls, and 70 more where markup was taken out of any.
    with sqlite3.connect(tmp_path / "home" / "completions.sqlite") as db:
        rows = db.execute("SELECT COUNT(*) FROM completion").fetchone()[0]
    assert rows == 24 + 80 + 70 + 80, "and the 80 recorded answers themselves"
    process.kill()
    process.wait()
    again = desk.run(*command)
    assert again.code == 0, "with the judge gone nothing is missing"


def test_forty_prompts_are_answered_by_both_arms() -> None:
    ids = {
        name: [json.loads(line)["id"] for line in (EXAMPLE / name).read_text().splitlines()]
        for name in ("prompts.jsonl", "base.jsonl", "tuned.jsonl")
    }
    assert len(set(ids["prompts.jsonl"])) == 40
    assert ids["base.jsonl"] == ids["tuned.jsonl"] == ids["prompts.jsonl"]
