"""The loss curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LEARNED, HELD_OUT = "training", "held out"


def write_curve(metrics: Sequence[dict[str, float]], file: Path, title: str) -> None:
    """Draw loss (nats per learned token) over steps to an SVG: both parts, training smoothed."""
    import altair as alt
    import pandas as pd

    training = [(row["step"], row["loss"]) for row in metrics if "loss" in row]
    held_out = [(row["step"], row["eval_loss"]) for row in metrics if "eval_loss" in row]
    rows = [
        *((step, loss, LEARNED) for step, loss in _smoothed(training)),
        *((step, loss, HELD_OUT) for step, loss in held_out),
    ]
    table = pd.DataFrame(rows, columns=["step", "loss", "part"])
    parts = alt.Scale(domain=[LEARNED, HELD_OUT], range=["#9aa5b1", "#0b6e99"])
    line = alt.Chart(table).mark_line(strokeWidth=2)
    points = alt.Chart(table).mark_point(filled=True, size=50)
    axes = {
        "x": alt.X("step:Q", title="step"),
        "y": alt.Y("loss:Q", title="loss (nats per token)", scale=alt.Scale(zero=False)),
        "color": alt.Color("part:N", title=None, scale=parts),
    }
    chart = line.encode(**axes) + points.encode(**axes).transform_filter(alt.datum.part == HELD_OUT)
    chart.properties(title=title, width=560, height=280).save(str(file), format="svg")


def _smoothed(points: Sequence[tuple[float, float]], window: int = 5) -> list[tuple[float, float]]:
    """Running mean over the last `window` steps: single batches jump too much to read."""
    smooth = []
    for index, (step, _) in enumerate(points):
        recent = [loss for _, loss in points[max(index - window + 1, 0) : index + 1]]
        smooth.append((step, sum(recent) / len(recent)))
    return smooth
