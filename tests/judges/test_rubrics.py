"""Rubrics: the shipped ones are whole, and a user's own file is checked line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.errors import ConfigError, UsageError
from evalkit.judges.rubrics import open_rubric, shipped
from evalkit.scorers.text import language_of

OWN = """\
title: Brief
language: en
question: Is the answer brief?
"""


def test_these_rubrics_are_shipped() -> None:
    assert shipped() == (
        "chat",
        "faithful",
        "funny",
        "harmless",
        "helpful",
        "rednote",
        "spots-trick",
    )


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_rubric_is_the_same_in_both_languages(name: str) -> None:
    english, chinese = open_rubric(name, "en"), open_rubric(name, "zh")
    for rubric, language in ((english, "en"), (chinese, "zh")):
        assert rubric.name == name
        assert rubric.language == language
        assert {language_of(text) for text in (rubric.question, *rubric.items)} == {language}
    assert len(english.items) == len(chinese.items)
    assert (english.scale, english.style, english.reference) == (
        chinese.scale,
        chinese.style,
        chinese.reference,
    )
    assert english.hash != chinese.hash


def test_only_the_style_rubric_asks_for_looks_and_two_for_a_reference() -> None:
    rubrics = [open_rubric(name, "en") for name in shipped()]
    assert [one.name for one in rubrics if one.style] == ["rednote"]
    assert [one.name for one in rubrics if one.reference] == ["chat", "faithful"]


def test_any_other_language_is_judged_in_english() -> None:
    assert open_rubric("helpful", "mixed") == open_rubric("helpful", "en")


def test_a_misspelt_rubric_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'helpful'"):
        open_rubric("helpfull", "en")


def test_an_unknown_rubric_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"There are: chat, .*\.yaml"):
        open_rubric("zzz", "en")


def test_a_rubric_of_ones_own_is_called_as_its_file(tmp_path: Path) -> None:
    file = tmp_path / "brief.yaml"
    file.write_text(OWN, encoding="utf-8")
    rubric = open_rubric(str(file), "zh")
    assert (rubric.name, rubric.language, rubric.scale) == ("brief", "en", "rating")
    assert rubric.items == ()


def test_the_hash_is_of_all_that_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "brief.yaml"
    hashes = set()
    for text in (OWN, OWN + "style: true\n", OWN.replace("brief?", "short?")):
        file.write_text(text, encoding="utf-8")
        hashes.add(open_rubric(str(file), "en").hash)
    assert len(hashes) == 3


def test_a_comment_changes_no_hash(tmp_path: Path) -> None:
    file = tmp_path / "brief.yaml"
    file.write_text(OWN, encoding="utf-8")
    before = open_rubric(str(file), "en").hash
    file.write_text("# mine\n" + OWN, encoding="utf-8")
    assert open_rubric(str(file), "en").hash == before


def test_a_missing_file_is_told_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(OWN, encoding="utf-8")
    with pytest.raises(UsageError, match=r"no such file.*brief\.yaml"):
        open_rubric(str(tmp_path / "breif.yaml"), "en")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OWN + "styel: true\n", r"brief\.yaml:4: styel: unknown key. Did you mean 'style'"),
        ("title: x\nlanguage: en\n", r"question: missing"),
        (OWN.replace("en\n", "fr\n"), r"brief\.yaml:2: language: expected one of en, zh, got 'fr'"),
        (OWN + "items: [a, b]\n", r"describe its levels 1 to 5, and here are 2"),
        (OWN + "scale: checklist\n", r"1 to 9 items, yes/no questions; here are 0"),
        (OWN + "scale: checklist\nitems: [a, a]\n", r"the same item stands there twice"),
        (OWN + "scale: stars\n", r"brief\.yaml:4: scale: expected one of rating, checklist"),
        (OWN + "name: ../x\n", r"brief\.yaml:4: name: use letters"),
        (OWN + "style: yes please\n", r"brief\.yaml:4: style: expected true or false"),
        (OWN.replace("Brief", "''"), r"brief\.yaml:1: title: expected some text"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "brief.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        open_rubric(str(file), "en")


def test_a_file_name_that_cannot_name_a_metric_needs_a_name(tmp_path: Path) -> None:
    file = tmp_path / "简短.yaml"
    file.write_text(OWN, encoding="utf-8")
    with pytest.raises(ConfigError, match="add `name:`"):
        open_rubric(str(file), "en")
    file.write_text(OWN + "name: brief\n", encoding="utf-8")
    assert open_rubric(str(file), "en").name == "brief"
