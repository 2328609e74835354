"""Overlap with reference texts: chrF, BLEU and ROUGE, in English and Chinese.

Values are those of single texts, on a scale of 0 to 100 for chrF and BLEU (sacrebleu) and 0 to 1
for ROUGE. `corpus_chrf` and `corpus_bleu` have sacrebleu's sufficient statistics in `stats`, whose
sums give the score of the whole suite, which is no mean of the texts' own.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import Field

from evalkit.records import Metric, Sample
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import ScorerContext
from evalkit.scorers.folding import Fold
from evalkit.scorers.generated import Value, text_scorer
from evalkit.scorers.text import Language, words

Tokenizer: TypeAlias = Literal["auto", "word", "character", "jieba"]

_NO_REFERENCE = Value(None, "the sample has no target to compare with")


def chrf(
    _context: ScorerContext,
    *,
    word_order: Annotated[int, Field(ge=0, le=4)] = 0,
    fold: Fold = "none",
) -> Scorer:
    """chrF (Popović 2015) by sacrebleu; `word_order: 2` is chrF++. The best target counts.

    `chrf` is the mean of the texts' own, `corpus_chrf` sacrebleu's corpus_chrf of them all.
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=word_order)

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        return _both(sentence_value(metric, text, sample.targets))

    whole = Metric(name="corpus_chrf", kind="chrf", unit="0–100")
    return text_scorer(
        "chrf",
        (Metric(name="chrf", unit="0–100", least=0.0, most=100.0), whole),
        measure,
        fold=fold,
    )


def bleu(
    context: ScorerContext,
    *,
    tokenizer: Literal["auto", "13a", "zh", "char"] = "auto",
    fold: Fold = "none",
) -> Scorer:
    """BLEU by sacrebleu: exponential smoothing, tokenised as `13a`, as `zh` for Chinese.

    `zh` takes Chinese characters one by one and words of other scripts whole; `char` takes every
    character.
    `bleu` is the mean of the texts' own (effective order), `corpus_bleu` sacrebleu's corpus_bleu.
    """
    from sacrebleu.metrics import BLEU

    names = (
        {"en": "13a", "zh": "zh"} if tokenizer == "auto" else dict.fromkeys(("en", "zh"), tokenizer)
    )
    metrics = {
        language: BLEU(effective_order=True, tokenize=name) for language, name in names.items()
    }

    def measure(sample: Sample, text: str) -> tuple[Value, Value]:
        language = context.language_for(sample, " ".join(sample.targets))
        return _both(sentence_value(metrics[language], text, sample.targets))

    whole = Metric(name="corpus_bleu", kind="bleu", unit="0–100")
    return text_scorer(
        "bleu",
        (Metric(name="bleu", unit="0–100", least=0.0, most=100.0), whole),
        measure,
        fold=fold,
    )


def _both(found: Value) -> tuple[Value, Value]:
    """A text's own score, and the same with what it adds to the score of the whole suite."""
    return Value(found.value, found.reason), found


def sentence_value(metric: Any, text: str, targets: tuple[str, ...]) -> Value:
    """A sacrebleu metric of one text against its targets, with its sufficient statistics."""
    if not targets:
        return _NO_REFERENCE
    statistics = metric._extract_corpus_statistics([text], [[target] for target in targets])
    score = metric._aggregate_and_compute(statistics).score
    return Value(float(score), "", tuple(float(item) for item in statistics[0]))


class _Tokens(Protocol):
    def tokenize(self, text: str) -> list[str]: ...


class _Characters:
    """Chinese characters one by one, words of spaced scripts whole; lower case."""

    def tokenize(self, text: str) -> list[str]:
        return [word.casefold() for word in words(text)]


class _Jieba:
    """Chinese words as jieba cuts them; punctuation left out."""

    def tokenize(self, text: str) -> list[str]:
        import jieba

        jieba.setLogLevel(logging.WARNING)  # or it reports its dictionary on stderr
        return [piece.casefold() for piece in jieba.lcut(text) if words(piece)]


def rouge(
    context: ScorerContext,
    *,
    tokenizer: Tokenizer = "auto",
    stemmer: bool = False,
    fold: Fold = "none",
) -> Scorer:
    """ROUGE-1, ROUGE-2 and ROUGE-L (F-measure, rouge_score); the best target counts for each.

    rouge_score's own tokenizer drops every Chinese character, so `auto` takes characters for
    Chinese and its own words for English; `jieba` takes Chinese words.
    """
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ("rougeL", "rouge1", "rouge2")
    written: _Tokens = _Jieba() if tokenizer == "jieba" else _Characters()
    scorers = {
        "word": RougeScorer(kinds, use_stemmer=stemmer),
        "character": RougeScorer(kinds, tokenizer=written),
    }

    def measure(sample: Sample, text: str) -> list[Value]:
        if not sample.targets:
            return [_NO_REFERENCE] * len(kinds)
        language = context.language_for(sample, " ".join(sample.targets))
        chosen = scorers[_way(tokenizer, language)]
        found = [chosen.score(target, text) for target in sample.targets]
        return [Value(max(float(score[kind].fmeasure) for score in found)) for kind in kinds]

    metrics = tuple(Metric(name=kind, unit="0–1", least=0.0, most=1.0) for kind in kinds)
    return text_scorer("rouge", metrics, measure, fold=fold)


def _way(tokenizer: Tokenizer, language: Language) -> str:
    match tokenizer:
        case "auto":
            return "character" if language == "zh" else "word"
        case "word":
            return "word"
        case _:
            return "character"
