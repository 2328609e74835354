"""What is put before a judge, out of a run's results; and the answers without their dress."""

from __future__ import annotations

import pytest

from evalkit.judges.matters import lengths, matter_of, stripped, undressed
from evalkit.records import Completion, Message
from evalkit.scorers.style_features import hashtags
from evalkit.scorers.text import EMOJI, words
from tests.judges.matters import make_matter, make_pair, references, said


def test_a_pair_of_answers_is_a_matter() -> None:
    matter = matter_of(
        make_pair(said("Lyon."), said("Paris."), targets=("Paris",), cluster="c"), "en"
    )
    assert matter is not None
    assert matter.turns == (Message(role="user", content="What is it?"),)
    assert (matter.base, matter.tuned) == (("Lyon.",), ("Paris.",))
    assert (matter.reference, matter.cluster, matter.language) == ("Paris", "c", "en")
    assert lengths(matter) == (5, 6)


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [Completion(key="k", error="timed out")],
        [Completion(key="k", text="", stop_reason="thinking")],
        [Completion(key="k", logprobs=(-1.0,), stop_reason="scored")],
    ],
)
def test_an_arm_without_a_text_leaves_nothing_to_judge(broken: list[Completion]) -> None:
    assert matter_of(make_pair(said("Lyon."), broken), "en") is None
    assert matter_of(make_pair(broken, said("Lyon.")), "en") is None


def test_an_empty_answer_is_an_answer() -> None:
    matter = matter_of(make_pair(said("Lyon."), said("")), "en")
    assert matter is not None
    assert matter.tuned == ("",)


def test_of_several_answers_the_first_is_judged() -> None:
    matter = matter_of(make_pair(said("a", "b", "c"), said("d", "e", "f")), "en")
    assert matter is not None
    assert (matter.base, matter.tuned) == (("a",), ("d",))


TWO_TURNS = {
    "prompt": (Message(role="user", content="Name one."),),
    "fields": {"then": ["And another?"], "reference": ["one", "two"]},
}


def test_a_conversation_has_an_answer_for_each_turn() -> None:
    matter = matter_of(make_pair(said("a1", "a2"), said("b1", "b2"), **TWO_TURNS), "en")
    assert matter is not None
    assert matter.then == ("And another?",)
    assert (matter.base, matter.tuned) == (("a1", "a2"), ("b1", "b2"))
    assert matter.reference == "(1) one\n(2) two"


def test_repeats_of_a_conversation_lie_turn_after_turn() -> None:
    # Two conversations: both first answers, then both second ones.
    pair = make_pair(said("a1", "x1", "a2", "x2"), said("b1", "y1", "b2", "y2"), **TWO_TURNS)
    matter = matter_of(pair, "en")
    assert matter is not None
    assert (matter.base, matter.tuned) == (("a1", "a2"), ("b1", "b2"))


def test_a_conversation_that_broke_off_is_not_judged() -> None:
    broken = [*said("b1"), Completion(key="k", error="timed out")]
    assert matter_of(make_pair(said("a1", "a2"), broken, **TWO_TURNS), "en") is None
    assert matter_of(make_pair(said("a1", "a2"), said("b1"), **TWO_TURNS), "en") is None


def test_worked_examples_are_left_out_of_the_question() -> None:
    prompt = "Q: 1+1? A: 2\n\nQ: 2+2? A:"
    matter = matter_of(make_pair(said("4"), said("5"), prompt=prompt, lead=14), "en")
    assert matter is not None
    assert matter.turns[-1].content == "Q: 2+2? A:"


def test_the_rows_reference_goes_before_its_targets() -> None:
    pair = make_pair(said("a"), said("b"), targets=("t",), fields={"reference": " r "})
    matter = matter_of(pair, "en")
    assert matter is not None
    assert matter.reference == "r"
    several = matter_of(make_pair(said("a"), said("b"), targets=("t", "u")), "en")
    assert several is not None
    assert several.reference == "(1) t\n(2) u"


@pytest.mark.parametrize(
    ("dressed", "plain"),
    [
        (
            "**Bold** and *slanted* and __bold__ and _slanted_",
            "Bold and slanted and bold and slanted",
        ),
        ("# Title\n\ntext", "Title\n\ntext"),
        ("- one\n- two\n* three\n• four", "one\ntwo\nthree\nfour"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("> quoted\n>> twice", "quoted\ntwice"),
        ("see [the page](https://example.org 'x')", "see [the page](https://example.org 'x')"),
        ('see [the page](https://example.org "x") ![pic](a.png)', "see the page pic"),
        ("```python\nx = a_b * c_d\n```", "x = a_b * c_d"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("`code` ~~gone~~", "code gone"),
        ("| a | b |\n|---|:--|\n| 1 | 2 |", "a b\n\n1 2"),
        ("one\n\n---\n\n\ntwo", "one\n\ntwo"),
        ("<b>strong</b><br/>next, 1 < 2 > 0", "strong\nnext, 1 < 2 > 0"),
        ("☕ 拿铁25元💰！", "拿铁25元 ！"),
        ("1️⃣ 侧对窗户坐", "侧对窗户坐"),
        ("👩‍🍳👍🏽 hi 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "hi"),
        ("#探店 #咖啡[话题]# #周末去哪儿", "探店 咖啡 周末去哪儿"),
        ("#ootd#fit#daily", "ootd fit daily"),
        ("C# is issue #12, see page.html#top", "C# is issue #12, see page.html#top"),
        ("***both***", "both"),
        ("", ""),
    ],
)
def test_dress_is_taken_off_and_words_stay(dressed: str, plain: str) -> None:
    assert undressed(dressed) == plain


@pytest.mark.parametrize("suite", ["style/rednote-en", "style/rednote-zh"])
def test_real_notes_lose_their_dress_and_keep_their_words(suite: str) -> None:
    notes = references(suite, "note")
    assert sum(bool(EMOJI.search(note)) for note in notes) > 50
    for note in notes:
        bare = undressed(note)
        assert not EMOJI.search(bare)
        assert not hashtags(bare)
        assert "**" not in bare
        assert words(bare) == words(EMOJI.sub(" ", note).replace("[话题]", "")), note


@pytest.mark.parametrize("suite", ["style/rednote-en", "style/rednote-zh"])
def test_plain_answers_hardly_change(suite: str) -> None:
    for answer in references(suite, "plain"):
        assert words(undressed(answer)) == words(answer)


def test_stripping_is_of_the_answers_alone() -> None:
    matter = make_matter("**a** ✨", "# b", question="**What** ✨?")
    bare = stripped(matter)
    assert (bare.base, bare.tuned, bare.turns) == (("a",), ("b",), matter.turns)
    assert stripped(bare) == bare


@pytest.mark.parametrize(
    "text",
    [
        "*a " * 40_000,
        "**a " * 40_000,
        "[" * 100_000,
        " " * 200_000,
        "| " * 50_000,
        "#a" * 50_000,
        "<b " * 50_000,
        "_a" * 60_000,
    ],
)
@pytest.mark.timeout(20)
def test_no_text_takes_long(text: str) -> None:
    undressed(text)
