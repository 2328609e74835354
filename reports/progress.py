"""Progress on stderr: live lines for people at a terminal, few plain lines for logs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.wording import clean, duration, one_line

_LOG_EVERY = 30.0  # seconds between two plain lines, whichever part they tell of
_BRIEF = 1.0  # a part that took less was not worth a line
_BATCH = 0.5  # seconds; answers that come closer together are taken for one batch
_TIMED_STEPS = 3  # a rate from fewer steps, or from less time, would be a guess
_TIMED_SECONDS = 3.0


@dataclass(slots=True)
class Part:
    """One named stretch of work and how far it is; times are in seconds of the given clock.

    Answers come in batches, and a batch may hold steps of several parts. So only whole batches
    count for the rate, each with the time since the batch before it (of whatever part: a part that
    waits for others is not slow), and the first does not count: models are loaded before it.
    """

    name: str
    total: int
    stored: int
    done: int
    unit: str = ""
    note: str = ""
    begun: bool = False
    touched: float = 0.0
    worked: float = 0.0  # all its batches, also the time before its first step
    timed_steps: int = 0
    timed: float = 0.0
    _timing: bool = False  # the first batch is over
    _batch: int = 0
    _batch_steps: int = 0
    _batch_time: float = 0.0

    @property
    def finished(self) -> bool:
        """Nothing is left to do."""
        return self.done >= self.total

    @property
    def active(self) -> bool:
        """Begun in this session, and not finished."""
        return not self.finished and self.begun

    @property
    def rate(self) -> float | None:
        """Steps a second; None until there is enough to tell it from."""
        enough = self.timed_steps >= _TIMED_STEPS and self.timed >= _TIMED_SECONDS
        return self.timed_steps / self.timed if enough else None

    @property
    def left(self) -> float | None:
        """Seconds to go at this rate."""
        return None if self.rate is None else (self.total - self.done) / self.rate

    def advance(self, steps: int, now: float, batch: int, since: float) -> None:
        """Count steps of the batch with that number; the batch before it ended at `since`."""
        gap = max(0.0, now - max(self.touched, since))
        if not self.begun:
            self.begun, self._batch = True, batch
        elif batch != self._batch:
            self.timed_steps += self._batch_steps
            self.timed += self._batch_time
            self._batch, self._batch_steps, self._batch_time = batch, steps, gap
            self._timing = True
        elif self._timing:
            self._batch_steps += steps
            self._batch_time += gap
        self.worked += gap
        self.touched = now
        self.done = min(self.total, self.done + steps)

    def count(self) -> str:
        """How much of how much, in the part's own unit."""
        if self.unit == "B":
            return f"{decimal(self.done)}/{decimal(self.total)}"
        return f"{self.done:,}/{self.total:,}"

    def speed(self) -> str:
        """The rate, in words; empty where it is not known."""
        if self.rate is None:
            return ""
        if self.unit == "B":
            return f"{decimal(round(self.rate))}/s"
        return f"{self.rate:.1f}/s" if self.rate >= 0.95 else f"{1 / self.rate:.1f} s each"


class RichProgress:
    """`evalkit.progress.Progress` on stderr; use it as a context manager.

    At a terminal every open part has a line with bar, count, rate, time left and note; what does
    not fit on the screen is summed up in one line, and at the end one line remains. Elsewhere there
    is a line every 30 seconds, of the part that moves, and one when a part ends. Safe to call from
    several threads.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._clock = clock
        self._parts: dict[str, Part] = {}
        self._lock = threading.RLock()
        self._begun = self._last = self._logged = clock()
        self._batch, self._batch_begun, self._batch_since = 0, self._begun, self._begun
        self._live: Live | None = None

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        """Begin a part, or begin it anew; a part of no steps is not shown."""
        with self._lock:
            now = self._last = self._clock()
            if total > 0:
                self._parts[part] = Part(
                    name=one_line(part), total=total, stored=done, done=done, unit=unit, touched=now
                )
            self._show()

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        """Move a part on; steps of a part that was never started are ignored."""
        with self._lock:
            mine = self._parts.get(part)
            if mine is None:
                return
            now = self._clock()
            if now - self._batch_begun >= _BATCH:
                self._batch, self._batch_begun, self._batch_since = self._batch + 1, now, self._last
            mine.advance(steps, now, self._batch, self._batch_since)
            self._last = now
            mine.note = one_line(note, 40) if note else mine.note
            self._log(mine, now)

    def say(self, message: str) -> None:
        """A message above the bars, in the lines it was written in."""
        if not self._quiet:
            self._console.print(Text(clean(message)))

    def close(self) -> None:
        """Take the bars away and leave one line; closing twice is harmless."""
        with self._lock:
            live, self._live = self._live, None
            if live is not None:
                live.stop()
                if self._parts:
                    self._console.print(Text(self._summary(), style="dim"))
            self._parts.clear()

    def _show(self) -> None:
        if self._quiet or not self._console.is_terminal or self._live is not None:
            return
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            transient=True,
            refresh_per_second=6,
            vertical_overflow="ellipsis",
        )
        self._live.start()

    def _log(self, part: Part, now: float) -> None:
        if self._quiet or self._console.is_terminal:
            return
        if part.finished:
            if part.worked >= _BRIEF:
                took = duration(part.worked)
                self._print(f"{part.name}: {part.total:,} done in {took}{_tail(part)}")
        elif now - self._logged >= _LOG_EVERY:
            self._logged = now
            left = (
                "" if part.left is None else f", {part.speed()}, about {duration(part.left)} left"
            )
            share = f"{part.done / part.total:.0%}"
            self._print(f"{part.name}: {part.count()} ({share}){left}{_tail(part)}")

    def _print(self, line: str) -> None:
        self._console.print(Text(line))

    def _render(self) -> RenderableType:
        with self._lock:
            shown = _choose(list(self._parts.values()), max(1, self._console.height - 3))
            wide = self._console.width >= 100
            table = Table.grid(padding=(0, 1), expand=False)
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=None)
            for _ in range(4 if wide else 3):
                table.add_column(no_wrap=True, justify="right")
            table.add_column(no_wrap=True, overflow="ellipsis")
            for part in shown:
                table.add_row(*_row(part, wide))
            hidden = len(self._parts) - len(shown)
            if hidden:
                table.add_row(Text(self._summary(), style="dim"))
            return table

    def _summary(self) -> str:
        parts = list(self._parts.values())
        finished = [part for part in parts if part.finished]
        stored = sum(part.stored for part in parts if part.unit != "B")
        text = (
            f"{len(finished)} of {len(parts)} parts done in {duration(self._clock() - self._begun)}"
        )
        return f"{text}, {stored:,} steps were done before" if stored else text


def _choose(parts: list[Part], room: int) -> list[Part]:
    """The parts worth a line, in their order: the active first, then waiting, then long ones."""

    def weight(part: Part) -> int:
        if part.active:
            return 0
        if not part.finished:
            return 1
        return 2 if part.worked >= _BRIEF else 3

    chosen = sorted((part for part in parts if weight(part) < 3), key=weight)[:room]
    names = {part.name for part in chosen}
    return [part for part in parts if part.name in names and weight(part) < 3]


def _row(part: Part, wide: bool) -> list[RenderableType]:
    name = Text(part.name)
    bar = ProgressBar(total=part.total, completed=part.done, width=24 if wide else 12)
    if part.finished:
        when = Text(duration(part.worked) if part.worked >= _BRIEF else "done", style="dim")
    elif not part.active:
        when = Text("waiting", style="dim")
    else:
        when = Text("" if part.left is None else f"{duration(part.left)} left")
    cells: list[RenderableType] = [name, bar, Text(part.count())]
    if wide:
        cells.append(Text(part.speed(), style="dim"))
    return [*cells, when, Text(part.note, style="dim")]


def _tail(part: Part) -> str:
    return f" · {part.note}" if part.note else ""
