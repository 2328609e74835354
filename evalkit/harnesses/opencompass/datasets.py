"""What the process tells of the data sets it opened, checked before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.errors import SuiteError
from evalkit.records import Metric

_LOWER = ("ppl", "perplexity", "loss", "toxicity", "bpc")
_POINTS = "0–100"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A sample: for each run the questions it makes (their numbers), its labels and its answer."""

    sample_id: str
    place: int
    asks: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    gold: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number of an evaluator's; `share`: its samples are right or wrong. `points`: up to 100."""

    name: str
    share: bool
    points: bool

    def is_like(self, other: Measured) -> bool:
        """Whether both are one metric."""
        return (self.name, self.share) == (other.name, other.share)

    def metric(self, *, evenly: bool, better: str | None = None) -> Metric:
        """The metric of a suite; that of data sets of unequal size is the mean of their means.

        OpenCompass summarises by such a mean (`naive_average`). `better` ("higher", "lower") is
        what the user says of it; by its name where nothing is said.
        """
        lower = any(word in self.name.lower() for word in _LOWER)
        return Metric(
            name=self.name,
            higher_is_better=better == "higher" if better else not lower,
            kind="ratio" if not evenly else "binary" if self.share else "continuous",
            unit=_POINTS if self.points else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set of OpenCompass's; `first` is the number of its first question."""

    abbr: str
    inferencer: str
    first: int
    available: int
    runs: int
    rows: tuple[Row, ...]
    metrics: tuple[Measured, ...]
    described: Any


def read_dataset(told: Mapping[str, Any]) -> Dataset:
    """A data set as the process describes it; SuiteError where a row makes no question."""
    abbr, first = str(told["abbr"]), int(told["first"])
    rows = tuple(
        Row(
            sample_id=f"{abbr}/{place}",
            place=place,
            asks=tuple(tuple(first + int(number) for number in run) for run in row["asks"]),
            labels=tuple(map(str, row["labels"])),
            gold=row["gold"],
        )
        for place, row in enumerate(told["rows"])
    )
    silent = next((row.place for row in rows if not all(row.asks)), None)
    if silent is not None:
        raise SuiteError(
            f"OpenCompass's {told['inferencer']} asks the model nothing about row {silent} of "
            f"{abbr}."
        )
    metrics = (
        Measured(name=str(one["name"]), share=bool(one["share"]), points=bool(one["points"]))
        for one in told["metrics"]
    )
    return Dataset(
        abbr=abbr,
        inferencer=str(told["inferencer"]),
        first=first,
        available=int(told["available"]),
        runs=int(told["runs"]),
        rows=rows,
        metrics=tuple(metrics),
        described=told["config"],
    )
