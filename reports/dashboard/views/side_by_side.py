"""Both arms' answers to the same question, with what changed marked, one sample after another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from evalkit.errors import StoreError
from evalkit.records import Comparison, SuiteInfo
from evalkit.store.judged import JudgedSamples
from evalkit.store.query import Change, Filter, Order, PairedRuns, PairRow
from reports.dashboard import failure, judged_reading, markup, reading, sources
from reports.dashboard.listing import Listing, lines, steps
from reports.wording import decimals, metric_name, signed

_OPENED = "address read"
_LABEL = re.compile(r"[^\s:：]{1,20}[:：]\s*")
# The controls' words stand in the URL too.
_CHANGES: dict[str, Change] = {
    "All": "all",
    "Lost": "lost",
    "Gained": "gained",
    "Changed": "changed",
    "Same": "same",
    "No score": "missing",
}
_ORDERS: dict[str, Order] = {
    "Largest loss": "loss",
    "Largest gain": "gain",
    "Largest change": "change",
    "Suite order": "suite",
}


def show() -> None:
    """The whole page."""
    address = st.query_params.to_dict()  # before the controls put right what does not fit
    opened = sources.choose_comparison()
    if opened is None:
        return
    comparison = sources.choose_arm(opened)
    judged = sources.open_judged(opened, comparison)
    pairs = sources.open_pairs(opened, comparison, judged)
    if pairs is None:
        return
    try:
        _tell_stale(address, opened, comparison, pairs)
        wanted, order = _filters(comparison, pairs)
        _browse(comparison, pairs, judged, wanted, order)
    except StoreError as error:
        markup.note(str(error), "failed")


def _tell_stale(
    address: Mapping[str, str],
    opened: sources.Opened,
    comparison: Comparison,
    pairs: PairedRuns,
) -> None:
    """Say what the address asks for and is not here: what is shown instead is something else.

    Only as the page is opened: later the reader's own choices stand in the address.
    """
    if st.session_state.get(_OPENED):
        return
    st.session_state[_OPENED] = True
    suites = [info.name for info in comparison.base.suites]
    suite = address.get("suite", "")
    known = {
        "arm": [arm.tuned.name for arm in opened.arms],
        "suite": suites,
        "slice": pairs.slices(suite if suite in suites else ""),
    }
    for key, names in known.items():
        asked = address.get(key)
        if asked and asked not in names:
            instead = f"this is {comparison.tuned.name}" if key == "arm" else "all are shown"
            markup.note(f"There is no {key} {asked} in this comparison; {instead}.")


def _filters(comparison: Comparison, pairs: PairedRuns) -> tuple[Filter, Order]:
    """Each control is bound to the URL, so that an address restores what was on the screen."""
    infos = {info.name: sources.sampled(info) for info in comparison.base.suites}
    first, second, third, fourth = st.columns([3, 2.4, 2.4, 3], vertical_alignment="bottom")
    with first:
        suite = _choice("Suite", list(infos), "All suites", "slice", "metric")
    with second:
        sliced = _choice("Slice", pairs.slices(suite), "All slices")
    with third:
        order = _order()
    with fourth:
        text = _text()
    with st.container(horizontal=True, vertical_alignment="center"):
        change = _change_wanted()
        with st.popover("More filters", icon=":material/tune:"):
            low = _bound("Difference from", "low")
            high = _bound("Difference to", "high")
            metric = _metric(infos.get(suite))
        st.toggle("Mark what changed", value=True, key="diff", bind="query-params")
    wanted = Filter(
        suite=suite, slice=sliced, metric=metric, change=change, low=low, high=high, text=text
    )
    return wanted, order


def _choice(title: str, names: list[str], everything: str, *belonging: str) -> str:
    """One of the names, or "" for all of them; the filters that belong to it are left with it."""
    chosen = st.selectbox(
        title,
        ["", *names],
        format_func=lambda name: name or everything,
        key=title.lower(),
        bind="query-params",
        on_change=_restart,
        args=belonging,
    )
    return chosen or ""


def _order() -> Order:
    chosen = st.selectbox(
        "Sort", list(_ORDERS), key="sort", bind="query-params", on_change=_restart
    )
    return _ORDERS.get(chosen or "", "loss")


def _text() -> str:
    found = st.text_input(
        "Search",
        key="text",
        bind="query-params",
        on_change=_restart,
        type="search",
        placeholder="In prompts and answers",
    )
    return (found or "").strip()


def _change_wanted() -> Change:
    chosen = st.segmented_control(
        "Change",
        list(_CHANGES),
        default="All",
        required=True,
        key="change",
        bind="query-params",
        on_change=_restart,
        label_visibility="collapsed",
    )
    return _CHANGES.get(chosen or "", "all")


def _bound(title: str, key: str) -> float | None:
    value = st.number_input(
        title,
        value=None,
        key=key,
        bind="query-params",
        on_change=_restart,
        step=0.1,
        format="%g",
        placeholder="any",
    )
    return None if value is None else float(value)


def _metric(info: SuiteInfo | None) -> str:
    """The metric that is listed; the gated one unless one suite is chosen."""
    if info is None:
        st.caption("Choose a suite to sort by another of its metrics.")
        return ""
    names = [info.metric, *(one.name for one in info.metrics if one.name != info.metric)]
    chosen = st.selectbox(
        "Metric",
        names,
        format_func=metric_name,
        key="metric",
        bind="query-params",
        on_change=_restart,
    )
    return "" if chosen == info.metric else chosen or ""


def _restart(*keys: str) -> None:
    """Begin another list at its first sample; `keys` belonged to the suite that was left."""
    for name in ("of", "sample"):
        st.query_params.pop(name, None)
    for key in keys:
        st.session_state.pop(key, None)


def _browse(
    comparison: Comparison,
    pairs: PairedRuns,
    judged: JudgedSamples | None,
    wanted: Filter,
    order: Order,
) -> None:
    total = pairs.count(wanted)
    if not total:
        everything = pairs.count(Filter())
        markup.note(f"None of the {everything:,} pairs fits these filters.", "ok")
        return
    listing = Listing(
        total=total,
        rank=_open_rank(pairs, wanted, order),
        page=partial(pairs.page, wanted, order),
        address=lambda row: {"of": row.suite, "sample": row.sample_id},
    )
    rows = listing.shown()
    row = rows[listing.rank - listing.first]
    listing.open(row)
    left, right = st.columns([1, 2.9], gap="medium")
    with left:
        several = len({one.suite for one in rows}) > 1
        labels = {one.suite: _label(rows, one.suite) for one in rows}
        lines(listing, rows, lambda one: _line(one, labels[one.suite], several=several))
    with right:
        steps(listing)
        with failure.told(f"The sample {row.sample_id}"):
            _read(comparison, pairs, judged, row)


def _read(
    comparison: Comparison, pairs: PairedRuns, judged: JudgedSamples | None, row: PairRow
) -> None:
    pair = pairs.read(row.suite, row.sample_id)
    if pair is None:
        markup.note(f"The sample {row.sample_id} cannot be found in both runs.")
        return
    reading.show(comparison, pair, row, mark=bool(st.session_state.get("diff", True)))
    if judged is not None:
        judged_reading.show(comparison, row.suite, row.sample_id, judged)


def _open_rank(pairs: PairedRuns, wanted: Filter, order: Order) -> int:
    """Where the sample in the URL stands; the first where it is not among those wanted."""
    suite, sample = st.query_params.get("of", ""), st.query_params.get("sample", "")
    found = pairs.rank(wanted, order, suite, sample) if sample else None
    return found or 0


def _label(rows: Sequence[PairRow], suite: str) -> str:
    """The word with which all questions of a suite begin ("Question: "): it tells none apart."""
    mine = [row.question for row in rows if row.suite == suite]
    found = _LABEL.match(mine[0])
    label = found[0] if found and len(mine) > 1 else ""
    return label if all(one.startswith(label) for one in mine) else ""


def _line(row: PairRow, label: str, *, several: bool) -> str:
    """A sample in one line; the mark says by its shape too what happened."""
    if row.difference is None or row.benefit is None:
        mark = ":gray[∅ no score]"
    elif row.benefit > 0:
        mark = f":green[▲ {_change(row)}]"
    elif row.benefit < 0:
        mark = f":red[▼ {_change(row)}]"
    else:
        mark = ":gray[= same]"
    where = f":gray[{markup.label(row.suite.rpartition('/')[2])}] · " if several else ""
    asked = row.question.removeprefix(label)[:160]
    return f"{mark} {where}{markup.label(asked) or markup.label(row.sample_id)}"


def _change(row: PairRow) -> str:
    return signed(row.difference, decimals(row.base, row.tuned) - 1)


show()
