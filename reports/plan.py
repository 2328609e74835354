"""What a run would ask and cost, told before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.console import item, labelled, open_console
from reports.wording import duration, one_line

if TYPE_CHECKING:
    from evalkit.evaluate import SuitePlan
    from evalkit.judging.foreseen import Foreseen
    from evalkit.models.base import Outline
    from evalkit.sequential import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all engines together have to do; `seconds` is None where one of them cannot know."""

    requests: int
    tokens: int
    unique_tokens: int
    read_tokens: int
    packets: int
    seconds: float | None


def add_up(outlines: Sequence[Outline]) -> Work:
    """The work of all engines, one after the other."""
    times = [one.seconds for one in outlines]
    known = [time for time in times if time is not None]
    return Work(
        requests=sum(one.requests for one in outlines),
        tokens=sum(one.tokens for one in outlines),
        unique_tokens=sum(one.unique_tokens for one in outlines),
        read_tokens=sum(one.read_tokens for one in outlines),
        packets=sum(one.packets for one in outlines),
        seconds=sum(known) if len(known) == len(times) else None,
    )


def print_plan(
    costs: Sequence[SuitePlan],
    outlines: Sequence[Outline],
    notes: Sequence[str] = (),
    console: Console | None = None,
    schedules: Sequence[Schedule] = (),
    judges: Sequence[Foreseen] = (),
) -> None:
    """Every suite and arm with what it asks, then what has to be computed for it.

    With `schedules` that is the most it can be, and the looks at each suite are told; with `judges`
    what each would be asked of each tuned arm.
    """
    console = console or open_console()
    console.print(_table(costs))
    console.print(_facts(costs, outlines))
    for each in judges:
        console.print(labelled("Judge", judge_words(each)))
    for one in schedules:
        console.print(item(Text("·", style="dim"), looks(one)))
    for note in notes:
        console.print(item(Text("!"), one_line(note)))


def looks(one: Schedule) -> str:
    """After how many samples a suite is looked at, or why it is asked as a whole."""
    name = one_line(one.info.name)
    if one.whole:
        return f"{name}: asked as a whole, {one_line(one.whole)}"
    ends = [f"{count:,}" for count in accumulate(one.sizes)]
    return f"{name}: looked at after {', '.join(ends)} samples, and left once it is settled"


def judge_words(one: Foreseen) -> str:
    """What a judge would be asked of an arm, and what that would cost."""
    asked = one.judge
    stored = f" ({asked.stored:,} stored)" if asked.stored else ""
    told = [f"{one_line(asked.judge)}, of {one_line(one.arm)}: {asked.calls:,} calls{stored}"]
    if asked.tokens_in or asked.tokens_out:
        told.append(f"about {asked.tokens_in:,} tokens in")
        told.append(f"at most {asked.tokens_out:,} out")
    if asked.cost is not None:
        told.append(f"about {asked.cost:,.2f} by the configured prices")
    return ", ".join(told)


_COLUMNS = (
    ("samples", "samples"),
    ("requests", "requests"),
    ("stored", "stored"),
    ("tokens", "tokens"),
    ("new, at most", "new_tokens"),
)


def _table(costs: Sequence[SuitePlan]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim",
        show_footer=True,
    )  # fmt: skip
    arms = list(dict.fromkeys(one.arm for one in costs))
    order = list(dict.fromkeys(one.suite for one in costs))
    table.add_column("suite", "total", overflow="fold")
    if len(arms) > 1:
        table.add_column("arm", f"{len(arms)} arms", overflow="fold")
    for title, field in _COLUMNS:
        total = sum(getattr(one, field) for one in costs)
        table.add_column(title, f"{total:,}", justify="right", no_wrap=True)
    for one in sorted(costs, key=lambda one: order.index(one.suite)):
        names = [one_line(one.suite), *([one_line(one.arm)] if len(arms) > 1 else [])]
        counts = [f"{getattr(one, field):,}" for _, field in _COLUMNS]
        table.add_row(*map(Text, (*names, *counts)))
    return table


def _facts(costs: Sequence[SuitePlan], outlines: Sequence[Outline]) -> RenderableType:
    work = add_up(outlines)
    open_ones = sum(one.requests - one.stored for one in costs)
    facts = [labelled("To answer", f"{open_ones:,} requests; what is stored is not asked again")]
    if work.tokens:
        facts.append(labelled("Tokens", _sharing(work)))
    if work.packets:
        text = f"{work.packets:,} forward passes or calls, the steps of generated texts aside"
        facts.append(labelled("Packets", text))
    if work.requests:
        facts.append(labelled("Time", _time(outlines)))
    return Group(*facts)


def _sharing(work: Work) -> str:
    """How much is saved by computing what requests share once, in one line."""
    asked, read = f"{work.tokens:,} tokens asked", max(work.read_tokens, work.unique_tokens)
    if read > work.unique_tokens:
        why = "not every arm can read shared starts once"
        return f"{asked}, {work.unique_tokens:,} unique, {read:,} computed: {why}"
    if read < work.tokens:
        return f"{asked}, {read:,} computed: each shared start once"
    return f"{asked}, {read:,} computed: no start is shared"


def _time(outlines: Sequence[Outline]) -> str:
    total = add_up(outlines).seconds
    if total is not None:
        told = f"about {duration(total)} at most"
        if any(one.assumed and one.unique_tokens < one.tokens for one in outlines):
            told += ", if the model can read shared starts once (tried when it is first loaded)"
        return told
    known = sum(one.seconds for one in outlines if one.seconds is not None)
    arms = ", ".join(one_line(a) for one in outlines if one.seconds is None for a in one.arms)
    ours = f"about {duration(known)} at most for the others; " if known else ""
    return f"{ours}not known for {arms}: that depends on who answers"
