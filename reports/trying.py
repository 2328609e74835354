"""What `judge try` and `judge check` print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.records import Judgement
from reports.console import item, labelled, open_console
from reports.wording import UNKNOWN, clean, number, one_line

if TYPE_CHECKING:
    from evalkit.judges.jobs import Spent
    from evalkit.judging.checking import Checked
    from evalkit.judging.trying import Answer, Told, Trial

_SHOWN = {"base_first": "Base first", "tuned_first": "Tuned first"}


def print_trial(trial: Trial, told: Told | None, console: Console | None = None) -> None:
    """The prompt as the judge gets it, then what it said to both orders (or of both arms)."""
    console = console or open_console()
    job = trial.job
    (matter,) = job.matters
    console.print(labelled("Judge", one_line(trial.judge.name)))
    console.print(labelled("Sample", one_line(f"{matter.sample_id} of {job.suite}")))
    console.print(labelled("Rubric", one_line(f"{job.rubric.name}, {job.protocol}")))
    shown = "the base's answer first" if job.protocol == "pairwise" else "of the base's answer"
    for turn in trial.prompt:
        console.print()
        console.print(Text(f"{turn.role}, {shown}", style="dim"))
        _print_text(turn.content, console)
    if trial.options:
        console.print()
        options = ", ".join(one_line(one) for one in trial.options)
        console.print(labelled("Options", f"{options}: each is scored as what comes next"))
    if told is not None:
        for answer in told.answers:
            console.print()
            _print_answer(answer, console)
        console.print()
        for note in told.notes:
            console.print(labelled("Note", one_line(note)))
        console.print(labelled("Cost", cost_text(told.spent)))


def _print_answer(answer: Answer, console: Console) -> None:
    said = answer.judgement
    title = _SHOWN[said.order] if said.order else f"Of the {said.arm}'s answer"
    console.print(Text(title, style="bold"))
    if answer.raw is not None:
        console.print(Text("as written", style="dim"))
        _print_text(answer.raw or "(nothing)", console)
    console.print(labelled("Read as", _reading(said)))


def _print_text(text: str, console: Console) -> None:
    """A text word for word: its lines are the writer's, and none is broken up here."""
    for line in clean(text).split("\n"):
        console.print(Text(f"  {line}".rstrip()), soft_wrap=True)


def _reading(said: Judgement) -> str:
    """The verdict in words; why there is none."""
    if said.status != "judged":
        return f"{said.status}: {one_line(said.error) or 'no reason is known'}"
    level = f"{one_line(said.level)}: " if said.level else ""
    if said.protocol == "pointwise":
        return f"{level}a rating of {number(said.value)}"
    return f"{level}a utility of {number(said.value)} for the tuned arm (1: better, 0: worse)"


def cost_text(spent: Spent) -> str:
    """What was paid just now; what was stored cost nothing."""
    parts = [f"{spent.calls:,} calls", f"{spent.tokens_in:,} tokens in, {spent.tokens_out:,} out"]
    if spent.stored:
        parts.append(f"{spent.stored:,} answers were stored")
    if spent.calls:
        known = spent.cost is not None
        parts.append(f"{number(spent.cost, 4)} in money" if known else "no price is known")
    return "; ".join(parts)


def print_checked(found: Sequence[Checked], console: Console | None = None) -> None:
    """How each judge did on the probes and against the attacks, and what failed."""
    console = console or open_console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("judge", overflow="fold")
    for name in ("probes passed", "attacks", "turned", "shaken", "missing"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(_mark(one), *(Text(one_line(cell)) for cell in _cells(one)))
    console.print(table)
    for one in found:
        for line in _told(one):
            console.print(item(_mark(one), one_line(f"{one.judge}: {line}")))


def _mark(one: Checked) -> Text:
    if one.skipped:
        return Text("–", style="dim")
    return Text("✓", style="green") if one.passed else Text("✗", style="bold red")


def _cells(one: Checked) -> list[str]:
    if one.skipped:
        return [one.judge, *[UNKNOWN] * 5]
    probes = f"{one.probes.passed} of {one.probes.asked}" if one.probes else UNKNOWN
    counts = one.attacks, _turned(one), one.shaken, one.missing
    return [one.judge, probes, *(f"{count:,}" for count in counts)]


def _turned(one: Checked) -> int:
    return sum(len(ids) for ids in one.turned.values())


def _told(one: Checked) -> Iterator[str]:
    """What has to be known beside the numbers."""
    if one.skipped:
        yield f"not asked: {one.skipped}"
        return
    if one.probes is None:
        yield "the known-answer probes were not asked: the budget had ended"
    elif one.probes.failed:
        yield one.probes.failed
    for kind, ids in one.turned.items():
        yield f"turned by “{kind}”: {', '.join(ids)}"
    if one.missing > one.max_missing * one.attacks:
        yield f"said nothing usable of {one.missing:,} of {one.attacks:,} attacks"
    if one.spent is not None:
        yield cost_text(one.spent)


def checked_json(found: Sequence[Checked]) -> str:
    """The same as JSON; `turned` holds the attacks' ids by kind."""
    judges = [asdict(one) | {"turned": dict(one.turned), "passed": one.passed} for one in found]
    return json.dumps({"judges": judges}, ensure_ascii=False, indent=1)
