"""What a person at a terminal, or a reader of a CI log, is told: verdict, plan, one run.

All that is printed can be had from here, whichever file it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.gate import MEANING, worst
from evalkit.records import Comparison, Outcome, Run, SuiteVerdict, Verdict
from reports.console import item, labelled
from reports.console import open_console as open_console
from reports.listing import print_findings as print_findings
from reports.listing import print_suite as print_suite
from reports.listing import print_suites as print_suites
from reports.progress import RichProgress as RichProgress
from reports.summary import MetricSummary, summarise
from reports.wording import (
    BOUND_NOTE,
    SYMBOL,
    decimals,
    direction,
    duration,
    interval,
    metric_label,
    missing_text,
    needs_bound_note,
    number,
    one_line,
    reason,
    signed,
    some_ids,
    span,
    tally,
)

if TYPE_CHECKING:
    from evalkit.evaluate import SuitePlan

STYLE: dict[Outcome, str] = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def print_verdict(
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    console: Console | None = None,
) -> None:
    """A table for each tuned arm, canaries that are not well, and what to do."""
    console = console or open_console()
    console.print()
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        console.print(_title(comparison))
        console.print(_table(verdict.suites, console))
        console.print(_explanations(comparison, verdict))
    console.print(_ending(comparisons, verdicts))


def _title(comparison: Comparison) -> Text:
    title = Text(one_line(comparison.tuned.name), style="bold")
    title.append(f" against {one_line(comparison.base.name)}", style="not bold")
    return title


def _table(suites: Sequence[SuiteVerdict], console: Console) -> Table:
    """One line a suite where all of it fits, else two."""
    wide = _table_of(suites, wide=True)
    endless = console.options.update(width=10_000)
    fits = console.measure(wide, options=endless).maximum <= console.width
    return wide if fits else _table_of(suites, wide=False)


def _table_of(suites: Sequence[SuiteVerdict], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("suite", overflow="fold")
    if wide:
        table.add_column("metric", overflow="fold")
    table.add_column("base", justify="right", no_wrap=True)
    table.add_column("tuned", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    if wide:
        table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in suites:
        table.add_row(*(_wide_row(one) if wide else _narrow_row(one)))
    return table


def _wide_row(one: SuiteVerdict) -> list[Text]:
    base, tuned, change, bounds, n = _numbers(one)
    return [
        Text(one_line(one.suite)), _metric(one), base, tuned, change, bounds, n, outcome_text(one),
    ]  # fmt: skip


def _narrow_row(one: SuiteVerdict) -> list[Text]:
    """Two lines: the metric below its suite, the interval below its difference."""
    base, tuned, change, bounds, n = _numbers(one)
    suite = Text.assemble(one_line(one.suite), "\n", _metric(one))
    return [suite, base, tuned, Text.assemble(change, "\n", bounds), n, outcome_text(one)]


def _metric(one: SuiteVerdict) -> Text:
    return Text(metric_label(one.delta.metric) if one.delta else "", style="dim")


def _numbers(one: SuiteVerdict) -> list[Text]:
    delta = one.delta
    if delta is None:
        return [Text("–"), Text("–"), Text("–"), Text("–"), Text("0")]
    digits = decimals(delta.base, delta.tuned)
    return [
        Text(number(delta.base, digits)),
        Text(number(delta.tuned, digits)),
        Text(signed(delta.difference, digits), style="bold"),
        Text(interval(delta.low, delta.high, digits), style="dim"),
        Text(f"{delta.n:,}"),
    ]


def outcome_text(one: SuiteVerdict | Verdict) -> Text:
    """Symbol and word in the outcome's colour: the colour never stands alone."""
    return Text(f"{SYMBOL[one.outcome]} {one.outcome}", style=STYLE[one.outcome])


def _explanations(comparison: Comparison, verdict: Verdict) -> RenderableType:
    """Why a suite did not pass, what is missing, and which canaries are not well."""
    lines: list[RenderableType] = []
    for one in verdict.suites:
        if one.outcome != "pass":
            mark = Text(SYMBOL[one.outcome], style=STYLE[one.outcome])
            lines.append(item(mark, f"{one_line(one.suite)}: {reason(one, comparison)}"))
        alone = comparison.unpaired.get(one.suite, ())
        names = one_line(comparison.base.name), one_line(comparison.tuned.name)
        missing = missing_text(one.delta, alone, *names) if one.delta else ""
        if missing:
            ids = f": {some_ids(alone)}" if alone else ""
            lines.append(item(Text("!"), f"{one_line(one.suite)}: {missing}{ids}"))
    for check in verdict.checks:
        if check.status != "ok":
            style = "bold red" if check.status == "failed" else "yellow"
            word = "canary failed" if check.status == "failed" else "canary warns"
            mark = Text("✗" if check.status == "failed" else "!", style=style)
            lines.append(item(mark, f"{word}: {one_line(check.name)}: {one_line(check.message)}"))
    deltas = [one.delta for one in verdict.suites if one.delta]
    if any(direction(delta.metric) == "↓" for delta in deltas):
        lines.append(item(Text("↓", style="dim"), "lower is better"))
    if any(needs_bound_note(one) for one in verdict.suites):
        lines.append(item(Text("·", style="dim"), BOUND_NOTE))
    return Group(*lines, "")


def _ending(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> RenderableType:
    """The verdict, the exit code with its meaning, and the line that says what to do."""
    last = worst(verdicts)
    lines: list[RenderableType] = []
    if len(verdicts) > 1:
        for comparison, verdict in zip(comparisons, verdicts, strict=True):
            mark = Text(SYMBOL[verdict.outcome], style=STYLE[verdict.outcome])
            text = f"{one_line(comparison.tuned.name)}: {verdict.outcome} ({tally(verdict)})"
            lines.append(item(mark, text))
        lines.append("")
    head = Text.assemble(
        ("Verdict    ", "dim"), (last.outcome.upper(), STYLE[last.outcome] + " bold"),
        f"  {tally(last)}" if len(verdicts) == 1 else "  the arm that is hardest to ship decides",
    )  # fmt: skip
    meaning = MEANING[last.exit_code].partition(": ")[2] or MEANING[last.exit_code]
    lines += [
        head,
        labelled("Exit code", f"{int(last.exit_code)}, {meaning}"),
        *(labelled("What to do", one_line(verdict.advice)) for verdict in verdicts),
    ]
    return Group(*lines)


def print_plan(
    costs: Sequence[SuitePlan],
    unique_tokens: int,
    notes: Sequence[str] = (),
    seconds: float | None = None,
    console: Console | None = None,
) -> None:
    """What a run would ask, before anything heavy is loaded."""
    console = console or open_console()
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim",
        show_footer=True,
    )  # fmt: skip
    arms = list(dict.fromkeys(one.arm for one in costs))
    table.add_column("suite", "total", overflow="fold")
    if len(arms) > 1:
        table.add_column("arm", f"{len(arms)} arms", overflow="fold")
    for title, field in _PLAN_COLUMNS:
        total = sum(getattr(one, field) for one in costs)
        table.add_column(title, f"{total:,}", justify="right", no_wrap=True)
    for one in sorted(costs, key=lambda one: [c.suite for c in costs].index(one.suite)):
        names = [one_line(one.suite), *([one_line(one.arm)] if len(arms) > 1 else [])]
        counts = [f"{getattr(one, field):,}" for _, field in _PLAN_COLUMNS]
        table.add_row(*map(Text, (*names, *counts)))
    console.print(table)
    console.print(_plan_facts(costs, unique_tokens, seconds))
    for note in notes:
        console.print(item(Text("!"), one_line(note)))


_PLAN_COLUMNS = (
    ("samples", "samples"),
    ("requests", "requests"),
    ("stored", "stored"),
    ("tokens", "tokens"),
    ("new, at most", "new_tokens"),
)


def _plan_facts(costs: Sequence[SuitePlan], unique: int, seconds: float | None) -> RenderableType:
    open_ones = sum(one.requests - one.stored for one in costs)
    tokens = sum(one.tokens for one in costs)
    facts = [labelled("To answer", f"{open_ones:,} requests; what is stored is not asked again")]
    if tokens:
        share = f", {unique / tokens:.0%} of all" if unique < tokens else ""
        text = f"{unique:,} unique prompt tokens{share}: shared beginnings counted once"
        facts.append(labelled("Tokens", text))
    if seconds is not None:
        facts.append(labelled("Time", f"about {duration(seconds)}"))
    return Group(*facts)


def print_run(run: Run, console: Console | None = None) -> None:
    """One arm alone: every metric with its 95 % interval, and what is missing."""
    console = console or open_console()
    rows = summarise(run)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("suite", overflow="fold")
    table.add_column("metric", overflow="fold")
    for title in ("value", "95 % interval", "n", "missing"):
        table.add_column(title, justify="right", no_wrap=True)
    before = ""
    for row in rows:
        table.add_row(*_run_row(row, first=row.suite != before))
        before = row.suite
    console.print()
    console.print(Text(one_line(run.manifest.name), style="bold"))
    console.print(table)
    if any(direction(row.metric) == "↓" for row in rows):
        console.print(item(Text("↓", style="dim"), "lower is better"))
    if run.path:
        console.print(labelled("Run", run.path))


def _run_row(row: MetricSummary, *, first: bool) -> list[Text]:
    digits = decimals(row.value)
    name = one_line(row.suite) if first else ""
    return [
        Text(name),
        Text(metric_label(row.metric), style="bold" if row.gated else ""),
        Text(number(row.value, digits), style="bold" if row.gated else ""),
        Text(span(row.low, row.high, digits), style="dim"),
        Text(f"{row.n:,}"),
        Text(f"{row.missing:,}", style="yellow" if row.missing else "dim"),
    ]
