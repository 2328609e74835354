"""Judgements made by simulated judges whose biases are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from evalkit.records import Judgement, Order

BOTH: tuple[Order, Order] = ("base_first", "tuned_first")


def call(sample: str, value: float | None, order: Order = "base_first", **fields: Any) -> Judgement:
    """One pairwise call of judge "j"; without a value it could not be read."""
    status = "judged" if value is not None else "unparsed"
    return Judgement(
        **{
            "suite": "chat",
            "sample_id": sample,
            "judge": "j",
            "rubric": "helpful",
            "protocol": "pairwise",
            "order": order,
            "status": status,
            "value": value,
            **fields,
        }
    )


def rating(sample: str, arm: str, value: float | None, **fields: Any) -> Judgement:
    """One pointwise call."""
    return call(sample, value, "", protocol="pointwise", arm=arm, **fields)


def both(sample: str, first: float | None, second: float | None, **fields: Any) -> list[Judgement]:
    """A sample in both orders: the utility with the base first, and with the tuned arm first."""
    return [
        call(sample, value, order, **fields)
        for order, value in zip(BOTH, (first, second), strict=True)
    ]


def lengths_of(rng: np.random.Generator, n: int) -> dict[str, tuple[int, int]]:
    """How long the base's and the tuned arm's answers are; the latter's 80 characters longer."""
    base = rng.integers(200, 1200, n)
    tuned = np.maximum(1, base + np.round(rng.normal(80, 300, n)).astype(np.int64))
    return {f"s{i}": (int(b), int(t)) for i, (b, t) in enumerate(zip(base, tuned, strict=True))}


def judged_by(
    rng: np.random.Generator,
    lengths: dict[str, tuple[int, int]],
    *,
    centre: float = 0.0,
    length: float = 0.0,
    position: float = 0.0,
) -> list[Judgement]:
    """Every sample in both orders by a judge with known biases.

    With probability `position` it takes the answer shown first; else the tuned one with the log
    odds `centre` + `length` · tanh(Δ/s), s the root mean square of the Δ.
    """
    away = np.array([tuned - base for base, tuned in lengths.values()], dtype=np.float64)
    chance = special.expit(centre + length * np.tanh(away / np.sqrt(np.mean(away**2))))
    found: list[Judgement] = []
    for sample, odds in zip(lengths, chance, strict=True):
        for order in BOTH:
            swayed = rng.random() < position
            tuned = order == "tuned_first" if swayed else rng.random() < odds
            found.append(call(sample, float(tuned), order))
    return found


def plain(words: Sequence[Judgement], judge: str) -> list[Judgement]:
    """The same said by another judge."""
    from dataclasses import replace

    return [replace(one, judge=judge) for one in words]
