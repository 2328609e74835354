"""The whole way of labels: out of an unjudged comparison, and into the next as its judge."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
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
    return _fill_in(desk, folder, count, "tuned", ("tuned", "tuned", "base", "tie"))


def _fill_in(desk: Bench, folder: Path, count: int, arm: str, cycle: Sequence[str]) -> list[str]:
    sheet = Path(f"sheet-{arm}.csv")
    asked = ("--suite", "notes", "--rubric", "rednote", "--n", str(count), "--arm", arm)
    said = desk.run("judge", "labels", "export", str(folder), "-o", str(sheet), *asked)
    assert said.code == 0, said.err
    tuned = {
        json.loads(line)["text"] for line in Path(f"{arm}.jsonl").read_text("utf-8").splitlines()
    }
    words = []
    with sheet.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for number, row in enumerate(rows):
        left_is_tuned = row["left"].lstrip("'") in tuned
        words.append(cycle[number % len(cycle)])
        side = {"tuned": "left" if left_is_tuned else "right"}
        side["base"] = "right" if left_is_tuned else "left"
        row["choice"] = side.get(words[-1], "tie")
    with sheet.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, rows[0].keys())
        lines.writeheader()
        lines.writerows(rows)
    kept = ("-o", "labels.csv", "--arm", arm, "--person", "Ana")
    said = desk.run("judge", "labels", "import", str(sheet), str(folder), *kept)
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


def test_people_judge_several_tuned_arms_by_one_file(notes: Bench) -> None:
    """One person, two arms, the same samples, other words; a third arm has no label."""
    arms = {"tuned": ("tuned",), "worse": ("base", "base", "tuned", "base")}
    for name in ("worse", "unseen"):
        rows = [json.loads(line) for line in Path("tuned.jsonl").read_text("utf-8").splitlines()]
        lines = [json.dumps({**row, "text": f"{name}: {row['text']}"}) + "\n" for row in rows]
        notes.write(f"{name}.jsonl", "".join(lines))
        notes.write(
            f"{name}.yaml", f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n"
        )
    files = ("base.yaml", "tuned.yaml", "worse.yaml", "unseen.yaml")
    notes.run("compare", *files)
    (folder,) = Path("runs/compare").iterdir()
    words = {arm: _fill_in(notes, folder, 12, arm, cycle) for arm, cycle in arms.items()}
    notes.write("base.yaml", BASE + JUDGE)
    said = notes.run("compare", *files, "--json", "-o", "judged")
    assert said.code != 2, said.err
    (folder,) = Path("judged/compare").iterdir()
    kept = json.loads((folder / "comparison.json").read_text("utf-8"))["comparisons"]
    health = {one["tuned"]["name"]: one["judgings"][0]["judges"][0] for one in kept}
    for arm, told in words.items():
        assert health[arm]["win_rate"]["value"] == pytest.approx(told.count("tuned") / 12)
        assert health[arm]["missing"] == {"unasked": 28}
        assert health[arm]["untrusted"] == []
    assert health["unseen"]["missing"] == {"unasked": 40}
    assert health["unseen"]["untrusted"] == ["crowd said nothing of these answers"]


def test_a_limit_of_as_many_leaves_people_no_sample_unasked(notes: Bench) -> None:
    """Neither with another seed: the sheet is drawn by the run's own."""
    unjudged = BASE + "seed: 11\n"
    notes.write("base.yaml", unjudged)
    _label(notes, 12)
    judge = JUDGE.replace("rubrics: [rednote]", "rubrics: [rednote], limit: 12")
    notes.write("base.yaml", unjudged + judge.replace("  max_missing: 0.75\n", ""))
    said = notes.run("compare", "base.yaml", "tuned.yaml", "--json", "-o", "judged")
    assert said.code != 2, said.err
    (folder,) = Path("judged/compare").iterdir()
    (kept,) = json.loads((folder / "comparison.json").read_text("utf-8"))["comparisons"]
    (crowd,) = kept["judgings"][0]["judges"]
    assert (crowd["n"], crowd["missing"], crowd["untrusted"]) == (12, {}, [])


def test_people_cannot_rate_which_is_told_before_anything_is_evaluated(notes: Bench) -> None:
    notes.write("labels.csv", "")
    notes.write("base.yaml", BASE + JUDGE + "  protocol: pointwise\n")
    for more in ((), ("--dry-run",)):
        said = notes.run("compare", "base.yaml", "tuned.yaml", *more)
        assert said.code == 2
        assert "'crowd' is people who compare answers, and notes asks for ratings" in said.err
        assert not Path("runs").exists()
