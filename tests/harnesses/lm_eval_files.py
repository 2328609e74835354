"""lm-eval tasks of every kind of request over a few local rows, and how they are run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GROUP = "tiny_group"
LIKELIHOOD = ("tiny_choice", "tiny_choice_zh", "tiny_last_word", "tiny_text")
WRITING = ("tiny_write", "tiny_write_ends")
ALL = (GROUP, "tiny_last_word", "tiny_text", *WRITING)

_ROWS = [
    ("What is the capital of France?", ["Paris", "the lazy dog", "42"], 0),
    ("What jumps over the lazy dog?", ["The quick brown fox", "Paris", "A small model"], 0),
    ("今天天气很好吗？", ["很好", "北京", "答案"], 0),
    ("中国的首都是什么？", ["公园", "北京", "天气"], 1),
    ("Who is dear?", ["friends", "the dog", "🙂"], 0),
    ("Once upon a time there was", ["a fox", "a small model", "Paris"], 1),
]
_TASKS = {
    "tiny_choice": """
output_type: multiple_choice
doc_to_text: "{{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
num_fewshot: 1
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "tiny_choice_zh": """
output_type: multiple_choice
doc_to_text: "{{question}} 答案："
doc_to_choice: [A, B, C]
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}]
""",
    "tiny_last_word": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{choices[answer]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "tiny_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "tiny_write": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["ab", "。"], max_gen_toks: 12, do_sample: false}
filter_list:
  - name: letters
    filter: [{function: regex, regex_pattern: "([a-z]+)"}, {function: take_first}]
  - name: whole
    filter: [{function: take_first}]
metric_list: [{metric: exact_match}, {metric: bleu}, {metric: chrf}]
""",
    "tiny_write_ends": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["<|im_end|>", "<|im_start|>", "e"], max_tokens: 9, temperature: 0.0}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true}]
""",
}


def write_tasks(folder: Path) -> Path:
    """The tasks, and the rows they are over, in a folder."""
    folder.mkdir(parents=True)
    rows = [
        {"question": question, "choices": choices, "answer": answer, "text": (question + " ") * 3}
        for question, choices, answer in _ROWS
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}, "
        f"cache_dir: {folder / 'cache'}}}\ntest_split: test\nmetadata: {{version: 1.0}}\n"
    )
    for name, text in _TASKS.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{source}{text}", encoding="utf-8")
    (folder / "group.yaml").write_text(
        f"group: {GROUP}\ntask: [tiny_choice, tiny_choice_zh]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n",
        encoding="utf-8",
    )
    return folder


def run_tasks(model: str, model_args: dict[str, Any], folder: Path, **options: Any) -> Any:
    """lm-eval's own results of its own evaluation, without an index of all its tasks."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(
        model=model,
        model_args=model_args,
        device="cpu",
        batch_size=1,
        bootstrap_iters=10,
        task_manager=manager,
        **{"tasks": list(ALL), **options},
    )
