"""How a tuned model came about: its loss, its data, its recipe, as the trainer wrote them down."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from reports import charts
from reports.dashboard import datacard, markup, sources
from reports.dashboard.markup import tag
from reports.wording import UNKNOWN, clean, duration, number

_METRICS = "metrics.jsonl"
_MANIFEST = "manifest.json"  # written last: where it is, training is finished
_STATE = "train.json"
_RECIPES = (".yaml", ".yml")
_DRAWN = 1_500  # points of one line; more than a screen has pixels
_WINDOW = 5  # steps of the running mean: single batches jump too much to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The rows of metrics.jsonl; `damaged` counts the lines that could not be read."""

    rows: tuple[Mapping[str, float], ...]
    damaged: int

    def points(self, name: str) -> list[tuple[float, float]]:
        """(step, value) wherever the value was written."""
        return [(row["step"], row[name]) for row in self.rows if name in row]

    def last(self, name: str) -> float | None:
        """The latest value."""
        points = self.points(name)
        return points[-1][1] if points else None


def show() -> None:
    """The whole page."""
    folders = {_name(folder): folder for folder in _trainings()}
    if not folders:
        markup.empty(
            "No training yet",
            f"No training run lies in {sources.root()}. This makes one:",
            "evalkit train examples/rednote/qlora.yaml",
        )
        return
    chosen = st.selectbox(
        "Training run", list(folders), key="training", bind="query-params", width=420
    )
    folder = folders[chosen or next(iter(folders))]
    curve = read_curve(folder / _METRICS)
    if curve.damaged:
        markup.note(
            f"{folder / _METRICS} is damaged: {curve.damaged:,} of its lines cannot be read."
        )
    if not _is_finished(folder):
        markup.note("This training is not finished: it goes on, or it was stopped.", "ok")
    _facts(curve)
    _loss(curve)
    st.subheader("Data")
    _card(folder)
    with st.expander("Recipe", icon=":material/receipt_long:"):
        _recipe(folder)


def _trainings() -> list[Path]:
    """The folders of trainings: those that are finished first, then the newest first."""
    files = sources.below(sources.root(), _METRICS)
    files.sort(key=lambda file: (_is_finished(file.parent), _modified(file)), reverse=True)
    return [file.parent for file in files]


def _is_finished(folder: Path) -> bool:
    return (folder / _MANIFEST).is_file()


def read_curve(file: Path) -> Curve:
    """Every readable line; a killed run's last line may be half of one."""
    rows, damaged = [], 0
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Curve(rows=(), damaged=1)
    for index, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            damaged += index < len(lines)
        else:
            rows.append(row)
    return Curve(rows=tuple(rows), damaged=damaged)


def _row(line: str) -> dict[str, float] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("step"), int | float):
        return None
    return {
        str(key): float(value)
        for key, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _facts(curve: Curve) -> None:
    held_out = [value for _, value in curve.points("eval_loss")]
    seconds = curve.last("seconds")
    facts = {
        "Steps": f"{int(curve.last('step') or 0):,}",
        "Training loss": number(_mean_of_last(curve.points("loss"))),
        "Held-out loss": number(curve.last("eval_loss")),
        "Best held-out loss": number(min(held_out, default=None)),
        "Time": UNKNOWN if seconds is None else duration(seconds),
    }
    for column, (name, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(name, value, border=True)


def _mean_of_last(points: Sequence[tuple[float, float]]) -> float | None:
    recent = [value for _, value in points[-_WINDOW:]]
    return sum(recent) / len(recent) if recent else None


def _loss(curve: Curve) -> None:
    if not curve.points("loss") and not curve.points("eval_loss"):
        markup.note("No loss has been written yet.", "ok")
        return
    st.subheader("Loss, nats per learned token")
    _draw(_loss_chart(curve), "loss")
    extras = {"lr": "Learning rate", "grad_norm": "Gradient norm"}
    known = {name: title for name, title in extras.items() if curve.points(name)}
    if not known:
        return
    with st.expander("Learning rate, gradients", icon=":material/monitoring:"):
        for column, (name, title) in zip(st.columns(len(known)), known.items(), strict=True):
            with column:
                st.caption(title)
                _draw(_line_chart(curve.points(name), title), name)


def _draw(chart: charts.Chart, key: str) -> None:
    dark = st.context.theme.type == "dark"
    st.vega_lite_chart(
        charts.themed(chart, dark=dark), theme=None, width="stretch", key=f"chart-{key}"
    )


def _loss_chart(curve: Curve) -> charts.Chart:
    """Single steps faintly, their running mean, and the held-out loss."""
    training, held_out = curve.points("loss"), curve.points("eval_loss")
    parts = ["training, each step", f"training, mean of {_WINDOW} steps", "held out"]
    rows = [
        *({"step": x, "loss": y, "part": parts[0]} for x, y in _thinned(training)),
        *({"step": x, "loss": y, "part": parts[1]} for x, y in _thinned(_smoothed(training))),
        *({"step": x, "loss": y, "part": parts[2]} for x, y in held_out),
    ]
    colours = [charts.INK["zero"], *charts.ARM_COLOUR[:2]]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=10)),
        y=alt.Y("loss:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=parts, range=colours),
            legend=alt.Legend(title=None, orient="top", labelLimit=300, symbolOpacity=1),
        ),
        tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("loss:Q", format=".4f"), "part:N"],
    )
    faint = base.transform_filter(alt.datum.part == parts[0]).mark_line(strokeWidth=1, opacity=0.55)
    clear = base.transform_filter(alt.datum.part != parts[0]).mark_line(strokeWidth=2.2)
    dots = base.transform_filter(alt.datum.part == parts[2]).mark_point(filled=True, size=55)
    return _styled(alt.layer(faint, clear, dots).properties(height=320, width="container"))


# The trainer's own curve (loss.svg) is smoothed in the same way, by its own copy of this: trainers
# and reports never import each other.
def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [
        (step, _mean_of_last(points[max(index + 1 - _WINDOW, 0) : index + 1]) or 0.0)
        for index, (step, _) in enumerate(points)
    ]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Every n-th point, so that a long run's curve stays quick."""
    return points[:: len(points) // _DRAWN + 1]


def _line_chart(points: Sequence[tuple[float, float]], title: str) -> charts.Chart:
    rows = [{"step": step, "value": value} for step, value in _thinned(points)]
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(strokeWidth=2, color=charts.ARM_COLOUR[0])
    return _styled(
        chart.encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("value:Q", title=None),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=title)],
        ).properties(height=180, width="container")
    )


def _styled(chart: Any) -> charts.Chart:
    axis = {
        "labelColor": charts.INK["muted"],
        "titleColor": charts.INK["muted"],
        "gridColor": charts.INK["grid"],
        "domainColor": charts.INK["zero"],
        "tickColor": charts.INK["grid"],
        "titleFontWeight": "normal",
    }
    styled: charts.Chart = (
        chart.configure(background="transparent")
        .configure_axis(**axis)
        .configure_legend(labelColor=charts.INK["text"])
        .configure_view(stroke=None)
    )
    return styled


def _card(folder: Path) -> None:
    """The data card; its texts come from data files and stay text."""
    card = _json(folder / "data_card.json")
    if card is None:
        markup.note(f"No data card lies in {folder}.", "ok")
        return
    st.html(datacard.files(card))
    left, right = st.columns(2, gap="large")
    left.html(datacard.counts(card))
    right.html(datacard.lengths(card))


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        markup.note(f"{file} cannot be read: {error}")
        return None
    return found if isinstance(found, dict) else None


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested records as one list of names and values."""
    rows: list[tuple[str, Any]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            rows += _flat({f"{name} {at}": one for at, one in enumerate(value, start=1)})
        else:
            rows.append((name, value))
    return rows


def _words(key: str) -> str:
    return key.replace("_", " ")


def _recipe(folder: Path) -> None:
    """What was asked of the trainer: its configuration, and the YAML files beside it."""
    told = _json(folder / _MANIFEST) or _json(folder / _STATE) or {}
    config = told.get("config")
    if isinstance(config, dict):
        rows = [(_words(key), datacard.value(one)) for key, one in _flat(config) if one is not None]
        st.html(markup.table(["", ""], rows))
    else:
        markup.note(f"No recipe lies in {folder}.", "ok")
    for file in sorted(one for one in folder.glob("*") if one.suffix in _RECIPES):
        st.html(tag("div", "ek-small", file.name))
        st.code(clean(file.read_text(encoding="utf-8", errors="replace")), language="yaml")


def _name(folder: Path) -> str:
    return folder.relative_to(sources.root()).as_posix()


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


show()
