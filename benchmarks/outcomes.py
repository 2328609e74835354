"""Draw the outcomes of a gate for docs/statistics.md, for light pages and for dark ones.

    python -m benchmarks.outcomes

Where an interval lies beside the margin decides; the numbers are chosen to show it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import altair as alt

from evalkit.records import Outcome
from reports.charts import INK, SIGNED, Chart, dark_colours, finished, outcome_scale, to_svg

PICTURES = Path("docs/img")
MARGIN = 0.05
_TITLE = "difference, tuned − base, turned so that right is better"


class Case(NamedTuple):
    """An interval of the benefit, and what the gate says of it (non-inferiority)."""

    words: str
    low: float
    high: float
    outcome: Outcome


CASES = (
    Case("better", 0.012, 0.068, "pass"),
    Case("not worse than the margin", -0.028, 0.026, "pass"),
    Case("worse, within the margin", -0.043, -0.009, "pass"),
    Case("across the margin", -0.072, -0.016, "inconclusive"),
    Case("too few samples to tell anything", -0.105, 0.062, "inconclusive"),
    Case("worse than the margin", -0.118, -0.062, "fail"),
)


def picture(width: int = 480) -> Chart:
    """The cases below one another, with the margin and no difference as upright lines."""
    rows = [one._asdict() | {"middle": (one.low + one.high) / 2} for one in CASES]
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y(
        "words:N",
        sort=[one.words for one in CASES],
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelPadding=8, labelLimit=320),
    )
    x = alt.X(
        "middle:Q",
        title=_TITLE,
        scale=alt.Scale(domain=[-0.13, 0.08], nice=False),
        axis=alt.Axis(values=[-MARGIN, 0], labelExpr=SIGNED),
    )
    colour, shape = outcome_scale()
    reach = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=_TITLE), x2="high:Q", y=y, color=colour
    )
    point = base.mark_point(filled=True, size=85, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape
    )
    lines = [
        _upright(-MARGIN, "margin", INK["text"], [5, 4]),
        _upright(0, "no difference", INK["zero"], [1, 0]),
    ]
    return finished(alt.layer(*lines, reach, point).properties(width=width, height=alt.Step(28)))


def _upright(value: float, words: str, colour: str, dash: list[int]) -> Any:
    base = alt.Chart(alt.InlineData(values=[{"at": value, "words": words}]))
    line = base.mark_rule(color=colour, strokeDash=dash, strokeWidth=1.3).encode(x="at:Q")
    name = base.mark_text(baseline="bottom", dy=-4, fontSize=12, color=INK["muted"]).encode(
        x="at:Q", y=alt.value(0), text="words:N"
    )
    return line + name


def main() -> None:
    """Write outcomes-light.svg and outcomes-dark.svg."""
    svg = to_svg(picture())
    (PICTURES / "outcomes-light.svg").write_text(svg, encoding="utf-8")
    for light, dark in dark_colours().items():
        svg = svg.replace(light, dark)
    (PICTURES / "outcomes-dark.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
