"""Logs that lm-eval itself writes, of models that answer by rule: no weights, no network."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROWS, FEW = 40, 12
TASKS: Mapping[str, dict[str, Any]] = {
    "picks": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "sums": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{word}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "strict", "filter": [{"function": "take_first"}]},
            {
                "name": "loose",
                "filter": [
                    {"function": "regex", "regex_pattern": "(\\w+)$"},
                    {"function": "take_first"},
                ],
            },
        ],
    },
    "few_picks": {  # a task of another size, for the group
        "output_type": "multiple_choice",
        "test_split": "few",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "classes": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{even}}",
        "doc_to_choice": ["odd", "even"],
        "metric_list": [{"metric": "f1"}, {"metric": "mcc"}, {"metric": "brier_score"}],
    },
    "texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [
            {"metric": "word_perplexity"},
            {"metric": "byte_perplexity"},
            {"metric": "bits_per_byte"},
        ],
    },
    "lasts": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{word}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    "translates": {
        "output_type": "generate_until",
        "doc_to_text": "Count on. {{question}}",
        "doc_to_target": "{{sentence}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False},
        "metric_list": [{"metric": "bleu"}, {"metric": "chrf"}, {"metric": "ter"}],
    },
}
_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write_tasks(folder: Path) -> Path:
    """Task files over a JSONL file of made-up questions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "question": f"What comes after {n} things, {_WORDS[n % 10]}?",
            "choices": [_WORDS[(n + k) % 10] for k in range(4)],
            "answer": 0,
            "word": _WORDS[n % 10],
            "even": int(n % 2 == 0),
            "sentence": " ".join(_WORDS[(n + k) % 10] for k in range(6)),
        }
        for n in range(ROWS)
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    few = folder / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in rows[:FEW]), encoding="utf-8")
    for name, task in TASKS.items():
        whole = {
            "task": f"made_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(data), "few": str(few)},
                "cache_dir": str(folder / "cache"),
            },
            "test_split": "test",
            "metadata": {"version": 1.0},
            **task,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    for weighted in (True, False):
        group = {
            "group": f"made_{'group' if weighted else 'equals'}",
            "task": ["made_picks", "made_few_picks"],
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": weighted}],
        }
        (folder / f"{group['group']}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
    return folder


def chance(*parts: object) -> float:
    """A number in [0, 1) that these parts determine."""
    text = json.dumps(parts)
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def write_log(
    output: Path,
    tasks: Path,
    name: str,
    skill: float,
    wanted: tuple[str, ...] = tuple(TASKS),
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a model of some `skill` (0 to 1) with lm-eval and log its samples; its results."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)

    class Ruled(LM):  # type: ignore[misc]
        """Knows an answer with the chance of its skill; which ones depends on the question."""

        def loglikelihood(self, requests: Any) -> Any:
            return [self._likelihood(*request.args) for request in requests]

        def _likelihood(self, prompt: str, continuation: str) -> tuple[float, bool]:
            number = int(prompt.split(" things")[0].rpartition(" ")[2])
            right = continuation.strip() in (_WORDS[number % 10], ("even", "odd")[number % 2])
            knows = right and chance(prompt) < skill
            return -0.1 if knows else -1 - 5 * chance(name, prompt, continuation), knows

        def loglikelihood_rolling(self, requests: Any) -> Any:
            return [-(3 - skill) * len(one.args[0]) * chance(one.args[0]) for one in requests]

        def generate_until(self, requests: Any) -> Any:
            return [self._text(request.args[0]) for request in requests]

        def _text(self, prompt: str) -> str:
            number = int(prompt.split(" things")[0].rpartition(" ")[2])
            size = 6 if prompt.startswith("Count on.") else 1
            words = [_WORDS[(number + k) % 10] for k in range(size)]
            return " ".join(words) if chance(prompt) < skill else f"{words[-1]}, I think"

    tracker = EvaluationTracker(output_path=str(output))
    results = simple_evaluate(
        model=Ruled(),
        model_args=f"pretrained={name}",
        tasks=[f"made_{one}" for one in wanted],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        evaluation_tracker=tracker,
        log_samples=True,
        bootstrap_iters=0,
        **options,
    )
    assert results is not None
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    return dict(results)
