"""What `judge labels import` and `judge export` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.records import Rate
from reports.console import labelled, open_console
from reports.wording import UNKNOWN, number, one_line, percent

if TYPE_CHECKING:
    from evalkit.judges.export import Picked
    from evalkit.judging.labelling import Agreed, Counted, Labelled

_FEW = 20  # labelled samples below which a share says little


def print_labelled(done: Labelled, console: Console | None = None) -> None:
    """What was read and kept, what people prefer, and how far the judges say the same."""
    console = console or open_console()
    for file, read in done.read.items():
        words = f"{len(read.votes):,} filled in, {read.empty:,} left empty"
        console.print(labelled("Read", f"{one_line(str(file))}: {words}"))
        for note in read.notes:
            console.print(labelled("", one_line(note)))
    kept = f"{done.added.new:,} new, {done.added.changed:,} changed, in {done.file}"
    console.print(labelled("Kept", one_line(kept)))
    console.print()
    console.print(_counted(done.counted))
    if done.agreed:
        console.print(_agreed(done.agreed))
        few = min((_samples(one) for one in done.agreed), default=0)
        if few < _FEW:
            console.print(f"{few} labelled samples say little: the more, the narrower.")
    else:
        console.print("No judge has judged these samples: there is nothing to agree with.")
    console.print(
        labelled("Next", "name that file under judge: labels:, and run `evalkit compare` again")
    )


def _counted(found: Sequence[Counted]) -> Table:
    table = _table("suite", "rubric")
    for name in ("samples", "people", "tuned", "base", "tie", "skipped"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        counts = (one.samples, one.people, one.tuned, one.base, one.tied, one.skipped)
        table.add_row(*_texts(one.suite, one.rubric, *(f"{count:,}" for count in counts)))
    return table


def _agreed(found: Sequence[Agreed]) -> Table:
    table = _table("suite", "rubric", "judge")
    for name in ("agrees with people", "kappa", "people with each other"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        told = one.agreement
        shares = _share(told.judge), number(told.kappa, 2), _share(told.people)
        table.add_row(*_texts(one.suite, one.rubric, one.judge, *shares))
    return table


def _samples(one: Agreed) -> int:
    return one.agreement.judge.n if one.agreement.judge else 0


def _share(rate: Rate | None) -> str:
    """A share with its interval, and of how many samples."""
    if rate is None:
        return UNKNOWN
    bounds = ""
    if rate.low is not None and rate.high is not None:
        bounds = f" ({percent(rate.low).removesuffix(' %')}–{percent(rate.high)})"
    return f"{percent(rate.value)}{bounds}, n = {rate.n:,}"


def print_picked(picked: Picked, file: Path, console: Console | None = None) -> None:
    """How many pairs there are from whom, and what was left out."""
    console = console or open_console()
    for source, title in (("human", "people"), ("ai", "judges")):
        mine = [one for one in picked.picks if one.source == source]
        if mine:
            tuned = sum(one.chosen_arm == "tuned" for one in mine)
            words = f"{len(mine):,} preferred by {title}: {tuned:,} of the tuned arm's answers, "
            console.print(labelled("Pairs", f"{words}{len(mine) - tuned:,} of the base's"))
    for why, count in sorted(picked.left_out.items(), key=lambda item: -item[1]):
        console.print(labelled("Left out", f"{count:,} {why}"))
    if picked.picks:
        console.print(labelled("Written", one_line(str(file))))
        suites = ", ".join(dict.fromkeys(one.suite for one in picked.picks))
        note = f"a model trained on these has seen {suites}: do not gate it by them any more"
        console.print(labelled("Note", one_line(note)))


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _texts(*cells: str) -> list[Text]:
    return [Text(one_line(cell)) for cell in cells]
