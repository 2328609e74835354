"""What each suite can decide, told before the run: a table, what it rests on, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.noise import USUAL_CORRELATION, USUAL_FLIPS, USUAL_PREFERENCE, USUAL_SPREAD
from reports.console import item, labelled, open_console
from reports.wording import UNKNOWN, decimals, number, one_line, percent, signed

if TYPE_CHECKING:
    from evalkit.config import GateConfig
    from evalkit.noise import Noise, Source
    from evalkit.power import SuitePower

_SOURCE: dict[Source, str] = {
    "pilot": "pilot",
    "one_arm": "one arm",
    "declared": "declared",
    "default": "usual",
    "threshold": "at bound",
    "unknown": "not known",
}
_WHENCE: dict[Source, str] = {
    "pilot": "as the pilot shows; of flips the upper 80 % bound, for few flips are not none",
    "one_arm": "as one arm of the pilot shows, if the scores of both arms correlate with "
    f"{USUAL_CORRELATION:g}",
    "declared": "as gate.expect says",
    "default": f"in no pilot and not declared: {percent(USUAL_FLIPS)} of right-or-wrong scores "
    f"flip, a judge's preferences scatter by {USUAL_PREFERENCE:g}, others by "
    f"{percent(USUAL_SPREAD)} of their scale",
    "threshold": "the scatter of a share that lies at its floor or ceiling",
    "unknown": "a score without a scale, or of a corpus; give --pilot, or declare "
    "gate.expect.deviation of its differences",
}


def print_power(
    rows: Sequence[SuitePower], gate: GateConfig, console: Console | None = None
) -> None:
    """Every suite and gated slice with what its samples can tell, and which are too small."""
    console = console or open_console()
    wide = _table(rows, wide=True)
    endless = console.options.update(width=10_000)
    fits = console.measure(wide, options=endless).maximum <= console.width
    console.print()
    told = f"one-sided at alpha {gate.alpha:g}, with a power of {percent(gate.power)}"
    if any(one.sequential for one in rows):
        told += ", looked at after every block"
    console.print(Text.assemble(("What the gate can decide", "bold"), f"  {told}"))
    console.print(wide if fits else _table(rows, wide=False))
    console.print(_legend(rows))
    console.print(_warnings(rows))


def power_table(rows: Sequence[SuitePower], gate: GateConfig) -> dict[str, Any]:
    """{alpha, power, suites: [{suite, slice, metric, policy, margin, samples, …}]}.

    `deviation` and `flips` are the assumed noise, `noise_source` whence it comes; the others are
    the fields of evalkit.power.SuitePower.
    """
    return {"alpha": gate.alpha, "power": gate.power, "suites": [_row(one) for one in rows]}


def _row(one: SuitePower) -> dict[str, Any]:
    asked = one.asked
    return {
        "suite": asked.suite,
        "slice": asked.slice,
        "metric": asked.metric,
        "unit": asked.scored.unit,
        "kind": asked.scored.kind,
        "policy": asked.policy,
        "margin": asked.margin,
        "threshold": asked.threshold,
        "floor": asked.floor,
        "ceiling": asked.ceiling,
        "samples": one.samples,
        "clusters": one.clusters,
        "deviation": one.noise.deviation,
        "flips": one.noise.flips,
        "noise_source": one.noise.source,
        "detectable": one.detectable,
        "decides": one.decides,
        "chance": one.chance,
        "samples_needed": one.needed,
        "least_margin": one.least_margin,
        "sequential": one.sequential,
        "note": one.note,
    }


def _table(rows: Sequence[SuitePower], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("suite", overflow="fold")
    for title in ("must be", "n", "noise", "detects"):
        table.add_column(title, justify="left" if title == "noise" else "right", no_wrap=True)
    if wide:
        table.add_column("least margin", justify="right", no_wrap=True)
    table.add_column("decides", no_wrap=True)
    table.add_column("needs n", justify="right", no_wrap=True)
    mixed = any(one.sequential for one in rows)
    for one in rows:
        table.add_row(*_cells(one, wide=wide, whole=mixed and not one.sequential))
    return table


def _cells(one: SuitePower, *, wide: bool, whole: bool) -> list[Text]:
    asked, noise = one.asked, one.noise
    name = Text.assemble(one_line(asked.suite), (_part(one), "dim"))
    size = Text(f"{one.samples:,}")
    if whole:
        size.append("\nasked whole", style="dim")
    if one.clusters < one.samples:
        size.append(f"\n{one.clusters:,} clusters", style="dim")
    scatter, source = _scatter(noise, one), _SOURCE[noise.source]
    joint = ", " if wide else "\n"
    told = Text.assemble(scatter, (f"{joint}{source}" if scatter else source, "dim"))
    least = "" if one.least_margin is None else number(one.least_margin)
    detects = Text(number(one.detectable, decimals(one.detectable)))
    if not wide and least:
        detects.append(f"\nleast {least}", style="dim")
    needed = Text(UNKNOWN if one.needed is None else f"{one.needed:,}")
    row = [name, Text(_must_be(one)), size, told, detects]
    return [*row, *([Text(least)] if wide else []), _decides(one), needed]


def _part(one: SuitePower) -> str:
    return f"\n{one_line(one.asked.slice)}" if one.asked.slice else ""


def _must_be(one: SuitePower) -> str:
    """What tuned − base must be, or the tuned score itself, as short as it can be said."""
    asked = one.asked
    digits = decimals(asked.margin)
    match asked.policy:
        case "absolute":
            words = (("≥", asked.floor), ("≤", asked.ceiling))
            return ", ".join(
                f"{mark} {number(value)}" for mark, value in words if value is not None
            )
        case "equivalence":
            return f"± {number(asked.margin, digits)}"
        case _:
            sign = 1 if asked.policy == "superiority" else -1
            if asked.scored.higher_is_better is False:
                return f"< {signed(-sign * asked.margin, digits)}"
            return f"> {signed(sign * asked.margin, digits)}"


def _scatter(noise: Noise, one: SuitePower) -> str:
    if noise.deviation is None:
        return ""
    if noise.flips is not None:
        return f"{percent(noise.flips)} flip"
    digits = decimals(one.asked.margin, noise.deviation)
    return f"±{number(noise.deviation, digits)}"


def _decides(one: SuitePower) -> Text:
    if one.decides is None:
        return Text(UNKNOWN)
    return Text("✓ yes", style="green") if one.decides else Text("✗ no", style="yellow")


def _legend(rows: Sequence[SuitePower]) -> RenderableType:
    """Where the noise is from, and what the columns say."""
    sources = dict.fromkeys(one.noise.source for one in rows)
    lines: list[RenderableType] = [
        item(Text("·", style="dim"), f"noise, {_SOURCE[source]}: {_WHENCE[source]}")
        for source in sources
    ]
    text = "must be: tuned − base, beyond doubt; with ≥ or ≤ the tuned score itself"
    lines.append(item(Text("·", style="dim"), text))
    lines.append(
        item(
            Text("·", style="dim"),
            "detects: so far must a threshold lie from an unchanged model to be told from it; "
            "a margin at least as wide can be decided",
        )
    )
    if any(one.least_margin is not None for one in rows):
        text = "least margin: not one flip among n samples meets a smaller one"
        lines.append(item(Text("·", style="dim"), text))
    return Group(*lines, "")


def _warnings(rows: Sequence[SuitePower]) -> RenderableType:
    """What cannot be decided, one line each, and what to do; a word where all can."""
    mark = Text("!", style="yellow")
    lines: list[RenderableType] = [item(mark, text) for text in warnings(rows)]
    return Group(*lines, labelled("Power", _summary(rows)))


def _summary(rows: Sequence[SuitePower]) -> str:
    answers = [one.decides for one in rows]
    if False in answers:
        open_ones = [one for one in rows if one.decides is False]
        told = f"{len(open_ones)} of {len(rows)} margins cannot be decided."
        if all(one.asked.policy == "superiority" for one in open_ones):
            return (
                f"{told} Take more samples, or accept that only a model much better than its "
                "margin passes there."
            )
        return (
            f"{told} Declare wider margins, take more samples, or accept that a model as good as "
            "the base may end inconclusive there."
        )
    if True not in answers:
        return "of no suite is it known or asked whether its margin can be decided"
    known = all(one.noise.deviation is not None for one in rows)
    return f"every margin{'' if known else ' whose noise is known'} can be decided"


def warnings(rows: Sequence[SuitePower]) -> Iterator[str]:
    """A sentence for each suite or slice that is too small for its margin."""
    for one in rows:
        if one.decides is False:
            asked = one.asked
            name = f"{asked.suite}, {asked.slice}" if asked.slice else asked.suite
            yield f"{one_line(name)}: {_why(one)}{_remedy(one)}"


def _why(one: SuitePower) -> str:
    margin = number(one.asked.margin, decimals(one.asked.margin))
    if one.note:
        return one.note
    if not one.asked.margin:
        return "a margin of 0 is never met by an unchanged model, however many the samples"
    if one.least_margin is not None and one.asked.margin <= one.least_margin:
        return (
            f"{one.samples:,} samples can never meet a margin of {margin}, "
            "even if not one answer changes"
        )
    meets = "is refused" if one.asked.policy == "superiority" else "passes"
    times = round(100 * (one.chance or 0.0))
    return (
        f"{one.samples:,} samples are too few for a margin of {margin}: an unchanged model {meets} "
        f"{times} times out of 100"
    )


def _remedy(one: SuitePower) -> str:
    ways = []
    if one.asked.policy == "superiority":
        return _remedy_of_superiority(one)
    if one.detectable is not None:
        digits = decimals(one.detectable)
        enough = math.ceil(one.detectable * 10**digits) / 10**digits  # rounded, it might not do
        ways.append(f"a margin of {number(enough, digits)}")
    if one.needed is not None:
        ways.append(f"about {one.needed:,} samples")
    return f"; {' or '.join(ways)} would do" if ways else ""


def _remedy_of_superiority(one: SuitePower) -> str:
    """A wider margin would only make it harder to pass: how good a model must be instead."""
    ways = []
    if one.detectable is not None:
        needed = one.asked.margin + one.detectable
        digits = decimals(needed)
        better = number(math.ceil(needed * 10**digits) / 10**digits, digits)
        ways.append(f"it takes a model that is better by {better} to pass with the power asked")
    if one.needed is not None:
        ways.append(f"about {one.needed:,} samples would do")
    return f"; {', or '.join(ways)}" if ways else ""
