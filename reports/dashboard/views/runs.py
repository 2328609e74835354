"""What was evaluated, when, and with what result; every run with its manifest."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import streamlit as st

from evalkit.errors import StoreError
from evalkit.estimates import CORPUS, corpus_value
from evalkit.records import Manifest
from evalkit.store.query import Mean, mean_scores, score_sums
from evalkit.store.runs import to_json
from reports.dashboard import markup, sources
from reports.dashboard.markup import tag
from reports.wording import UNKNOWN, clean, decimals, duration, number


def show() -> None:
    """The whole page."""
    found, damaged = sources.manifests()
    for message in damaged:
        markup.note(message)
    if not found:
        markup.empty(
            "No runs yet",
            f"Nothing was evaluated into {sources.root()}. These begin a history:",
            "evalkit run base.yaml",
        )
        return
    st.caption(f"{len(found):,} runs, newest first. Select a line to see its manifest.")
    event = st.dataframe(
        _columns(found),
        hide_index=True,
        on_select="rerun",
        selection_mode=["single-row-required", "single-cell"],
        key="history",
        column_config={
            "tokens": st.column_config.NumberColumn(format="localized"),
            "samples": st.column_config.NumberColumn(format="localized"),
        },
    )
    selected = _selected(event)
    if selected is not None and selected < len(found):
        _manifest(*found[selected])


def _columns(found: list[tuple[Path, Manifest]]) -> dict[str, list[Any]]:
    manifests = [manifest for _, manifest in found]
    return {
        "name": [one.name for one in manifests],
        "finished": [one.finished.replace("T", " ")[:16] for one in manifests],
        "model": [_model(one) for one in manifests],
        "samples": [one.counts.get("samples") for one in manifests],
        "tokens": [_tokens(one) for one in manifests],
        "time": [_time(one) for one in manifests],
        "suites": [", ".join(info.name for info in one.suites) for one in manifests],
        "metrics": [
            ", ".join(dict.fromkeys(info.metric for info in one.suites)) for one in manifests
        ],
        "run": [one.run_id for one in manifests],
    }


def _model(manifest: Manifest) -> str:
    """The model as its YAML names it, with the adapter on it."""
    model = manifest.config.get("model", {})
    name = PurePath(str(model.get("path") or model.get("model") or UNKNOWN)).name
    adapter = PurePath(str(model.get("adapter") or ""))
    # The last folder is mostly called "adapter": the one above it tells which.
    return f"{name} + {'/'.join(adapter.parts[-2:])}" if adapter.name else name


def _tokens(manifest: Manifest) -> int | None:
    """Tokens in and out; None where the run did not count them."""
    counts = [manifest.counts.get(key) for key in ("tokens_in", "tokens_out")]
    known = [count for count in counts if count is not None]
    return sum(known) or None


def _time(manifest: Manifest) -> str:
    seconds = manifest.measures.get("seconds")
    return UNKNOWN if seconds is None else duration(seconds)


def _selected(event: Any) -> int | None:
    """The line whose cell was clicked, else the line that is marked."""
    rows, cells = event["selection"]["rows"], event["selection"]["cells"]
    if cells:
        return int(cells[0][0])
    return int(rows[0]) if rows else None


def _manifest(folder: Path, manifest: Manifest) -> None:
    st.html(tag("h3", "", manifest.run_id))
    st.html(tag("div", "ek-mono ek-muted", str(folder)))
    for one in manifest.notes:
        markup.note(one)
    suites, facts = st.columns(2, gap="large")
    with suites:
        st.html(_suites(folder, manifest))
    with facts:
        hashes = {k: v[:16] if len(v) == 64 else v for k, v in manifest.fingerprints.items()}
        given = {**manifest.versions, **hashes}
        st.html(markup.table(["", ""], list(given.items())))
    with st.expander("manifest.json", icon=":material/data_object:"):
        st.code(clean(to_json(manifest)), language="json", wrap_lines=True, height=480)


def _suites(folder: Path, manifest: Manifest) -> markup.Markup:
    """The gated metric of every suite, over the samples that have a score."""
    try:
        means, sums = mean_scores(folder), score_sums(folder)
    except StoreError as error:
        return tag("div", "ek-note ek-failed", str(error))
    rows = []
    for info in manifest.suites:
        key = info.name, info.metric
        metric = next(one for one in info.metrics if one.name == info.metric)
        mean = means.get(key, Mean(None, 0, info.samples))
        value = mean.value
        if metric.kind in CORPUS and key in sums:
            value = corpus_value(metric, sums[key])
        shown = number(value, decimals(value))
        rows.append((info.name, info.metric, shown, f"{mean.n:,}", f"{mean.missing:,}"))
    heads = ["Suite", "Metric", "Score", "n", "No score"]
    return markup.table(heads, rows, numeric=(2, 3, 4))


show()
