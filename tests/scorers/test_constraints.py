"""Verifiable instructions, each kept and broken."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.errors import SuiteError
from tests.scorers.examples import make_sample, make_scorer, scores, shipped_samples, values

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "words", "min": 2, "max": 3}, "two words", "one two three four"),
    ({"type": "words", "min": 2}, "two words and more", "one"),
    ({"type": "words", "max": 4}, "今天下雨", "今天又下雨"),
    ({"type": "characters", "min": 4, "max": 5}, "今天，下雨", "今天 下"),
    ({"type": "sentences", "min": 2, "max": 2}, "你好。再见！", "你好。"),
    ({"type": "lines", "min": 2, "max": 2}, "a\n\nb\n", "a"),
    ({"type": "paragraphs", "min": 2, "max": 2}, "a\nb\n\nc", "a\nb\nc"),
    ({"type": "bullets", "min": 3, "max": 3}, "- a\n* b\n• c\nend", "- a\n- b\n**bold**"),
    ({"type": "numbered", "min": 3, "max": 3}, "1. a\n2) b\n3、c", "1. a\n2. b\n3.5 metres"),
    ({"type": "numbered", "min": 0, "max": 0}, "a\nb", "1. a\nb"),
    ({"type": "include", "texts": ["river", "Lamp"]}, "The RIVER and a lamp", "the river"),
    ({"type": "exclude", "texts": ["sea"]}, "A seaside walk", "The Sea!"),
    ({"type": "exclude", "texts": ["热"]}, "今天很凉", "天气炎热"),
    ({"type": "starts_with", "text": "Once upon"}, "once upon a time", "It was once upon a time"),
    ({"type": "ends_with", "text": "就是这样。"}, "海水咸。就是这样。\n", "就是这样。完"),
    ({"type": "case", "value": "lower"}, "all small 1!", "Not all"),
    ({"type": "case", "value": "upper"}, "LOUD", "Loud"),
    ({"type": "case", "value": "upper"}, "A1", "11"),
    ({"type": "json", "keys": ["a", "b"]}, '```json\n{"a": 1, "b": 2}\n```', '{"a": 1}'),
    ({"type": "json", "keys": ["a"]}, '{"a": null}', 'Here: {"a": 1}'),
    ({"type": "json", "keys": []}, "{}", "[]"),
    ({"type": "no_commas"}, "no comma; none", "one，two"),
    ({"type": "language", "value": "zh"}, "我喜欢 Python", "I like 茶"),
    ({"type": "language", "value": "en"}, "I like 茶", "42"),
    ({"type": "regex", "pattern": r"\A[^!]*![^!]*\Z"}, "One!", "Two!!"),
    ({"type": "quoted"}, "“Hello there”", '"Hello" there'),
    ({"type": "one_of", "texts": ["yes", "no"]}, " Yes. ", "yes, it is"),
    ({"type": "one_of", "texts": ["是", "不是"]}, "不是。", "不"),
]


@pytest.mark.parametrize(("constraint", "kept", "broken"), CASES)
def test_a_constraint_is_kept_by_one_answer_and_broken_by_another(
    constraint: dict[str, Any], kept: str, broken: str
) -> None:
    sample = make_sample(constraints=[constraint])
    scorer = make_scorer("constraints", sample)
    assert values(scorer, sample, kept) == {"followed_all": 1.0, "followed": 1.0}
    assert values(scorer, sample, broken) == {"followed_all": 0.0, "followed": 0.0}


def test_a_share_of_the_constraints_can_be_followed() -> None:
    sample = make_sample(
        constraints=[
            {"type": "words", "max": 3},
            {"type": "no_commas"},
            {"type": "case", "value": "lower"},
            {"type": "include", "texts": ["tea"]},
        ]
    )
    found = scores(make_scorer("constraints", sample), sample, "Green tea")
    assert (found["followed"].value, found["followed_all"].value) == (0.75, 0.0)
    assert found["followed_all"].reason == "not followed: case"


def test_an_empty_answer_follows_nothing() -> None:
    sample = make_sample(constraints=[{"type": "no_commas"}, {"type": "words", "max": 5}])
    assert values(make_scorer("constraints", sample), sample, " \n") == {
        "followed_all": 0.0,
        "followed": 0.0,
    }


def test_a_sample_without_constraints_is_not_scored() -> None:
    found = scores(make_scorer("constraints"), make_sample(constraints=[]), "text")
    assert all(score.value is None for score in found.values())


@pytest.mark.parametrize(
    "constraint",
    [
        {"type": "wrods", "min": 3},
        {"type": "words"},
        {"type": "words", "min": 5, "max": 3},
        {"type": "words", "min": -1},
        {"type": "words", "mni": 3},
        {"type": "include", "texts": []},
        {"type": "regex", "pattern": "("},
        {"type": "language", "value": "fr"},
        {"min": 3},
        "words",
    ],
)
def test_a_wrong_constraint_is_refused_when_the_suite_is_opened(constraint: object) -> None:
    sample = make_sample(name="fe-7", constraints=[{"type": "quoted"}, constraint])
    with pytest.raises(SuiteError, match=r"tests/tiny.*'fe-7'"):
        make_scorer("constraints", sample)


def test_constraints_that_are_no_list_are_refused() -> None:
    with pytest.raises(SuiteError, match="must be a list of mappings"):
        make_scorer("constraints", make_sample(constraints={"type": "quoted"}))


@pytest.mark.parametrize("suite", ["instruct/format-en", "instruct/format-zh"])
def test_the_shipped_constraints_are_understood(suite: str) -> None:
    samples = shipped_samples(suite)
    assert len(samples) >= 150
    make_scorer("constraints", *samples)
    assert all(sample.fields["constraints"] for sample in samples)
