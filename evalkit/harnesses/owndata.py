"""A table of one's own as a suite: columns, task and scorer are guessed where they are not told."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.config import OwnData, RunConfig
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Suite, Task
from evalkit.harnesses.material import Material
from evalkit.harnesses.rows import Row
from evalkit.harnesses.suitefile import ScorerLine, SuiteConfig, SuiteGateDefault
from evalkit.harnesses.tables import (
    Table,
    choice_rows,
    generate_rows,
    pick_column,
    read_table,
)
from evalkit.records import Completion
from evalkit.scorers.match import NO_TARGET

PROMPTS = ("prompt", "question", "instruction", "query", "input", "problem",
           "问题", "题目", "提示", "指令", "提问")  # fmt: skip
TARGETS = ("target", "answer", "output", "response", "reference", "completion", "label",
           "答案", "回答", "参考答案", "输出")  # fmt: skip
TEXTS = ("text", "content", "正文", "文本")

MARGINS = {"bleu": 2.0, "chrf": 2.0}
"""For scores from 0 to 100, where two points are what 0.02 is of a share."""

_SHORT = 40  # characters; a longer target is compared by overlap, not letter by letter
_TASKS: dict[str, Task] = {"choice_accuracy": "choice", "perplexity": "perplexity"}


def open_data(name: str, data: OwnData, config: RunConfig) -> Suite:
    """The table as a suite called `name`; raises SuiteError with file, row and column."""
    from evalkit.harnesses.native import assemble

    table = read_table(data.file)
    task = task_of(table, data.prompt, data.scorer)
    question, rows = rows_of(table, task, data.prompt, data.target)
    scorer = data.scorer or scorer_of(task, rows)
    told = SuiteConfig(
        title=title_of(name),
        language=language_of_rows(rows, question),
        source=f"{data.file.name}, given with the run.",
        task=task,
        prompt=None if task == "perplexity" else f"{{{question}}}",
        scorers=(ScorerLine(name=scorer),),
        gate=SuiteGateDefault(margin=MARGINS.get(scorer, 0.02)),
    )
    material = Material(
        told_in=data.file,
        path=data.file,
        rows=tuple(rows),
        texts=(told.model_dump_json(), *(json.dumps(row.fields, default=str) for row in rows)),
    )
    suite = assemble(name, Path(data.file).parent, told, material, config)
    if not any(sample.targets for sample in suite.samples):
        _refuse_missing_target(table, suite)
    return suite


def _refuse_missing_target(table: Table, suite: Suite) -> None:
    """A scorer that compares with a target would leave every sample without a score."""
    sample, said = suite.samples[0], Completion(key="", text="x", stop_reason="stop")
    for scorer in suite.scorers:
        if suite.task == "generate" and any(
            score.value is None and score.reason == NO_TARGET.reason
            for score in scorer.score(sample, [said])
        ):
            raise SuiteError(
                f"{table.path}: {scorer.name!r} compares with a right answer: which column holds "
                f"it? Name it with --target; there are: {', '.join(table.columns)}."
            )


def task_of(table: Table, prompt: str | None, scorer: str | None = None) -> Task:
    """What is asked of the model: what the scorer reads, else what the columns look like."""
    if scorer is not None:
        return _TASKS.get(scorer, "generate")
    if table.has_choices():
        return "choice"
    asked = pick_column(table, prompt, PROMPTS, "the question")
    return "perplexity" if asked is None and set(TEXTS) & set(table.columns) else "generate"


def rows_of(
    table: Table, task: Task, prompt: str | None, target: str | None
) -> tuple[str, list[Row]]:
    """The field that holds the question, and the rows as a suite has them."""
    usual = TEXTS if task == "perplexity" else PROMPTS
    column = pick_column(table, prompt, usual, "the question")
    if column is None:
        raise SuiteError(
            f"{table.path}: which column holds the question? Name it with --prompt; "
            f"there are: {', '.join(table.columns)}."
        )
    # The template and the perplexity task find their fields by plain names.
    question = "text" if task == "perplexity" else column if column.isidentifier() else "prompt"
    if question in {"choices", "answer", "target"}:
        question = "prompt"
    table = _renamed(table, column, question)
    if task == "perplexity":
        return question, generate_rows(table, question, None)
    answers = pick_column(table, target, TARGETS, "the answer")
    if task == "generate":
        return question, generate_rows(table, question, answers)
    if answers is None:
        raise SuiteError(
            f"{table.path}: which column holds the right choice? Name it with --target; "
            f"there are: {', '.join(table.columns)}."
        )
    return question, choice_rows(table, question, answers)


def _renamed(table: Table, column: str, name: str) -> Table:
    if column == name:
        return table
    rows = tuple(
        replace(
            row,
            fields={name if key == column else key: value for key, value in row.fields.items()},
        )
        for row in table.rows
    )
    return replace(table, rows=rows)


def title_of(name: str) -> str:
    """A suite's title, from the last part of its name."""
    return name.rpartition("/")[2].replace("-", " ").replace("_", " ").capitalize()


def language_of_rows(rows: Sequence[Row], question: str) -> str:
    """zh where a third of the letters are Chinese, else en; the author may know better."""
    letters = [letter for row in rows for letter in str(row.fields[question]) if letter.isalpha()]
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    return "zh" if letters and chinese / len(letters) > 1 / 3 else "en"


def scorer_of(task: Task, rows: Sequence[Row]) -> str:
    """The scorer that suits the task and the length of the targets."""
    match task:
        case "choice":
            return "choice_accuracy"
        case "perplexity":
            return "perplexity"
        case "generate":
            targets = [row.fields["target"] for row in rows if "target" in row.fields]
            if not targets:
                return "diversity"
            lengths = [len(each[0] if isinstance(each, list) else each) for each in targets]
            return "normalized_match" if statistics.median(lengths) <= _SHORT else "chrf"
