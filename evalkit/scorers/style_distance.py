"""How far a text stands from the reference notes, feature by feature: closer is better.

For each feature the middle 80 % of the reference notes span a band [q10, q90]. A text inside the
band is at distance 0; outside it, the distance grows with the way to the nearer edge, in units of
the band's width, and stops at 1. More of a feature is thus never better in itself: an answer with
forty emoji is as far away as one with none. The width is at least the feature's grain, so that a
feature in which all references agree has a distance too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import Reference, ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.style_features import FEATURES, Feature, Note, take_apart
from evalkit.scorers.text import language_of

FEWEST_NOTES = 20


@dataclass(frozen=True, slots=True)
class Band:
    """Where the middle 80 % of the reference notes lie in one feature."""

    low: float
    high: float
    grain: float

    def distance(self, value: float) -> float:
        """0 inside the band to 1 at one band's width (or grain) outside it."""
        outside = max(self.low - value, value - self.high, 0.0)
        return min(1.0, outside / max(self.high - self.low, self.grain))


def style_distance(context: ScorerContext, *, references: str | None = None) -> Scorer:
    """`style_distance`: the mean over the features; `style_distance.<feature>`: each alone.

    `references` names the suite whose references.jsonl is used (default: this one). An empty
    answer is at distance 1. A feature that a text does not have (the length of no title) is left
    out of its mean; that the title is missing counts already. The notes' own means are told as the
    references of `style.<feature>`, so that the answers can be seen beside them.
    """
    source = references or context.suite
    notes = [note for note in context.references(source) if note.kind == "note"]
    if len(notes) < FEWEST_NOTES:
        raise SuiteError(
            f"Scorer 'style_distance' of suite {context.suite!r}: {source!r} has {len(notes)} "
            f"reference notes; at least {FEWEST_NOTES} are needed to know their range."
        )
    known = bands(notes)
    features = tuple(feature for feature in FEATURES if feature.name in known)
    names = ("style_distance", *(f"style_distance.{feature.name}" for feature in features))
    metrics = tuple(
        Metric(name=name, higher_is_better=False, unit="0–1", least=0.0, most=1.0) for name in names
    )

    def measure(sample: Sample, text: str) -> list[Value]:
        if not text.strip():
            return [Value(1.0, "empty answer")] * len(metrics)
        note = take_apart(text, context.language_for(sample, text))
        single = [_distance(feature, known[feature.name], note) for feature in features]
        measured = [value.value for value in single if value.value is not None]
        return [Value(sum(measured) / len(measured)), *single]

    told = f"style distance: to {len(notes)} reference notes of {source}"
    scorer = text_scorer("style_distance", metrics, measure, (told,))
    return replace(scorer, references=means(notes))


def bands(notes: Sequence[Reference]) -> Mapping[str, Band]:
    """The band of every feature that at least half of the notes have, by the feature's name."""
    found = {}
    for feature, values in _measured(notes):
        if 2 * len(values) >= len(notes):
            low, high = np.quantile(values, (0.1, 0.9))
            found[feature.name] = Band(float(low), float(high), feature.grain)
    return found


def means(notes: Sequence[Reference]) -> Mapping[str, float]:
    """The mean of each feature over the notes that have it, by its metric in `style_features`."""
    return {feature.metric: fmean(values) for feature, values in _measured(notes) if values}


def _measured(notes: Sequence[Reference]) -> Iterator[tuple[Feature, list[float]]]:
    parts = [take_apart(note.text, language_of(note.text) or "en") for note in notes]
    for feature in FEATURES:
        yield feature, [value for part in parts if (value := feature.measure(part)) is not None]


def _distance(feature: Feature, band: Band, note: Note) -> Value:
    measured = feature.measure(note)
    if measured is None:
        return Value(None, f"no {feature.name} to measure")
    return Value(band.distance(measured))
