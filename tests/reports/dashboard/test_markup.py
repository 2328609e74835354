"""Text that models write never becomes markup."""

from __future__ import annotations

import string
from html.parser import HTMLParser

import pytest

from reports.dashboard import markup
from reports.diff import Segment
from tests.reports.dashboard.runfolders import HOSTILE


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_only_our_own_tags_are_tags() -> None:
    parsed = _Tags(markup.table([HOSTILE], [[HOSTILE, markup.tag("b", "", HOSTILE)]]))
    assert set(parsed.tags) == {"div", "table", "thead", "tr", "th", "tbody", "td", "b"}


def test_an_attribute_cannot_be_left() -> None:
    made = markup.tag("p", "", style='"><script>alert(1)</script>')
    assert _Tags(made).tags == ["p"]


def test_a_passage_keeps_every_letter_and_marks_the_changes() -> None:
    segments = [Segment(text="一二 <b>\n", changed=False), Segment(text="三\t四", changed=True)]
    parsed = _Tags(markup.passage(segments, "tuned"))
    assert "".join(parsed.texts) == "一二 <b>\n三\t四"
    assert parsed.tags == ["div", "mark"]


def test_an_endless_answer_is_cut_and_says_so() -> None:
    made = markup.passage([Segment(text="x" * 500_000, changed=False)], "base")
    assert len(made) < 201_000
    assert "cut here" in made


def test_hidden_and_reordering_characters_are_made_visible() -> None:
    assert markup.text("a\u202eb\x1b[31m") == "a⟨U+202E⟩b␛[31m"


@pytest.mark.parametrize("character", string.punctuation)
def test_a_label_escapes_all_punctuation_that_markdown_could_read(character: str) -> None:
    assert markup.label(character) == f"\\{character}\u2060"


def test_a_label_keeps_words_and_chinese_as_they_are() -> None:
    assert markup.label("知识 everyday  en\n2") == "知识 everyday en 2"
