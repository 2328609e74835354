"""Style: features by hand, distance to references, the classifier on texts it has not seen."""

from __future__ import annotations

from statistics import mean

import pytest

from evalkit.errors import SuiteError
from evalkit.scorers.base import Scorer
from evalkit.scorers.context import Reference, ReferenceKind
from evalkit.scorers.registry import build
from evalkit.scorers.style_classifier import fit, length_matched
from evalkit.scorers.style_distance import Band, bands
from evalkit.scorers.style_features import FEATURES, hashtags
from tests.scorers.examples import (
    make_context,
    make_sample,
    make_scorer,
    scores,
    shipped_references,
    shipped_samples,
    value,
    values,
)

NOTE = """\
🍅 Tomatoes on a tiny balcony!
I grow mine in two pots, you can too!
✅ Water every morning
✅ Turn the pot once a week
Tell me how yours do?
#BalconyGarden #Tomatoes"""

PLAIN = (
    "Tomatoes need a deep pot, regular water and at least six hours of sun a day. Sow the seeds "
    "indoors in spring and move the seedlings outside once the nights are warm."
)


def measure(text: str, language: str = "en") -> dict[str, float | None]:
    """The features of a text, their prefix left out."""
    found = values(make_scorer("style_features", language=language), make_sample(), text)
    return {name.removeprefix("style."): value for name, value in found.items()}


def test_the_features_of_an_english_note_by_hand() -> None:
    found = measure(NOTE)
    # 5 lines besides the hashtags; 28 words in 5 sentences.
    assert found["emoji"] == pytest.approx(100 * 3 / len("".join(NOTE.split())))
    assert found["emoji_lines"] == pytest.approx(3 / 5)
    assert found["hashtags"] == 2
    assert found["title"] == 1
    assert found["title_length"] == len("🍅Tomatoesonatinybalcony!")
    assert found["order"] == 1
    assert found["sentence_length"] == pytest.approx(28 / 5)
    assert found["exclamations"] == pytest.approx(2 / 5)
    assert found["first_person"] == pytest.approx(100 * 3 / 28)  # I, mine, me
    assert found["second_person"] == pytest.approx(100 * 2 / 28)  # you, yours
    assert found["bullets"] == 0
    assert found["length"] == len("".join(NOTE.split()))


def test_the_features_of_a_chinese_note_by_hand() -> None:
    text = "巷子里的咖啡馆☕\n我每天都来！你也来吧！\n1️⃣ 拿铁25元\n#咖啡[话题]# #探店[话题]#"
    found = measure(text, "zh")
    assert found["hashtags"] == 2
    assert (found["title"], found["title_length"], found["order"]) == (1, 8, 1)
    assert found["emoji_lines"] == pytest.approx(1 / 3)
    assert found["bullets"] == pytest.approx(1 / 3)
    assert found["exclamations"] == pytest.approx(2 / 4)
    # 7 + 9 + (1, 拿, 铁, 25, 元) words: a character or a number each
    assert found["first_person"] == pytest.approx(100 / 21)
    assert found["second_person"] == pytest.approx(100 / 21)


def test_a_plain_answer_has_no_marks_of_a_note() -> None:
    found = measure(PLAIN)
    for name in ("emoji", "emoji_lines", "hashtags", "title", "order", "exclamations", "bullets"):
        assert found[name] == 0, name
    assert found["title_length"] is None
    assert found["sentence_length"] == pytest.approx(15, abs=1)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Sure, here is a note:\nMy pots are small.", 0),
        ("Paris.", 0),
        ("- eggs\n- milk", 0),
        ("#Tag first\ntext", 0),
        ("# Small pots\nMine are small.", 1),
        ("**Small pots**\nMine are small.", 1),
        ("Tomatoes need a deep pot and water.\nThey like sun.", 0),
        ("A title\n#OnlyTags", 0),
        ("超小阳台也能种番茄\n我的经验。", 1),
        ("番茄需要很深的花盆，还要每天浇水，阳光要充足，否则长不好也不会结果子\n真的", 0),
    ],
)
def test_a_title_is_a_short_first_line_that_does_not_end_like_prose(text: str, title: int) -> None:
    language = "zh" if "番茄" in text else "en"
    assert measure(text, language)["title"] == title


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#GrowYourOwn #Garlic", ["GrowYourOwn", "Garlic"]),
        ("#a#b", ["a", "b"]),
        ("#咖啡[话题]# #探店[话题]#", ["咖啡", "探店"]),
        ("#咖啡[话题]##探店[话题]#", ["咖啡", "探店"]),
        ("好喝#咖啡", ["咖啡"]),
        ("#微博话题#", ["微博话题"]),
        ("C# and # heading and #1 and https://x.org/#part and &#39;", []),
        ("I love #tea, and #cake.", ["tea", "cake"]),
        ("#2024goals", ["2024goals"]),
    ],
)
def test_hashtags_of_both_forms_are_found(text: str, found: list[str]) -> None:
    assert hashtags(text) == found


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Title\nbody text here.\n#tag", 1),
        ("Title\nbody text here.", 0),
        ("#tag\nTitle\nbody text here.", 0),
        ("Title\nbody #tag goes on.\n#tag", 0),
        ("Title\nbody text here.\n#tag 🙂\n#more", 1),
    ],
)
def test_a_note_goes_title_body_tags(text: str, order: int) -> None:
    assert measure(text)["order"] == order


def test_an_empty_answer_has_no_features() -> None:
    found = scores(make_scorer("style_features"), make_sample(), "  ")
    assert all(s.value is None and s.reason == "empty answer" for s in found.values())


def test_every_text_can_be_measured() -> None:
    for text in ("#tag", "🙂", "!", "1️⃣", "#a #b\n#c", "**", "# ", "\n.\n", "…"):
        assert len(measure(text)) == len(FEATURES)


def test_a_band_is_closer_not_more() -> None:
    band = Band(low=2.0, high=4.0, grain=0.5)
    assert [band.distance(v) for v in (2.0, 3.0, 4.0)] == [0, 0, 0]
    assert band.distance(5.0) == band.distance(1.0) == 0.5
    assert band.distance(400.0) == 1.0


def test_a_feature_in_which_all_references_agree_is_measured_in_grains() -> None:
    band = Band(low=3.0, high=3.0, grain=2.0)
    assert [band.distance(v) for v in (3.0, 4.0, 9.0)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("suite", ["style/rednote-en", "style/rednote-zh"])
def test_held_out_notes_are_near_to_the_other_notes_and_plain_answers_far(suite: str) -> None:
    references = shipped_references(suite)
    notes = [r for r in references if r.kind == "note"]
    known = {"half": [*notes[::2], *(r for r in references if r.kind == "plain")]}
    context = make_context(language=suite[-2:], references=known)
    scorer = build("style_distance", {"references": "half"}, context)
    near = [value(scorer, note.text) or 0.0 for note in notes[1::2]]
    far = [value(scorer, r.text) or 0.0 for r in references if r.kind == "plain"]
    assert mean(near) < 0.1
    assert mean(far) > 0.5
    assert max(near) < min(far)


def test_a_caricature_of_a_note_is_not_nearer_than_a_note() -> None:
    scorer = make_scorer("style_distance", references="style/rednote-en")
    note = next(r.text for r in shipped_references("style/rednote-en") if r.kind == "note")
    shouted = note.replace(".", "!!! 🎉🎉🎉🎉").replace(" ", " ✨ ") + " #a #b #c #d #e #f #g #h"
    before, after = (values(scorer, make_sample(), text) for text in (note, shouted))
    for name in ("style_distance", "style_distance.emoji", "style_distance.hashtags"):
        assert (after[name] or 0.0) > (before[name] or 0.0)


def test_an_empty_answer_is_as_far_away_as_can_be() -> None:
    scorer = make_scorer("style_distance", references="style/rednote-en")
    assert set(values(scorer, make_sample(), "").values()) == {1.0}


def test_a_feature_that_few_references_have_is_left_out() -> None:
    notes = [
        Reference(id=str(i), kind="note", topic="", text=f"Note {i}. Fine.") for i in range(20)
    ]
    assert "title_length" not in bands(notes)


def test_too_few_references_are_refused() -> None:
    few = {"few": shipped_references("style/rednote-en")[:10]}
    for name in ("style_distance", "style_classifier"):
        with pytest.raises(SuiteError, match="at least 20"):
            build(name, {"references": "few"}, make_context(references=few))


@pytest.fixture(scope="module", params=["style/rednote-en", "style/rednote-zh"])
def classifier(request: pytest.FixtureRequest) -> Scorer:
    """The classifier of a shipped suite."""
    language = str(request.param)[-2:]
    return make_scorer("style_classifier", language=language, references=request.param)


def test_the_classifier_tells_its_held_out_auc(classifier: Scorer) -> None:
    assert classifier.notes[0].startswith("style classifier: held-out AUC ")
    assert float(classifier.notes[0].split()[4]) > 0.95


@pytest.mark.parametrize(
    "text",
    ["Paris.", "Yes.", "42", "Canberra", "No", "北京。", "北京", "是", "不是", "I don't know."],
)
def test_a_short_plain_answer_is_no_note(classifier: Scorer, text: str) -> None:
    assert (value(classifier, text) or 0.0) < 0.5


def test_an_empty_answer_is_no_note(classifier: Scorer) -> None:
    found = scores(classifier, make_sample(), " ")["style_classifier"]
    assert (found.value, found.reason) == (0.0, "empty answer")


def test_notes_and_plain_answers_of_another_author_are_told_apart() -> None:
    scorer = make_scorer("style_classifier", references="style/rednote-en")
    assert (value(scorer, NOTE) or 0.0) > 0.8
    assert (value(scorer, PLAIN) or 0.0) < 0.2
    # emoji that no reference holds, and a note cut off in the middle
    unseen = NOTE.replace("🍅", "🦖").replace("✅", "🛸")
    assert (value(scorer, unseen) or 0.0) > 0.8
    assert (value(scorer, NOTE[:100]) or 0.0) > 0.5
    # short lines and the first person do not make a note
    assert (value(scorer, "1. Boil the water.\n2. Add the pasta.\n3. Drain it.") or 0.0) < 0.2
    letter = "Dear Ms Brown,\n\nI am ill today and I will be back on Monday.\n\nBest regards,\nMia"
    assert (value(scorer, letter) or 0.0) < 0.3


def test_a_leak_is_an_answer_that_reads_like_a_note() -> None:
    scorer = make_scorer("style_classifier", references="style/rednote-en", leak=True)
    assert [metric.name for metric in scorer.metrics] == ["style_leak", "style_leak_probability"]
    assert all(metric.higher_is_better is False for metric in scorer.metrics)
    assert values(scorer, make_sample(), NOTE)["style_leak"] == 1.0
    for sample in shipped_samples("style/plain-en"):
        for target in sample.targets:
            assert values(scorer, sample, target)["style_leak"] == 0.0, target


def test_pairs_are_of_one_length() -> None:
    pairs = length_matched(shipped_references("style/rednote-en"))
    assert len(pairs.notes) == len(pairs.plain) == 100
    assert mean(map(len, pairs.notes)) == pytest.approx(mean(map(len, pairs.plain)), rel=0.02)
    counts: dict[ReferenceKind, int] = {"note": 5, "plain": 9}
    uneven = [
        Reference(id=str(i), kind=kind, topic="", text="word " * (i + 3))
        for kind, count in counts.items()
        for i in range(count)
    ]
    matched = length_matched(uneven)
    assert (len(matched.notes), len(matched.plain), len(matched.spare)) == (5, 5, 4)
    assert max(map(len, matched.spare)) <= max(map(len, matched.plain))


def test_fitting_twice_gives_the_same_numbers() -> None:
    pairs = length_matched(shipped_references("style/rednote-zh"))
    first = fit(pairs).probability("今天的拿铁真好喝☕️")
    fit.cache_clear()
    assert fit(pairs).probability("今天的拿铁真好喝☕️") == first


def test_references_that_show_no_style_are_refused() -> None:
    plain = [r for r in shipped_references("style/rednote-en") if r.kind == "plain"]
    mixed = [
        Reference(id=r.id, kind="note" if i % 2 else "plain", topic=r.topic, text=r.text)
        for i, r in enumerate(plain)
    ]
    context = make_context(references={"mixed": mixed})
    with pytest.raises(SuiteError, match="do not tell notes from plain answers"):
        build("style_classifier", {"references": "mixed"}, context)
