"""chrF, BLEU and ROUGE against sacrebleu and rouge_score themselves."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from evalkit.stats.corpus import bleu_score, chrf_score
from tests.scorers.examples import make_sample, make_scorer, scores, values

ENGLISH = [
    ("The cat sat on the mat.", ("The cat is sitting on the mat.", "A cat sat on a mat.")),
    ("It rains", ("The sun is shining today, and it is warm.",)),
    ("Exactly the same, word for word.", ("Exactly the same, word for word.",)),
    ("", ("Something was expected.",)),
]
CHINESE = [
    ("今天的天气很好，我们去公园吧。", ("今天天气不错，我们一起去公园吧。",)),
    ("我喜欢喝 latte。", ("我爱喝拿铁。", "我喜欢拿铁咖啡。")),
    ("你好", ("再见",)),
]


@pytest.mark.parametrize(("text", "targets"), ENGLISH + CHINESE)
def test_chrf_is_sacrebleus(text: str, targets: tuple[str, ...]) -> None:
    found = values(make_scorer("chrf"), make_sample(*targets), text)
    assert found["chrf"] == pytest.approx(sacrebleu.sentence_chrf(text, list(targets)).score)
    plus = values(make_scorer("chrf", word_order=2), make_sample(*targets), text)
    theirs = sacrebleu.sentence_chrf(text, list(targets), word_order=2).score
    assert plus["chrf"] == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("language", "tokenize", "pairs"), [("en", "13a", ENGLISH), ("zh", "zh", CHINESE)]
)
def test_bleu_is_sacrebleus_and_its_statistics_give_the_corpus_score(
    language: str, tokenize: str, pairs: list[tuple[str, tuple[str, ...]]]
) -> None:
    scorer = make_scorer("bleu", language=language)
    oracle = BLEU(effective_order=True, tokenize=tokenize)
    statistics = []
    for text, targets in pairs:
        found = scores(scorer, make_sample(*targets), text)
        assert found["bleu"].value == pytest.approx(
            oracle.sentence_score(text, list(targets)).score
        )
        assert found["corpus_bleu"].value == found["bleu"].value
        assert found["bleu"].stats == ()
        statistics.append(found["corpus_bleu"].stats)
    corpus = BLEU(tokenize=tokenize)
    expected = corpus.corpus_score([text for text, _ in pairs], _streams(pairs)).score
    sums = np.sum(statistics, axis=0)
    assert bleu_score(sums, effective_order=False) == pytest.approx(expected)


def _streams(pairs: list[tuple[str, tuple[str, ...]]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: the first of all segments, the second of all …"""
    width = max(len(targets) for _, targets in pairs)
    return [[(t[i] if i < len(t) else None) for _, t in pairs] for i in range(width)]


@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf_statistics_give_the_corpus_score_with_several_references(word_order: int) -> None:
    pairs = ENGLISH + CHINESE
    scorer = make_scorer("chrf", word_order=word_order)
    found = [scores(scorer, make_sample(*t), text)["corpus_chrf"].stats for text, t in pairs]
    theirs = CHRF(word_order=word_order).corpus_score([text for text, _ in pairs], _streams(pairs))
    assert chrf_score(np.sum(found, axis=0)) == pytest.approx(theirs.score)


@pytest.mark.parametrize(("text", "targets"), ENGLISH)
def test_english_rouge_is_rouge_scores(text: str, targets: tuple[str, ...]) -> None:
    oracle = RougeScorer(["rouge1", "rouge2", "rougeL"]).score_multi(list(targets), text)
    found = values(make_scorer("rouge"), make_sample(*targets), text)
    assert found == {kind: pytest.approx(score.fmeasure) for kind, score in oracle.items()}


def test_chinese_rouge_counts_characters() -> None:
    # 猫坐垫上 against 猫在垫上: 3 of 4 characters, 1 of 3 pairs, 猫垫上 in order.
    found = values(make_scorer("rouge", language="zh"), make_sample("猫在垫上。"), "猫坐垫上")
    expected = {"rougeL": 0.75, "rouge1": 0.75, "rouge2": 1 / 3}
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_chinese_rouge_counts_words_with_jieba() -> None:
    # 我 爱 北京 against 我 喜欢 北京: 2 of 3 words.
    scorer = make_scorer("rouge", language="zh", tokenizer="jieba")
    found = values(scorer, make_sample("我喜欢北京。"), "我爱北京")
    assert found["rouge1"] == pytest.approx(2 / 3)


def test_a_mixed_suite_takes_the_tokenizer_of_the_target() -> None:
    scorer = make_scorer("rouge", language="mixed")
    assert values(scorer, make_sample("你好吗"), "你好吗")["rougeL"] == 1.0
    assert values(scorer, make_sample("How are you"), "how are you")["rougeL"] == 1.0


@pytest.mark.parametrize("name", ["chrf", "bleu", "rouge"])
def test_nothing_to_compare_with_is_not_scored(name: str) -> None:
    found = scores(make_scorer(name), make_sample(), "text")
    assert all(score.value is None and "no target" in score.reason for score in found.values())
