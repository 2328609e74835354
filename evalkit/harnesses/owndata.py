"""A table of one's own as a suite: columns, task and scorer are guessed where they are not told."""

from __future__ import annotations

import json
import statistics
import string
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

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
    lettered_rows,
    pick_column,
    read_table,
)
from evalkit.records import Completion
from evalkit.scorers.extraction import parse_number
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
_LETTERED = "choice"  # the scorer of generated answers that are letters
_CHOICE_LETTERS = "ABCDEFGHIJ"
_OWN_FIELDS = frozenset(("id", "choices", "answer", "target", "options", "then"))
"""Fields of a suite's rows that mean something else than the question."""

_WISHES = {"en": "Answer with the letter of the right choice.", "zh": "请回答正确选项的字母。"}


def open_data(name: str, data: OwnData, config: RunConfig) -> Suite:
    """The table as a suite called `name`; raises SuiteError with file, row and column."""
    from evalkit.harnesses.native import assemble

    table = read_table(data.file)
    task = task_of(table, data.prompt, data.scorer)
    asking = asking_of(table, task, data.prompt, data.target, data.scorer)
    scorer = scorer_of(task, asking.rows, data.scorer)
    told = SuiteConfig(
        title=title_of(name),
        language=language_of_rows(asking.rows, asking.question),
        source=f"{data.file.name}, given with the run.",
        task=task,
        prompt=asking.prompt,
        scorers=(scorer,),
        gate=SuiteGateDefault(margin=MARGINS.get(scorer.name, 0.02)),
    )
    lines = (json.dumps(row.fields, default=str) for row in asking.rows)
    material = Material(
        told_in=data.file,
        path=data.file,
        rows=tuple(asking.rows),
        texts=(told.model_dump_json(exclude={"judge"}), *lines),
    )
    suite = assemble(name, Path(data.file).parent, told, material, config)
    refuse_missing_target(table, suite)
    return suite


def refuse_missing_target(table: Table, suite: Suite) -> None:
    """A scorer that compares with a target would leave every sample without a score."""
    if any(sample.targets for sample in suite.samples):
        return
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


class Asking(NamedTuple):
    """What a table becomes: its rows, the field of the question, and the template of the prompt."""

    rows: list[Row]
    question: str
    prompt: str | None


def asking_of(
    table: Table, task: Task, prompt: str | None, target: str | None, scorer: str | None = None
) -> Asking:
    """The rows as a suite has them, and how they are asked; raises SuiteError.

    Answers that are scored as letters are asked with their choices, if the table has any.
    """
    usual = TEXTS if task == "perplexity" else PROMPTS
    column = pick_column(table, prompt, usual, "the question")
    if column is None:
        raise SuiteError(
            f"{table.path}: which column holds the question? Name it with --prompt; "
            f"there are: {', '.join(table.columns)}."
        )
    question = _plain_name(table, column, task)
    table = _renamed(table, column, question)
    if task == "perplexity":
        return Asking(generate_rows(table, question, None), question, None)
    answers = pick_column(table, target, TARGETS, "the answer")
    if task == "generate" and not (scorer == _LETTERED and table.has_choices()):
        return Asking(generate_rows(table, question, answers), question, f"{{{question}}}")
    if answers is None:
        raise SuiteError(
            f"{table.path}: which column holds the right choice? Name it with --target; "
            f"there are: {', '.join(table.columns)}."
        )
    if task == "choice":
        return Asking(choice_rows(table, question, answers), question, f"{{{question}}}")
    rows = lettered_rows(table, question, answers)
    wish = _WISHES[language_of_rows(rows, question)]
    return Asking(rows, question, f"{{{question}}}\n\n{{options}}\n\n{wish}")


def _plain_name(table: Table, column: str, task: Task) -> str:
    """The field that the question's column becomes: the template finds fields by plain names."""
    if task == "perplexity":
        return "text"
    if column.isidentifier() and column not in _OWN_FIELDS:
        return column
    return _free_name("prompt", {*table.columns, *_OWN_FIELDS})


def _free_name(wanted: str, taken: Collection[str]) -> str:
    names = chain([wanted], (f"{wanted}_{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _renamed(table: Table, column: str, name: str) -> Table:
    """The table with a column called `name`; another that was called so gives way."""
    if column == name:
        return table
    names = {column: name}
    if name in table.columns:
        names[name] = _free_name(f"{name}_2", table.columns)
    rows = tuple(
        replace(row, fields={names.get(key, key): value for key, value in row.fields.items()})
        for row in table.rows
    )
    columns = tuple(names.get(each, each) for each in table.columns)
    return replace(table, columns=columns, rows=rows)


def title_of(name: str) -> str:
    """A suite's title, from the last part of its name."""
    return name.rpartition("/")[2].replace("-", " ").replace("_", " ").capitalize()


def language_of_rows(rows: Sequence[Row], question: str) -> str:
    """zh where a third of the letters are Chinese, else en; the author may know better."""
    letters = [letter for row in rows for letter in str(row.fields[question]) if letter.isalpha()]
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    return "zh" if letters and chinese / len(letters) > 1 / 3 else "en"


def scorer_of(task: Task, rows: Sequence[Row], given: str | None = None) -> ScorerLine:
    """The scorer that was asked for, else the one that suits the task and the targets."""
    told = [row.fields["target"] for row in rows if "target" in row.fields]
    targets = [each[0] if isinstance(each, list) else each for each in told]
    letters = all(_is_letter(each) for each in targets) and len(set(targets)) > 1
    if given is not None:
        return _lettered(targets) if given == _LETTERED and letters else ScorerLine(name=given)
    if task != "generate":
        return ScorerLine(name={"choice": "choice_accuracy", "perplexity": "perplexity"}[task])
    if not targets:
        return ScorerLine(name="diversity")
    if letters:
        return _lettered(targets)
    every = [each for one in told for each in (one if isinstance(one, list) else [one])]
    if all(map(_is_number, every)):
        return ScorerLine(name="number")
    short = statistics.median(map(len, targets)) <= _SHORT
    return ScorerLine(name="normalized_match" if short else "chrf")


def _is_letter(target: str) -> bool:
    return len(target) == 1 and target in _CHOICE_LETTERS


def _lettered(targets: Sequence[str]) -> ScorerLine:
    """The scorer of letters, told how far they go."""
    last = max("D", *targets)
    letters = string.ascii_uppercase[: string.ascii_uppercase.index(last) + 1]
    return ScorerLine.model_validate(
        {"name": _LETTERED} | ({"letters": letters} if last > "D" else {})
    )


def _is_number(target: str) -> bool:
    try:
        parse_number(target)
    except ValueError:
        return False
    return any(sign.isdecimal() for sign in target)
