"""What a person at a terminal, or a reader of a CI log, is told: verdict, plan, one run.

All that is printed can be had from here, whichever file it lies in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.gate.decide import meaning
from evalkit.gate.trust import NAME as TRUST
from evalkit.records import Comparison, Outcome, Run, SuiteVerdict, Verdict
from reports.console import item, labelled
from reports.console import open_console as open_console
from reports.formats import remarks
from reports.judging.terminal import print_judgings
from reports.listing import print_findings as print_findings
from reports.listing import print_suite as print_suite
from reports.listing import print_suites as print_suites
from reports.plan import print_plan as print_plan
from reports.power import print_power as print_power
from reports.profile import print_profile as print_profile
from reports.progress import RichProgress as RichProgress
from reports.repeats import repeated
from reports.retained import HEADS, rows
from reports.steps import Curve, caution, curves, deciding, speaking
from reports.summary import MetricSummary, summarise
from reports.wording import (
    BOUND_NOTE,
    SEQUENCE_NOTE,
    SYMBOL,
    UNKNOWN,
    decimals,
    departure_text,
    direction,
    early_text,
    metric_label,
    missing_text,
    needs_bound_note,
    needs_sequence_note,
    number,
    one_line,
    reason,
    sample_count,
    saved_text,
    shown_interval,
    signed,
    some_ids,
    span,
    tally,
    win_rate_text,
)

STYLE: dict[Outcome, str] = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def print_verdict(
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
    console: Console | None = None,
) -> None:
    """A table for each tuned arm, canaries that are not well, and what to do.

    Checkpoints of one training run are also put side by side.
    """
    console = console or open_console()
    console.print()
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        console.print(_title(comparison))
        console.print(_table(verdict.suites, console))
        _print_retained(comparison, console)
        console.print(_explanations(comparison, verdict))
        print_judgings(comparison, console)
    for curve in curves(comparisons, verdicts):
        if len(curve.steps) > 1:
            _print_curve(curve, console)
    console.print(_ending(comparisons, verdicts))


def _print_retained(comparison: Comparison, console: Console) -> None:
    """What was kept and lost of each ability, where a set of suites was asked."""
    matrix = rows(comparison)
    if not matrix:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    shown = [place for place, head in enumerate(HEADS) if head not in ("Metric", HEADS[-1])]
    for place in shown:
        numeric = place > HEADS.index("Metric")
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(HEADS[place].lower(), justify=justify, overflow="fold")
    for row in matrix:
        table.add_row(*(Text(one_line(row[place])) for place in shown))
    console.print(table)


def _print_curve(curve: Curve, console: Console) -> None:
    """Every suite's gated metric, step by step."""
    console.print(Text(f"{curve.run} over its training", style="bold"))
    for places in _cut(curve, console):
        console.print(_steps_table(curve, places))
    console.print(item(Text("★"), caution(curve)))
    console.print(item(Text("·", style="dim"), "✓ pass, ✗ fail, ? inconclusive at that step"))
    console.print()


def _cut(curve: Curve, console: Console) -> list[range]:
    """The steps in as few tables as the console is wide for."""
    count, endless = len(curve.steps), console.options.update(width=10_000)
    for size in range(count, 0, -1):
        parts = [range(at, min(at + size, count)) for at in range(0, count, size)]
        tables = [_steps_table(curve, part) for part in parts]
        widest = max(console.measure(one, options=endless).maximum for one in tables)
        if widest <= console.width or size == 1:
            return parts
    raise AssertionError("a curve has at least one step")


def _steps_table(curve: Curve, places: range) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("suite", overflow="fold")
    table.add_column("base", justify="right", no_wrap=True)
    for place in places:
        star = " ★" if place == curve.best else ""
        table.add_column(f"step {curve.steps[place]:,}{star}", justify="right", no_wrap=True)
    for name in curve.suites:
        found = curve.of_suite(name)
        first = next((one for one in found if one and one.delta), None)
        delta = first.delta if first else None
        label = Text.assemble(one_line(name), "\n", _metric(first) if first else "")
        base = Text(number(delta.base, decimals(delta.base)) if delta else UNKNOWN)
        table.add_row(label, base, *(_step_cell(found[place]) for place in places))
    marks = [Text(SYMBOL[v.outcome], style=STYLE[v.outcome]) for v in curve.verdicts]
    table.add_row(Text("verdict", style="bold"), "", *(marks[place] for place in places))
    return table


def _step_cell(one: SuiteVerdict | None) -> Text:
    if one is None:
        return Text(UNKNOWN)
    delta = one.delta
    value = number(delta.tuned, decimals(delta.base, delta.tuned)) if delta else UNKNOWN
    return Text.assemble(value, " ", (SYMBOL[one.outcome], STYLE[one.outcome]))


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
        Text(one_line(one.label)), _metric(one), base, tuned, change, bounds, n, outcome_text(one),
    ]  # fmt: skip


def _narrow_row(one: SuiteVerdict) -> list[Text]:
    """Two lines: the metric below its suite, the interval below its difference."""
    base, tuned, change, bounds, n = _numbers(one)
    suite = Text.assemble(one_line(one.label), "\n", _metric(one))
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
        Text(shown_interval(one, digits), style="dim"),
        Text(sample_count(delta)),
    ]


def outcome_text(one: SuiteVerdict | Verdict) -> Text:
    """Symbol and word in the outcome's colour: the colour never stands alone."""
    return Text(f"{SYMBOL[one.outcome]} {one.outcome}", style=STYLE[one.outcome])


def _explanations(comparison: Comparison, verdict: Verdict) -> RenderableType:
    """Why a suite did not pass, what is missing, and which canaries are not well."""
    lines = [line for one in verdict.suites for line in _of_suite(comparison, one)]
    for one in remarks(comparison, verdict):
        mark = Text("!", style="yellow") if one.warns else Text("·", style="dim")
        lines.append(item(mark, f"{one_line(one.suite)}: {one.text}"))
    for check in verdict.checks:
        if check.status != "ok" and check.name != TRUST:  # that is told of each judging
            style = "bold red" if check.status == "failed" else "yellow"
            word = "canary failed" if check.status == "failed" else "canary warns"
            mark = Text("✗" if check.status == "failed" else "!", style=style)
            lines.append(item(mark, f"{word}: {one_line(check.name)}: {one_line(check.message)}"))
    for suite, text in repeated(verdict):
        lines.append(item(Text("·", style="dim"), f"{one_line(suite)}: {text}"))
    deltas = [one.delta for one in verdict.suites if one.delta]
    if any(direction(delta.metric) == "↓" for delta in deltas):
        lines.append(item(Text("↓", style="dim"), "lower is better"))
    if any(needs_bound_note(one) for one in verdict.suites):
        lines.append(item(Text("·", style="dim"), BOUND_NOTE))
    if needs_sequence_note(verdict):
        lines.append(item(Text("·", style="dim"), SEQUENCE_NOTE))
    return Group(*lines, "")


def _of_suite(comparison: Comparison, one: SuiteVerdict) -> Iterator[RenderableType]:
    if one.outcome != "pass":
        mark = Text(SYMBOL[one.outcome], style=STYLE[one.outcome])
        yield item(mark, f"{one_line(one.label)}: {reason(one, comparison)}")
    elif one.delta and one.delta.planned:
        yield item(Text("·"), f"{one_line(one.label)}: {early_text(one.delta)}")
    if one.delta and win_rate_text(one.delta):
        yield item(Text("·", style="dim"), f"{one_line(one.label)}: {win_rate_text(one.delta)}")
    if one.slice:
        return  # what its suite is missing is told of the suite
    alone = comparison.unpaired.get(one.suite, ())
    names = one_line(comparison.base.name), one_line(comparison.tuned.name)
    missing = missing_text(one.delta, alone, *names) if one.delta else ""
    if missing:
        ids = f": {some_ids(alone)}" if alone else ""
        yield item(Text("!"), f"{one_line(one.label)}: {missing}{ids}")


def _ending(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> RenderableType:
    """The verdict, the exit code with its meaning, and the line that says what to do."""
    _, last = deciding(comparisons, verdicts)
    lines: list[RenderableType] = []
    if len(verdicts) > 1:
        for comparison, verdict in zip(comparisons, verdicts, strict=True):
            mark = Text(SYMBOL[verdict.outcome], style=STYLE[verdict.outcome])
            text = f"{one_line(comparison.tuned.name)}: {verdict.outcome} ({tally(verdict)})"
            lines.append(item(mark, text))
        lines.append("")
    head = Text.assemble(
        ("Verdict    ", "dim"), (last.outcome.upper(), STYLE[last.outcome] + " bold"),
        f"  {_who_decides(comparisons, verdicts)}",
    )  # fmt: skip
    told = meaning(last)
    other = departure_text(verdicts[0], comparisons[0].base.name)
    lines += [
        head,
        labelled("Exit code", f"{int(last.exit_code)}, {told.partition(': ')[2] or told}"),
        *([labelled("Gate", one_line(other))] if other else []),
        *([labelled("Saved", text)] if (text := saved_text(comparisons)) else []),
        *(
            labelled("What to do", one_line(verdict.advice))
            for _, verdict in speaking(comparisons, verdicts)
        ),
    ]
    return Group(*lines)


def _who_decides(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    if len(verdicts) == 1:
        return tally(verdicts[0])
    arms = speaking(comparisons, verdicts)
    if len(arms) == 1:
        return f"the best checkpoint decides: {one_line(arms[0][0].tuned.name)}"
    if len(arms) == len(verdicts):
        return "the arm that is hardest to ship decides"
    return "the best checkpoint and the other arms: the one hardest to ship decides"


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
