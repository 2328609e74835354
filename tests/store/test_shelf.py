"""The shelf: when answers go into the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from evalkit.records import Completion, StopReason
from evalkit.store import shelf
from evalkit.store.shelf import KEEP_AFTER, SHARE, Shelf


class Clock:
    """A time that passes when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        """Seconds."""
        return self.now


class Store:
    """Notes what is put into it, and takes its time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.put_together: list[list[str]] = []

    def put(self, answers: Sequence[Completion]) -> None:
        """Keep their keys."""
        self.put_together.append([one.key for one in answers])
        self.clock.now += self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(shelf, "time", made)
    return made


def done(key: object, stop_reason: StopReason = "stop") -> Completion:
    return Completion(key=str(key), stop_reason=stop_reason)


def filled(store: Any, clock: Clock, moments: Sequence[float], **given: Any) -> list[list[str]]:
    """What was stored together of texts that end at these moments, before the last was asked of."""
    with Shelf(store, **given) as mine:
        for number, moment in enumerate(moments):
            clock.now = moment
            mine.put(done(number))
        return list(store.put_together)


def test_a_text_is_stored_before_the_next_is_waited_for(clock: Clock) -> None:
    """Storing takes 1 ms: texts a tenth of a second apart are each stored at once."""
    assert filled(Store(clock, 0.001), clock, [1, 1.1, 1.2]) == [["0"], ["1"], ["2"]]


def test_storing_takes_a_small_share_of_the_time(clock: Clock) -> None:
    moments = [1 + 0.01 * number for number in range(1000)]
    stored = filled(Store(clock, 0.01), clock, moments)
    assert 0.01 * len(stored) <= (moments[-1] - moments[0]) / SHARE + 0.02
    assert len(stored) > 10


def test_a_slow_store_is_written_to_all_the_same(clock: Clock) -> None:
    stored = filled(Store(clock, 1.0), clock, [5.0 * number for number in range(1, 4)])
    assert stored == [["0"], ["1"], ["2"]]
    assert KEEP_AFTER < 4.0


def test_paid_answers_are_stored_at_once_whatever_that_takes(clock: Clock) -> None:
    moments = [1.0, 1.6, 2.2, 2.8]
    assert filled(Store(clock, 0.5), clock, moments, after=0.0) == [["0"], ["1"], ["2"], ["3"]]


def test_what_is_scored_together_is_stored_together(clock: Clock) -> None:
    store: Any = Store(clock, 0.001)
    with Shelf(store) as mine:
        for number in range(3):
            clock.now += 5.0
            mine.put(done(number, "scored"))
        assert store.put_together == []
        mine.keep()
        assert store.put_together == [["0", "1", "2"]]


def test_a_failure_loses_nothing_that_was_finished(clock: Clock) -> None:
    store: Any = Store(clock, 10.0)

    def interrupted() -> None:
        with Shelf(store) as mine:
            mine.put(done("first"))
            mine.put(done("second", "scored"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [key for part in store.put_together for key in part] == ["first", "second"]
