"""Data sets as they are published become what lm-eval's own tasks read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.data import read_rows
from evalkit.data.convert import convert
from evalkit.data.loading import local_datasets
from evalkit.errors import DataError, UsageError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs the data sets of ../shared/data")
    return SHARED


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data root, and a cache of `datasets` of its own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / ".cache")
    datasets.disable_progress_bars()
    yield tmp_path
    datasets.enable_progress_bars()


def task(name: str, folder: str) -> Any:
    """lm-eval's own task of that name, with its data out of the data root."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks._factory import TaskFactory
    from lm_eval.tasks._index import TaskIndex

    index = TaskIndex.build([Path(lm_eval.__file__).parent / "tasks" / folder])
    with local_datasets():
        return TaskFactory().build(index[name], overrides=None, registry=index)


def test_gsm8k_is_what_its_task_reads(shared: Path, root: Path) -> None:
    made = convert("gsm8k", shared / "gsm8k", root)
    assert [one.rows for one in made] == [1319, 2000]
    docs = list(task("gsm8k", "gsm8k").test_docs())
    assert len(docs) == 1319
    assert docs[0]["answer"].endswith("#### 18")


def test_cmmlu_is_what_its_tasks_read_with_every_cell_as_it_is_written(
    shared: Path, root: Path
) -> None:
    made = convert("cmmlu", shared / "cmmlu", root)
    assert len(made) == 2 * 23
    opened = task("cmmlu_computer_science", "cmmlu")
    with (shared / "cmmlu" / "test" / "computer_science.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert len(opened.test_docs()) == len(written)
    for doc, row in zip(opened.test_docs(), written, strict=True):
        prompt = f"{row['Question'].strip()}\nA. {row['A']}\nB. {row['B']}\nC. {row['C']}\n"
        assert opened.doc_to_text(doc) == f"{prompt}D. {row['D']}\n答案："
        assert opened.doc_to_target(doc) == "ABCD".index(row["Answer"])
    assert len(opened.fewshot_docs()) == 5


@pytest.mark.parametrize(
    ("name", "rows", "begins", "ends"),
    [
        ("logiqa-zh", 651, "", "答案：从A到D, 我们应选择"),
        ("gaokao-history", 235, "问题：“一万年农业", "答案：从A到D, 我们应选择"),
        ("sat-en", 206, "Akira came directly", "A: Among A through D, the answer is"),
    ],
)
def test_agieval_is_what_its_tasks_read(
    shared: Path, root: Path, name: str, rows: int, begins: str, ends: str
) -> None:
    assert len(convert("agieval", shared / "agieval", root)) == 4
    opened = task(f"agieval_{name.replace('-', '_')}", "agieval")
    docs = list(opened.test_docs())
    assert len(docs) == rows
    first = next(read_rows([shared / "agieval" / f"{name}.jsonl"])).fields
    prompt = opened.doc_to_text(docs[0])
    assert prompt.startswith(begins)
    assert prompt.endswith(ends)
    assert " ".join(first["options"]) in prompt
    assert docs[0]["choices"] == first["options"]
    assert docs[0]["gold"] == ["ABCDE".index(first["label"])]


@pytest.mark.parametrize("label", [["A", "B"], "AB"])
def test_several_right_answers_are_kept(tmp_path: Path, label: Any) -> None:
    row = {"question": "?", "options": ["(A)x", "(B)y"], "label": label, "passage": "P。"}
    source = tmp_path / "v1"
    source.mkdir()
    (source / "jec-qa-kd.jsonl").write_text(json.dumps(row) + "\n")
    (source / "README.md").write_text("# AGIEval\n")
    (source / ".DS_Store").write_bytes(b"\0")
    (source / "math.jsonl").write_text('{"question": "?", "options": null, "answer": "1"}\n')
    (made,) = convert("agieval", source, tmp_path / "root")
    assert made.file == tmp_path / "root" / "hails" / "agieval-jec-qa-kd" / "test.jsonl"
    (doc,) = (one.fields for one in read_rows([made.file]))
    assert doc["gold"] == [0, 1]
    assert doc["query"] == "P。问题：? 选项：(A)x (B)y\n答案：从A到B, 我们应选择"


def test_there_may_be_more_options_than_seven(tmp_path: Path) -> None:
    options = [f"({letter})x" for letter in "ABCDEFGHIJ"]
    (tmp_path / "v1").mkdir()
    row = {"question": "?", "options": options, "label": "J"}
    (tmp_path / "v1" / "sat-en.jsonl").write_text(json.dumps(row) + "\n")
    (made,) = convert("agieval", tmp_path / "v1", tmp_path / "root")
    (doc,) = (one.fields for one in read_rows([made.file]))
    assert doc["gold"] == [9]
    assert doc["query"].endswith("A: Among A through J, the answer is")


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        ("gsm8k", {"question": "?"}, r"test\.jsonl:1: 'answer' must be a text"),
        ("agieval", {"question": "?", "options": ["(A)x"], "label": "B"}, "'label' must name"),
        ("agieval", {"question": "?", "options": ["(A)x"], "label": 0}, "'label' must name"),
        ("agieval", {"question": "?", "options": ["(A)x"], "label": "AB"}, "'label' must name"),
        ("agieval", {"question": "?", "options": ["(A)x"], "label": [5]}, "'label' must name"),
        ("agieval", {"question": "?", "options": [1], "label": "A"}, "'options' must be a list"),
    ],
)
def test_rows_of_another_data_set_are_told_and_nothing_is_left(
    tmp_path: Path, kind: str, row: dict[str, Any], told: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "test.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=told):
        convert(kind, tmp_path / "in", tmp_path / "out")
    assert not [file for file in (tmp_path / "out").rglob("*.jsonl") if file.name[0] != "."]


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gsm8k, cmmlu, agieval"):
        convert("mmlu", tmp_path, tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        convert("gsm8k", tmp_path / "absent", tmp_path)
