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


def test_a_recipe_needs_its_questions_and_its_worked_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    (need,) = data_needs("math/gsm8k", asking("math/gsm8k"))
    assert need.command("data") == (
        "evalkit fetch openai/gsm8k --data --config main --split test,train --to data"
    )
    subjects = data_needs("exams/cmmlu", asking("exams/cmmlu"))
    assert len({need.config for need in subjects}) == len(subjects) == 67
    assert {need.splits for need in subjects} == {("test", "dev")}
    (file,) = data_needs("chat/mt-bench", asking("chat/mt-bench"))
    assert (str(file.name), file.files, file.splits) == ("lm-sys/mt_bench", "question.jsonl", ())


def test_a_set_needs_what_its_recipes_need_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets.yaml").write_text(
        "mine: {suites: {math/gsm8k: a, math/gsm8k-chat: b, knowledge/everyday-en: c}}\n"
        "same: {suites: {exams/cmmlu: a, exams/cmmlu-chat: b}}\n"
    )
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path))
    needs = data_needs("mine", asking("mine"))
    assert [(str(need.name), need.splits) for need in needs] == [
        ("openai/gsm8k", ("test", "train")),
        ("openai/gsm8k", ("test",)),
    ]
    assert len(data_needs("same", asking("same"))) == 67
