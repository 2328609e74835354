"""`evalkit judge`: people's labels out and back in, and pairs for the next training."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from evalkit.compare import compare
from evalkit.judges.labels import COLUMNS
from evalkit.judges.votes import Vote, add_votes, read_votes
from evalkit.store.runs import write_comparisons
from tests.cli.conftest import Bench
from tests.judges.examples import (
    SUITE,
    make_arms,
    make_judgements,
    make_judging,
    write_judged,
)

COUNT = 12
JUDGED = {f"s{n}": (1.0, 1.0) if n % 3 else (0.0, 0.0) for n in range(COUNT)}


@pytest.fixture
def folder(desk: Bench) -> Path:
    """A judged comparison of two recorded arms, below the working folder."""
    said = make_judgements(JUDGED)
    write_judged(desk.folder / "runs", make_arms(COUNT), said, [make_judging()])
    return Path("runs/compare/base-vs-tuned")


def _fill(file: Path, prefer: Callable[[int], str]) -> None:
    """As a person does it, who reads the texts: `prefer` says which arm's text they like."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        number = int(re.findall(r"\d+", row["left"])[0])
        lively = "left" if "Lively" in row["left"] else "right"
        plain = "right" if lively == "left" else "left"
        said = prefer(number)
        row["choice"] = {"tuned": lively, "base": plain}.get(said, said)
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        lines = csv.DictWriter(out, COLUMNS)
        lines.writeheader()
        lines.writerows(rows)


def test_labels_go_out_blind_and_come_back_as_the_arms(desk: Bench, folder: Path) -> None:
    said = desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv", "--person", "Ana")
    assert said.code == 0, said.err
    assert f"Wrote 12 pairs to ana.csv: {SUITE} by helpful." in said.out
    assert "judge labels import ana.csv runs/compare/base-vs-tuned" in said.out
    liked = {n: "tuned" if n % 2 else "base" for n in range(COUNT)} | {3: "tie", 4: "skip", 5: ""}
    _fill(Path("ana.csv"), liked.__getitem__)
    said = desk.run("judge", "labels", "import", "ana.csv", str(folder))
    assert said.code == 0, said.err
    assert "ana.csv: 11 filled in, 1 left empty" in said.out
    assert "11 new, 0 changed, in runs/compare/base-vs-tuned/labels.csv" in said.out
    told = {int(one.sample_id[1:]): one.preferred for one in read_votes(folder / "labels.csv")}
    assert told == {n: word for n, word in liked.items() if word}


def test_the_import_tells_how_far_people_and_the_judge_agree(desk: Bench, folder: Path) -> None:
    """Against counts by hand and sklearn's kappa."""
    desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv")
    liked = ["tuned" if n in (1, 2, 4, 5, 6) else "base" for n in range(COUNT)]
    liked[7] = "tie"
    _fill(Path("ana.csv"), liked.__getitem__)
    said = desk.run("judge", "labels", "import", "ana.csv", str(folder))
    judge = ["tuned" if n % 3 else "base" for n in range(COUNT)]
    share = sum(a == b for a, b in zip(judge, liked, strict=True)) / COUNT
    kappa = cohen_kappa_score(judge, liked)
    (row,) = [line for line in said.out.splitlines() if "strict" in line]
    assert f"{share:.1%}".replace("%", " %") in row
    assert "n = 12" in row
    assert f"{kappa:.2f}" in row
    (counts,) = [line for line in said.out.splitlines() if re.search(r"helpful +12 +1 ", line)]
    assert counts.split()[-6:] == ["12", "1", "5", "6", "1", "0"]
    assert "12 labelled samples say little" in said.out


def test_several_peoples_files_come_in_together_with_what_they_agree_on(
    desk: Bench, folder: Path
) -> None:
    for name, prefer in (("ana", "tuned"), ("bo", "tuned")):
        desk.run("judge", "labels", "export", str(folder), "-o", f"{name}.csv", "--person", name)
        _fill(
            Path(f"{name}.csv"),
            lambda n, name=name, prefer=prefer: "base" if name == "bo" and n < 3 else prefer,  # type: ignore[misc]
        )
    said = desk.run("judge", "labels", "import", "ana.csv", "bo.csv", str(folder))
    assert said.code == 0, said.err
    assert "24 new, 0 changed" in said.out
    (row,) = [line for line in said.out.splitlines() if "strict" in line]
    assert "75 %" in row.rpartition("n = 12")[0].rpartition("n = 12")[2]
    again = desk.run("judge", "labels", "import", "ana.csv", str(folder))
    assert "0 new, 0 changed" in again.out


def test_two_files_in_which_one_person_contradicts_themselves_are_refused(
    desk: Bench, folder: Path
) -> None:
    for name, prefer in (("one", "tuned"), ("two", "base")):
        desk.run("judge", "labels", "export", str(folder), "-o", f"{name}.csv", "--person", "Ana")
        _fill(Path(f"{name}.csv"), lambda _, prefer=prefer: prefer)  # type: ignore[misc]
    said = desk.run("judge", "labels", "import", "one.csv", "two.csv", str(folder))
    assert said.code == 2
    assert "Ana said one thing of" in said.err
    assert not (folder / "labels.csv").exists()


def test_a_file_of_another_comparison_is_refused(desk: Bench, folder: Path) -> None:
    desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv")
    _fill(Path("ana.csv"), lambda _: "tuned")
    other = make_arms(COUNT, tuned="✨ Other Lively answer {n}!")
    write_judged(desk.folder / "others", other, make_judgements(JUDGED), [make_judging()])
    said = desk.run("judge", "labels", "import", "ana.csv", "others/compare/base-vs-tuned")
    assert said.code == 2
    assert "ana.csv is of another comparison: none of its 12 rows" in said.err
    strange = make_arms(COUNT, suite="chat/strange")
    write_judged(desk.folder / "strange", strange)
    said = desk.run("judge", "labels", "import", "ana.csv", "strange/compare/base-vs-tuned")
    assert f"it has pairs of {SUITE}, which is not compared here" in said.err


def test_nothing_filled_in_is_told_and_a_filled_in_file_is_not_written_over(
    desk: Bench, folder: Path
) -> None:
    desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv")
    said = desk.run("judge", "labels", "import", "ana.csv", str(folder))
    assert (said.code, "Nothing is filled in" in said.err) == (2, True)
    said = desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv")
    assert (said.code, "may be filled in" in said.err) == (2, True)
    said = desk.run("judge", "labels", "import", "ana.csv")
    assert (said.code, "then the comparison" in said.err) == (2, True)


def test_the_same_samples_are_drawn_for_everybody_and_their_sides_differ(
    desk: Bench, folder: Path
) -> None:
    sides = {}
    for name in ("ana", "bo"):
        arguments = ("-o", f"{name}.csv", "--person", name, "--n", "8")
        desk.run("judge", "labels", "export", str(folder), *arguments)
        with Path(f"{name}.csv").open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
        assert len(rows) == 8
        sides[name] = {row["question"]: "Lively" in row["left"] for row in rows}
    assert set(sides["ana"]) == set(sides["bo"])
    assert sides["ana"] != sides["bo"]


def test_only_judged_samples_are_drawn(desk: Bench) -> None:
    """People correct the judge on what it judged: a limit leaves the others out."""
    said = make_judgements({"s1": (1.0, 1.0), "s4": (1.0, None)})
    write_judged(desk.folder / "runs", make_arms(COUNT), said, [make_judging()])
    done = desk.run("judge", "labels", "export", "runs/compare/base-vs-tuned", "-o", "a.csv")
    assert "Wrote 2 pairs" in done.out


def test_what_was_not_judged_can_be_labelled_by_a_named_rubric(desk: Bench) -> None:
    write_judged(desk.folder / "runs", make_arms(3))
    folder = "runs/compare/base-vs-tuned"
    said = desk.run("judge", "labels", "export", folder, "-o", "a.csv")
    assert (said.code, "name what is to be compared" in said.err) == (2, True)
    said = desk.run("judge", "labels", "export", folder, "-o", "a.csv", "--suite", "chat/note")
    assert "No suite 'chat/note' in this comparison. Did you mean 'chat/notes'?" in said.err
    arguments = ("--suite", SUITE, "--rubric", "funny")
    assert desk.run("judge", "labels", "export", folder, "-o", "a.csv", *arguments).code == 0
    _fill(Path("a.csv"), lambda _: "tuned")
    said = desk.run("judge", "labels", "import", "a.csv", folder)
    assert said.code == 0, said.err
    assert "No judge has judged these samples" in said.out


def test_each_of_several_tuned_arms_has_labels_of_its_own(desk: Bench) -> None:
    base, tuned = make_arms(4)
    folder = write_judged(desk.folder / "runs", (base, tuned))
    third = replace(
        tuned, manifest=replace(tuned.manifest, name="third", run_id="third-1"), path="gone"
    )
    from evalkit.store.runs import write_run

    written = write_run(desk.folder / "runs" / "third-1", third.manifest, third.results)
    runs = [write_run(desk.folder / "runs" / r.manifest.run_id, r.manifest, r.results)
            for r in (base, tuned)]  # fmt: skip
    write_comparisons(folder, [compare(runs[0], runs[1]), compare(runs[0], written)])
    arguments = ("judge", "labels", "export", str(folder), "-o", "a.csv", "--suite", SUITE,
                 "--rubric", "helpful")  # fmt: skip
    said = desk.run(*arguments)
    assert said.code == 2
    assert "Several tuned arms are compared here. Name one with --arm: tuned, third." in said.err
    assert desk.run(*arguments, "--arm", "third").code == 0
    _fill(Path("a.csv"), lambda _: "tuned")
    desk.run("judge", "labels", "import", "a.csv", str(folder), "--arm", "third")
    assert [one.name for one in folder.glob("labels*.csv")] == ["labels-third.csv"]


def test_runs_that_were_moved_are_found_and_missing_ones_are_told(
    desk: Bench, folder: Path
) -> None:
    (desk.folder / "runs").rename(desk.folder / "moved")
    moved = "moved/compare/base-vs-tuned"
    assert desk.run("judge", "labels", "export", moved, "-o", "a.csv").code == 0
    (desk.folder / "moved" / "tuned-0123456789").rename(desk.folder / "lost")
    said = desk.run("judge", "labels", "export", moved, "-o", "b.csv")
    assert said.code == 4
    assert "The answers of tuned are not here: no run tuned-0123456789" in said.err


def test_pairs_for_dpo_are_written_with_what_was_left_out(desk: Bench, folder: Path) -> None:
    desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv", "--n", "2")
    _fill(Path("ana.csv"), lambda _: "base")
    desk.run("judge", "labels", "import", "ana.csv", str(folder))
    said = desk.run("judge", "export", "--dpo", "out.jsonl", str(folder))
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert [row["source"] for row in rows] == ["human"] * 2 + ["ai"] * COUNT
    assert "2 preferred by people: 0 of the tuned arm's answers, 2 of the base's" in said.out
    assert "12 preferred by judges: 8 of the tuned arm's answers, 4 of the base's" in said.out
    assert f"has seen {SUITE}" in said.out
    assert rows[0]["chosen"][0]["content"].startswith("Plain answer")
    said = desk.run("judge", "export", "--dpo", "ai.jsonl", str(folder), "--source", "ai")
    rows = [json.loads(line) for line in Path("ai.jsonl").read_text("utf-8").splitlines()]
    assert {row["source"] for row in rows} == {"ai"}


def test_labels_of_other_answers_are_neither_counted_nor_exported(
    desk: Bench, folder: Path
) -> None:
    """Votes that lie in the comparison's folder, and are of what the models said before."""
    old = [Vote(f"p{n}", SUITE, f"s{n}", "helpful", "Bo", "base") for n in range(COUNT)]
    add_votes(folder / "labels.csv", old)
    said = desk.run("judge", "export", "--dpo", "out.jsonl", str(folder), "--source", "human")
    assert (said.code, "No pair is left to write" in said.err) == (2, True)
    desk.run("judge", "labels", "export", str(folder), "-o", "ana.csv", "--n", "3")
    _fill(Path("ana.csv"), lambda _: "tuned")
    said = desk.run("judge", "labels", "import", "ana.csv", str(folder))
    (counts,) = [line for line in said.out.splitlines() if re.search(r"helpful +3 +1 ", line)]
    assert counts.split()[-6:] == ["3", "1", "3", "0", "0", "0"]


def test_nothing_to_export_is_an_error_that_writes_no_file(desk: Bench) -> None:
    write_judged(desk.folder / "runs", make_arms(3))
    said = desk.run("judge", "export", "--dpo", "out.jsonl", "runs/compare/base-vs-tuned")
    assert (said.code, "No pair is left to write" in said.err) == (2, True)
    assert not Path("out.jsonl").exists()
