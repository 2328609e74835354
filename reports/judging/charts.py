"""The win rate as judged and under every condition that might change it, against one half."""

from __future__ import annotations

from typing import Any

import altair as alt

from evalkit.records import Comparison, Judging
from reports.charts import ARM_COLOUR, INK, Chart, Rows, finished
from reports.judging.words import HALF, Said, share, variants
from reports.wording import one_line

_ROW = 30  # pixels a condition is high
_LINE = 17  # and each judge's line within it, where there are several
_AIR = 0.04


def win_rates(comparison: Comparison, judging: Judging, width: int = 430) -> Chart | None:
    """Each win rate with its interval; the line at one half is where neither arm is preferred.

    The colour and shape say for which arm the whole interval speaks. None where ratings were
    given, or nothing is known.
    """
    found = variants(comparison, judging)
    if not found:
        return None
    names = one_line(comparison.base.name), one_line(comparison.tuned.name)
    rows = [_row(said, names) for said in found]
    order = list(dict.fromkeys(row["variant"] for row in rows))
    judges = list(dict.fromkeys(row["judge"] for row in rows))
    y: dict[str, Any] = {"y": alt.Y("variant:N", sort=order, title=None, axis=_conditions())}
    height = len(order) * _ROW
    if len(judges) > 1:
        y["yOffset"] = alt.YOffset("judge:N", sort=judges)
        height = len(order) * (len(judges) * _LINE + 8)
    domain = _domain(rows)
    layers = [_half(), *_marks(rows, y, domain, names)]
    if len(judges) > 1:
        layers.append(_names(rows, y, domain))
    return finished(alt.layer(*layers).properties(width=width, height=height))


def _row(said: Said, names: tuple[str, str]) -> dict[str, Any]:
    rate = said.rate
    return {
        "variant": said.variant,
        "judge": said.judge or "all together",
        "rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n": rate.n,
        "told": share(rate),
        "speaks": _speaks(rate.low, rate.high, names),
    }


def _speaks(low: float | None, high: float | None, names: tuple[str, str]) -> str:
    if low is not None and low > HALF:
        return f"for {names[1]}"
    if high is not None and high < HALF:
        return f"for {names[0]}"
    return "for neither"


def _domain(rows: Rows) -> list[float]:
    """A span that holds every interval and one half, within 0 and 1."""
    values = [HALF - 0.05, HALF + 0.05]
    for row in rows:
        values += [row[key] for key in ("rate", "low", "high") if row[key] is not None]
    low, high = min(values), max(values)
    return [max(0.0, low - _AIR), min(1.0, high + _AIR)]


def _half() -> Any:
    half = alt.Chart(alt.InlineData(values=[{"half": HALF}]))
    return half.mark_rule(color=INK["text"], strokeWidth=1.5, strokeDash=[4, 3]).encode(
        x=alt.X("half:Q")
    )


def _marks(
    rows: Rows, y: dict[str, Any], domain: list[float], names: tuple[str, str]
) -> tuple[Any, Any]:
    title = f"share of pairs won by {names[1]}; at 50 % neither is preferred"
    x = alt.X(
        "rate:Q",
        title=title,
        scale=alt.Scale(domain=domain, nice=False, zero=False),
        axis=alt.Axis(format="~%", tickCount=6, titleAnchor="middle"),
    )
    colour, shape = _scales(names)
    tips = [
        alt.Tooltip("variant:N", title="condition"),
        alt.Tooltip("judge:N"),
        alt.Tooltip("told:N", title="win rate"),
        alt.Tooltip("n:Q"),
    ]
    base = alt.Chart(alt.InlineData(values=rows))
    reach = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", color=colour, tooltip=tips, **y
    )
    point = base.mark_point(filled=True, size=85, opacity=1).encode(
        x=x, color=colour, shape=shape, tooltip=tips, **y
    )
    return reach, point


def _scales(names: tuple[str, str]) -> tuple[alt.Color, alt.Shape]:
    """The arms in the colours of arms; what speaks for neither in that of quiet words."""
    domain = [f"for {names[0]}", "for neither", f"for {names[1]}"]
    legend = alt.Legend(title="the interval speaks", orient="top", symbolOpacity=1, labelLimit=240)
    colours = [ARM_COLOUR[0], INK["muted"], ARM_COLOUR[1]]
    return (
        alt.Color(
            "speaks:N", sort=domain, legend=legend, scale=alt.Scale(domain=domain, range=colours)
        ),
        alt.Shape(
            "speaks:N",
            sort=domain,
            legend=legend,
            scale=alt.Scale(domain=domain, range=["square", "diamond", "circle"]),
        ),
    )


def _names(rows: Rows, y: dict[str, Any], domain: list[float]) -> Any:
    """Which judge a line belongs to, written at the right edge."""
    base = alt.Chart(alt.InlineData(values=rows))
    return base.mark_text(align="left", dx=8, fontSize=11, color=INK["muted"]).encode(
        x=alt.datum(domain[1]), text="judge:N", **y
    )


def _conditions() -> alt.Axis:
    return alt.Axis(labelLimit=320, domain=False, ticks=False, labelPadding=8)
