"""Numbers and untrusted text as every report words them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.records import Delta, Metric, Outcome, Policy, SuiteVerdict
from reports import wording


@given(st.text(alphabet=st.characters(), max_size=40))
def test_cleaned_text_is_valid_xml_and_utf8(text: str) -> None:
    element = ET.Element("a")
    element.text = wording.clean(text)
    # expat refuses what XML forbids, and reads back what was meant
    assert (ET.fromstring(ET.tostring(element, encoding="utf-8")).text or "") == element.text
    assert wording.clean(wording.clean(text)) == wording.clean(text)


def test_control_and_bidirectional_characters_are_made_visible() -> None:
    assert wording.clean("a\x1b[31m\x00") == "a␛[31m␀"
    assert wording.clean("x\u202ey") == "x⟨U+202E⟩y"
    assert wording.clean("one\r\ntwo\tthree 👩‍💻☕️") == "one\ntwo\tthree 👩‍💻☕️"


def test_one_line_shows_that_it_was_cut() -> None:
    assert wording.one_line("a  b\n c", 0) == "a b c"
    assert wording.one_line("abcdefgh", 5) == "abcd…"
    assert wording.one_line("abcde", 5) == "abcde"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.12345, 3, "+0.123"), (-0.5, 3, "−0.500"), (-0.00001, 3, "0.000"), (0.0, 2, "0.00"),
     (1234.5, 1, "+1,234.5"), (None, 3, "–")],
)  # fmt: skip
def test_differences_carry_their_sign(value: float | None, digits: int, text: str) -> None:
    assert wording.signed(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def _verdict(
    low: float,
    high: float,
    *,
    outcome: Outcome,
    policy: Policy = "non_inferiority",
    up: bool = True,
) -> SuiteVerdict:
    metric = Metric(name="m", higher_is_better=up)
    delta = Delta(suite="s", metric=metric, base=1, tuned=1, difference=0, low=low, high=high)
    return SuiteVerdict(
        suite="s",
        outcome=outcome,
        policy=policy,
        margin=0.1,
        threshold=0.1 if policy == "superiority" else -0.1,
        delta=delta,
        reason="",
    )


def test_only_outcomes_that_seem_to_contradict_their_interval_need_the_note() -> None:
    assert wording.needs_bound_note(_verdict(-0.11, 0.2, outcome="pass"))
    assert not wording.needs_bound_note(_verdict(-0.09, 0.2, outcome="pass"))
    assert not wording.needs_bound_note(_verdict(-0.11, 0.2, outcome="inconclusive"))
    assert wording.needs_bound_note(_verdict(-0.2, 0.11, outcome="pass", up=False))
    assert not wording.needs_bound_note(_verdict(-0.2, 0.09, outcome="pass", up=False))
    superior = _verdict(0.09, 0.4, outcome="pass", policy="superiority")
    assert wording.needs_bound_note(superior)


def test_a_perplexity_is_told_as_a_ratio_too() -> None:
    metric = Metric(name="token_perplexity", kind="perplexity", higher_is_better=False)
    delta = Delta(suite="s", metric=metric, ratio=0.905, ratio_low=0.9, ratio_high=0.911)
    assert wording.ratio_text(delta) == "0.905 times the base's [0.900, 0.911]"
    assert wording.ratio_text(replace(delta, ratio_low=None)) == "0.905 times the base's"
    assert wording.ratio_text(replace(delta, ratio=None)) == ""


def test_a_bound_beyond_the_scale_is_told_as_its_end() -> None:
    assert [wording.win_rate_at(one) for one in (-1.2, 0.0, 1.024, None)] == [0.0, 0.5, 1.0, None]
