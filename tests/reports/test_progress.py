"""Progress: live lines at a terminal, few and readable ones in a log."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from evalkit.progress import Progress
from reports.progress import Part, RichProgress


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _lines(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().splitlines() if line]


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with RichProgress(stream=stream, clock=clock) as progress:
        progress.start("base · chat/answers", 100)
        for _ in range(100):
            clock.now += 1
            progress.advance("base · chat/answers")
    assert _lines(stream) == [
        "base · chat/answers: 30/100 (30%), 1.0/s, about 1 min 10 s left",
        "base · chat/answers: 60/100 (60%), 1.0/s, about 40 s left",
        "base · chat/answers: 90/100 (90%), 1.0/s, about 10 s left",
        "base · chat/answers: 100 done in 1 min 40 s",
    ]


def test_parts_that_take_no_time_say_nothing_in_a_log() -> None:
    clock, stream = Clock(), io.StringIO()
    with RichProgress(stream=stream, clock=clock) as progress:
        progress.start("base · scores", 50)
        progress.advance("base · scores", 50)
        progress.start("base · stored", 50, done=50)
        progress.start("empty", 0)
        progress.advance("never started")
    assert stream.getvalue() == ""


def test_waiting_for_an_earlier_part_does_not_slow_a_later_one() -> None:
    clock, stream = Clock(), io.StringIO()
    with RichProgress(stream=stream, clock=clock) as progress:
        for part in ("first", "second"):
            progress.start(part, 10)
        clock.now = 1000
        progress.advance("first", 10)
        clock.now = 1005
        progress.advance("second", 10)
    assert _lines(stream)[-1] == "second: 10 done in 5 s"


def _batches(part: Part, steps: int, *, every: float, first: float, count: int) -> None:
    """Advance a part by whole batches, the first of which took `first` seconds."""
    now = 0.0
    for batch in range(count):
        since, now = now, now + (every if batch else first)
        part.advance(steps, now, batch, since)


def test_what_was_stored_does_not_count_as_speed() -> None:
    part = Part(name="p", total=100, stored=50, done=50)
    _batches(part, 2, every=2.0, first=2.0, count=5)
    assert part.rate == pytest.approx(1.0)
    assert part.left == pytest.approx(40.0)


def test_loading_before_the_first_batch_does_not_slow_the_rate() -> None:
    part = Part(name="p", total=100, stored=0, done=0)
    _batches(part, 10, every=5.0, first=300.0, count=4)
    assert part.rate == pytest.approx(2.0)
    assert part.worked == pytest.approx(315.0)


def test_a_first_batch_alone_promises_nothing() -> None:
    part = Part(name="p", total=100, stored=0, done=0)
    _batches(part, 64, every=5.0, first=5.0, count=1)
    assert (part.rate, part.left, part.speed()) == (None, None, "")


def test_downloads_are_told_in_bytes() -> None:
    part = Part(name="p", total=5_000_000, stored=0, done=0, unit="B")
    _batches(part, 500_000, every=1.0, first=1.0, count=5)
    assert part.count() == "2.5 MB/5.0 MB"
    assert part.speed() == "500.0 kB/s"


def test_a_note_and_a_message_are_shown_in_a_log() -> None:
    clock, stream = Clock(), io.StringIO()
    with RichProgress(stream=stream, clock=clock) as progress:
        progress.say("Converting once.")
        progress.start("train", 2)
        clock.now = 5
        progress.advance("train", 2, "loss 1.23")
    assert _lines(stream) == ["Converting once.", "train: 2 done in 5 s · loss 1.23"]


def test_quiet_is_quiet() -> None:
    clock, stream = Clock(), Screen()
    with RichProgress(quiet=True, stream=stream, clock=clock) as progress:
        progress.say("something")
        progress.start("train", 2)
        clock.now = 100
        progress.advance("train", 2)
    assert stream.getvalue() == ""


def _drawn(progress: RichProgress, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(progress._render())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_terminal_shows_bar_count_time_left_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock = Clock()
    progress = RichProgress(stream=Screen(), clock=clock)
    progress.start("base · knowledge/everyday-en", 600)
    for _ in range(6):
        clock.now += 5
        progress.advance("base · knowledge/everyday-en", 50, "loss 0.9")
    (line,) = _drawn(progress, 100, 30)
    progress.close()
    assert line.startswith("base · knowledge/everyday-en ━")
    assert line.endswith("300/600 30 s left loss 0.9")


def test_many_parts_fit_the_screen_and_the_rest_is_summed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("COLUMNS", "80")
    clock = Clock()
    progress = RichProgress(stream=Screen(), clock=clock)
    for number in range(40):
        progress.start(f"part {number}", 10, done=10 if number < 20 else 0)
    clock.now = 3
    progress.advance("part 33", 5)
    lines = _drawn(progress, 80, 12)
    progress.close()
    assert len(lines) <= 12
    assert any(line.startswith("part 33") for line in lines)
    assert lines[-1].startswith("20 of 40 parts done")


def test_one_line_remains_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock, stream = Clock(), Screen()
    with RichProgress(stream=stream, clock=clock) as progress:
        progress.start("base", 10, done=4)
        clock.now = 61
        progress.advance("base", 6)
    assert "1 of 1 parts done in 1 min 01 s, 4 steps were done before" in stream.getvalue()


def _advance(progress: RichProgress, times: int) -> None:
    for _ in range(times):
        progress.advance("p")


def test_threads_may_advance_at_once() -> None:
    clock, stream = Clock(), io.StringIO()
    with RichProgress(stream=stream, clock=clock) as progress:
        progress.start("p", 4000)
        work = [threading.Thread(target=_advance, args=(progress, 1000)) for _ in range(4)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert progress._parts["p"].done == 4000


def test_it_speaks_the_protocol() -> None:
    progress: Progress = RichProgress(quiet=True)
    progress.say("")
