"""What `gate calibrate` prints: how often the gate passed and failed what it must not."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.calibration import Calibration, Row
from evalkit.stats.calibrate import Rate
from reports.console import item, open_console
from reports.wording import one_line


def print_calibration(found: Calibration, console: Console | None = None) -> None:
    """A line for each kind of data, size and truth, and whether alpha was kept."""
    console = console or open_console()
    console.print(_table(found))
    console.print(
        Text(
            f"Shares of {found.simulations:,} comparisons each, ± their standard error. Difference "
            "and margin are known, so a fail is wrong in every line, and a pass where the "
            "difference is the margin itself.",
            style="dim",
        )
    )
    if found.skipped:
        names = ", ".join(map(one_line, found.skipped))
        console.print(Text(f"Without several scored answers to a sample: {names}", style="dim"))
    console.print()
    mark = Text("✗ exceeds", style="bold red") if found.excesses else Text("✓ holds", style="green")
    console.print(item(mark, _ending(found)))


def calibration_json(found: Calibration) -> str:
    """The same as JSON, pure ASCII."""
    document = {
        "schema_version": 1,
        "alpha": found.alpha,
        "simulations": found.simulations,
        "holds": not found.excesses,
        "rows": [_row_json(found, row) for row in found.rows],
        "skipped": list(found.skipped),
    }
    return json.dumps(document, allow_nan=False, indent=2)


def _ending(found: Calibration) -> str:
    rates = len(found.rates)
    if found.excesses:
        return (
            f"{found.excesses} of {rates} rates are above alpha = {found.alpha:g} by more than "
            "chance explains: do not trust this gate on such data."
        )
    return f"none of {rates} rates is above alpha = {found.alpha:g} by more than chance explains."


def _table(found: Calibration) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("data", overflow="fold")
    for name in ("samples", "difference", "margin", "wrong pass", "wrong fail", "inconclusive"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for row in found.rows:
        table.add_row(
            Text(one_line(row.data) if row.data != last else ""),
            Text(f"{row.n:,}"),
            Text(f"{row.difference:+g}" if row.difference else "0"),
            Text(f"{row.margin:g}"),
            _rate(found, row.wrong_pass),
            _rate(found, row.wrong_fail),
            Text(f"{row.inconclusive.share:.1%}", style="dim"),
        )
        last = row.data
    return table


def _rate(found: Calibration, rate: Rate | None) -> Text:
    if rate is None:
        return Text("right", style="dim")
    style = "bold red" if found.exceeds(rate) else ""
    return Text(f"{rate.share:.1%} ± {rate.error:.1%}", style=style)


def _row_json(found: Calibration, row: Row) -> dict[str, Any]:
    return {
        "data": row.data,
        "n": row.n,
        "difference": row.difference,
        "margin": row.margin,
        "wrong_pass": _rate_json(found, row.wrong_pass),
        "wrong_fail": _rate_json(found, row.wrong_fail),
        "inconclusive": row.inconclusive.share,
    }


def _rate_json(found: Calibration, rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "share": rate.share,
        "standard_error": rate.error,
        "times": rate.times,
        "exceeds_alpha": found.exceeds(rate),
    }
