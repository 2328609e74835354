"""Flips that accuracy does not see: another wrong answer, and probabilities that moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.records import Metric, Pair, Result
from evalkit.scorers.choice import LENGTHS
from evalkit.stats.base import Codes, Reals

_OURS = {"acc": "accuracy", "acc_norm": "accuracy_char", "acc_bytes": "accuracy_byte"}
"""What lm-eval's accuracies are called here."""

_BY_MEANS = "opencompass:"
"""Suites whose choices are made by means over whole texts."""


class ChoiceFlips(NamedTuple):
    """How the choices of paired samples moved.

    `changed`: samples that both arms got wrong in different ways; None for a metric whose way of
    choosing is not known. `divergence`: mean Kullback–Leibler divergence, in nats.
    """

    changed: int | None
    divergence: float


def choice_flips(metric: Metric, pairs: Sequence[Pair]) -> ChoiceFlips | None:
    """What moved between the choices of a binary metric, wherever they were computed.

    None for other metrics, and unless both arms have a log-likelihood of each choice of each
    sample.
    """
    if metric.kind != "binary" or not pairs:
        return None
    if not all(pair.base.sample.choices for pair in pairs):  # sooner known than read
        return None
    bases, tuneds = [_read(pair.base) for pair in pairs], [_read(pair.tuned) for pair in pairs]
    most = max(len(pair.base.sample.choices) for pair in pairs)
    base, tuned = _table(bases, most), _table(tuneds, most)
    if base is None or tuned is None:
        return None
    moved = math.fsum(divergences(base, tuned)) / len(pairs)
    length = LENGTHS.get(_OURS.get(metric.name, metric.name))
    if length is None or pairs[0].base.sample.suite.startswith(_BY_MEANS):
        return ChoiceFlips(None, moved)
    one, other = (_likeliest(table, pairs, length) for table in (base, tuned))
    answers = np.array([pair.base.sample.answer for pair in pairs])
    changed = (one != other) & (one != answers) & (other != answers)
    return ChoiceFlips(int(changed.sum()), moved)


def _likeliest(table: Reals, pairs: Sequence[Pair], length: Callable[[str], int]) -> Codes:
    """The choice that wins [n]; the first of equals, as where it is scored."""
    lengths = np.ones_like(table)
    for place, pair in enumerate(pairs):
        choices = pair.base.sample.choices
        lengths[place, : len(choices)] = [length(choice) for choice in choices]
    return np.asarray((table / lengths).argmax(axis=1))


def divergences(base: Reals, tuned: Reals) -> Reals:
    """Kullback–Leibler divergence of the choices' probabilities, base from tuned, in nats [n].

    Σ p_b ln(p_b / p_t) over the choices of a sample, p the softmax over their log-likelihoods
    [n, choices] (Kullback & Leibler 1951; as a measure of flips Dutta et al. 2024). A choice that
    a sample does not have is −inf in both.
    """
    one, other = _log_shares(base), _log_shares(tuned)
    apart = np.subtract(one, other, out=np.zeros_like(one), where=np.isfinite(base))
    # Rounding can leave −1e-17 where nothing moved.
    return np.asarray(np.maximum((np.exp(one) * apart).sum(axis=1), 0.0))


def _log_shares(likelihoods: Reals) -> Reals:
    shifted = likelihoods - likelihoods.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _read(result: Result) -> list[float] | None:
    """The log-likelihood of each choice; None where one is not known."""
    found = [one.loglikelihood for one in result.completions if one.logprobs and not one.error]
    whole = len(found) == len(result.completions) == len(result.sample.choices) > 0
    return found if whole and all(map(math.isfinite, found)) else None


def _table(rows: Sequence[list[float] | None], most: int) -> Reals | None:
    table = np.full((len(rows), most), -np.inf)
    for place, row in enumerate(rows):
        if row is None:
            return None
        table[place, : len(row)] = row
    return table
