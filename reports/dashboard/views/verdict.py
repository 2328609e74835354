"""May it be shipped? The gate's word, the numbers behind it, and what to read next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import streamlit as st

from evalkit.gate.decide import meaning
from evalkit.records import Comparison, Delta, Judging, SuiteVerdict, Verdict
from reports import charts
from reports.dashboard import markup, sources
from reports.dashboard.markup import Markup, tag
from reports.flips import better_and_worse, moved, p_text, slices_text, stands_out
from reports.formats import remarks
from reports.judging.words import alarms, headline, title, warnings
from reports.repeats import answers_text
from reports.retained import HEADS, NOTE, rows
from reports.stepcharts import over_steps
from reports.steps import Curve, caution, curves
from reports.wording import (
    HEADLINE,
    SYMBOL,
    decimals,
    interval,
    margin_text,
    metric_label,
    missing_text,
    number,
    ratio_text,
    reason,
    sample_count,
    shown_interval,
    signed,
    some_ids,
    suite_info,
    tally,
    win_rate_text,
)

_SIDE_BY_SIDE = "views/side_by_side.py"
_NUMBERS = (1, 2, 3, 4)


def show() -> None:
    """The whole page."""
    opened = sources.choose_comparison()
    if opened is None:
        return
    verdicts = [(arm, sources.verdict(arm)) for arm in opened.arms]
    judged = [(arm, verdict) for arm, verdict in verdicts if verdict is not None]
    if len(judged) == 1:
        _arm(*judged[0], opened)
    elif judged:
        st.html(_overview(judged))
        _training(judged, f"{opened.file} {opened.time}")
        names = [f"{SYMBOL[one.outcome]} {markup.label(arm.tuned.name)}" for arm, one in judged]
        for tab, (arm, verdict) in zip(st.tabs(names), judged, strict=True):
            with tab:
                _arm(arm, verdict, opened)


def _arm(comparison: Comparison, verdict: Verdict, opened: sources.Opened) -> None:
    """One tuned arm, from the headline down to the details."""
    st.html(_hero(comparison, verdict))
    for text in alarms([comparison]):
        markup.note(text, "failed")
    st.html(_suites(comparison, verdict))
    matrix = rows(comparison)
    if matrix:
        st.subheader("Retained and gained")
        st.html(markup.table(HEADS, matrix, numeric=range(3, len(HEADS))))
        st.html(tag("p", "ek-muted", NOTE))
    for one in remarks(comparison, verdict):
        markup.note(f"{one.suite}: {one.text}", "warning" if one.warns else "ok")
    _links(comparison, verdict, sources.address(opened))
    _judgings(comparison, sources.address(opened))
    drawn = _drawn(comparison, verdict, f"{opened.file} {opened.time} {comparison.tuned.name}")
    _charts(comparison, verdict, drawn)
    st.subheader("Can the numbers be trusted?")
    st.html(_checks(comparison, verdict))
    _details(comparison, drawn)


def _training(judged: Sequence[tuple[Comparison, Verdict]], key: str) -> None:
    """How the suites moved over each training run of which checkpoints were compared."""
    arms, verdicts = zip(*judged, strict=True)
    for place, curve in enumerate(curves(arms, verdicts)):
        if len(curve.steps) < 2:
            continue
        spec = _steps_spec(f"{key} {place}", st.context.theme.type == "dark", curve)
        if spec is not None:
            st.subheader(f"{markup.label(curve.run)} over its training")
            _draw(spec, f"steps-{place}")
        st.html(tag("p", "ek-small", f"★ {caution(curve)}"))


@st.cache_data(max_entries=16, show_spinner=False)
def _steps_spec(key: str, dark: bool, _curve: Curve) -> dict[str, Any] | None:  # noqa: ARG001
    chart = over_steps(_curve, width=900)
    return None if chart is None else charts.themed(chart, dark=dark)


def _overview(judged: Sequence[tuple[Comparison, Verdict]]) -> Markup:
    """Every arm's outcome on every suite, in one table."""
    suites = list(dict.fromkeys(one.label for _, verdict in judged for one in verdict.suites))
    rows: list[list[object]] = [
        [tag("b", "", "Verdict"), *(markup.pill(verdict.outcome) for _, verdict in judged)]
    ]
    for suite in suites:
        cells: list[object] = [suite]
        for _, verdict in judged:
            one = next((one for one in verdict.suites if one.label == suite), None)
            cells.append(_outcome_cell(one) if one else "–")
        rows.append(cells)
    return markup.table(["Suite", *(arm.tuned.name for arm, _ in judged)], rows)


def _outcome_cell(one: SuiteVerdict) -> Markup:
    if one.delta is None:
        return markup.pill(one.outcome)
    change = signed(one.delta.difference, decimals(one.delta.base, one.delta.tuned))
    return Markup(f"{markup.pill(one.outcome)} {tag('span', 'ek-muted', change)}")


def _hero(comparison: Comparison, verdict: Verdict) -> Markup:
    samples = sum(one.delta.n for one in verdict.suites if one.delta and not one.slice)
    facts = (
        f"{tally(verdict)} · {samples:,} pairs of answers · "
        f"exit code {int(verdict.exit_code)} ({meaning(verdict)})"
    )
    return tag(
        "section",
        f"ek-hero ek-{verdict.outcome}",
        tag("div", "ek-arms", f"{comparison.base.name} → {comparison.tuned.name}"),
        tag("div", "ek-headline", f"{SYMBOL[verdict.outcome]} {HEADLINE[verdict.outcome]}"),
        tag("div", "ek-advice", verdict.advice),
        tag("div", "ek-facts", facts),
    )


def _suites(comparison: Comparison, verdict: Verdict) -> Markup:
    heads = ["Suite", "Base", "Tuned", "Difference, 95 % interval", "n", "Outcome", "Why"]
    return markup.table(
        heads, [_suite_row(comparison, one) for one in verdict.suites], numeric=_NUMBERS
    )


def _suite_row(comparison: Comparison, one: SuiteVerdict) -> list[object]:
    info, delta = suite_info(comparison, one.suite), one.delta
    title = info.title if info else ""
    name = Markup(f"{tag('b', '', one.label)}{tag('span', 'ek-small', title)}")
    why = [
        reason(one, comparison),
        Markup("<br>"),
        tag("span", "ek-muted", f"asked: {margin_text(one)}"),
    ]
    if delta is None:
        return [name, "–", "–", "–", "–", markup.pill(one.outcome), tag("span", "", *why)]
    if delta.ratio is not None:
        why += [Markup("<br>"), tag("span", "ek-muted", ratio_text(delta))]
    if win_rate_text(delta):
        why += [Markup("<br>"), tag("span", "ek-muted", win_rate_text(delta))]
    if delta.completions > 1:
        why += [Markup("<br>"), tag("span", "ek-muted", answers_text(delta))]
    alone = () if one.slice else comparison.unpaired.get(one.suite, ())
    missing = missing_text(delta, alone, comparison.base.name, comparison.tuned.name)
    if missing:
        ids = f": {some_ids(alone)}" if alone else ""
        why += [Markup("<br>"), tag("span", "ek-bad", f"{missing}{ids}")]
    base, tuned, change, n = _delta_cells(delta, shown_interval(one, _digits(delta)))
    return [
        Markup(f"{name}{tag('span', 'ek-small', metric_label(delta.metric))}"),
        base,
        tuned,
        change,
        n,
        markup.pill(one.outcome),
        tag("span", "", *why),
    ]


def _digits(delta: Delta) -> int:
    return decimals(delta.base, delta.tuned)


def _delta_cells(delta: Delta, bounds: str = "") -> tuple[str, str, Markup, str]:
    """Base, tuned, the difference with its interval (or these bounds), and n."""
    digits = _digits(delta)
    bounds = bounds or interval(delta.low, delta.high, digits)
    change = Markup(
        f"{tag('b', '', signed(delta.difference, digits))} {tag('span', 'ek-muted', bounds)}"
    )
    return number(delta.base, digits), number(delta.tuned, digits), change, sample_count(delta)


def _links(comparison: Comparison, verdict: Verdict, address: dict[str, str]) -> None:
    """The way from a number to the answers that made it."""
    moved = [one for one in verdict.suites if one.delta and one.delta.difference]
    if not moved:
        return
    st.caption("Read the answers that changed")
    with st.container(horizontal=True, gap="small"):
        for one in moved:
            st.page_link(
                _SIDE_BY_SIDE,
                label=f"{SYMBOL[one.outcome]} {markup.label(one.label)}{_flipped(one)}",
                query_params={
                    **address,
                    "arm": comparison.tuned.name,
                    "suite": one.suite,
                    **({"slice": one.slice} if one.slice else {}),
                    "change": "Changed",
                },
            )


def _judgings(comparison: Comparison, address: dict[str, str]) -> None:
    """What the judges said in a sentence each, and the way to what they said it of."""
    if not comparison.judgings:
        return
    st.subheader("The judge")
    st.html(tag("ul", "", *(_judging(comparison, one) for one in comparison.judgings)))
    st.page_link(
        "views/judge.py",
        label="How far it can be trusted, and every pair it was asked about",
        query_params={**address, "arm": comparison.tuned.name},
    )


def _judging(comparison: Comparison, one: Judging) -> Markup:
    """What it says, with what makes it doubtful below: a verdict may rest on it."""
    doubts = [tag("li", "ek-small", text) for text in warnings(one)]
    below = [tag("ul", "", *doubts)] if doubts else []
    return tag("li", "", tag("b", "", title(one)), f": {headline(comparison, one)}", *below)


def _flipped(one: SuiteVerdict) -> str:
    delta = one.delta
    if delta is None or not (delta.gained or delta.lost):
        return ""
    gained, lost = better_and_worse(delta)
    return f" · {lost:,} lost, {gained:,} gained"


_Specs: TypeAlias = dict[str, dict[str, Any]]


def _drawn(comparison: Comparison, verdict: Verdict, key: str) -> _Specs:
    return _specs(key, st.context.theme.type == "dark", comparison, verdict)


@st.cache_data(max_entries=64, show_spinner=False)
def _specs(key: str, dark: bool, _comparison: Comparison, _verdict: Verdict) -> _Specs:  # noqa: ARG001
    """Every chart of one arm by name; drawing them takes longer than all else on the page."""
    made = {
        "forest": charts.forest([_comparison], [_verdict], width=480),
        "flips": charts.flips([_comparison], width=330),
    }
    for name in dict.fromkeys(one.suite for one in _verdict.suites):
        made[f"style {name}"] = charts.style_features([_comparison], name, width=620)
    return {
        name: charts.themed(chart, dark=dark) for name, chart in made.items() if chart is not None
    }


def _charts(comparison: Comparison, verdict: Verdict, drawn: _Specs) -> None:
    # Side by side where both fit, else one below the other: charts keep their size.
    with st.container(horizontal=True, gap="large"):
        for title, name in (
            ("Differences and margins", "forest"),
            ("Answers that flipped", "flips"),
        ):
            if name in drawn:
                with st.container(width="content"):
                    st.subheader(title)
                    _draw(drawn[name], f"{name}-{comparison.tuned.run_id}")
    told = [tag("li", "", tag("b", "", suite), f": {text}") for suite, text in moved(verdict)]
    if told:
        st.html(tag("ul", "ek-muted", *told))


def _draw(spec: dict[str, Any], key: str) -> None:
    # Else the frame would squeeze the labels into the width that the marks were given.
    sized = spec | {"autosize": {"type": "pad"}}
    st.vega_lite_chart(sized, theme=None, width="content", key=key)


def _checks(comparison: Comparison, verdict: Verdict) -> Markup:
    """The canaries: what would make the comparison mean nothing; then what the runs noted."""
    boxes = [
        tag(
            "div",
            f"ek-check ek-{check.status}",
            tag("span", "ek-mark", markup.CHECK_SYMBOL[check.status]),
            tag("div", "", tag("b", "", check.name), check.message),
        )
        for check in verdict.checks
    ]
    boxes += [
        tag(
            "div",
            "ek-check ek-told",
            tag("span", "ek-mark", "i"),
            tag("div", "", tag("b", "", "note of the run"), note),
        )
        for note in dict.fromkeys((*comparison.base.notes, *comparison.tuned.notes))
    ]
    return tag("div", "ek-checks", *boxes)


def _details(comparison: Comparison, drawn: _Specs) -> None:
    sliced = [delta for delta in comparison.deltas if delta.slice]
    if sliced:
        with st.expander("Slices", icon=":material/donut_small:"):
            st.html(_deltas(sliced, "Slice", [delta.slice for delta in sliced]))
            st.html(tag("p", "ek-muted", slices_text(sliced)))
    whole = [delta for delta in comparison.deltas if not delta.slice]
    with st.expander("Every metric", icon=":material/table_rows:"):
        st.html(_deltas(whole, "Metric", [metric_label(delta.metric) for delta in whole]))
    for name, spec in drawn.items():
        kind, _, suite = name.partition(" ")
        if kind == "style":
            title = f"What describes the answers: {markup.label(suite)}"
            with st.expander(title, icon=":material/style:"):
                _draw(spec, f"style-{comparison.tuned.run_id}-{suite}")


def _deltas(deltas: Sequence[Delta], head: str, names: Sequence[str]) -> Markup:
    rows: list[list[object]] = []
    for delta, name in zip(deltas, names, strict=True):
        how = "; ".join(filter(None, [delta.method, delta.note]))
        among = [_among(delta)] if delta.slice else []
        rows.append([delta.suite, name, *_delta_cells(delta), *among, how])
    among_head = ["Adjusted p"] if deltas and deltas[0].slice else []
    heads = ["Suite", head, "Base", "Tuned", "Difference, 95 % interval", "n", *among_head, "How"]
    return markup.table(heads, rows, numeric=(2, 3, 4, 5))


def _among(delta: Delta) -> str:
    star = " ★ stands out" if stands_out(delta) else ""
    return f"{p_text(delta.adjusted_p)}{star}"


show()
