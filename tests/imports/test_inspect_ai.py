"""inspect_ai's logs become runs with the numbers that stand in them."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.errors import EvalkitError, UsageError
from evalkit.imports import files
from evalkit.imports.base import Imported, keep
from evalkit.imports.inspect_ai import read_inspect
from evalkit.progress import Silent
from tests.imports.inspect_logs import header, row, write_eval, write_json

GRADES = ["C", "I", "C", "P", "N", "C"]
SCORED = [1.0, 0.0, 1.0, 0.5, 0.0, 1.0]  # as inspect_ai's value_to_float has them
ACCURACY = sum(SCORED) / len(SCORED)
ROWS = [row(n, grade, f"It is {n}") for n, grade in enumerate(GRADES)]


def read(*paths: Path) -> Imported:
    return read_inspect(paths, Silent())


def scores(found: Imported, name: str = "match") -> list[float | None]:
    return [s.value for result in found.results for s in result.scores if s.scorer == name]


@pytest.mark.parametrize("form", ["json", "deflate", "zstd"])
def test_every_form_of_a_log_gives_the_same_samples_and_scores(tmp_path: Path, form: str) -> None:
    told = header("openai/small", ACCURACY, len(ROWS))
    if form == "json":
        path = write_json(tmp_path / "log.json", told, ROWS)
    else:
        # Samples are logged in the order in which they ended.
        path = write_eval(tmp_path / "log.eval", told, ROWS[::-1], zstd=form == "zstd")
    found = read(path)
    assert scores(found) == SCORED
    assert found.model == "openai/small"
    assert [one.name for one in found.suites] == ["inspect:sums"]
    assert found.suites[0].slices == {"topic=even": 3, "topic=odd": 3}
    first = found.results[0]
    assert first.completions[0].text == "It is 0"
    assert first.completions[0].prompt_text == "What is 0 + 1?"
    assert first.sample.targets == ("1",)


def test_epochs_are_several_answers_whose_mean_counts(tmp_path: Path) -> None:
    rows = [row(0, "C", "a", 1), row(1, "I", "b", 1), row(0, "I", "c", 2), row(1, "I", "d", 2)]
    found = read(write_eval(tmp_path / "log.eval", header("m", 0.25, 2), rows))
    assert scores(found) == [0.5, 0.0]
    assert found.results[0].scores[0].values == (1.0, 0.0)
    assert [one.text for one in found.results[0].completions] == ["a", "c"]


def test_a_sample_that_ended_in_an_error_is_missing(tmp_path: Path) -> None:
    broken = row(1, "C", "")
    del broken["scores"]
    broken["error"] = {"message": "the server was away"}
    found = read(write_json(tmp_path / "log.json", header("m", 1.0, 2), [row(0, "C", "a"), broken]))
    assert scores(found) == [1.0, None]
    assert found.results[1].scores[0].reason == "the server was away"


def test_a_scorer_with_several_values_gives_several_metrics(tmp_path: Path) -> None:
    rows = [row(n, {"depth": n / 4, "clear": n % 2 == 0}, "a") for n in range(4)]
    found = read(write_json(tmp_path / "log.json", header("m", 0.0, 4), rows))
    kinds = {one.name: one.kind for one in found.suites[0].metrics}
    assert kinds == {"match/depth": "continuous", "match/clear": "binary"}
    assert scores(found, "match/depth") == [0.0, 0.25, 0.5, 0.75]


def test_a_number_that_is_no_mean_of_the_samples_is_left_out_and_said(tmp_path: Path) -> None:
    told = header("m", 0.99, len(ROWS))
    with pytest.raises(UsageError, match="no metric"):
        read(write_json(tmp_path / "log.json", told, ROWS))
    more = [one | {"scores": one["scores"] | {"other": {"value": 1}}} for one in ROWS]
    found = read(write_json(tmp_path / "log.json", told, more))
    assert [one.name for one in found.suites[0].metrics] == ["other"]
    assert "match is left out: its number in the log (accuracy 0.99)" in found.notes[0]


def asked_by_turns(name: str) -> list[dict[str, Any]]:
    """Samples whose inputs are messages; inspect_ai gives each an id, anew in each evaluation."""
    return [
        one
        | {
            "input": [
                {"id": f"{name}-s{n}", "role": "system", "content": "Add.", "source": "input"},
                {"id": f"{name}-{n}", "role": "user", "content": one["input"], "source": "input"},
            ]
        }
        for n, one in enumerate(ROWS)
    ]


def test_samples_that_are_asked_by_messages_are_paired(tmp_path: Path) -> None:
    ids = []
    for name in ("base", "tuned"):
        told = header(name, ACCURACY, len(ROWS))
        found = read(write_json(tmp_path / f"{name}.json", told, asked_by_turns(name)))
        ids.append([result.sample.id for result in found.results])
    assert ids[0] == ids[1]
    other = asked_by_turns("base")
    other[2]["input"][0]["content"] = "Subtract."
    changed = read(write_json(tmp_path / "o.json", header("m", ACCURACY, len(ROWS)), other))
    differ = [result.sample.id != one for result, one in zip(changed.results, ids[0], strict=True)]
    assert differ == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("metrics", "kept", "said"),
    [
        ({"mcc": 0.11}, False, "match is left out: its number in the log (mcc 0.11) is not the"),
        ({"even": 0.9, "all": ACCURACY}, True, ""),  # inspect_ai's grouped()
        ({"stderr": 0.1}, True, "the log has no number for match; the mean of its samples is"),
        ({}, True, "the log has no number for match; the mean of its samples is shown"),
        (
            {"mcc": ACCURACY, "accuracy": 0.9},
            False,
            "match is left out: its number in the log (acc",
        ),
    ],
)
def test_a_score_is_read_as_the_number_that_the_log_has_for_it(
    tmp_path: Path, metrics: dict[str, float], kept: bool, said: str
) -> None:
    told = header("m", 0.0, len(ROWS))
    (score,) = told["results"]["scores"]
    score["metrics"] = {name: {"name": name, "value": value} for name, value in metrics.items()}
    more = [one | {"scores": one["scores"] | {"other": {"value": 1}}} for one in ROWS]
    told["results"]["scores"].append({"name": "other", "metrics": {"mean": {"value": 1.0}}})
    found = read(write_json(tmp_path / "log.json", told, more))
    assert [one.name for one in found.suites[0].metrics] == (["match"] if kept else []) + ["other"]
    assert "\n".join(found.notes).startswith(f"inspect:sums: {said}" if said else "")
    assert bool(found.notes) == bool(said)


def test_long_texts_that_are_kept_apart_are_put_back(tmp_path: Path) -> None:
    one = row(0, "C", "a", attachments={"f00": "A long question"})
    one["messages"][0]["content"] = "attachment://f00"
    found = read(write_json(tmp_path / "log.json", header("m", 1.0, 1), [one]))
    assert found.results[0].completions[0].prompt_text == "A long question"


def test_two_models_are_compared_and_another_version_is_refused(tmp_path: Path) -> None:
    base = read(write_json(tmp_path / "b.json", header("m/base", ACCURACY, 6), ROWS))
    better = [row(n, "C", "right") for n in range(6)]
    tuned = read(write_json(tmp_path / "t.json", header("m/tuned", 1.0, 6), better))
    runs = [keep(one, "", tmp_path / "runs") for one in (base, tuned)]
    assert [one.manifest.name for one in runs] == ["base", "tuned"]
    comparison = compare(*runs)
    assert comparison.deltas[0].difference == pytest.approx(1.0 - ACCURACY)
    assert not comparison.unpaired
    later = header("m/tuned", 1.0, 6, task_version=2)
    newer = keep(read(write_json(tmp_path / "n.json", later, better)), "", tmp_path / "runs")
    with pytest.raises(UsageError, match="task_version is '0' against '2'"):
        compare(runs[0], newer)


def test_logs_of_several_tasks_become_one_run(tmp_path: Path) -> None:
    one = write_json(tmp_path / "a.json", header("m", ACCURACY, 6), ROWS)
    two = write_json(tmp_path / "b.json", header("m", ACCURACY, 6, task="more"), ROWS)
    found = read(one, two)
    assert [info.name for info in found.suites] == ["inspect:sums", "inspect:more"]
    other = write_json(tmp_path / "c.json", header("n", ACCURACY, 6, task="more"), ROWS)
    with pytest.raises(UsageError, match="2 models"):
        read(one, other)
    with pytest.raises(UsageError, match="same task"):
        read(one, one)


def test_an_evaluation_that_failed_is_refused_with_its_error(tmp_path: Path) -> None:
    told = header("m", 0.0, 1) | {"status": "error", "error": {"message": "no key"}}
    with pytest.raises(UsageError, match=r"'error'\. no key Go on with it by"):
        read(write_json(tmp_path / "log.json", told, []))


def spoilt(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"log.{'json' if kind in ('text', 'twice') else 'eval'}"
    match kind:
        case "text":
            path.write_text('{\n"eval": {}\n,}')
        case "twice":
            write_json(path, header("m", 1.0, 2), [ROWS[0], ROWS[0]])
        case "nozip":
            path.write_text("hello")
        case "headless":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("samples/0_epoch_1.json", "{}")
        case "damaged":
            write_eval(path, header("m", ACCURACY, 6), ROWS, zstd=True)
            content = bytearray(path.read_bytes())
            content[80:90] = b"0123456789"
            path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("text", r"log\.json:3: not valid JSON"),
        ("twice", "epoch 1 of sample 0 is logged twice"),
        ("nozip", "cannot be read as a zip file"),
        ("headless", "no header.json"),
        ("damaged", "cannot be unpacked"),
        ("absent", "is no file"),
    ],
)
def test_what_is_wrong_with_a_log_is_told_with_its_place(
    tmp_path: Path, kind: str, told: str
) -> None:
    with pytest.raises(EvalkitError, match=told):
        read(spoilt(tmp_path, kind))


@pytest.mark.parametrize("zstd", [False, True])
def test_a_zip_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zstd: bool
) -> None:
    monkeypatch.setattr(files, "MAX_MEMBER", 1_000_000)
    told: dict[str, Any] = header("m", 1.0, 1) | {"tags": ["0" * 50_000_000]}
    path = write_eval(tmp_path / "log.eval", told, [ROWS[0]], zstd=zstd)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(EvalkitError, match="more than 1,000,000 bytes"):
        read(path)


def test_an_archive_of_many_files_is_limited_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.MAX_ARCHIVE <= 4_000_000_000, "all that is read may have to be kept in memory"
    path = write_eval(tmp_path / "log.eval", header("m", ACCURACY, len(ROWS)), ROWS)
    monkeypatch.setattr(files, "MAX_ARCHIVE", 3_000)
    with pytest.raises(EvalkitError, match="or 3,000 all"):
        read(path)


def test_real_logs_give_inspect_ais_own_numbers(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.imports.real_inspect import write_real

        logs = [write_real(tmp_path, form) for form in ("eval", "json")]
    for log, own in logs:
        found = read(log)
        for name, accuracy in own.items():
            values = [value for value in scores(found, name) if value is not None]
            assert sum(values) / len(values) == pytest.approx(accuracy, abs=1e-12)
        assert json.loads(json.dumps(found.setups["inspect:sums"]))["task"] == "sums"
        assert len(found.results[0].completions) == 2
