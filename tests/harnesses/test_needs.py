"""The data sets of lm-eval's tasks, told from its own task files without loading any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, LmEvalConfig, RunConfig
from evalkit.harnesses.needs import data_needs, needs_of_task

lm_eval = pytest.importorskip("lm_eval")


def index(*folders: Path) -> dict[str, Any]:
    from lm_eval.tasks._index import TaskIndex

    return dict(TaskIndex.build(folders))


def shipped(name: str) -> Path:
    return Path(lm_eval.__file__).parent / "tasks" / name


def test_a_task_needs_its_configuration_and_its_splits() -> None:
    (need,) = needs_of_task("gsm8k", index(shipped("gsm8k")))
    assert need.command("data") == (
        "evalkit fetch openai/gsm8k --data --config main --split train,test --to data"
    )


def test_a_group_needs_what_its_tasks_need() -> None:
    entries = index(shipped("cmmlu"))
    needs = list(needs_of_task("cmmlu", entries))
    assert len(needs) == 67
    assert {str(need.name) for need in needs} == {"haonan-li/cmmlu"}
    assert {need.splits for need in needs} == {("test", "dev")}
    assert next(needs_of_task("cmmlu_arts", entries)).config == "arts"


def test_a_tag_needs_what_its_tasks_need_and_files_need_no_hub(tmp_path: Path) -> None:
    for name, data in (("a", "org/a"), ("b", "org/b"), ("c", "json")):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ntag: mine\ndataset_path: {data}\ntest_split: test\n"
            "dataset_kwargs: {revision: v2}\n"
        )
    needs = list(needs_of_task("mine", index(tmp_path)))
    assert [(str(need.name), need.revision) for need in needs] == [("org/a", "v2"), ("org/b", "v2")]


def test_the_names_of_a_runs_own_folder_need_none_of_lm_evals_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.tasks.TaskManager", None)  # it would read 14,000 files
    monkeypatch.setattr("evalkit.harnesses.lm_eval.index._shipped", None)
    (tmp_path / "mine.yaml").write_text("task: mine\ndataset_path: org/a\ntest_split: test\n")
    run = asking("lm_eval:mine", lm_eval=LmEvalConfig(include_path=tmp_path))
    (need,) = data_needs("lm_eval:mine", run)
    assert need.command() == "evalkit fetch org/a --data --split test --to evalkit-data"


def asking(*suites: str, **options: Any) -> RunConfig:
    return RunConfig(name="base", model=HFModel(kind="hf", path="o/n"), suites=suites, **options)
