"""Trick questions (ruozhiba): is the trick spotted, and how near is the answer to a witty one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.content import groups
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.overlap import sentence_value
from evalkit.scorers.text import mentions


def trick(context: ScorerContext) -> Scorer:
    """`spotted`: the answer names what the trick turns on and falls for nothing.

    The row's `spot` lists groups of alternatives, one of each of which must be named; `miss`
    lists phrases that only an answer that took the bait would hold. `wit_overlap` is the chrF
    (0–100) with the row's witty `reference`: likeness to one good joke, not wit. Wit cannot be
    counted in keywords; it waits for a judge, and this number is described, never judged.
    """
    from sacrebleu.metrics import CHRF

    likeness = CHRF()
    metrics = (
        Metric(name="spotted", kind="binary"),
        Metric(name="wit_overlap", higher_is_better=None, unit="chrF", least=0.0, most=100.0),
    )
    for sample in context.samples:
        groups(context.suite, sample, "spot")
        _phrases(context.suite, sample.id, sample.fields)

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        reference = str(sample.fields.get("reference", ""))
        wit = sentence_value(likeness, text, (reference,) if reference else ())
        return _spotted(context.suite, sample, text), Value(wit.value, wit.reason)

    return text_scorer("trick", metrics, measure)


def _spotted(suite: str, sample: Sample, text: str) -> Value:
    wanted = groups(suite, sample, "spot")
    if not wanted:
        return Value(None, "the sample does not say how the trick is spotted")
    bitten = [
        phrase for phrase in _phrases(suite, sample.id, sample.fields) if mentions(text, phrase)
    ]
    if bitten:
        return Value(0.0, f"took the bait: {bitten[0]}")
    hit = all(any(mentions(text, phrase, prefix=True) for phrase in group) for group in wanted)
    return Value(float(hit))


def _phrases(suite: str, sample_id: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    miss = fields.get("miss", ())
    if not isinstance(miss, list | tuple) or not all(isinstance(item, str) for item in miss):
        raise SuiteError(
            f"Suite {suite!r}, sample {sample_id!r}: `miss` must be a list of phrases."
        )
    return tuple(miss)
