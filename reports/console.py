"""The console all printing goes through, and the two shapes of line it shares."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text


def open_console(stream: TextIO | None = None) -> Console:
    """A console on stdout that never wraps mid-word by accident and honours NO_COLOR.

    Where output is piped the width is COLUMNS, or 120: a log has room, a lost word has no remedy.
    """
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    return console


def item(mark: Text, text: str, style: str = "") -> Table:
    """A line whose continuation is indented below its text."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(mark, Text(text, style=style, overflow="fold"))
    return grid


def labelled(label: str, text: str) -> Table:
    """A dim label and its text, indented below itself; labels line up from line to line."""
    grid = Table.grid(padding=0)
    grid.add_column(width=11, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style="dim"), Text(text))
    return grid
