"""Chinese: overlap as other tools compute it, two scripts as one, lengths in characters."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import jieba
import pytest
import sacrebleu

from evalkit.errors import SuiteError
from tests.scorers.examples import make_sample, make_scorer, value, values

PAIRS = [
    ("今天天气很好，我们去公园。", "今天天气不错，我们一起去公园玩。"),
    ("我喜欢喝拿铁咖啡", "我爱喝咖啡"),
    ("北京是中国的首都", "中国的首都是北京"),
    ("好好学习，天天向上", "好好学习天天向上"),
    ("上海的人口超过两千万", "长江流经上海"),
]


def _rouge_chinese(text: str, target: str) -> dict[str, float]:
    """rouge-chinese's F-measures of texts whose tokens stand between spaces."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # its own patterns, on Python 3.12
        warnings.simplefilter("ignore", DeprecationWarning)  # the same before
        rouge = pytest.importorskip("rouge_chinese").Rouge(exclusive=False)
    (found,) = rouge.get_scores(text, target)
    names = {"rouge1": "rouge-1", "rouge2": "rouge-2", "rougeL": "rouge-l"}
    return {ours: found[theirs]["f"] for ours, theirs in names.items()}


def _bare(text: str) -> str:
    return text.replace("，", "").replace("。", "")


@pytest.mark.parametrize(("text", "target"), PAIRS)
@pytest.mark.parametrize("tokenizer", ["character", "jieba"])
def test_rouge_is_that_of_rouge_chinese(text: str, target: str, tokenizer: str) -> None:
    cut: Any = list if tokenizer == "character" else jieba.lcut
    # Punctuation is no word here, and is one there; jieba cuts with it, so it is left out after.
    spaced = [" ".join(t for t in cut(each) if _bare(t)) for each in (text, target)]
    scorer = make_scorer("rouge", language="zh", tokenizer=tokenizer)
    found = values(scorer, make_sample(target), text)
    for name, theirs in _rouge_chinese(*spaced).items():
        assert found[name] == pytest.approx(theirs, abs=1e-6), name


@pytest.mark.parametrize(("text", "target"), PAIRS)
@pytest.mark.parametrize("tokenizer", ["zh", "char", "13a"])
def test_bleu_is_sacrebleus_with_the_tokenizer_that_is_asked_for(
    text: str, target: str, tokenizer: str
) -> None:
    scorer = make_scorer("bleu", language="zh", tokenizer=tokenizer)
    theirs = sacrebleu.sentence_bleu(text, [target], tokenize=tokenizer).score
    assert value(scorer, text, make_sample(target)) == pytest.approx(theirs)


def test_chinese_bleu_is_of_characters_by_itself() -> None:
    for text, target in PAIRS:
        theirs = sacrebleu.sentence_bleu(text, [target], tokenize="zh").score
        found = value(make_scorer("bleu", language="zh"), text, make_sample(target))
        assert found == pytest.approx(theirs)


@pytest.mark.parametrize(
    "name", ["exact_match", "normalized_match", "contains", "chrf", "bleu", "rouge"]
)
def test_both_scripts_are_one_where_that_is_asked_for(name: str) -> None:
    pytest.importorskip("opencc")
    traditional, simplified = make_sample("後來發現頭髮乾了"), "后来发现头发干了"
    folded = value(make_scorer(name, language="zh", fold="t2s"), simplified, traditional)
    plain = value(make_scorer(name, language="zh"), simplified, traditional)
    own = value(make_scorer(name, language="zh"), simplified, make_sample(simplified))
    assert plain is not None
    assert folded is not None
    assert folded == own
    assert folded > plain


def test_without_opencc_the_suite_is_refused_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(SuiteError, match=r"pip install 'evalkit-compare\[chinese\]'"):
        make_scorer("contains", fold="t2s")
    make_scorer("contains")


@pytest.mark.parametrize(
    ("text", "language", "options", "wanted"),
    [
        ("今天 天气\n很好！", "zh", {}, 7.0),
        ("It is fine.", "en", {}, 3.0),
        ("我爱 tea", "mixed", {}, 5.0),
        ("It is fine.", "en", {"unit": "characters"}, 9.0),
        ("今天很好", "zh", {"unit": "words"}, 4.0),
        ("", "zh", {}, 0.0),
    ],
)
def test_a_length_is_in_characters_where_words_have_no_borders(
    text: str, language: str, options: dict[str, object], wanted: float
) -> None:
    scorer = make_scorer("length", language=language, **options)
    assert value(scorer, text) == wanted
    assert scorer.metrics[0].higher_is_better is None
