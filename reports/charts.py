"""Charts, as Altair objects: interactive in the dashboard, inline SVG in the HTML report.

The colours are the light theme's. Where a page is dark, its style sheet overrides the few listed in
`INK` and `OUTCOME_COLOUR`; `themed` does the same for a chart that is drawn in a browser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt

from evalkit.records import Comparison, Delta, Metric, Outcome, SuiteVerdict, Verdict
from reports.flips import better_and_worse
from reports.wording import (
    decimals,
    interval,
    is_preference,
    metric_name,
    number,
    one_line,
    signed,
    suite_info,
)

Chart: TypeAlias = alt.TopLevelMixin
Rows: TypeAlias = list[dict[str, Any]]

# Told apart by every common kind of colour blindness (after Okabe & Ito 2008), and by shape too.
OUTCOME_COLOUR: dict[Outcome, str] = {
    "pass": "#00805c",
    "inconclusive": "#8a6d00",
    "fail": "#c4420a",
}
OUTCOME_SHAPE: dict[Outcome, str] = {
    "pass": "circle",
    "inconclusive": "diamond",
    "fail": "square",
}
ARM_COLOUR = ("#4a6785", "#b0476f", "#6b5aa8", "#00805c")  # base first, then the tuned arms
INK = {"text": "#1d2129", "muted": "#626a76", "grid": "#e3e6eb", "zero": "#9aa2ae"}
_DARK = {
    "#1d2129": "#e8eaee",
    "#626a76": "#a0a8b4",
    "#e3e6eb": "#30353d",
    "#9aa2ae": "#727a86",
    "#00805c": "#3fc79a",
    "#8a6d00": "#d9b23c",
    "#c4420a": "#ff8552",
    "#4a6785": "#8fb0d3",
    "#b0476f": "#ee8fb2",
    "#6b5aa8": "#b3a4ee",
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
SIGNED = "datum.value === 0 ? '0' : format(datum.value, '+~g')"
# Room around a chart: the reader's font may be wider than the one its labels were measured with.
_AIR = {"left": 24, "right": 24, "top": 4, "bottom": 4}
_REFERENCE = "reference notes"
_ROW = 26  # pixels a row of a chart is high


def dark_colours() -> Mapping[str, str]:
    """What each colour of the charts becomes on a dark page."""
    return dict(_DARK)


def themed(chart: Chart, *, dark: bool) -> dict[str, Any]:
    """The chart's Vega-Lite specification, recoloured for a dark page where asked."""
    text = chart.to_json(indent=None)
    for light, other in _DARK.items() if dark else ():
        text = text.replace(light, other)
    spec: dict[str, Any] = json.loads(text)
    return spec


def to_svg(chart: Chart) -> str:
    """The chart as an SVG whose text stays text; needs no browser and no network."""
    import vl_convert

    version = alt.SCHEMA_VERSION.lstrip("v").rpartition(".")[0]
    svg: str = vl_convert.vegalite_to_svg(chart.to_json(), vl_version=version)
    return svg


def forest(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], width: int = 430
) -> Chart | None:
    """Each suite's difference with its interval and its margin, better to the right.

    Suites that share a unit share an axis; None where nothing could be estimated.
    """
    rows = _forest_rows(comparisons, verdicts)
    if not rows:
        return None
    panels: dict[str, Rows] = {}
    for row in rows:
        panels.setdefault(row["axis"], []).append(row)
    arms = len(comparisons)
    drawn = [_panel(axis, mine, arms, width) for axis, mine in panels.items()]
    return finished(alt.vconcat(*drawn, spacing=14).resolve_scale(color="shared", shape="shared"))


def _forest_rows(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> Rows:
    names = [one.label for verdict in verdicts for one in verdict.suites]
    rows = []
    for suite in dict.fromkeys(names):
        for comparison, verdict in zip(comparisons, verdicts, strict=True):
            one = next((one for one in verdict.suites if one.label == suite), None)
            if one is not None and one.delta is not None and one.delta.difference is not None:
                rows.append(difference_row(one, one.delta, one_line(comparison.tuned.name)))
    return rows


def difference_row(one: SuiteVerdict, delta: Delta, arm: str) -> dict[str, Any]:
    """One difference, turned so that right is better, with its words for the tooltip."""
    assert delta.difference is not None
    sign = -1.0 if delta.metric.higher_is_better is False else 1.0
    bounds = (
        sorted((sign * delta.low, sign * delta.high))
        if delta.low is not None and delta.high is not None
        else (None, None)
    )
    digits = decimals(delta.base, delta.tuned)
    return {
        "suite": one_line(one.label),
        "arm": arm,
        "axis": axis_title(delta.metric),
        "benefit": sign * delta.difference,
        "low": bounds[0],
        "high": bounds[1],
        "threshold": one.threshold,
        "outcome": one.outcome,
        "metric": metric_name(delta.metric.name),
        "base": number(delta.base, digits),
        "tuned": number(delta.tuned, digits),
        "difference": signed(delta.difference, digits),
        "interval": interval(delta.low, delta.high, digits),
        "n": delta.n,
    }


def axis_title(metric: Metric, better: str = "→") -> str:
    """Shares have one axis together; any other metric has its own, in its own unit."""
    if metric.kind == "binary" or metric.unit == "share":
        return f"difference in the share of samples, better {better}"
    unit = f" ({one_line(metric.unit)})" if metric.unit else ""
    turned = "reduction" if metric.higher_is_better is False else "difference"
    if is_preference(metric):
        return f"tuned − base: {metric_name(metric.name)}, better {better}"
    return f"{turned} in {metric_name(metric.name)}{unit}, better {better}"


def _panel(axis: str, rows: Rows, arms: int, width: int) -> Any:
    domain = domain_of(rows)
    order = list(dict.fromkeys(row["suite"] for row in rows))
    position: dict[str, Any] = {"y": alt.Y("suite:N", sort=order, title=None, axis=_label_axis())}
    if arms > 1:
        names = list(dict.fromkeys(row["arm"] for row in rows))
        position["yOffset"] = alt.YOffset("arm:N", sort=names)
    x = alt.X(
        "benefit:Q",
        title=axis,
        scale=alt.Scale(domain=domain, nice=False),
        axis=alt.Axis(labelExpr=SIGNED, tickCount=6, titleAlign="right", titleAnchor="end"),
    )
    colour = outcome_scale()
    base = alt.Chart(alt.InlineData(values=rows))
    reach = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=axis), x2="high:Q", color=colour[0], **position
    )
    margin = base.mark_tick(
        thickness=2, height=15 if arms == 1 else 12, color=INK["text"], opacity=0.75
    ).encode(x=alt.X("threshold:Q", title=axis), tooltip=difference_tips(), **position)
    point = base.mark_point(filled=True, size=85, opacity=1).encode(
        x=x, color=colour[0], shape=colour[1], tooltip=difference_tips(), **position
    )
    layers: list[Any] = [_zero_line(), margin, reach, point]
    if arms > 1:
        layers.append(_arm_names(base, domain, position))
    height = alt.Step(_ROW) if arms == 1 else len(order) * (arms * 18 + 12)
    return alt.layer(*layers).properties(width=width, height=height)


def _arm_names(base: Any, domain: list[float], position: dict[str, Any]) -> Any:
    """Which arm a line belongs to, written at the right edge."""
    return base.mark_text(align="left", dx=8, fontSize=11, color=INK["muted"]).encode(
        x=alt.datum(domain[1]), text="arm:N", **position
    )


def domain_of(rows: Rows) -> list[float]:
    """A span that holds every interval, zero and every margin, with some air."""
    values = [0.0]
    for row in rows:
        values += [
            row[key] for key in ("benefit", "low", "high", "threshold") if row[key] is not None
        ]
    low, high = min(values), max(values)
    air = 0.05 * (high - low) or 1.0
    return [low - air, high + air]


def outcome_scale() -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of the three outcomes, with one legend above."""
    domain = list(OUTCOME_COLOUR)
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    return (
        alt.Color(
            "outcome:N",
            scale=alt.Scale(domain=domain, range=list(OUTCOME_COLOUR.values())),
            legend=legend,
        ),
        alt.Shape(
            "outcome:N",
            scale=alt.Scale(domain=domain, range=list(OUTCOME_SHAPE.values())),
            legend=legend,
        ),
    )


def difference_tips() -> list[alt.Tooltip]:
    """What is told of a difference that is pointed at."""
    names = ("suite", "arm", "metric", "base", "tuned", "difference", "interval", "n", "outcome")
    return [alt.Tooltip(f"{name}:{'Q' if name == 'n' else 'N'}") for name in names]


def _label_axis() -> alt.Axis:
    return alt.Axis(labelLimit=320, domain=False, ticks=False, labelPadding=8)


def flips(comparisons: Sequence[Comparison], width: int = 430) -> Chart | None:
    """Samples of each suite that only the tuned arm (right) or only the base (left) got right."""
    rows: Rows = []
    for comparison in comparisons:
        gated = {info.name: info.metric for info in comparison.base.suites}
        for delta in comparison.deltas:
            if delta.slice or delta.metric.name != gated.get(delta.suite):
                continue
            if delta.metric.kind == "binary" and delta.gained + delta.lost:
                rows += _flip_rows(delta, one_line(comparison.tuned.name))
    if not rows:
        return None
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    order = list(dict.fromkeys(row["suite"] for row in rows))
    y: dict[str, Any] = {"y": alt.Y("suite:N", sort=order, title=None, axis=_label_axis())}
    if len(arms) > 1:
        y["yOffset"] = alt.YOffset("arm:N", sort=arms)
    height = alt.Step(_ROW) if len(arms) == 1 else len(order) * (len(arms) * 15 + 12)
    layers = [*_flip_bars(rows, y), _zero_line()]
    return finished(alt.layer(*layers).properties(width=width, height=height))


def _flip_rows(delta: Delta, arm: str) -> Rows:
    gained, lost = better_and_worse(delta)
    common = {"suite": one_line(delta.suite), "arm": arm}
    return [
        {**common, "kind": "lost", "count": -lost, "n": lost},
        {**common, "kind": "gained", "count": gained, "n": gained},
    ]


def _flip_bars(rows: Rows, y: Mapping[str, Any]) -> list[Any]:
    """Bars to both sides of zero, each with its number at its end."""
    reach = 1.15 * max(abs(row["count"]) for row in rows)
    x = alt.X(
        "count:Q",
        title="← samples only the base got right · samples only the tuned got right →",
        scale=alt.Scale(domain=[-reach, reach], nice=False),
        axis=alt.Axis(
            labelExpr="abs(datum.value)",
            tickMinStep=1,
            tickCount=6,
            labelFlush=False,
            titleAnchor="middle",
        ),
    )
    colours = [OUTCOME_COLOUR["fail"], OUTCOME_COLOUR["pass"]]
    colour = alt.Color(
        "kind:N", legend=None, scale=alt.Scale(domain=["lost", "gained"], range=colours)
    )
    tips = [alt.Tooltip("suite:N"), alt.Tooltip("arm:N"), alt.Tooltip("kind:N"), alt.Tooltip("n:Q")]
    base = alt.Chart(alt.InlineData(values=rows))
    words = {"x": x, "text": alt.Text("n:Q"), **y}
    lost = base.transform_filter("datum.kind === 'lost' && datum.n > 0")
    gained = base.transform_filter("datum.kind === 'gained' && datum.n > 0")
    layers = [
        base.mark_bar(height=11).encode(x=x, color=colour, tooltip=tips, **y),
        lost.mark_text(align="right", dx=-4, color=INK["muted"]).encode(**words),
        gained.mark_text(align="left", dx=4, color=INK["muted"]).encode(**words),
    ]
    if "yOffset" in y:
        one_each = base.transform_filter("datum.kind === 'gained'")
        layers.append(_arm_names(one_each, [-reach, reach], dict(y)))
    return layers


def _zero_line() -> Any:
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
    return zero.mark_rule(color=INK["zero"]).encode(x="zero:Q")


def style_features(comparisons: Sequence[Comparison], suite: str, width: int = 430) -> Chart | None:
    """What describes a suite's answers without judging them: each arm, and the reference notes.

    The mean of the reference notes stands where the base's run knows it. Each feature has its own
    scale, from 0 to its largest value; the numbers stand in the tooltip. None where the suite has
    no descriptive metric.
    """
    rows = _feature_rows(comparisons, suite)
    if not rows:
        return None
    order = list(dict.fromkeys(row["feature"] for row in rows))
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y("feature:N", sort=order, title=None, axis=_label_axis())
    x = alt.X(
        "share:Q",
        title="each feature on its own scale: 0 to its largest value",
        axis=alt.Axis(labels=False, ticks=False),
    )
    line = base.mark_line(color=INK["grid"], strokeWidth=3).encode(x=x, y=y, detail="feature:N")
    colour, shape = _source_scale(list(dict.fromkeys(row["source"] for row in rows)))
    tips = [alt.Tooltip("feature:N"), alt.Tooltip("source:N"), alt.Tooltip("value:N")]
    point = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tips
    )
    return finished(alt.layer(line, point).properties(width=width, height=alt.Step(_ROW)))


def _feature_rows(comparisons: Sequence[Comparison], suite: str) -> Rows:
    rows: Rows = []
    for feature, by_source in _feature_values(comparisons, suite).items():
        largest = max(abs(value) for value in by_source.values()) or 1.0
        digits = decimals(*by_source.values())
        rows += [
            {"feature": feature, "source": source, "share": value / largest,
             "value": number(value, digits)}
            for source, value in by_source.items()
        ]  # fmt: skip
    return rows


def _feature_values(comparisons: Sequence[Comparison], suite: str) -> dict[str, dict[str, float]]:
    """The means of each feature, by what was measured."""
    values: dict[str, dict[str, float]] = {}
    for comparison in comparisons:
        info = suite_info(comparison, suite)
        for delta in comparison.deltas:
            if delta.suite != suite or delta.slice or delta.metric.higher_is_better is not None:
                continue
            if delta.base is None or delta.tuned is None:
                continue
            unit = f" ({one_line(delta.metric.unit)})" if delta.metric.unit else ""
            mine = values.setdefault(one_line(delta.metric.name) + unit, {})
            mine.setdefault(one_line(comparison.base.name), delta.base)
            mine[one_line(comparison.tuned.name)] = delta.tuned
            if info and delta.metric.name in info.references:
                mine[_REFERENCE] = info.references[delta.metric.name]
    return values


def _source_scale(sources: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """The arms in the colours of arms; the reference notes, which are no arm, in that of ink."""
    arms = [source for source in sources if source != _REFERENCE]
    looks = list(zip(ARM_COLOUR, ("circle", "square", "triangle-up", "triangle-down"), strict=True))
    given = {arm: looks[index % len(looks)] for index, arm in enumerate(arms)}
    if _REFERENCE in sources:
        given[_REFERENCE] = (INK["text"], "diamond")
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, labelLimit=300)
    colours, shapes = zip(*given.values(), strict=True)
    return (
        alt.Color("source:N", sort=list(given), legend=legend,
                  scale=alt.Scale(domain=list(given), range=list(colours))),
        alt.Shape("source:N", sort=list(given), legend=legend,
                  scale=alt.Scale(domain=list(given), range=list(shapes))),
    )  # fmt: skip


def finished(chart: Any) -> Chart:
    """The look all charts share: no frame, quiet grid, the reader's own fonts."""
    done: Chart = (
        chart.configure(font=_FONT, background="transparent", padding=_AIR)
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=INK["grid"], domainColor=INK["zero"], tickColor=INK["zero"],
            labelColor=INK["muted"], titleColor=INK["muted"], labelFontSize=11.5,
            titleFontSize=11.5, titleFontWeight="normal",
        )
        .configure_axisY(labelColor=INK["text"], labelFontSize=12.5, grid=False)
        .configure_legend(labelColor=INK["text"], labelFontSize=12, titleColor=INK["muted"])
    )  # fmt: skip
    return done
