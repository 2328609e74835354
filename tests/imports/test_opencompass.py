"""OpenCompass's work folders become runs. Made by hand in the layout that 0.5.4 writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.errors import UsageError
from evalkit.imports.base import Imported, keep
from evalkit.imports.opencompass import read_opencompass
from evalkit.progress import Silent

RIGHT = [True, False, True, True, False, True, True, False]


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def generated(right: Sequence[bool]) -> dict[str, Any]:
    """predictions/MODEL/DATASET.json of a data set that is answered in words."""
    return {
        str(n): {
            "origin_prompt": [{"role": "HUMAN", "prompt": f"Question {n}?"}],
            "prediction": f"The answer is {n if yes else 'unknown'}",
            "gold": str(n),
        }
        for n, yes in enumerate(right)
    }


def of_list(right: Sequence[bool]) -> dict[str, Any]:
    """results/MODEL/DATASET.json where the evaluator tells of each sample."""
    details = [
        {"example_abbr": f"ds_{n}", "pred": ["x"], "answer": [str(n)], "correct": [yes]}
        for n, yes in enumerate(right)
    ]
    return {"accuracy": 100 * sum(right) / len(right), "details": details}


def likelihoods(right: Sequence[bool]) -> dict[str, Any]:
    """predictions/MODEL/DATASET.json of a data set whose choices are scored."""
    return {
        str(n): {
            **{
                f"label: {letter}": {
                    "testing input": "",
                    "prompt": f"Question {n}? Answer: {letter}",
                    "PPL": 2.0 + n / 100 + ("ABCD".index(letter) != (0 if yes else 1)),
                    "BPB": 1.0,
                }
                for letter in "ABCD"
            },
            "prediction": "A" if yes else "B",
            "gold": "A",
        }
        for n, yes in enumerate(right)
    }


def work(folder: Path, model: str, right: Sequence[bool], stamp: str = "20260101_000000") -> Path:
    """A work folder with one data set that is answered in words."""
    write(folder / stamp / "predictions" / model / "facts.json", generated(right))
    write(folder / stamp / "results" / model / "facts.json", of_list(right))
    return folder


def read(path: Path) -> list[Imported]:
    return read_opencompass(path, Silent())


def values(found: Imported) -> list[float | None]:
    return [one.scores[0].value for one in found.results]


def test_the_accuracy_is_opencompass_own_and_the_answers_can_be_read(tmp_path: Path) -> None:
    (found,) = read(work(tmp_path, "base", RIGHT))
    assert values(found) == [float(yes) for yes in RIGHT]
    info = found.suites[0]
    assert (info.name, info.metric, info.metrics[0].kind) == (
        "opencompass:facts", "accuracy", "binary",
    )  # fmt: skip
    first = found.results[0]
    assert first.completions[0].text == "The answer is 0"
    assert first.completions[0].prompt_text == "Question 0?"
    assert first.sample.targets == ("0",)


@pytest.mark.parametrize("form", ["correct", "compared", "undetailed"])
def test_choices_are_right_however_the_results_tell_it(tmp_path: Path, form: str) -> None:
    write(tmp_path / "predictions/m/mcq.json", likelihoods(RIGHT))
    details: dict[str, Any] = {"type": "PPL"}
    for n, yes in enumerate(RIGHT):
        details[str(n)] = {"predictions": "A" if yes else "B", "references": "A"}
        if form == "correct":
            details[str(n)]["correct"] = yes
    told = {"accuracy": 62.5} | ({} if form == "undetailed" else {"details": details})
    write(tmp_path / "results/m/mcq.json", told)
    (found,) = read(tmp_path)
    assert values(found) == [float(yes) for yes in RIGHT]
    assert found.results[1].completions[0].text.startswith("B\n(A 3.01, B 2.01, C 3.01")
    assert found.results[1].sample.prompt == "Question 1? Answer: "


def test_a_rounded_share_and_another_number_of_the_evaluator_are_found(tmp_path: Path) -> None:
    right = [True, False, False]
    write(tmp_path / "predictions/m/facts.json", generated(right))
    told = of_list(right) | {"accuracy": 33.33, "rouge1": 0.5}
    for n, one in enumerate(told["details"]):
        one["rouge"] = [n / 2]
    write(tmp_path / "results/m/facts.json", told)
    (found,) = read(tmp_path)
    assert [one.name for one in found.suites[0].metrics] == ["accuracy", "rouge1"]


def test_a_number_without_values_of_samples_is_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path / "predictions/m/facts.json", generated(RIGHT))
    write(tmp_path / "results/m/facts.json", of_list(RIGHT) | {"bleu": 12.5})
    (found,) = read(tmp_path)
    assert [one.name for one in found.suites[0].metrics] == ["accuracy"]
    assert any("facts: bleu is left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("numbers", "called"),
    [
        ({"format_errors": 0.0, "accuracy": 0.0}, "accuracy"),
        ({"format_errors": 0.0, "Accuracy (1 runs average)": 0.0}, "Accuracy (1 runs average)"),
        ({"score": 0.0, "accuracy": 0.0}, "accuracy"),
        ({"naive_average": 0.0}, "naive_average"),
    ],
)
def test_where_nothing_is_right_the_names_tell_the_accuracy_from_other_zeros(
    tmp_path: Path, numbers: dict[str, float], called: str
) -> None:
    write(tmp_path / "predictions/m/facts.json", generated([False] * 4))
    told = {**numbers, "details": [{"correct": False} for _ in range(4)]}
    write(tmp_path / "results/m/facts.json", told)
    (found,) = read(tmp_path)
    assert [one.name for one in found.suites[0].metrics] == [called]


def test_of_numbers_that_no_name_tells_apart_none_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "predictions/m/facts.json", generated([False] * 4))
    details = [{"correct": False} for _ in range(4)]
    told = {"format_errors": 0.0, "refusals": 0.0, "details": details}
    write(tmp_path / "results/m/facts.json", told)
    with pytest.raises(UsageError, match="may be those of another number, which is the same"):
        read(tmp_path)


def test_a_model_without_results_is_left_out_and_said(tmp_path: Path) -> None:
    work(tmp_path, "base", RIGHT)
    write(tmp_path / "20260101_000000/predictions/crashed/facts.json", generated(RIGHT))
    (found,) = read(tmp_path)
    assert found.model == "base"
    (note,) = found.notes
    assert note.startswith("crashed is left out: ")
    assert "logs/eval" in note


def test_several_runs_of_a_sample_are_several_answers(tmp_path: Path) -> None:
    rows = generated([True, True, False, True])  # two samples, asked twice
    write(tmp_path / "predictions/m/facts.json", rows)
    details = [{"correct": [True, False]}, {"correct": [True, True]}]
    write(
        tmp_path / "results/m/facts.json", {"accuracy (2 runs average)": 75.0, "details": details}
    )
    (found,) = read(tmp_path)
    assert values(found) == [0.5, 1.0]
    assert [one.text for one in found.results[0].completions] == [
        "The answer is 0", "The answer is unknown",
    ]  # fmt: skip


def test_parts_of_a_split_data_set_are_joined_in_their_order(tmp_path: Path) -> None:
    rows = list(generated([True] * 12).values())
    for n in range(12):  # more than ten, so that 10 does not come before 2
        write(tmp_path / f"predictions/m/facts_{n}.json", {"0": rows[n]})
    write(tmp_path / "results/m/facts.json", of_list([True] * 12))
    (found,) = read(tmp_path)
    assert [one.sample.targets for one in found.results] == [(str(n),) for n in range(12)]


def test_the_newest_time_stamp_is_taken_and_each_model_becomes_a_run(tmp_path: Path) -> None:
    work(tmp_path, "base", [False] * 8, stamp="20250101_000000")
    work(tmp_path, "base", RIGHT)
    work(tmp_path, "tuned", [True] * 8)
    base, tuned = (keep(one, "", tmp_path / "runs") for one in read(tmp_path))
    comparison = compare(base, tuned)
    assert (comparison.base.name, comparison.tuned.name) == ("base", "tuned")
    assert comparison.deltas[0].difference == pytest.approx(1 - 0.625)
    assert not comparison.unpaired


def test_an_evaluation_that_crashed_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    work(tmp_path, "base", RIGHT)
    write(tmp_path / "20260101_000000/predictions/base/lost.json", generated(RIGHT))
    (found,) = read(tmp_path)
    assert [one.name for one in found.suites] == ["opencompass:facts"]
    assert any("lost" in note and "logs/eval" in note for note in found.notes)
    (tmp_path / "20260101_000000/results/base/facts.json").unlink()
    with pytest.raises(UsageError, match="nothing of base can be imported"):
        read(tmp_path)


def test_results_that_do_not_tell_of_samples_name_the_option(tmp_path: Path) -> None:
    write(tmp_path / "predictions/m/facts.json", generated(RIGHT))
    write(tmp_path / "results/m/facts.json", {"accuracy": 62.5})
    with pytest.raises(UsageError, match="--dump-eval-details"):
        read(tmp_path)


def test_a_missing_sample_is_told_and_not_skipped(tmp_path: Path) -> None:
    rows = generated(RIGHT)
    del rows["3"]
    write(tmp_path / "predictions/m/facts.json", rows)
    write(tmp_path / "results/m/facts.json", of_list(RIGHT))
    with pytest.raises(UsageError, match="sample '3' of 7 is missing"):
        read(tmp_path)


def test_a_folder_without_predictions_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--work-dir"):
        read(tmp_path)
