"""The whole way of labels: out of an unjudged comparison, and into the next as its judge."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "judged"
BASE = """\
name: base
model: {kind: recorded, path: base.jsonl}
suites: [notes]
data:
  notes: {file: prompts.jsonl, prompt: prompt, scorer: diversity}
"""
JUDGE = """\
judge:
  judges:
    - {kind: human, name: crowd, path: labels.csv}
  suites:
    notes: {rubrics: [rednote]}
  max_missing: 0.75
"""


@pytest.fixture
def notes(desk: Bench) -> Bench:
    """The arms of the example, unjudged."""
    for name in ("base.jsonl", "tuned.jsonl", "prompts.jsonl"):
        shutil.copy(EXAMPLE / name, desk.folder / name)
    desk.write("base.yaml", BASE)
    desk.write("tuned.yaml", "name: tuned\nmodel: {kind: recorded, path: tuned.jsonl}\n")
    return desk


def _label(desk: Bench, count: int) -> list[str]:
    """Export sheets, fill them in, and import them into labels.csv; what was preferred, in turn."""
    desk.run("compare", "base.yaml", "tuned.yaml")
    (folder,) = Path("runs/compare").iterdir()
    asked = ("--suite", "notes", "--rubric", "rednote", "--n", str(count))
    said = desk.run("judge", "labels", "export", str(folder), "-o", "sheet.csv", *asked)
    assert said.code == 0, said.err
    tuned = {
        json.loads(line)["text"] for line in Path("tuned.jsonl").read_text("utf-8").splitlines()
    }
    words = []
    with Path("sheet.csv").open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for number, row in enumerate(rows):
        left_is_tuned = row["left"].lstrip("'") in tuned
        words.append(("tuned", "tuned", "base", "tie")[number % 4])
        side = {"tuned": "left" if left_is_tuned else "right"}
        side["base"] = "right" if left_is_tuned else "left"
        row["choice"] = side.get(words[-1], "tie")
    with Path("sheet.csv").open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, rows[0].keys())
        lines.writeheader()
        lines.writerows(rows)
    said = desk.run("judge", "labels", "import", "sheet.csv", str(folder), "-o", "labels.csv")
    assert said.code == 0, said.err
    return words


def test_the_win_rate_of_a_human_judge_is_what_people_said(notes: Bench) -> None:
    words = _label(notes, 12)
    notes.write("base.yaml", BASE + JUDGE)
    said = notes.run("compare", "base.yaml", "tuned.yaml", "--json", "-o", "judged")
    assert said.code != 2, said.err
    (folder,) = Path("judged/compare").iterdir()
    (kept,) = json.loads((folder / "comparison.json").read_text("utf-8"))["comparisons"]
    (delta,) = [one for one in kept["deltas"] if one["metric"]["name"] == "judge.rednote"]
    rate = (words.count("tuned") + words.count("tie") / 2) / len(words)
    assert delta["n"] == 12
    assert delta["tuned"] == pytest.approx(rate)
    assert delta["difference"] == pytest.approx(2 * rate - 1)
    (judging,) = kept["judgings"]
    (crowd,) = judging["judges"]
    assert crowd["win_rate"]["value"] == pytest.approx(rate)
    assert crowd["first_wins"] is None  # nobody was shown anything twice
    assert crowd["missing"]["unasked"] == 40 - 12
    said = notes.run("judge", "export", "--dpo", "out.jsonl", str(folder))
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert {row["source"] for row in rows} == {"human"}
    assert [row["chosen_arm"] for row in rows].count("tuned") == words.count("tuned")
    assert [row["chosen_arm"] for row in rows].count("base") == words.count("base")
