"""What the judges said, how far they can be trusted, and every pair that they were asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import streamlit as st

from evalkit.errors import StoreError
from evalkit.records import Comparison, Judging, Pair, PreferenceOutcome, metric_name
from evalkit.store.judged import JudgedFilter, JudgedOrder, JudgedRow, JudgedSamples
from evalkit.store.query import PairedRuns, PairRow
from evalkit.store.questions import questions
from reports import charts
from reports.dashboard import failure, judged_reading, markup, reading, sources
from reports.dashboard.judged_reading import OUTCOMES
from reports.dashboard.listing import Listing, lines, steps
from reports.dashboard.markup import Markup, tag
from reports.judging.charts import win_rates
from reports.judging.figures import TOOK, Cell, Figure
from reports.judging.html import JudgingView, judging_view
from reports.judging.words import alarm, title
from reports.wording import number

_SIDE_BY_SIDE = "views/side_by_side.py"
_SUSPECTS = 12  # answers that are linked to; the list below has the rest
_Kind: TypeAlias = PreferenceOutcome | Literal["", "flagged"]
# The controls' words stand in the URL too.
_WANTED: dict[str, _Kind] = {
    "All": "",
    "Flips": "flip",
    "Wavered": "wavered",
    "Ties": "tie",
    "Tuned wins": "tuned",
    "Base wins": "base",
    "Missing": "missing",
    "Flagged": "flagged",
}
_ORDERS: dict[str, JudgedOrder] = {
    "Doubtful first": "doubt",
    "Tuned wins first": "tuned",
    "Base wins first": "base",
    "Suite order": "suite",
}


def show() -> None:
    """The whole page."""
    opened = sources.choose_comparison()
    if opened is None:
        return
    comparison = sources.choose_arm(opened)
    if not comparison.judgings:
        markup.empty(
            "No judge was asked",
            "Rules scored these answers. To have a judge compare them, declare `judge` with the "
            "base (docs/judging.md):",
            "evalkit compare base.yaml tuned.yaml",
        )
        return
    judging = _choose_judging(comparison)
    view = judging_view(comparison, judging)
    _overview(comparison, view, f"{opened.file} {opened.time} {comparison.tuned.run_id}")
    _suspects(comparison, view, sources.address(opened))
    judged = sources.open_judged(opened, comparison)
    if judged is not None:
        st.subheader("Every pair that was judged")
        try:
            _browse(opened, comparison, judging, judged)
        except StoreError as error:
            markup.note(str(error), "failed")


def _choose_judging(comparison: Comparison) -> Judging:
    """One suite and rubric; those that are not to be believed come first."""
    found = {title(one): one for one in comparison.judgings}
    ordered = sorted(found, key=lambda name: not alarm(comparison, found[name]))
    if len(ordered) == 1:
        return found[ordered[0]]
    chosen = st.selectbox(
        "Suite and rubric",
        ordered,
        format_func=lambda name: f"{'✗ ' * bool(alarm(comparison, found[name]))}{name}",
        key="judging",
        bind="query-params",
        on_change=_restart,
        width=620,
    )
    return found.get(chosen or "", found[ordered[0]])


def _overview(comparison: Comparison, view: JudgingView, key: str) -> None:
    """From what the judge says to whether it can be believed."""
    st.html(_hero(view))
    for text in view.warnings:
        markup.note(text)
    spec = _spec(f"{key} {view.title}", st.context.theme.type == "dark", comparison, view.judging)
    if spec is not None:
        st.subheader("The win rate, and what might change it")
        # Else the frame would squeeze the labels into the width that the marks were given.
        st.vega_lite_chart(
            spec | {"autosize": {"type": "pad"}}, theme=None, width="content", key=f"rates {key}"
        )
    st.subheader("Judge health")
    for name, rows in view.groups:
        table = _figures(view, rows)
        if name == TOOK:
            with st.expander(name, icon=":material/payments:"):
                st.html(table)
        else:
            st.html(tag("h3", "ek-group", name))
            st.html(table)


def _figures(view: JudgingView, rows: Sequence[Figure]) -> Markup:
    heads = ["Figure", *view.judges, "What it means", "Good"]
    cells = [[tag("b", "", r.name), *map(_cell, r.cells), r.means, r.good] for r in rows]
    return markup.table(heads, cells, numeric=range(1, 1 + len(view.judges)))


@st.cache_data(max_entries=64, show_spinner=False)
def _spec(
    key: str,  # noqa: ARG001
    dark: bool,
    _comparison: Comparison,
    _judging: Judging,
) -> dict[str, Any] | None:
    chart = win_rates(_comparison, _judging, width=560)
    return None if chart is None else charts.themed(chart, dark=dark)


def _hero(view: JudgingView) -> Markup:
    """How far the judge can be trusted, before what it says."""
    tone, trust = "pass", "✓ Nothing was found that speaks against the judge"
    if view.distrust:
        tone, trust = "fail", "✗ Judge results not trustworthy"
    elif view.warnings or view.suspects:
        tone, trust = "inconclusive", "! To be read with care"
    return tag(
        "section",
        f"ek-hero ek-{tone}",
        tag("div", "ek-arms", view.title),
        tag("div", "ek-headline", trust),
        *(tag("div", "ek-bad", f"{why}.") for why in view.distrust),
        tag("div", "ek-advice", view.headline),
        *(tag("div", "ek-facts", text) for text in view.sentences),
    )


def _cell(cell: Cell) -> Markup:
    told = [cell.interval, f"of {cell.n:,}" if cell.n else ""]
    value = tag("b", "ek-open", f"! {cell.value}") if cell.doubtful else markup.text(cell.value)
    return Markup(f"{value}{tag('span', 'ek-small', ' '.join(filter(None, told)))}")


def _suspects(comparison: Comparison, view: JudgingView, address: dict[str, str]) -> None:
    """The answers that look like attempts on the judge, and the way to each."""
    if not view.suspects:
        return
    st.subheader("Answers that look like an attempt on the judge")
    st.html(tag("p", "ek-muted", view.flagged))
    for one in view.suspects[:_SUSPECTS]:
        st.page_link(
            _SIDE_BY_SIDE,
            label=f"{markup.label(one.sample_id)} · {markup.label(f'{one.arm}: {one.found}')}",
            query_params={
                **address,
                "arm": comparison.tuned.name,
                "suite": view.judging.suite,
                "of": view.judging.suite,
                "sample": one.sample_id,
            },
        )
    rest = len(view.suspects) + view.more - _SUSPECTS
    if rest > 0:
        st.html(tag("p", "ek-small", f"and {rest:,} more: choose “Flagged” below"))


def _filters(judging: Judging) -> tuple[JudgedFilter, JudgedOrder]:
    """Each control is bound to the URL, so that an address restores what was on the screen."""
    names = [one.judge for one in judging.judges]
    first, second, third = st.columns([2.4, 2.4, 3], vertical_alignment="bottom")
    with first:
        chosen = st.selectbox(
            "Sort", list(_ORDERS), key="order", bind="query-params", on_change=_restart
        )
    with second:
        judge = st.selectbox(
            "Judge",
            ["", *names],
            format_func=lambda name: name or "All judges",
            key="by",
            bind="query-params",
            on_change=_restart,
        )
    with third:
        text = st.text_input(
            "Search",
            key="words",
            bind="query-params",
            on_change=_restart,
            type="search",
            placeholder="In ids and reasons",
        )
    shown = [name for name in _WANTED if name != "Flagged" or any(judging.flagged.values())]
    if all(one.flips is None for one in judging.judges):  # rated, or asked in one order alone
        shown = [name for name in shown if name not in ("Flips", "Wavered")]
    kind = st.segmented_control(
        "Outcome",
        shown,
        default="All",
        required=True,
        key="outcome",
        bind="query-params",
        on_change=_restart,
        label_visibility="collapsed",
    )
    return _filter(judging, _WANTED.get(kind or "", ""), judge or "", (text or "").strip()), (
        _ORDERS.get(chosen or "", "doubt")
    )


def _filter(judging: Judging, kind: _Kind, judge: str, text: str) -> JudgedFilter:
    flagged = tuple(dict.fromkeys(i for samples in judging.flagged.values() for i in samples))
    return JudgedFilter(
        suite=judging.suite,
        rubric=judging.rubric,
        judge=judge,
        outcome="" if kind == "flagged" else kind,
        text=text,
        samples=flagged if kind == "flagged" else None,
    )


def _restart() -> None:
    """Begin another list at its first line."""
    for name in ("sample", "said"):
        st.query_params.pop(name, None)


def _browse(
    opened: sources.Opened, comparison: Comparison, judging: Judging, judged: JudgedSamples
) -> None:
    wanted, order = _filters(judging)
    total = judged.count(wanted)
    if not total:
        markup.note("No judged pair fits these filters.", "ok")
        return
    sample, judge = st.query_params.get("sample", ""), st.query_params.get("said", "")
    listing = Listing(
        total=total,
        rank=(judged.rank(wanted, order, sample, judge) or 0) if sample else 0,
        page=partial(judged.page, wanted, order),
        address=lambda row: {"sample": row.sample_id, "said": row.judge},
    )
    rows = listing.shown()
    row = rows[listing.rank - listing.first]
    listing.open(row)
    pairs = sources.open_pairs(opened, comparison, judged)
    asked = questions(pairs.base, row.suite, [one.sample_id for one in rows]) if pairs else {}
    left, right = st.columns([1, 2.2], gap="medium")
    with left:
        several = len(judging.judges) > 1
        lines(listing, rows, partial(_line, asked, several=several))
    with right:
        steps(listing)
        with failure.told(f"The sample {row.sample_id}"):
            _read(opened, comparison, pairs, judged, row)


def _line(asked: Mapping[str, str], row: JudgedRow, *, several: bool) -> str:
    """One judge's word on one sample; the mark says by its shape too what it was."""
    colour = {"tuned": "green", "base": "red", "flip": "orange", "wavered": "orange"}
    mark = f":{colour.get(row.outcome, 'gray')}[{OUTCOMES[row.outcome]}]"
    whose = f":gray[{markup.label(row.judge)}] · " if several else ""
    told = f":gray[{numbers}] " if (numbers := _numbers(row)) else ""
    words = markup.label(asked.get(row.sample_id, "")[:160]) or markup.label(row.sample_id)
    return f"{mark} {told}{whose}{words}"


def _numbers(row: JudgedRow) -> str:
    """Both ratings, or both orders where a judge gives more than plain verdicts."""
    if row.protocol == "pointwise":
        pair = row.base, row.tuned
    elif row.value in (0.0, 0.5, 1.0, None):
        return ""
    else:
        pair = row.base_first, row.tuned_first
    return markup.label(" → ".join(dict.fromkeys(number(one, 2) for one in pair)))


def _read(
    opened: sources.Opened,
    comparison: Comparison,
    pairs: PairedRuns | None,
    judged: JudgedSamples,
    row: JudgedRow,
) -> None:
    """Both answers, where their runs are here, and all that was said of them."""
    pair = pairs.read(row.suite, row.sample_id) if pairs is not None else None
    if pair is not None:
        reading.show_answers(comparison, pair, _pair_row(row, pair), mark=False)
    judged_reading.show(comparison, row.suite, row.sample_id, judged, first=row.judge)
    if pair is not None:
        st.page_link(
            _SIDE_BY_SIDE,
            label="Open it in Side by side, with scores and prompt",
            query_params={
                **sources.address(opened),
                "arm": comparison.tuned.name,
                "suite": row.suite,
                "of": row.suite,
                "sample": row.sample_id,
            },
        )


def _pair_row(row: JudgedRow, pair: Pair) -> PairRow:
    """What the reader of answers needs: the question, and this judge's score of either arm."""
    sample = pair.base.sample
    base, tuned = row.base, row.tuned
    if row.protocol == "pairwise" and row.value is not None:
        base, tuned = 1 - row.value, row.value
    return PairRow(
        suite=row.suite,
        sample_id=row.sample_id,
        metric=metric_name(row.rubric, row.protocol),
        base=base,
        tuned=tuned,
        benefit=row.value,
        question=sample.asked[sample.lead or 0 :].strip(),
    )


show()
