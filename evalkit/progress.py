"""How long work tells that it moves; who shows it is decided at the top."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of long work; one line per (arm, suite) or other named part."""

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        """Begin a part of `total` steps, `done` of which were finished in an earlier run."""

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done; `note` is shown beside the bar (a loss, a rate)."""

    def say(self, message: str) -> None:
        """Tell something once."""


class Silent:
    """Progress for tests and library use: says nothing."""

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        """Nothing."""

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""
