"""What one document adds to a number that lm-eval has of a whole task.

A number that is no mean of the documents' own (perplexity, BLEU, chrF, TER, F1, MCC) is computed
from sums of what each adds, which is the same number and can be resampled. A document's value is
what lm-eval's `process_results` gives for it, or the same as its logs hold it; neither lm-eval nor
a model is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from evalkit.records import MetricKind
from evalkit.scorers.generated import Value
from evalkit.scorers.overlap import sentence_value

TASKS: Mapping[str, Literal["choice", "generate", "perplexity"]] = {
    "multiple_choice": "choice",
    "loglikelihood": "choice",
    "loglikelihood_rolling": "perplexity",
    "generate_until": "generate",
}
"""What a task is here, by lm-eval's output_type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How an aggregation is computed from what `read` makes of each document's value.

    `averaged`: it is the plain mean. `overlap`: of texts with references.
    """

    kind: MetricKind
    read: Callable[[Any], Value]
    unit: str = ""
    averaged: bool = False
    overlap: bool = False


def way_of(aggregation: str, *, classes: int = 0, references: int | None = None) -> Way | None:
    """The way of an aggregation, by the name of lm-eval's function; None where it has none here.

    Matthews' correlation is of so many `classes`. Of each document's references only so many
    count; all where None.
    """
    match aggregation:
        case "perplexity":
            return Way(kind="perplexity", read=_likelihood)
        case "weighted_perplexity":
            return Way(kind="perplexity", read=_weighted)
        case "bits_per_byte":
            return Way(kind="ratio", unit="bits", read=_bits)
        case "f1_score":
            return Way(kind="ratio", read=_f1)
        case "matthews_corrcoef":
            return Way(kind="mcc", read=partial(_confusion, classes))
        case "brier_score":
            return Way(kind="continuous", read=_brier, averaged=True)
        case "bleu" | "chrf" | "chrfpp" | "ter":
            return _overlap(aggregation, references)
    return None


def _overlap(name: str, references: int | None) -> Way:
    from sacrebleu.metrics import BLEU, CHRF, TER

    kind: MetricKind
    match name:
        case "bleu":
            kind, read = "bleu", partial(_text, BLEU(effective_order=True), references)
        case "ter":
            kind, read = "ratio", partial(_edits, TER(), references)
        case _:
            order = 2 if name == "chrfpp" else 0
            kind, read = "chrf", partial(_text, CHRF(word_order=order), references)
    return Way(kind=kind, unit="0–100", read=read, overlap=True)


def _likelihood(given: Any) -> Value:
    return _per_unit(-float(given), 1.0)


def _weighted(given: Sequence[Any]) -> Value:
    return _per_unit(-float(given[0]), float(given[1]))


def _per_unit(nats: float, units: float) -> Value:
    if not math.isfinite(nats):
        return Value(None, "the log-likelihood is not a finite number")
    if units <= 0:
        return Value(None, "nothing to divide by")
    try:
        return Value(math.exp(nats / units), stats=(nats, units))
    except OverflowError:
        return Value(None, "too large to write")


def _bits(given: Sequence[Any]) -> Value:
    bits, size = -float(given[0]) / math.log(2), float(given[1])
    if not math.isfinite(bits) or size <= 0:
        return Value(None, "the log-likelihood is not a finite number, or there is no text")
    return Value(bits / size, stats=(bits, size))


def pair_of(given: Sequence[Any]) -> tuple[tuple[str, ...], str]:
    """References and the answer, in any of the forms that lm-eval's tasks give them in."""
    references, answer = given
    one = isinstance(references, str) or not isinstance(references, Iterable)
    said = answer if isinstance(answer, str) else next(iter(answer))
    return (str(references),) if one else tuple(map(str, references)), str(said)


def uneven(counts: Iterable[int]) -> int | None:
    """The least number of references of a document, where some have more; None where none has.

    lm-eval compares with no more of any document, for sacrebleu wants as many of each.
    """
    known = {count for count in counts if count}
    return min(known) if len(known) > 1 else None


def _text(metric: Any, most: int | None, given: Sequence[Any]) -> Value:
    references, answer = pair_of(given)
    return sentence_value(metric, answer, references[:most])


def _edits(metric: Any, most: int | None, given: Sequence[Any]) -> Value:
    """TER: edits to the nearest reference, of the references' mean length."""
    found = _text(metric, most, given)
    if not found.stats:
        return found
    edits, length = found.stats
    return Value(found.value, found.reason, (100 * edits, length))


def _labels(given: Sequence[Any], classes: int) -> tuple[int, int] | None:
    """(right class, said class); None where either is none of so many."""
    gold, said = given[0], float(given[1])
    if not isinstance(gold, int) or not 0 <= gold < classes:
        return None
    return (int(gold), int(said)) if said.is_integer() and 0 <= said < classes else None


def _f1(given: Sequence[Any]) -> Value:
    """F1 of class 1 is 2tp / (2tp + fp + fn): a ratio of sums."""
    labels = _labels(given, 2)
    if labels is None:
        return Value(None, "lm-eval's F1 is of the two classes 0 and 1")
    gold, said = labels
    return Value(float(gold == said), stats=(2.0 * (gold and said), float(gold + said)))


def _confusion(classes: int, given: Sequence[Any]) -> Value:
    """One document's row of the confusion matrix, flat: [gold · classes + said] is 1."""
    labels = _labels(given, classes)
    if labels is None:
        return Value(None, f"the right class, or the said one, is none of the {classes}")
    gold, said = labels
    row = [0.0] * (classes * classes)
    row[gold * classes + said] = 1.0
    return Value(float(gold == said), stats=tuple(row))


def _brier(given: Sequence[Any]) -> Value:
    """The sum over the classes of (probability − whether it is the right one)²."""
    gold, shares = given
    right = int(gold)
    squares = ((float(share) - (place == right)) ** 2 for place, share in enumerate(shares))
    return Value(math.fsum(squares))
