"""What the judges said of one sample: both orders beside each other, with their reasons."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from evalkit.errors import StoreError
from evalkit.judges.preferences import preferences, winner
from evalkit.records import Comparison, Judgement, PreferenceOutcome
from evalkit.store.judged import JudgedSamples
from reports.dashboard import markup
from reports.dashboard.markup import Markup, tag
from reports.judging.words import REASONS
from reports.wording import number

OUTCOMES: dict[PreferenceOutcome, str] = {
    "flip": "⇄ flip",
    "wavered": "≈ wavered",
    "tie": "= tie",
    "tuned": "▲ tuned wins",
    "base": "▼ base wins",
    "missing": "∅ missing",
}
_MEANS: dict[PreferenceOutcome, str] = {
    "flip": "another winner in the other order: it counts half",
    "wavered": "a winner in one order and a tie in the other",
    "tie": "a tie in both orders",
    "tuned": "preferred in both orders",
    "base": "preferred in both orders",
    "missing": "no word on this sample",
}
_WORDS = (0.0, 0.5, 1.0)


def show(
    comparison: Comparison, suite: str, sample_id: str, judged: JudgedSamples, *, first: str = ""
) -> None:
    """All judgements of a sample, by rubric and judge; nothing where it was not judged.

    Those of the judge `first` stand before the others.
    """
    try:
        said = judged.read(suite, sample_id)
    except StoreError as error:
        markup.note(str(error), "failed")
        return
    said = tuple(sorted(said, key=lambda one: one.judge != first))
    found = _found(comparison, suite, sample_id)
    if not said and not found:
        return
    st.subheader("What the judges said")
    st.html(tag("div", "ek-judged", *found, *_groups(comparison, said)))


def _found(comparison: Comparison, suite: str, sample_id: str) -> list[Markup]:
    """That an answer looks like an attempt on the judge, and why."""
    names = {"base": comparison.base.name, "tuned": comparison.tuned.name}
    told: dict[tuple[str, str], None] = {}
    for judging in comparison.judgings:
        if judging.suite == suite:
            for arm, samples in judging.flagged.items():
                for what in samples.get(sample_id, ()):
                    told[names.get(arm, arm), what] = None
    return [
        tag(
            "div",
            "ek-note ek-failed",
            tag("b", "", f"{name}: "),
            f"an attempt on the judge? {what}",
        )
        for name, what in told
    ]


def _groups(comparison: Comparison, said: Sequence[Judgement]) -> list[Markup]:
    """A block for each rubric and judge."""
    keys = dict.fromkeys((one.rubric, one.judge) for one in said)
    words = {(one.rubric, one.judge): one for one in preferences(said)}
    blocks = []
    for rubric, judge in keys:
        mine = [one for one in said if (one.rubric, one.judge) == (rubric, judge)]
        word = words.get((rubric, judge))
        outcome = tag("span", "ek-outcome", OUTCOMES[word.outcome]) if word else Markup()
        means = _MEANS[word.outcome] if word else "rated one by one"
        if word and not any(one.order for one in mine):
            means = "asked once"
        head = tag(
            "header", "", tag("b", "", judge), tag("span", "ek-small", rubric), outcome,
            tag("span", "ek-small", means),
        )  # fmt: skip
        plain = [one for one in mine if not one.stripped]
        bare = [one for one in mine if one.stripped]
        inside = [head, _cards(comparison, plain)]
        if bare:
            title = tag("summary", "ek-small", "The same without emoji and markup")
            inside.append(tag("details", "ek-bare", title, _cards(comparison, bare)))
        blocks.append(tag("section", "ek-judge", *inside))
    return blocks


def _cards(comparison: Comparison, said: Sequence[Judgement]) -> Markup:
    repeated = any(one.repeat for one in said)
    return tag("div", "ek-calls", *(_card(comparison, one, repeated=repeated) for one in said))


def _card(comparison: Comparison, one: Judgement, *, repeated: bool) -> Markup:
    """One call: what was shown, what it came to, in the judge's own words."""
    shown = _shown(comparison, one)
    turn = f", asked again, {one.repeat + 1}" if repeated else ""
    side, verdict = _verdict(comparison, one)
    level = f"“{one.level}”" if one.level else ""
    of = " of the first" if one.level and one.protocol == "pairwise" and one.order else ""
    inside = [
        tag("div", "ek-small", f"{shown}{turn}"),
        tag("div", f"ek-said ek-{side}", verdict, tag("span", "ek-small", f" {level}{of}")),
    ]
    if one.rationale:
        inside.append(tag("div", "ek-text", one.rationale, dir="auto"))
    if one.error:
        inside.append(tag("div", "ek-text ek-bad", one.error, dir="auto"))
    return tag("article", "ek-call", *inside)


def _shown(comparison: Comparison, one: Judgement) -> str:
    names = {"base": comparison.base.name, "tuned": comparison.tuned.name}
    if one.protocol == "pointwise":
        return f"{names.get(one.arm, 'an answer')} alone"
    if one.order == "base_first":
        return f"{names['base']} shown first"
    if one.order == "tuned_first":
        return f"{names['tuned']} shown first"
    return "the order is not told"


def _verdict(comparison: Comparison, one: Judgement) -> tuple[str, str]:
    """The side it speaks for (base, tuned, neither), and the verdict in words."""
    if one.value is None:
        return "neither", f"∅ {REASONS.get(one.status, one.status)}"
    if one.protocol == "pointwise":
        return one.arm or "neither", number(one.value, 2)
    exact = "" if one.value in _WORDS else f" ({number(one.value, 2)})"
    match winner(one.value):
        case 1:
            return "tuned", f"prefers {comparison.tuned.name}{exact}"
        case -1:
            return "base", f"prefers {comparison.base.name}{exact}"
        case _:
            return "neither", f"a tie{exact}"
