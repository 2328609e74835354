"""Does a text read like a note or like a plain answer? A classifier fitted on references.

Character n-grams (1 to 4, inside words) weighted by TF-IDF, and a logistic regression. Four cares:

- *An emoji is an emoji*: all are shown to it as one sign, and so are line breaks; else a note
  whose emoji the references happen not to use would not look like one.
- *Length must not give the answer away*: notes and plain answers are paired by length and cut to
  the shorter of the two before anything is fitted or measured.
- *Half a note is a note*: the first halves are learned from too, for answers are often cut off.
- *No evidence is no note*: the openings of the plain answers, a few words long, are added as
  plain texts, so that "Paris." is not called a note for lack of anything else to go by.

The held-out AUC comes from 5-fold cross-validation, in which a pair never straddles the folds.
It is told in the scorer's notes; below 0.8 the references do not show a style, and the scorer is
refused rather than left to yield noise.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import SuiteError
from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import Reference, ScorerContext
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import EMOJI

FEWEST_PAIRS = 20
LOWEST_AUC = 0.8
_FOLDS = 5
_OPENINGS = (2, 8, 24)  # characters
_QUOTES = str.maketrans("’“”", '\'""')

_STYLE_METRICS: tuple[Metric, ...] = (
    Metric(name="style_classifier", unit="probability", least=0.0, most=1.0),
)
_LEAK_METRICS: tuple[Metric, ...] = (
    Metric(name="style_leak", higher_is_better=False, kind="binary"),
    Metric(
        name="style_leak_probability",
        higher_is_better=False,
        unit="probability",
        least=0.0,
        most=1.0,
    ),
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts that stand in pairs, a note and a plain answer of the same length.

    `spare` are plain answers beyond the number of notes, cut to the lengths that pairs have:
    learned from, but not measured on.
    """

    notes: tuple[str, ...]
    plain: tuple[str, ...]
    spare: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted pipeline with what it achieved on texts it was not fitted on."""

    pipeline: Any
    auc: float
    texts: int

    def probability(self, text: str) -> float:
        """How probably the text is a note, 0 to 1; 0 for an empty one."""
        text = text.strip()
        return float(self.pipeline.predict_proba([text])[0, 1]) if text else 0.0


def style_classifier(
    context: ScorerContext, *, references: str | None = None, leak: bool = False
) -> Scorer:
    """`style_classifier`: the probability that an answer is a note.

    `references` names the suite whose references.jsonl is used (default: this one). With `leak`,
    for suites that do *not* ask for a note: `style_leak` (the probability is 0.5 or more) and
    `style_leak_probability`, for both of which lower is better.
    """
    source = references or context.suite
    classifier = _fitted(context, source)
    metrics = _LEAK_METRICS if leak else _STYLE_METRICS

    def measure(_sample: Sample, text: str) -> tuple[Value, ...]:
        probability = classifier.probability(text)
        reason = "" if text.strip() else "empty answer"
        if leak:
            return Value(float(probability >= 0.5), reason), Value(probability, reason)
        return (Value(probability, reason),)

    told = (
        f"style classifier: held-out AUC {classifier.auc:.3f} on {classifier.texts} "
        f"length-matched references of {source}"
    )
    return text_scorer("style_classifier", metrics, measure, (told,))


def _fitted(context: ScorerContext, source: str) -> Classifier:
    where = f"Scorer 'style_classifier' of suite {context.suite!r}"
    pairs = length_matched(context.references(source))
    if len(pairs.notes) < FEWEST_PAIRS:
        raise SuiteError(
            f"{where}: {source!r} has references for {len(pairs.notes)} pairs of a note and a "
            f"plain answer; at least {FEWEST_PAIRS} are needed."
        )
    classifier = fit(pairs)
    if classifier.auc < LOWEST_AUC:
        raise SuiteError(
            f"{where}: the references of {source!r} do not tell notes from plain answers "
            f"(held-out AUC {classifier.auc:.2f}, at least {LOWEST_AUC} is needed). Their kinds "
            "may be mixed up, or the style does not show in the writing."
        )
    return classifier


def length_matched(references: Sequence[Reference]) -> Pairs:
    """Notes and plain answers paired by rank of length, each pair cut to its shorter one.

    Of the longer list, texts are taken evenly over its range of lengths.
    """
    notes = sorted((r.text.strip() for r in references if r.kind == "note"), key=_by_length)
    plain = sorted((r.text.strip() for r in references if r.kind == "plain"), key=_by_length)
    count = min(len(notes), len(plain))
    paired = _evenly(plain, count)
    pairs = list(zip(_evenly(notes, count), paired, strict=True))
    lengths = [min(len(note), len(answer)) for note, answer in pairs]
    spare = sorted(set(plain).difference(paired), key=_by_length)
    return Pairs(
        notes=tuple(_cut(note, n) for (note, _), n in zip(pairs, lengths, strict=True)),
        plain=tuple(_cut(answer, n) for (_, answer), n in zip(pairs, lengths, strict=True)),
        spare=tuple(_cut(text, max(lengths, default=0)) for text in spare),
    )


def _by_length(text: str) -> tuple[int, str]:
    return len(text), text


def _evenly(texts: Sequence[str], count: int) -> list[str]:
    return [texts[index * len(texts) // count] for index in range(count)]


def _cut(text: str, length: int) -> str:
    """At most `length` characters, not ending inside a word of a spaced script."""
    if len(text) <= length:
        return text
    whole = text[:length]
    if text[length].isascii() and text[length].isalnum() and " " in whole:
        whole = whole.rpartition(" ")[0]
    return whole.rstrip()


@functools.lru_cache(maxsize=8)
def fit(pairs: Pairs) -> Classifier:
    """Fit on all pairs and say how well a fit on four fifths of them ranks the other fifth."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    labels = np.tile([1, 0], len(pairs.notes))
    held_out = np.zeros(len(labels))
    for number in range(_FOLDS):
        outside = np.arange(len(pairs.notes)) % _FOLDS == number
        pipeline = _fit_pipeline(_subset(pairs, ~outside))
        held_out[outside.repeat(2)] = pipeline.predict_proba(_texts(_subset(pairs, outside)))[:, 1]
    return Classifier(
        pipeline=_fit_pipeline(pairs),
        auc=float(roc_auc_score(labels, held_out)),
        texts=len(labels),
    )


def _subset(pairs: Pairs, chosen: Iterable[bool]) -> Pairs:
    keep = list(chosen)
    return Pairs(
        notes=tuple(itertools.compress(pairs.notes, keep)),
        plain=tuple(itertools.compress(pairs.plain, keep)),
        spare=pairs.spare,
    )


def _texts(pairs: Pairs) -> list[str]:
    """Note, plain answer, note, plain answer …"""
    return [text for pair in zip(pairs.notes, pairs.plain, strict=True) for text in pair]


def _fit_pipeline(pairs: Pairs) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    whole = [*_texts(pairs), *pairs.spare]
    halves = [_cut(text, len(text) // 2) for text in whole]
    openings = [_cut(text, n) for text in (*pairs.plain, *pairs.spare) for n in _OPENINGS]
    labels = [1, 0] * len(pairs.notes) + [0] * len(pairs.spare)
    pipeline = make_pipeline(
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, min_df=2, preprocessor=_shown
        ),
        # liblinear: as good here, and no BLAS threads that fight with those of a model.
        LogisticRegression(C=10.0, solver="liblinear", class_weight="balanced", random_state=0),
    )
    return pipeline.fit([*whole, *halves, *openings], [*labels, *labels, *([0] * len(openings))])


def _shown(text: str) -> str:
    """The text with each emoji as one sign and each line break as another, in lower case."""
    lower = text.translate(_QUOTES).lower()
    return re.sub(r"\s*\n\s*", " ¶", EMOJI.sub("☺", lower))
