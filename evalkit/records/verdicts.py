"""The gate's word on a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalkit.errors import ExitCode
from evalkit.records.comparisons import Delta
from evalkit.records.runs import Check, Policy

Ground: TypeAlias = Literal["bounds", "value", "missing", "absent"]
Outcome: TypeAlias = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteVerdict:
    """The gate's word on one suite.

    `threshold` is what the benefit (the difference, turned so that more is better) was held
    against; None where the tuned arm's own score was, against a floor or a ceiling. `slice` is
    empty for the whole suite. `ground` is what decided: bounds, a bare value, missing samples, or
    that there was nothing to decide on. `floor`, `ceiling` are what the absolute policy asks of
    the tuned arm's own score. `low`, `high` are the bounds that decided, one-sided at 1 − alpha
    each, of what is held against threshold, floor or ceiling; None where none did. `reachable`:
    whether the suite holds `samples_needed`, False also where no number of samples would do; None
    where that is not known.
    """

    suite: str
    slice: str = ""
    outcome: Outcome
    policy: Policy
    margin: float
    threshold: float | None
    delta: Delta | None
    reason: str
    ground: Ground = "bounds"
    floor: float | None = None
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None
    samples_needed: int | None = None
    reachable: bool | None = None

    @property
    def label(self) -> str:
        """The suite, and in brackets the slice of it: what a report calls it."""
        return f"{self.suite}[{self.slice}]" if self.slice else self.suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The one object behind the printed verdict, the JSON, the JUnit file and the exit code.

    `departures`: how the gate that decided is another than the one declared before the run.
    """

    outcome: Outcome
    exit_code: ExitCode
    suites: tuple[SuiteVerdict, ...]
    checks: tuple[Check, ...]
    advice: str
    departures: tuple[str, ...] = ()
