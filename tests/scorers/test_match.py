"""Generated answers against targets."""

from __future__ import annotations

from decimal import Decimal

import pytest

from evalkit.errors import SuiteError
from evalkit.records import Message, Sample
from evalkit.scorers.extraction import numbers
from tests.scorers.examples import make_sample, make_scorer, scores, value, values


def test_an_exact_match_forgives_only_the_space_around() -> None:
    scorer = make_scorer("exact_match")
    assert value(scorer, " Paris\n", make_sample("Paris", "paris")) == 1.0
    assert value(scorer, "Paris.", make_sample("Paris")) == 0.0
    assert value(scorer, "", make_sample("Paris")) == 0.0


def test_exact_match_is_that_of_lm_eval() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    for said, target in (("Paris", "Paris"), ("Paris.", "Paris"), ("paris", "Paris")):
        theirs = metrics.exact_match_hf_evaluate([said], [target])["exact_match"]
        assert value(make_scorer("exact_match"), said, make_sample(target)) == theirs


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1.0),
        ("ＡＢＣ　１２３", "abc 123", 1.0),
        ("“北京”。", "北京", 1.0),
        ("an apple a day", "apple day", 1.0),
        ("apples", "apple", 0.0),
        ("1,234.5", "1234.5", 1.0),
        ("−5.", "-5", 1.0),
        ("½", "1/2", 1.0),
        ("$3.50!", "3.50", 1.0),
        ("35", "3.5", 0.0),
        ("5", "-5", 0.0),
        ("12", "1/2", 0.0),
        ("1030", "10:30", 0.0),
        ("C", "C++", 0.0),
        ("c#.", "C#", 1.0),
        ("", "A", 0.0),
        ("The.", "A", 0.0),
        ("(a)", "A", 1.0),
        ("vitamin", "vitamin A", 0.0),
        ("", ">", 0.0),
        (">", ">", 1.0),
    ],
)
def test_a_normalized_match_forgives_case_width_punctuation_and_articles(
    text: str, target: str, expected: float
) -> None:
    assert value(make_scorer("normalized_match"), text, make_sample(target)) == expected


def test_contains_takes_any_target_as_a_whole_word() -> None:
    scorer = make_scorer("contains")
    assert value(scorer, "That would be Lyon or Paris, I think.", make_sample("x", "Paris")) == 1.0
    assert value(scorer, "a heartfelt reply", make_sample("heart")) == 0.0
    assert value(scorer, "中国的首都是北京。", make_sample("北京")) == 1.0
    prefix = make_scorer("contains", match="prefix")
    assert value(prefix, "a heartfelt reply", make_sample("heart")) == 1.0


@pytest.mark.parametrize(
    "name", ["exact_match", "normalized_match", "contains", "number", "answers"]
)
def test_a_sample_without_a_target_is_not_scored(name: str) -> None:
    found = scores(make_scorer(name), make_sample(), "anything 5")
    assert all(score.value is None and "no target" in score.reason for score in found.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 42.", [42]),
        ("1,234,567.5 and 12,34", [1234567.5, 12, 34]),
        ("-5, then 10-3 and (-2)", [-5, 10, 3, -2]),
        ("x = -7", [-7]),
        ("答案是１２３。", [123]),
        ("一共３，400元", [3, 400]),
        ("−4 and 3.14.", [-4, Decimal("3.14")]),
        ("50%", [50]),
        ("version 1.2.3", [Decimal("1.2")]),
        ("The answer is...5", [5]),
        ("-.5 or .25", [Decimal("-0.5"), Decimal("0.25")]),
        ("none", []),
        ("1,2,3", [1, 2, 3]),
        ("007", [7]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, found: list[float]) -> None:
    assert [float(number) for number in numbers(text)] == [float(number) for number in found]


def test_the_last_number_counts_and_its_form_does_not() -> None:
    scorer = make_scorer("number")
    sample = make_sample("1234")
    assert values(scorer, sample, "3 times 4 is 1,234.00") == {"accuracy": 1.0, "extracted": 1.0}
    assert values(scorer, sample, "1234, or perhaps 5") == {"accuracy": 0.0, "extracted": 1.0}
    assert value(make_scorer("number", which="first"), "1234, or 5", sample) == 1.0
    close = make_scorer("number", tolerance=0.1)
    assert value(close, "3.2", make_sample("3.1")) == 1.0
    assert value(close, "3.21", make_sample("3.1")) == 0.0


def test_no_number_is_kept_apart_from_a_wrong_one() -> None:
    found = scores(make_scorer("number"), make_sample("7"), "seven")
    assert (found["accuracy"].value, found["extracted"].value) == (0.0, 0.0)
    assert found["accuracy"].reason == "not extracted"
    wrong = scores(make_scorer("number"), make_sample("7"), "8")
    assert (wrong["extracted"].value, wrong["accuracy"].reason) == (1.0, "")


def test_a_target_that_is_no_number_is_found_when_the_suite_is_opened() -> None:
    with pytest.raises(SuiteError, match=r"'s1'.*'seven' is not a number"):
        make_scorer("number", make_sample("seven"))


def test_a_pattern_extracts_its_group_from_the_last_match() -> None:
    sample = make_sample("B")
    scorer = make_scorer("regex", pattern=r"answer is \(?([A-D])\)?")
    assert values(scorer, sample, "The answer is A. No, the answer is (b).") == {
        "regex_match": 1.0,
        "regex_extracted": 1.0,
    }
    assert values(scorer, sample, "B") == {"regex_match": 0.0, "regex_extracted": 0.0}
    named = make_scorer("regex", pattern=r"(?P<letter>[A-D])(\d)", group="letter", which="first")
    assert value(named, "B1 C2", sample) == 1.0
    whole = make_scorer("regex", pattern=r"\b[A-D]\b")
    assert value(whole, "C or B", sample) == 1.0


def test_what_a_pattern_extracts_keeps_its_point_and_its_sign() -> None:
    scorer = make_scorer("regex", pattern=r"(-?[\d.]+)")
    assert value(scorer, "It is 3.5.", make_sample("3.5")) == 1.0
    assert value(scorer, "It is 35.", make_sample("3.5")) == 0.0
    assert value(scorer, "It is 5.", make_sample("-5")) == 0.0


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused_before_anything_is_asked(tolerance: float) -> None:
    with pytest.raises(SuiteError, match="option 'tolerance'"):
        make_scorer("number", make_sample("5"), tolerance=tolerance)


@pytest.mark.parametrize(
    ("reply", "answered", "asks_instead"),
    [
        ("Beijing.", 1.0, 0.0),
        ("The capital is Beijing. Anything else?", 1.0, 0.0),
        ("What is the capital of China? The capital of China is Beijing.", 1.0, 0.0),
        ("What is the capital of China? What is the capital of Japan?", 0.0, 1.0),
        ("What is the capital of Japan? Beijing is nice.", 0.0, 1.0),
        ("Is it Beijing?", 1.0, 0.0),
        ("Shanghai.", 0.0, 0.0),
        ("中国的首都是哪里？", 0.0, 1.0),
        ("", 0.0, 0.0),
    ],
)
def test_answering_is_told_from_asking_on(reply: str, answered: float, asks_instead: float) -> None:
    question = (Message(role="user", content="What is the capital of China?"),)
    sample = Sample(id="s", suite="t", prompt=question, targets=("Beijing", "北京"))
    found = values(make_scorer("answers", language="mixed"), sample, reply)
    assert found == {"answered": answered, "asks_instead": asks_instead}


def test_a_choice_is_a_target_s_letter_however_it_is_written() -> None:
    sample = make_sample("B")
    scorer = make_scorer("choice", sample)
    assert values(scorer, sample, "故选（Ｂ）。") == {"accuracy": 1.0, "extracted": 1.0}
    assert values(scorer, sample, "The answer is C.") == {"accuracy": 0.0, "extracted": 1.0}
    either = scores(scorer, sample, "The answer is B or C.")
    assert (either["accuracy"].value, either["extracted"].value) == (0.0, 0.0)
    assert either["accuracy"].reason == "not extracted: more than one answer is given"


def test_a_rows_own_choices_say_how_many_letters_there_are() -> None:
    sample = Sample(
        id="s", suite="t", prompt="?", targets=("E",), choices=("1", "2", "3", "4", "5")
    )
    assert value(make_scorer("choice"), "Answer: E", sample) == 1.0
    assert values(make_scorer("choice"), make_sample("A"), "Answer: E")["extracted"] == 0.0
    assert values(make_scorer("choice", letters="ABCDE"), make_sample("E"), "E")["accuracy"] == 1.0


def test_several_letters_are_right_together_or_not_at_all() -> None:
    scorer = make_scorer("choice", several=True)
    assert value(scorer, "故选CA", make_sample("AC")) == 1.0
    assert value(scorer, "故选A", make_sample("AC")) == 0.0


@pytest.mark.parametrize("target", ["E", "Paris", "AB", ""])
def test_a_target_that_is_no_letter_is_found_when_the_suite_is_opened(target: str) -> None:
    with pytest.raises(SuiteError, match=r"'s1'.*not one of the letters ABCD"):
        make_scorer("choice", make_sample(target))


def test_where_the_answer_is_looked_for_can_be_said() -> None:
    said = "\\boxed{7}, so the answer is 8, after 9 steps"
    for extract, wanted in ((["boxed"], "7"), (["phrase"], "8"), (["any"], "9")):
        assert value(make_scorer("number", extract=extract), said, make_sample(wanted)) == 1.0
    assert value(make_scorer("number"), said, make_sample("8")) == 1.0
    with pytest.raises(SuiteError, match="option 'extract"):
        make_scorer("number", extract=["guess"])


def test_a_percentage_is_its_number_or_a_share() -> None:
    assert value(make_scorer("number"), "百分之五十", make_sample("50")) == 1.0
    share = make_scorer("number", percent="share")
    assert value(share, "50%", make_sample("0.5")) == 1.0
    assert value(share, "0.5", make_sample("50%")) == 1.0
    assert value(make_scorer("number"), "0.75", make_sample("3/4")) == 1.0
