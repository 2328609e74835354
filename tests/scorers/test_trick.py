"""Trick questions: spotting the trick, and likeness to a witty answer."""

from __future__ import annotations

from typing import Any

import pytest
import sacrebleu

from evalkit.errors import SuiteError
from tests.scorers.examples import make_sample, make_scorer, shipped_samples, values

ROW: dict[str, Any] = {
    "spot": [["生鱼片"], ["死", "不是活", "没有生命"]],
    "miss": ["可以救活"],
    "reference": "生鱼片是死鱼片，救不活了。",
}


@pytest.mark.parametrize(
    ("text", "spotted"),
    [
        ("生鱼片已经死了，救不回来。", 1.0),
        ("生鱼片很好吃。", 0.0),
        ("生鱼片虽然死了，但是可以救活。", 0.0),
        ("", 0.0),
    ],
)
def test_a_trick_is_spotted_when_all_is_named_and_no_bait_taken(text: str, spotted: float) -> None:
    found = values(make_scorer("trick", language="zh"), make_sample(**ROW), text)
    assert found["spotted"] == spotted


def test_wit_overlap_is_chrf_with_the_witty_answer_and_is_never_judged() -> None:
    scorer = make_scorer("trick", language="zh")
    text = "死鱼片当然救不活。"
    found = values(scorer, make_sample(**ROW), text)
    expected = sacrebleu.sentence_chrf(text, [str(ROW["reference"])]).score
    assert found["wit_overlap"] == pytest.approx(expected)
    assert scorer.metrics[1].higher_is_better is None


def test_a_row_without_a_trick_is_not_scored() -> None:
    found = values(make_scorer("trick"), make_sample(), "text")
    assert found == {"spotted": None, "wit_overlap": None}


@pytest.mark.parametrize("fields", [{"spot": ["a"]}, {"spot": [["a"]], "miss": "b"}])
def test_a_row_of_another_shape_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match="'s1'"):
        make_scorer("trick", make_sample(**fields))


def test_the_shipped_answers_spot_their_tricks_and_the_questions_do_not() -> None:
    samples = shipped_samples("style/ruozhiba-zh")
    assert len(samples) >= 60
    scorer = make_scorer("trick", *samples, language="zh")
    for sample in samples:
        assert values(scorer, sample, sample.fields["reference"])["spotted"] == 1.0, sample.id
        assert values(scorer, sample, str(sample.prompt))["spotted"] == 0.0, sample.id
