"""`code`: does the function that was written pass the tests?"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from evalkit.errors import SuiteError
from evalkit.records import Completion, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.code.pool import run_all
from evalkit.scorers.code.sandbox import Limits, Outcome, Program
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.extraction import Code, code_in, joined
from evalkit.scorers.generated import failure
from evalkit.scorers.reading import Counts, Read, reading_scorer

_UNKNOWN = "the row is none of the suite's"


def code(
    context: ScorerContext,
    *,
    head: str = "prompt",
    timeout: Annotated[int, Field(ge=1, le=600)] = 10,
    memory: Annotated[int, Field(ge=64, le=65_536)] = 512,
    pass_at: Counts = (),
) -> Scorer:
    """1 where the function named by the row's `entry_point` passes the row's `test`, in a sandbox.

    `head` names the field with the code that an answer may continue, "" for none; `timeout` is in
    seconds of CPU time, `memory` in MiB. What went wrong otherwise is the reason; a program that
    the sandbox could not be built around has no score.
    """
    tasks = {sample.id: _task(context, sample, head) for sample in context.samples}
    limits = Limits(seconds=timeout, memory=memory)

    def read_all(answers: Iterable[tuple[Sample, Completion]]) -> Generator[Read, None, None]:
        found = [_found(tasks.get(sample.id), one) for sample, one in answers]
        programs = [one for one in found if isinstance(one, Program)]
        with closing(run_all(programs, limits)) as outcomes:
            for one in found:
                yield one if isinstance(one, Read) else _read(one, next(outcomes))

    scorer = reading_scorer(
        "code",
        ("passed", "code_extracted"),
        read_all,
        passes=pass_at,
        at_once=True,
    )
    return replace(scorer, runs_code=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is asked of one sample: its head, the function's name, and the tests as they are run."""

    head: str
    name: str
    tests: str

    def program(self, found: Code) -> Program:
        """The answer with the tests. Helpers and imports of the head stay there for all of it."""
        if found.continues:
            return Program(parts=(joined(self.head, found.text),), tests=self.tests)
        return Program(parts=(_whole(self.head), found.text), tests=self.tests)


def _found(task: _Task | None, completion: Completion) -> Program | Read:
    problem = failure([completion])
    if problem or task is None:
        return Read(None, None, problem or _UNKNOWN)
    answer, reason = code_in(completion.text, task.head, task.name)
    return Read(None, False, reason) if answer is None else task.program(answer)


def _read(program: Program, outcome: Outcome) -> Read:
    said = f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind
    match outcome.kind:
        case "passed":
            return Read(program, True)
        case "unavailable":
            return Read(program, None, f"the sandbox did not work: {outcome.detail}")
        case _:
            return Read(program, False, said)


def _task(context: ScorerContext, sample: Sample, field: str) -> _Task:
    """What the row says; raises SuiteError, before any model runs, for what could never work."""
    where = f"Sample {sample.id!r} of suite {context.suite!r} is scored by `code`, but"
    name, test = sample.fields.get("entry_point"), sample.fields.get("test")
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise SuiteError(f"{where} its `entry_point` is {name!r}, no name of a function.")
    tests = "\n".join(map(str, test)) if isinstance(test, list) else test
    if not isinstance(tests, str) or not tests.strip():
        raise SuiteError(
            f"{where} it has no `test`: Python that fails where the function is wrong."
        )
    tree = _parsed(tests)
    if tree is None:
        raise SuiteError(f"{where} its `test` is no Python.")
    if not any(isinstance(one, ast.Assert | ast.Raise) for one in ast.walk(tree)):
        raise SuiteError(f"{where} its `test` asserts nothing, and would pass whatever is written.")
    if any(isinstance(one, ast.FunctionDef) and one.name == "check" for one in tree.body):
        tests = f"{tests}\n\ncheck({name})\n"
    return _Task(head=_head(where, sample, field), name=name, tests=tests)


def _head(where: str, sample: Sample, field: str) -> str:
    text = sample.fields.get(field, "") if field else ""
    if not isinstance(text, str) or _parsed(_whole(text)) is None:
        raise SuiteError(
            f"{where} its {field!r} is no Python. Name the field that holds the beginning of the "
            'function as `head`, or write `head: ""` where an answer stands by itself.'
        )
    return text


def _whole(head: str) -> str:
    """The head as code that stands by itself: a function without a line gets one."""
    return head if _parsed(head) is not None else joined(head, "    pass")


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
