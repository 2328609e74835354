"""Models judged against one baseline, side by side: the raw win rate and that at equal lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from evalkit.records import Comparison, JudgeHealth, Judging, Rate
from reports.console import open_console
from reports.wording import one_line


def print_leaderboard(comparisons: Sequence[Comparison], console: Console | None = None) -> None:
    """A row for each model and judge, best at equal lengths first, then what is to be known."""
    console = console or open_console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for title in ("win rate", "at equal lengths", "longer wins", "n", "flagged"):
        table.add_column(title, justify="right", no_wrap=True)
    for comparison, judging, health in _ranked(comparisons):
        name = one_line(comparison.tuned.name)
        table.add_row(
            name if len(judging.judges) == 1 else f"{name} ({one_line(health.judge)})",
            _span(health.win_rate),
            _span(health.length_controlled),
            _share(health.longer_wins),
            f"{health.win_rate.n if health.win_rate else 0:,}",
            _flagged(judging),
        )
    console.print(table)
    console.print(
        f"Win rates in % against {one_line(comparisons[0].base.name)} with their 95 % intervals; "
        "flagged: answers that look like attempts on the judge.",
        style="dim",
        markup=False,
    )


def leaderboard_json(comparisons: Sequence[Comparison], folder: str) -> str:
    """The same for programs: rates as shares from 0 to 1, in the order of the table."""
    rows = [
        {
            "model": comparison.tuned.name,
            "baseline": comparison.base.name,
            "judge": health.judge,
            "win_rate": _rate_json(health.win_rate),
            "length_controlled": _rate_json(health.length_controlled),
            "length_coefficient": _rate_json(health.length_coefficient),
            "longer_wins": _rate_json(health.longer_wins),
            "missing": dict(health.missing),
            "flagged": len(judging.flagged.get("tuned", {})),
            "run": comparison.tuned_path,
        }
        for comparison, judging, health in _ranked(comparisons)
    ]
    return json.dumps({"comparison": folder, "models": rows}, ensure_ascii=False, indent=1)


def _ranked(
    comparisons: Sequence[Comparison],
) -> list[tuple[Comparison, Judging, JudgeHealth]]:
    return sorted(_rows(comparisons), key=lambda row: -_key(row[2]))


def _rows(
    comparisons: Sequence[Comparison],
) -> Iterator[tuple[Comparison, Judging, JudgeHealth]]:
    for comparison in comparisons:
        for judging in comparison.judgings:
            for health in judging.judges:
                yield comparison, judging, health


def _key(health: JudgeHealth) -> float:
    rate = health.length_controlled or health.win_rate
    return rate.value if rate else -1.0


def _flagged(judging: Judging) -> str:
    found = len(judging.flagged.get("tuned", {}))
    return f"{found:,}" if found else ""


def _span(rate: Rate | None) -> str:
    if rate is None:
        return "not known"
    if rate.low is None or rate.high is None:
        return f"{100 * rate.value:.1f}"
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f}–{100 * rate.high:.1f})"


def _share(rate: Rate | None) -> str:
    return "not known" if rate is None else f"{100 * rate.value:.0f}"


def _rate_json(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
