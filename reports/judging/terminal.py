"""Judge health at a terminal: plain words first, the table below, what is wrong in red."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.records import Comparison, Judging
from reports.console import item
from reports.judging.figures import Cell, Figure, figures
from reports.judging.words import (
    alarm,
    flagged,
    flagged_sentence,
    headline,
    jury_sentence,
    qualifications,
    title,
    warnings,
)
from reports.wording import one_line

_FLAGGED = 5  # answers named; the dashboard leads to all of them


def print_judgings(comparison: Comparison, console: Console) -> None:
    """Every judging of one tuned arm; nothing where no judge was asked."""
    for one in comparison.judgings:
        console.print(Text(f"Judge health: {title(one)}", style="bold"))
        for line in _sentences(comparison, one):
            console.print(line)
        console.print(_table(comparison, one, console))


def _sentences(comparison: Comparison, judging: Judging) -> list[Table]:
    dim = Text("·", style="dim")
    lines = []
    trouble = alarm(comparison, judging)
    if trouble:
        lines.append(item(Text("✗", style="bold red"), trouble, style="bold red"))
    lines.append(item(dim, headline(comparison, judging)))
    told = [*qualifications(comparison, judging), jury_sentence(judging)]
    lines += [item(dim, text[:1].upper() + text[1:]) for text in told if text]
    suspects = flagged_sentence(comparison, judging)
    if suspects:
        lines.append(item(Text("!", style="yellow"), f"{suspects} {_named(judging)}"))
    lines += [item(Text("!", style="yellow"), text) for text in warnings(judging)]
    return lines


def _named(judging: Judging) -> str:
    every = flagged(judging)
    told = [
        f"{one_line(sample_id, 60)} ({', '.join(map(one_line, found))})"
        for _, sample_id, found in every[:_FLAGGED]
    ]
    more = f" and {len(every) - _FLAGGED:,} more" if len(every) > _FLAGGED else ""
    return f"{'; '.join(told)}{more}"


def _table(comparison: Comparison, judging: Judging, console: Console) -> Table:
    """A line for each figure: what would be good, and what it means, stand beside it where both
    fit without a second line; the reports have all of it."""
    rows = figures(comparison, judging)
    names = [one_line(one.judge) for one in judging.judges]
    endless = console.options.update(width=10_000)
    for told in (2, 1):
        table = _table_of(rows, names, told)
        if console.measure(table, options=endless).maximum <= console.width:
            return table
    return _table_of(rows, names, 0)


def _table_of(rows: Sequence[Figure], names: Sequence[str], told: int) -> Table:
    """With `told` columns of words beside the judges'."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("figure", no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold")
    for head in ("good", "what it means")[:told]:
        table.add_column(head, style="dim", overflow="fold")
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            table.add_row(Text(group, style="dim italic"))
        words = [Text(row.good), Text(row.means)][:told]
        table.add_row(Text(row.name), *map(_cell, row.cells), *words)
    return table


def _cell(cell: Cell) -> Text:
    if cell.doubtful:
        return Text(f"! {cell.text}", style="yellow")
    return Text(cell.text)
