"""Which answer is better? Two at a time, without names; what is chosen is kept as a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from evalkit.errors import EvalkitError
from evalkit.judges.blinding import Blind, blinded, blinding_key, drawn, opened_id
from evalkit.judges.labels import Choice, answer_of, preferred, question_of
from evalkit.judges.rubrics import shipped
from evalkit.judges.votes import Key, Vote, add_votes, person_name, read_votes
from evalkit.judging.compared import Compared, open_compared, people_jobs
from evalkit.judging.labelling import counted
from evalkit.records import Comparison
from reports.dashboard import markup, sources
from reports.dashboard.markup import Markup, tag
from reports.diff import Segment

_BACK = "vote again"
_FAILED = "vote failed"


class _Button(NamedTuple):
    choice: Choice
    label: str
    key: str
    icon: str | None


_BUTTONS = (
    _Button("left", "Left is better", "Left", None),
    _Button("tie", "Tie", "T", ":material/drag_handle:"),
    _Button("right", "Right is better", "Right", None),
    _Button("skip", "Skip", "S", ":material/skip_next:"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ballot:
    """What one person votes on, in their own random order of sides; `votes` are theirs so far."""

    file: Path
    person: str
    pairs: tuple[Blind, ...]
    votes: Mapping[Key, Vote]

    @property
    def open(self) -> list[Blind]:
        """The pairs without a word of theirs."""
        return [one for one in self.pairs if self.key(one) not in self.votes]

    def key(self, pair: Blind) -> Key:
        """The vote's that this pair gets."""
        matter, rubric = pair.matter, pair.rubric.name
        return matter.suite, rubric, matter.sample_id, opened_id(matter, rubric), self.person


def show() -> None:
    """The whole page."""
    opened = sources.choose_comparison()
    if opened is None:
        return
    comparison = sources.choose_arm(opened)
    suites = _suites(comparison)
    if not suites:
        markup.note(
            "Nothing of this comparison can be voted on: none of its suites asks for written "
            "answers."
        )
        return
    try:
        ballot = _ballot(opened, comparison, suites)
        if ballot is not None:
            _vote_on(ballot, comparison)
    except EvalkitError as error:
        markup.note(str(error), "failed")


def _suites(comparison: Comparison) -> list[str]:
    """Those whose answers are texts; the judged ones first."""
    judged = [one.suite for one in comparison.judgings]
    written = [info.name for info in comparison.base.suites if info.task == "generate"]
    return list(dict.fromkeys((*judged, *written)))


def _ballot(
    opened: sources.Opened, comparison: Comparison, suites: Sequence[str]
) -> _Ballot | None:
    """What the controls at the top ask for; None before there is a name to vote under."""
    first, second, third, fourth = st.columns([3, 2.4, 2.4, 1.4], vertical_alignment="bottom")
    with first:
        suite = st.selectbox("Suite", suites, key="suite", bind="query-params") or suites[0]
    rubrics = _rubrics(comparison, suite)
    with second:
        rubric = st.selectbox("Rubric", rubrics, key="rubric", bind="query-params") or rubrics[0]
    with third:
        said = st.text_input(
            "Your name", key="person", bind="query-params", placeholder="Kept with your votes"
        )
    with fourth:
        count = st.number_input(
            "Samples", min_value=1, value=50, step=10, key="count", bind="query-params"
        )
    if not (said or "").strip():
        markup.note("Write your name: each person's votes are kept apart, and go on later.", "ok")
        return None
    try:
        person = person_name(said or "")
    except ValueError as error:
        markup.note(f"Your name: {error}.")
        return None
    compared = _compared(opened.file, opened.time, comparison.tuned.name)
    place = str(opened.file), opened.time, comparison.tuned.name
    pairs = _pairs(compared, place, suite, rubric, person, int(count))
    ids = {opened_id(pair.matter, rubric) for pair in pairs}
    votes = read_votes(compared.labels) if compared.labels.is_file() else ()
    mine = {one.key: one for one in votes if one.person == person and one.id in ids}
    return _Ballot(file=compared.labels, person=person, pairs=pairs, votes=mine)


def _rubrics(comparison: Comparison, suite: str) -> list[str]:
    judged = [one.rubric for one in comparison.judgings if one.suite == suite]
    own = next((info.rubrics for info in comparison.base.suites if info.name == suite), ())
    return list(dict.fromkeys((*judged, *own, *(() if judged else shipped()))))


# The time is part of the key: a comparison that is made again is read again.
@st.cache_resource(max_entries=2, show_spinner="Reading the answers …")
def _compared(file: Path, time: int, arm: str) -> Compared:  # noqa: ARG001
    return open_compared([file.parent], arm)


@st.cache_resource(max_entries=32, show_spinner=False)
def _pairs(
    _compared: Compared,
    place: tuple[str, int, str],  # noqa: ARG001  (what the first argument is opened from)
    suite: str,
    rubric: str,
    person: str,
    count: int,
) -> tuple[Blind, ...]:
    base, tuned = _compared.comparison.base, _compared.comparison.tuned
    asked = drawn(people_jobs(_compared, [suite], [rubric]), count, base.seed)
    return blinded(asked, blinding_key(base, tuned, base.seed, person))


def _vote_on(ballot: _Ballot, comparison: Comparison) -> None:
    left = ballot.open
    done = len(ballot.pairs) - len(left)
    again = next((one for one in ballot.pairs if one.id == st.session_state.get(_BACK)), None)
    st.progress(done / len(ballot.pairs), text=f"{done:,} of {len(ballot.pairs):,} done")
    if failed := st.session_state.pop(_FAILED, ""):
        markup.note(failed, "failed")
    pair = again or next(iter(left), None)
    if pair is None:
        _show_end(ballot, comparison)
        return
    _show_pair(pair)
    _show_buttons(ballot, pair)


def _show_pair(pair: Blind) -> None:
    """The question, by what to judge, and both answers; nothing here tells an arm."""
    language, rubric = pair.rubric.language, pair.rubric
    asked = question_of(pair.matter, language, reference=rubric.reference)
    left, right = (answer_of(one, language) for one in pair.shown)
    st.html(
        tag(
            "div",
            "",
            tag("div", "ek-small", rubric.question),
            tag("div", "ek-text ek-question", asked, dir="auto"),
        )
    )
    st.html(tag("div", "ek-pair", _answer("Left", left), _answer("Right", right)))


def _answer(side: str, text: str) -> Markup:
    inside = markup.passage((Segment(text=text, changed=False),), "plain")
    if not text.strip():
        inside = tag("div", "ek-text ek-muted", "(an empty answer)")
    return tag("article", "ek-answer ek-plain", tag("header", "", tag("b", "", side)), inside)


def _show_buttons(ballot: _Ballot, pair: Blind) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="votes"):
        for one in _BUTTONS:
            st.button(
                one.label,
                shortcut=one.key,
                icon=one.icon,
                key=f"vote-{one.choice}",
                on_click=_vote,
                args=(ballot, pair, one.choice),
            )
        last = _last(ballot, pair)
        st.button(
            "Back",
            shortcut="B",
            icon=":material/undo:",
            key="vote-back",
            disabled=last is None,
            on_click=_go_back,
            args=(last.id if last else "",),
        )


def _last(ballot: _Ballot, pair: Blind) -> Blind | None:
    """The pair before this one that has a vote: it can be looked at and voted on again."""
    before = ballot.pairs[: ballot.pairs.index(pair)]
    voted = [one for one in before if ballot.key(one) in ballot.votes]
    return voted[-1] if voted else None


def _go_back(shown: str) -> None:
    st.session_state[_BACK] = shown


def _vote(ballot: _Ballot, pair: Blind, choice: Choice) -> None:
    """Keep the vote; one that cannot be kept is told, and its pair stays."""
    same = pair.matter.base == pair.matter.tuned
    vote = Vote(
        id=opened_id(pair.matter, pair.rubric.name),
        suite=pair.matter.suite,
        sample_id=pair.matter.sample_id,
        rubric=pair.rubric.name,
        person=ballot.person,
        preferred=preferred(choice, "" if same else pair.left),
    )
    try:
        add_votes(ballot.file, [vote])
    except EvalkitError as error:
        st.session_state[_FAILED] = str(error)
        return
    st.session_state.pop(_BACK, None)


def _show_end(ballot: _Ballot, comparison: Comparison) -> None:
    """Only now, when nothing can be swayed any more, whose answers were preferred."""
    suite, rubric, *_ = ballot.key(ballot.pairs[0])
    mine = {ballot.key(one) for one in ballot.pairs}
    told = counted([one for key, one in ballot.votes.items() if key in mine], suite, rubric)
    rows = [
        [comparison.tuned.name, f"{told.tuned:,}"],
        [comparison.base.name, f"{told.base:,}"],
        ["Tie", f"{told.tied:,}"],
        ["Skipped", f"{told.skipped:,}"],
    ]
    heads = ["Preferred", "Votes"]
    st.html(
        tag(
            "div",
            "ek-done",
            tag("h3", "", "All done. Thank you!"),
            markup.table(heads, rows, numeric=(1,)),
            tag("p", "ek-small", f"All votes are in {ballot.file}."),
        )
    )
    st.caption(
        "Name that file under judge: labels: in the base's YAML, and the next comparison corrects "
        "its judges by it."
    )


show()
