"""What `suites` and `doctor` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalkit.records import Check, CheckStatus
from reports.console import item, labelled, open_console
from reports.wording import clean, metric_label, number, one_line

if TYPE_CHECKING:
    from evalkit.harnesses.base import Suite
    from evalkit.harnesses.native import FoundSuite
    from evalkit.harnesses.scaffold import Report
    from evalkit.harnesses.sets import SuiteSet

_MARK: dict[CheckStatus, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "bold red"),
}
_PROMPT = 1200  # characters of a prompt that are shown


def print_suites(found: Sequence[FoundSuite], console: Console | None = None) -> None:
    """Every suite that can be named, where it lies, and which folder won where two have it."""
    console = console or open_console()
    if not found:
        console.print("No suite was found. Make one with: evalkit suites new")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("suite", overflow="fold")
    table.add_column("task", no_wrap=True)
    table.add_column("lang", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("title", overflow="fold")
    for one in found:
        asked = "recipe" if one.dataset else f"{one.samples:,}"
        row = (one.name, one.task or "", one.language, asked, one.title)
        if one.problem:
            row = (one.name, "", "", "", "cannot be opened, see below")
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console.print(table)
    for folder in dict.fromkeys(_root(one) for one in found):
        count = sum(_root(one) == folder for one in found)
        console.print(labelled("Folder", f"{folder} ({count})"))
    needed = dict.fromkeys(one.dataset for one in found if one.dataset)
    if needed:
        # Their rows are no part of evalkit: terms and sizes are their authors'.
        console.print(labelled("Recipes", f"ask data sets: {one_line(', '.join(needed))}"))
    for one in found:
        for hidden in one.hides:
            text = f"{one.name}: {one.path} is used, {hidden} is hidden by it"
            console.print(item(_mark("warning"), one_line(text)))
        if one.problem:
            console.print(item(_mark("failed"), f"{one_line(one.name)}: {one_line(one.problem)}"))


def print_sets(found: Mapping[str, SuiteSet], console: Console | None = None) -> None:
    """Sets that can be named instead of their suites, and what each suite stands for."""
    console = console or open_console()
    for one in found.values():
        members = ", ".join(f"{suite} ({aspect})" for suite, aspect in one.suites.items())
        title = f"{one.title}: " if one.title else ""
        console.print(labelled("Set", one_line(f"{one.name}: {title}{members}")))


def _root(one: FoundSuite) -> Path:
    """The folder of suites that a suite lies in: its own, less as many parts as its name has."""
    return one.path.parents[one.name.count("/")]


def print_suite(report: Report, console: Console | None = None) -> None:
    """What a suite asks, how it is scored, its problems, and some prompts as a model gets them."""
    console = console or open_console()
    console.print()
    console.print(Text(one_line(report.name), style="bold"))
    console.print(labelled("Folder", one_line(report.path)))
    if report.suite is not None:
        console.print(_facts(report.suite, report.longest_prompt))
    for number_, prompt in enumerate(report.prompts, start=1):
        console.print()
        console.print(Text(f"Prompt {number_}, as a model gets it", style="dim"))
        console.print(Padding(Text(_cut(prompt)), (0, 0, 0, 2)))
    console.print()
    for problem in report.problems:
        console.print(item(_mark("failed"), clean(problem)))
    for warning in report.warnings:
        console.print(item(_mark("warning"), clean(warning)))
    if not report.problems:
        console.print(item(_mark("ok"), "no problem was found"))


def _facts(suite: Suite, longest: int) -> RenderableType:
    info = suite.info
    superior = info.policy == "superiority"
    asked = "must be better by more than" if superior else "may be worse by at most"
    others = [metric_label(one) for one in info.metrics if one.name != info.metric]
    gated = next(one for one in info.metrics if one.name == info.metric)
    size = ", ".join(filter(None, (f"{info.samples:,} samples", suite.task, info.language)))
    facts = [
        ("Title", info.title),
        ("About", info.description),
        ("Asks", f"{size}; longest prompt {longest:,} characters"),
        ("Gate", f"{metric_label(gated)} {asked} {number(info.margin)}"),
        ("Also", ", ".join(others)),
        ("Licence", info.license),
        ("Source", info.source),
        *(("Note", note) for scorer in suite.scorers for note in scorer.notes),
    ]
    return Group(*(labelled(name, one_line(text)) for name, text in facts if text))


def print_findings(findings: Sequence[Check], console: Console | None = None) -> None:
    """What `evalkit doctor` found, one line each."""
    console = console or open_console()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        name, message = Text(one_line(one.name)), Text(one_line(one.message))
        table.add_row(_mark(one.status), name, message)
    console.print(table)


def _mark(status: CheckStatus) -> Text:
    symbol, style = _MARK[status]
    return Text(symbol, style=style)


def _cut(prompt: str) -> str:
    text = clean(prompt)
    if len(text) <= _PROMPT:
        return text
    half = _PROMPT // 2
    return f"{text[:half]}\n… {len(text) - _PROMPT:,} characters …\n{text[-half:]}"
