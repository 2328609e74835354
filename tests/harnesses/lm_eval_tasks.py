"""Task files as lm-eval's users write them, over a few rows of data, and lm-eval's own answer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evalkit.config import HFModel, LmEvalConfig, RunConfig
from evalkit.estimates import alone
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.records import Metric, Run, Score
from evalkit.store.completions import CompletionStore
from tests.models.hf.tiny_models import Tiny, config

WORDS = ["Paris", "北京", "brown fox", "park", "model", "Hello", "day", "a", "dear friends", "it"]


def mean(metric: str, higher: bool = True, **more: Any) -> dict[str, Any]:
    """A line of a metric_list that is averaged."""
    return {"metric": metric, "aggregation": "mean", "higher_is_better": higher, **more}


def write_rows(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A JSONL file of rows."""
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_task(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], **told: Any) -> None:
    """A task over its own rows; the few-shot examples are of other rows."""
    files = {
        "test": str(write_rows(folder, name, rows)),
        "train": str(write_rows(folder, f"{name}_train", _examples(rows))),
    }
    write_yaml(
        folder,
        name,
        {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "test_split": "test",
            "training_split": "train",
            "fewshot_split": "train",
            "metadata": {"version": 1.5},
            **told,
        },
    )


def _examples(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "q": f"{row.get('q', '')} again"} for row in rows[:4]]


def write_yaml(folder: Path, name: str, told: Mapping[str, Any]) -> None:
    """A task or group file."""
    text = yaml.safe_dump(dict(told), allow_unicode=True, sort_keys=False)
    (folder / f"{name}.yaml").write_text(text.replace("'!function ", "!function ").replace(
        ".process'", ".process"), encoding="utf-8")  # fmt: skip


def questions(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows with a question, three choices, the right one's index and text."""
    rows = []
    for number in range(start, start + count):
        choices = [WORDS[(number * 3 + shift) % len(WORDS)] for shift in (0, 1, 4)]
        gold = (number * number) % 3
        rows.append(
            {"q": f"Q{number} {WORDS[number % 10]}?", "choices": choices, "gold": gold,
             "text": choices[gold], "letter": "ABC"[gold]}
        )  # fmt: skip
    return rows


CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{q}}\nA:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    "metric_list": [mean("acc"), mean("acc_norm")],
}


class Theirs(NamedTuple):
    """What lm-eval says: its table, and every document's values."""

    table: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]


@cache
def _model(tiny: Tiny, arm: str) -> Any:
    from lm_eval.models.huggingface import HFLM

    peft = str(tiny.adapter) if arm == "tuned" else None
    return HFLM(pretrained=str(tiny.model), dtype="float32", device="cpu", peft=peft, batch_size=1)


def lm_eval(tiny: Tiny, arm: str, folder: Path, tasks: Sequence[str], **options: Any) -> Theirs:
    """lm-eval's own evaluation, in float32 with its Hugging Face model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        found = simple_evaluate(
            model=_model(tiny, arm),
            tasks=list(tasks),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            **options,
        )
    return Theirs(found["results"], found["samples"])


def run_arms(tiny: Tiny, folder: Path, names: Sequence[str], **options: Any) -> dict[str, Run]:
    """evalkit's runs of both arms on suites of those names, from task files in `folder`."""
    own = LmEvalConfig(include_path=folder, **options.pop("lm_eval", {}))
    suites = tuple(f"lm_eval:{name}" for name in names)
    base = RunConfig(name="base", model=config(tiny.model), suites=suites, lm_eval=own, **options)
    arms = [
        base,
        base.model_copy(update={"name": "tuned", "model": config(tiny.model, tiny.adapter)}),
    ]
    plan = open_plan(arms, open_suites(base), offline=True)
    with CompletionStore(folder / "store.sqlite") as store:
        runs = evaluate(plan, store, folder / "runs")
    return {run.manifest.name: run for run in runs}


def opening(folder: Path, *names: str, lm_eval: Any = None, **options: Any) -> RunConfig:
    """The configuration of a run that is opened and never asked."""
    return RunConfig(
        name="base",
        model=HFModel(kind="hf", path="none"),
        suites=tuple(f"lm_eval:{name}" for name in names),
        lm_eval=LmEvalConfig(include_path=folder, **(lm_eval or {})),
        **options,
    )


def number(run: Run, suite: str, metric: str, slice_name: str = "") -> float | None:
    """What evalkit shows of an arm: the metric over a suite, or over a slice of it."""
    return alone(_metric(run, suite, metric), scores(run, suite, metric, slice_name), [])[0]


def _metric(run: Run, suite: str, name: str) -> Metric:
    info = next(one for one in run.manifest.suites if one.name == f"lm_eval:{suite}")
    return next(one for one in info.metrics if one.name == name)


def scores(run: Run, suite: str, metric: str, slice_name: str = "") -> list[Score]:
    """The scores that have a value, in the order of the documents."""
    return [
        score
        for result in run.results
        if result.sample.suite == f"lm_eval:{suite}"
        and (not slice_name or slice_name in result.sample.slice_names)
        for score in result.scores
        if score.scorer == metric and score.value is not None
    ]
