"""A work as a suite of evalkit and as a task of lm-eval, over the very same file of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engine.works import Work

DELIMITER = " "


def suite_name(work: Work) -> str:
    """What evalkit calls the work."""
    return f"bench/{work.key}"


def write_suite(folder: Path, work: Work) -> str:
    """The work as a native suite below `folder`; gives its name."""
    name = suite_name(work)
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    _write_rows(place / "samples.jsonl", work)
    _write_yaml(place / "suite.yaml", _suite(work))
    return name


def _suite(work: Work) -> dict[str, Any]:
    told: dict[str, Any] = {
        "title": f"Benchmark: {work.key}",
        "language": work.language,
        "task": work.task,
    }
    match work.task:
        case "choice":
            told |= {"prompt": "{text}", "delimiter": DELIMITER, "scorers": ["choice_accuracy"]}
        case "generate":
            told |= {
                "prompt": "{text}",
                "chat": False,
                "max_new_tokens": work.new_tokens,
                "stop": list(work.stop),
                "scorers": ["diversity"],
            }
        case "perplexity":
            told |= {"scorers": ["perplexity"]}
    return told


def write_task(folder: Path, work: Work) -> str:
    """The work as a task of lm-eval in `folder`; gives its name."""
    name = f"evalkit_bench_{work.key}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"{work.key}.jsonl"
    _write_rows(rows, work)
    told: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
        "test_split": "test",
        "num_fewshot": 0,  # the worked examples are in the text
        **_task(work),
    }
    _write_yaml(folder / f"{work.key}.yaml", told)
    return name


def _task(work: Work) -> dict[str, Any]:
    # A plain field name is taken as it stands, where a template might change its white space.
    match work.task:
        case "choice":
            return {
                "output_type": "multiple_choice",
                "doc_to_text": "text",
                "doc_to_choice": "choices",
                "doc_to_target": "answer",
                "target_delimiter": DELIMITER,
                "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            }
        case "generate":
            return {
                "output_type": "generate_until",
                "doc_to_text": "text",
                "doc_to_target": "id",
                "generation_kwargs": {
                    "until": list(work.stop),
                    "max_gen_toks": work.new_tokens,
                    "do_sample": False,
                },
                "metric_list": [{"metric": "bypass"}],
            }
        case "perplexity":
            return {
                "output_type": "loglikelihood_rolling",
                "doc_to_text": "",
                "doc_to_target": "text",
                "metric_list": [{"metric": "bits_per_byte"}],
            }


def _write_rows(file: Path, work: Work) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in work.rows]
    file.write_text("".join(lines), encoding="utf-8")


def _write_yaml(file: Path, content: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
