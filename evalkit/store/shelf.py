"""Answers on their way into the store, a few seconds' worth at a time."""

from __future__ import annotations

import time

from evalkit.records import Completion
from evalkit.store.completions import CompletionStore

KEEP_AFTER = 2.0  # seconds
SHARE = 50  # storing takes a fiftieth of the time at most, unless enough has passed


class Shelf:
    """Puts answers into the store, at most a few seconds' worth at a time: a commit for each would
    cost more than many an answer.

    A text is stored as soon as it is there, as the next may take minutes, unless that would take
    more than a small share of the time. What is scored together is kept together: what a batch's
    shape does to the last digits is then the same in a run that was killed.
    """

    def __init__(self, store: CompletionStore, *, after: float | None = None) -> None:
        """`seconds` is what storing has cost so far; at 0 seconds `after` the last time (default:
        KEEP_AFTER) each answer is stored at once, where money was paid for it."""
        self.seconds = 0.0
        self._last = 0.0
        self._after = KEEP_AFTER if after is None else after
        self._store = store
        self._waiting: list[Completion] = []
        self._since = time.perf_counter()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever went wrong: a failure never loses finished work.
        self._flush()

    def put(self, answer: Completion) -> None:
        """Take an answer that was finished just now."""
        self._waiting.append(answer)
        if answer.stop_reason != "scored":
            self.keep()

    def keep(self) -> None:
        """Store what is here if that is cheap beside what has been done, or enough time has passed.

        For scores, between batches.
        """
        if time.perf_counter() - self._since > min(self._after, SHARE * self._last):
            self._flush()

    def _flush(self) -> None:
        started = time.perf_counter()
        if self._waiting:
            self._store.put(self._waiting)
        self._waiting = []
        self._since = time.perf_counter()
        self._last = self._since - started
        self.seconds += self._last
