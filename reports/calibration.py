"""What `gate calibrate` prints: how often the gate passed and failed what it must not."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.gate.calibration import Calibration, Pool, Row
from evalkit.stats.calibrate import Rate
from reports.console import item, open_console
from reports.wording import one_line


def print_calibration(found: Calibration, console: Console | None = None) -> None:
    """A line for each kind of data, size and truth, and whether alpha was kept."""
    console = console or open_console()
    console.print(_table(found))
    console.print(
        Text(
            f"Shares of at least {found.simulations:,} comparisons each, ± their standard error. "
            "Difference and margin are known, so a fail is wrong in every line, and a pass where "
            "the difference is the margin itself.",
            style="dim",
        )
    )
    if found.skipped:
        names = ", ".join(map(one_line, found.skipped))
        console.print(Text(f"Without several scored answers to a sample: {names}", style="dim"))
    console.print()
    mark = (
        Text("✗ exceeds:", style="bold red") if found.excesses else Text("✓ holds:", style="green")
    )
    console.print(item(mark, _ending(found)))


def calibration_json(found: Calibration) -> str:
    """The same as JSON, pure ASCII."""
    document = {
        "schema_version": 1,
        "alpha": found.alpha,
        "simulations": found.simulations,
        "holds": not found.excesses,
        "rows": [_row_json(found, row) for row in found.rows],
        "pooled": [_pool_json(found, pool) for pool in found.pools],
        "skipped": list(found.skipped),
    }
    return json.dumps(document, allow_nan=False, indent=2)


def _ending(found: Calibration) -> str:
    rates = found.tried
    if found.excesses:
        return (
            f"{found.excesses} of {rates} rates are above alpha = {found.alpha:g} by more than "
            "chance explains: do not trust this gate on such data."
        )
    return f"no rate of {rates} is above alpha = {found.alpha:g} by more than chance explains."


def _table(found: Calibration) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("data", overflow="fold")
    table.add_column("asked", overflow="fold")
    for name in ("samples", "difference", "margin", "wrong pass", "wrong fail", "inconclusive"):
        table.add_column(name, justify="right", no_wrap=True)
    pools = {(pool.data, pool.ask): pool for pool in found.pools}
    last = ("", "")
    for row in found.rows:
        if last != (row.data, row.ask) and last in pools:
            table.add_row(*_pooled(found, pools[last]))
        table.add_row(
            Text(one_line(row.data) if row.data != last[0] else ""),
            Text(_ASKED.get(row.ask, row.ask) if (row.data, row.ask) != last else ""),
            Text(f"{row.n:,}"),
            Text(f"{row.difference:+g}" if row.difference else "0"),
            Text(f"{row.margin:g}"),
            _rate(found, row.wrong_pass),
            _rate(found, row.wrong_fail),
            Text(f"{row.inconclusive.share:.1%}", style="dim"),
        )
        last = (row.data, row.ask)
    if last in pools:
        table.add_row(*_pooled(found, pools[last]))
    return table


_ASKED = {"non_inferiority": "not worse"}


def _pooled(found: Calibration, pool: Pool) -> list[Text]:
    """The last line of a kind of data: all its sizes together."""
    shares = [
        Text(
            f"{rate.share:.1%} ± {rate.error:.1%}",
            style="bold red" if found.pool_exceeds(rate) else "dim",
        )
        for rate in (pool.wrong_pass, pool.wrong_fail)
    ]
    return [Text(""), Text(""), Text("all", style="dim"), Text(""), Text(""), *shares, Text("")]


def _rate(found: Calibration, rate: Rate | None) -> Text:
    if rate is None:
        return Text("may pass", style="dim")
    style = "bold red" if found.exceeds(rate) else ""
    return Text(f"{rate.share:.1%} ± {rate.error:.1%}", style=style)


def _row_json(found: Calibration, row: Row) -> dict[str, Any]:
    return {
        "data": row.data,
        "asked": row.ask,
        "n": row.n,
        "difference": row.difference,
        "margin": row.margin,
        "simulations": row.inconclusive.simulations,
        "wrong_pass": _rate_json(row.wrong_pass, exceeds=found.exceeds(row.wrong_pass)),
        "wrong_fail": _rate_json(row.wrong_fail, exceeds=found.exceeds(row.wrong_fail)),
        "inconclusive": row.inconclusive.share,
    }


def _pool_json(found: Calibration, pool: Pool) -> dict[str, Any]:
    rates = {"wrong_pass": pool.wrong_pass, "wrong_fail": pool.wrong_fail}
    told = {
        name: _rate_json(rate, exceeds=found.pool_exceeds(rate)) for name, rate in rates.items()
    }
    return {"data": pool.data, "asked": pool.ask, **told}


def _rate_json(rate: Rate | None, *, exceeds: bool) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "share": rate.share,
        "standard_error": rate.error,
        "times": rate.times,
        "simulations": rate.simulations,
        "exceeds_alpha": exceeds,
    }
