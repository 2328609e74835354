"""lm-eval's metrics as ours: what one document adds, and how the whole is computed from that.

What lm-eval averages is averaged; what it computes from all documents at once (perplexities, BLEU,
chrF, TER, F1, MCC) is computed from the sums of what each adds, which is the same number and can be
resampled. A metric with an aggregation of the task's own can be neither: it is left out, and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, TypeAlias

from evalkit.records import Metric, MetricKind
from evalkit.scorers.generated import Value
from evalkit.scorers.overlap import sentence_value

Key: TypeAlias = tuple[str, str]
"""lm-eval's metric and the filter its answers went through."""
Read: TypeAlias = Callable[[Any], Value]

_RIGHT_OR_WRONG = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One metric: where lm-eval gives it, what it is here, and how a document's value is read.

    `averaged`: the whole is the plain mean over the documents.
    """

    key: Key
    metric: Metric
    read: Read
    averaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How an aggregation of lm-eval's is computed here."""

    kind: MetricKind
    read: Read
    unit: str = ""
    averaged: bool = False


def label(key: Key) -> str:
    """A metric's name: with its filter, unless that is lm-eval's "none"."""
    name, filtered = key
    return name if filtered == "none" else f"{name},{filtered}"


def readings(
    task: Any, tried: Mapping[Key, Any] | None, notes: dict[str, None]
) -> tuple[Reading, ...]:
    """The metrics of a task, in its order; `tried` are the values of a document, if one could be.

    What cannot be read is told in `notes`.
    """
    aggregations = dict(task.aggregation())
    filters = [one.name for one in task._filters]
    names = dict.fromkeys([*aggregations, *(name for name, _ in tried or {})])
    found = []
    for key in ((name, filtered) for name in names for filtered in filters):
        if tried is not None and key not in tried:
            continue
        example = tried[key] if tried is not None else None
        aggregation = aggregations.get(key[0])
        way = _way(task, key[0], aggregation, example)
        if way is None:
            notes[f"{label(key)} is left out: {_why(aggregation)}"] = None
            continue
        higher = task.higher_is_better().get(key[0])
        metric = Metric(
            name=label(key),
            higher_is_better=higher if isinstance(higher, bool) else None,
            kind=way.kind,
            unit=way.unit,
        )
        found.append(Reading(key=key, metric=metric, read=way.read, averaged=way.averaged))
    return tuple(found)


def _why(aggregation: Any) -> str:
    called = getattr(aggregation, "__name__", None) or type(aggregation).__name__
    return f"the task computes it from all documents in a way of its own ({called})"


def _way(task: Any, name: str, aggregation: Any, example: Any) -> _Way | None:
    from lm_eval.api import metrics as theirs

    if aggregation is theirs.matthews_corrcoef:
        classes = max(len(task.doc_to_choice(doc)) for doc in task.eval_docs)
        return _Way(kind="mcc", read=partial(_confusion, classes))
    corpus = _corpus_ways()
    if aggregation in corpus:
        return corpus[aggregation]
    if aggregation not in (None, theirs.mean, theirs.nanmean):
        return None
    if example is not None and not _is_number(example):
        return None
    whole = aggregation is not theirs.nanmean
    kind: MetricKind = "binary" if whole and _is_right_or_wrong(task, name, example) else (
        "continuous"
    )  # fmt: skip
    return _Way(kind=kind, read=_number, averaged=whole)


def _corpus_ways() -> dict[Any, _Way]:
    from lm_eval.api import metrics as theirs
    from sacrebleu.metrics import BLEU, CHRF, TER

    text = partial(_text, BLEU(effective_order=True))
    return {
        theirs.perplexity: _Way(kind="perplexity", read=_likelihood),
        theirs.weighted_perplexity: _Way(kind="perplexity", read=_weighted),
        theirs.bits_per_byte: _Way(kind="ratio", unit="bits", read=_bits),
        theirs.bleu: _Way(kind="bleu", unit="0–100", read=text),
        theirs.chrf: _Way(kind="chrf", unit="0–100", read=partial(_text, CHRF())),
        theirs.chrfpp: _Way(kind="chrf", unit="0–100", read=partial(_text, CHRF(word_order=2))),
        theirs.ter: _Way(kind="ratio", unit="0–100", read=partial(_edits, TER())),
        theirs.f1_score: _Way(kind="ratio", read=_f1),
        theirs.brier_score: _Way(kind="continuous", read=_brier, averaged=True),
        theirs.bypass_agg: _Way(kind="continuous", read=_unmeasured),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or getattr(value, "shape", None) == ()


def _is_right_or_wrong(task: Any, name: str, example: Any) -> bool:
    """Whether every document is 0 or 1: by lm-eval's own scoring, or as far as a task tells."""
    if not callable(task.config.process_results):
        return name in _RIGHT_OR_WRONG
    if isinstance(example, bool) or type(example).__name__ == "bool_":
        return True
    return isinstance(example, int) and name in _RIGHT_OR_WRONG


def _number(given: Any) -> Value:
    value = float(given)
    return Value(value) if math.isfinite(value) else Value(None, f"lm-eval says {value}")


def _unmeasured(_given: Any) -> Value:
    return Value(None, "lm_eval.predict_only: answers alone were asked for")


def _likelihood(given: Any) -> Value:
    return _per_unit(-float(given), 1.0)


def _weighted(given: tuple[Any, Any]) -> Value:
    return _per_unit(-float(given[0]), float(given[1]))


def _per_unit(nats: float, units: float) -> Value:
    if not math.isfinite(nats):
        return Value(None, "the log-likelihood is not a finite number")
    if not units:
        return Value(None, "nothing to divide by")
    try:
        return Value(math.exp(nats / units), stats=(nats, units))
    except OverflowError:
        return Value(None, "too large to write")


def _bits(given: tuple[Any, Any]) -> Value:
    bits, size = -float(given[0]) / math.log(2), float(given[1])
    if not math.isfinite(bits) or not size:
        return Value(None, "the log-likelihood is not a finite number, or there is no text")
    return Value(bits / size, stats=(bits, size))


def _pair(given: Sequence[Any]) -> tuple[tuple[str, ...], str]:
    """References and the answer, in any of the forms that lm-eval's tasks give them in."""
    references, answer = given
    one = isinstance(references, str) or not isinstance(references, Iterable)
    said = answer if isinstance(answer, str) else next(iter(answer))
    return (str(references),) if one else tuple(map(str, references)), str(said)


def _text(metric: Any, given: Sequence[Any]) -> Value:
    references, answer = _pair(given)
    return sentence_value(metric, answer, references)


def _edits(metric: Any, given: Sequence[Any]) -> Value:
    """TER: edits to the nearest reference, of the references' mean length."""
    found = _text(metric, given)
    edits, length = found.stats
    return Value(found.value, found.reason, (100 * edits, length))


def _labels(given: Sequence[Any], classes: int) -> tuple[int, int] | None:
    gold, said = given
    if not isinstance(gold, int) or not 0 <= gold < classes:
        return None
    return gold, int(said)


def _f1(given: Sequence[Any]) -> Value:
    """F1 of class 1 is 2tp / (2tp + fp + fn): a ratio of sums."""
    labels = _labels(given, 2)
    if labels is None or labels[1] > 1:
        return Value(None, "lm-eval's F1 is of the two classes 0 and 1")
    gold, said = labels
    return Value(float(gold == said), stats=(2.0 * (gold and said), float(gold + said)))


def _confusion(classes: int, given: Sequence[Any]) -> Value:
    """One document's row of the confusion matrix, flat: [gold · classes + said] is 1."""
    labels = _labels(given, classes)
    if labels is None:
        return Value(None, f"the right class is none of the {classes}")
    gold, said = labels
    row = [0.0] * (classes * classes)
    row[gold * classes + said] = 1.0
    return Value(float(gold == said), stats=tuple(row))


def _brier(given: Sequence[Any]) -> Value:
    gold, shares = given
    right = int(gold)
    squares = ((float(share) - (place == right)) ** 2 for place, share in enumerate(shares))
    return Value(math.fsum(squares))
