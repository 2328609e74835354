"""`datasets.load_dataset`, as lm-eval calls it, takes the folder of the data root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalkit.data.loading import local_datasets
from evalkit.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data root with a data set of two configurations, and a cache of its own."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "data" / "org" / "quiz"
    for config, answer in (("main", 1), ("other", 2)):
        write(folder / config / "test.jsonl", [{"q": "a", "gold": answer}] * 3)
        write(folder / config / "dev.jsonl", [{"q": "b", "gold": answer}])
    datasets.disable_progress_bars()
    yield tmp_path / "data"
    datasets.enable_progress_bars()


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    match file.suffix:
        case ".parquet":
            frame.to_parquet(file)
        case ".csv" | ".tsv":
            frame.to_csv(file, sep="," if file.suffix == ".csv" else "\t", index=False)
        case _:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_configuration_and_splits_are_the_folders() -> None:
    with local_datasets():
        loaded = datasets.load_dataset(
            path="org/quiz", name="other", revision="refs/convert/parquet"
        )
    assert {name: len(rows) for name, rows in loaded.items()} == {"dev": 1, "test": 3}
    assert loaded["test"][0] == {"q": "a", "gold": 2}
    assert loaded["validation"] is loaded["dev"]
    with pytest.raises(KeyError):
        loaded["train"]


def test_a_pinned_revision_is_not_another(root: Path) -> None:
    with local_datasets():
        with pytest.raises(DataError, match=r"--revision v1 --config main --to"):
            datasets.load_dataset("org/quiz", "main", revision="v1")
        write(root / "org" / "quiz@v1" / "main" / "test.jsonl", [{"gold": 7}])
        assert datasets.load_dataset("org/quiz", "main", revision="v1")["test"][0] == {"gold": 7}


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_every_format_is_loaded(root: Path, ending: str) -> None:
    rows = [{"q": f"问{n}", "gold": n} for n in range(3)]
    write(root / "org" / "table" / f"test-00000-of-00001.{ending}", rows)
    with local_datasets():
        assert datasets.load_dataset("org/table", split="test").to_list() == rows
        assert len(datasets.load_dataset("org/table", split="test[:2]")) == 2
        streamed = datasets.load_dataset("org/table", streaming=True)["test"]
        assert list(streamed) == rows


def test_a_folder_and_files_of_the_data_set_can_be_named(root: Path) -> None:
    with local_datasets():
        by_folder = datasets.load_dataset("org/quiz", data_dir="main")
        assert by_folder["test"][0]["gold"] == 1
        files = {"test": "other/*.jsonl"}
        assert len(datasets.load_dataset("org/quiz", data_files=files)["test"]) == 4
        with pytest.raises(DataError, match="outside"):
            datasets.load_dataset("org/quiz", data_files="../quiz/main/test.jsonl")


def test_the_librarys_own_loaders_are_left_alone(root: Path) -> None:
    write(root / "json" / "test.jsonl", [{"q": "not this one"}])
    file = root / "org" / "quiz" / "main" / "dev.jsonl"
    before = datasets.load_dataset
    with local_datasets():
        rows = datasets.load_dataset("json", data_files=str(file), split="train")
    assert rows.to_list() == [{"q": "b", "gold": 1}]
    assert datasets.load_dataset is before


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"name": "mian"}, "no configuration 'mian', but main, other"),
        ({}, "several configurations"),
        ({"name": "main", "split": "train"}, r"no split 'train', but dev, test"),
        ({"data_files": "none.csv"}, "no file 'none.csv'"),
    ],
)
def test_what_is_not_there_is_told(asked: dict[str, str], told: str) -> None:
    with local_datasets(), pytest.raises(DataError, match=told):
        datasets.load_dataset("org/quiz", **asked)


def test_a_broken_file_is_told_and_formats_are_not_mixed(root: Path) -> None:
    (root / "org" / "broken").mkdir()
    (root / "org" / "broken" / "test.jsonl").write_text('{"q": 1}\n{"q": \n')
    write(root / "org" / "mixed" / "test.jsonl", [{"q": 1}])
    write(root / "org" / "mixed" / "train.csv", [{"q": 1}])
    with local_datasets():
        with pytest.raises(DataError, match=r"org/broken in .* cannot be read"):
            datasets.load_dataset("org/broken")
        with pytest.raises(DataError, match="mixes csv, jsonl"):
            datasets.load_dataset("org/mixed")


def test_an_lm_eval_task_downloads_from_the_data_root() -> None:
    task_module = pytest.importorskip("lm_eval.api.task")
    config = {
        "task": "quiz",
        "dataset_path": "org/quiz",
        "dataset_name": "main",
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "validation",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{gold}}",
        "doc_to_choice": ["x", "y"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    with local_datasets():
        task = task_module.ConfigurableTask(config=config)
    assert [doc["gold"] for doc in task.test_docs()] == [1, 1, 1]
    assert [doc["q"] for doc in task.fewshot_docs()] == ["b"]
