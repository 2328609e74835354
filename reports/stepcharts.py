"""How each suite moved over a training run: one small panel a suite, better is up."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports.charts import (
    INK,
    SIGNED,
    Chart,
    Rows,
    axis_title,
    difference_row,
    difference_tips,
    domain_of,
    finished,
    outcome_scale,
)
from reports.steps import Curve
from reports.wording import one_line

_HEIGHT = 130
_GAP = 70  # pixels between two panels' plots, for the labels of the right one
_COLUMNS = 2


def over_steps(curve: Curve, width: int = 540) -> Chart | None:
    """The difference of every suite at every checkpoint, with its interval and its margin.

    It begins at the base, which is step 0 and differs from itself by nothing. The best checkpoint
    is backed by a bar. None where nothing could be estimated.
    """
    panels = [rows for name in curve.suites if (rows := _rows(curve, name))]
    if not panels:
        return None
    columns = min(_COLUMNS, len(panels))
    each = (width - (columns - 1) * _GAP) // columns
    drawn = [_panel(rows, curve, each) for rows in panels]
    whole = alt.concat(*drawn, columns=columns, spacing=24)
    return finished(whole.resolve_scale(color="shared", shape="shared"))


def _rows(curve: Curve, suite: str) -> Rows:
    rows = []
    for step, comparison, one in zip(
        curve.steps, curve.comparisons, curve.of_suite(suite), strict=True
    ):
        if one is None or one.delta is None or one.delta.difference is None:
            continue
        row = difference_row(one, one.delta, one_line(comparison.tuned.name))
        rows.append({**row, "step": step, "axis": axis_title(one.delta.metric, "↑")})
    return rows


def _panel(rows: Rows, curve: Curve, width: int) -> Any:
    x, y = _axes(rows, curve)
    colour, shape = outcome_scale()
    told = [alt.Tooltip("step:Q"), *difference_tips()]
    base = _of(rows)
    best = _of([{"step": curve.steps[curve.best]}]).mark_rule(strokeWidth=14, color=INK["grid"])
    zero = _of([{"benefit": 0}]).mark_rule(color=INK["zero"])
    way = _of([{"step": 0, "benefit": 0}, *rows]).mark_line(color=INK["muted"], opacity=0.6)
    margin = base.mark_line(color=INK["text"], strokeDash=[5, 4], strokeWidth=1.2, opacity=0.75)
    reach = base.mark_rule(strokeWidth=2.5)
    point = base.mark_point(filled=True, size=70, opacity=1)
    layers = [
        best.encode(x=x),
        zero.encode(y=y),
        way.encode(x=x, y=y),
        margin.encode(x=x, y=alt.Y("threshold:Q", title=None)),
        reach.encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=colour),
        point.encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    title = alt.TitleParams(
        text=rows[0]["suite"], subtitle=rows[0]["axis"], anchor="start", fontSize=13,
        fontWeight="bold", color=INK["text"], subtitleColor=INK["muted"], subtitleFontSize=11.5,
    )  # fmt: skip
    return alt.layer(*layers).properties(width=width, height=_HEIGHT, title=title)


def _of(rows: Rows) -> Any:
    return alt.Chart(alt.InlineData(values=rows))


def _axes(rows: Rows, curve: Curve) -> tuple[alt.X, alt.Y]:
    x = alt.X(
        "step:Q",
        title="training step",
        scale=alt.Scale(domain=[0, curve.steps[-1]], nice=False, padding=10),
        axis=alt.Axis(
            values=[0, *curve.steps],
            labelExpr="datum.value === 0 ? 'base' : datum.label",
            labelOverlap=True,
            grid=False,
        ),
    )
    y = alt.Y(
        "benefit:Q",
        title=None,
        scale=alt.Scale(domain=domain_of(rows), nice=False),
        axis=alt.Axis(labelExpr=SIGNED, tickCount=4),
    )
    return x, y
