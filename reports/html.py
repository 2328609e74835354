"""report.html: one file without network or need of JavaScript, read by a release manager.

Everything a model, a data set or a user named is untrusted here: the template escapes it, control
and bidirectional characters are made visible, and a content security policy allows no script but
the report's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import evalkit
from evalkit.gate.decide import meaning
from evalkit.records import (
    Check,
    CheckStatus,
    Comparison,
    Delta,
    Flip,
    Manifest,
    Metric,
    Outcome,
    SuiteVerdict,
    Verdict,
)
from reports import charts, wording
from reports.anchors import sample_anchor, suite_anchor
from reports.diff import Difference, difference
from reports.flips import better_and_worse, moved, nats, p_text, slices_text, stands_out
from reports.formats import Remark, remarks
from reports.judging.charts import win_rates
from reports.judging.html import JudgingView, judging_views
from reports.judging.words import alarms
from reports.repeats import answers_text
from reports.retained import HEADS, NOTE, rows
from reports.stepcharts import over_steps
from reports.steps import caution, curves, deciding, speaking
from reports.wording import ORDER, outcomes_of

if TYPE_CHECKING:
    import jinja2

_ANSWER = 4000  # characters of an answer that are shown; the run folder holds all of it
_PROMPT = 1500
_CHART = 540  # pixels a chart's plot is wide, labels aside
_WIDE = 800  # pixels for several panels side by side
_UNPAIRED = 200  # ids listed of the samples that only one arm has
_SEVERITY: list[CheckStatus] = ["failed", "warning", "ok"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipView:
    """A changed answer, ready to be shown: clipped, cleaned, compared."""

    sample_id: str
    metric: Metric
    base_score: float | None
    tuned_score: float | None
    better: bool
    lead: str
    prompt: str
    difference: Difference
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFlips:
    """The changed answers of one suite."""

    suite: str
    outcome: Outcome
    flips: tuple[FlipView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What is not in the numbers of a suite: in words, and the ids that only one arm has."""

    suite: str
    text: str
    unpaired: tuple[str, ...]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmView:
    """What the report tells of one tuned arm."""

    comparison: Comparison
    verdict: Verdict
    flips: tuple[SuiteFlips, ...]
    metrics: tuple[Delta, ...]
    slices: tuple[Delta, ...]
    missing: tuple[Missing, ...]
    formats: tuple[Remark, ...]
    checks: tuple[Check, ...]
    retained: Sequence[Sequence[str]]
    judgings: Sequence[tuple[JudgingView, Any]]


def report_html(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    """The whole page, for one base and its tuned arms."""
    arms = [arm_view(c, v) for c, v in zip(comparisons, verdicts, strict=True)]
    _, last = deciding(comparisons, verdicts)
    script = _asset("report.js")
    looked = any(map(wording.needs_sequence_note, verdicts))
    contradicts = any(wording.needs_bound_note(one) for v in verdicts for one in v.suites)
    return _template().render(
        arms=arms,
        base=comparisons[0].base,
        advice=[verdict.advice for _, verdict in speaking(comparisons, verdicts)],
        cautions=[caution(one) for one in curves(comparisons, verdicts) if len(one.steps) > 1],
        verdict=last,
        headline=_headline(arms, last),
        meaning=meaning(last).partition(": ")[2],
        suites=list(dict.fromkeys(one.label for v in verdicts for one in v.suites)),
        style=_asset("report.css") + _dark_charts(),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        figures=_figures(comparisons, verdicts),
        moved=[
            (comparison.tuned.name, suite, text)
            for comparison, verdict in zip(comparisons, verdicts, strict=True)
            for suite, text in moved(verdict)
        ],
        manifests=[comparisons[0].base, *(one.tuned for one in comparisons)],
        identity=[identity(one) for one in (comparisons[0].base, *(c.tuned for c in comparisons))],
        alarms=alarms(comparisons),
        departure=wording.departure_text(last, comparisons[0].base.name),
        bound_note=wording.BOUND_NOTE if contradicts else "",
        saved=wording.saved_text(comparisons),
        retained_heads=HEADS,
        retained_note=NOTE,
        sequence_note=wording.SEQUENCE_NOTE if looked else "",
        version=evalkit.__version__,
    )


def _headline(arms: Sequence[ArmView], last: Verdict) -> str:
    """The answer in a few words; with several arms, which of them may be shipped."""
    if len(arms) == 1:
        return wording.HEADLINE[last.outcome]
    fit = [a.comparison.tuned.name for a in arms if a.verdict.outcome == "pass"]
    if len(fit) == len(arms):
        return "All of them may be shipped"
    if fit:
        return f"Only {wording.one_line(', '.join(fit))} may be shipped"
    return "None of them may be shipped"


def arm_view(comparison: Comparison, verdict: Verdict) -> ArmView:
    """Sort a comparison into the sections of the page."""
    names = wording.one_line(comparison.base.name), wording.one_line(comparison.tuned.name)
    missing = []
    for one in verdict.suites:
        if one.slice:
            continue  # what its suite is missing is told of the suite
        alone = comparison.unpaired.get(one.suite, ())
        text = wording.missing_text(one.delta, alone, *names) if one.delta else ""
        if text:
            missing.append(
                Missing(
                    suite=one.suite,
                    text=text,
                    unpaired=alone[:_UNPAIRED],
                    more=max(0, len(alone) - _UNPAIRED),
                )
            )
    return ArmView(
        comparison=comparison,
        verdict=verdict,
        flips=_suite_flips(comparison, verdict),
        metrics=tuple(delta for delta in comparison.deltas if not delta.slice),
        slices=tuple(delta for delta in comparison.deltas if delta.slice),
        missing=tuple(missing),
        retained=rows(comparison),
        judgings=_judgings(comparison),
        formats=tuple(remarks(comparison, verdict)),
        checks=tuple(sorted(verdict.checks, key=lambda one: _SEVERITY.index(one.status))),
    )


def _suite_flips(comparison: Comparison, verdict: Verdict) -> tuple[SuiteFlips, ...]:
    """By suite, those first that keep the model from being shipped."""
    metrics = {(info.name, m.name): m for info in comparison.base.suites for m in info.metrics}
    groups = []
    for suite, outcome in sorted(outcomes_of(verdict).items(), key=lambda row: ORDER.index(row[1])):
        mine = [flip for flip in comparison.flips if flip.suite == suite]
        views = tuple(_flip_view(flip, metrics[flip.suite, flip.metric]) for flip in mine)
        if views:
            groups.append(SuiteFlips(suite=suite, outcome=outcome, flips=views))
    return tuple(groups)


def _flip_view(flip: Flip, metric: Metric) -> FlipView:
    base, tuned = wording.clean(flip.base_text), wording.clean(flip.tuned_text)
    higher = (flip.tuned_score or 0.0) > (flip.base_score or 0.0)
    lead = wording.clean(flip.prompt[: flip.lead].strip())
    return FlipView(
        sample_id=flip.sample_id,
        metric=metric,
        base_score=flip.base_score,
        tuned_score=flip.tuned_score,
        better=higher is not (metric.higher_is_better is False),
        lead=_ending(lead),
        prompt=_ending(wording.clean(flip.question)),
        difference=difference(base[:_ANSWER], tuned[:_ANSWER]),
        cut=max(0, len(base) - _ANSWER) + max(0, len(tuned) - _ANSWER),
    )


def _ending(text: str) -> str:
    return text if len(text) <= _PROMPT else f"… {text[-_PROMPT:]}"


def identity(manifest: Manifest) -> dict[str, str]:
    """What a reader needs to know, or to repeat, a run; flat, in a fixed order."""
    facts: dict[str, Any] = {"run": manifest.run_id}
    model = manifest.config.get("model", {})
    facts |= {f"model.{key}": value for key, value in model.items() if value is not None}
    facts |= {f"fingerprint.{key}": value for key, value in manifest.fingerprints.items()}
    facts |= {"seed": manifest.seed, "started": manifest.started, "finished": manifest.finished}
    facts |= {key.replace("_", " "): f"{value:,}" for key, value in manifest.counts.items()}
    facts |= {
        key.replace("_", " "): _measure(key, value) for key, value in manifest.measures.items()
    }
    facts |= {"git commit": manifest.git_commit or "unknown"}
    facts |= {f"version.{key}": value for key, value in manifest.versions.items()}
    return {wording.one_line(key): wording.one_line(str(value)) for key, value in facts.items()}


def _measure(name: str, value: float) -> str:
    if "memory" in name or name.endswith("bytes"):
        return f"{value / 2**30:.2f} GiB"
    if "seconds" in name:
        return wording.duration(value)
    return f"{value:,.6g}"


def _figures(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]
) -> dict[str, list[tuple[str, Any]]]:
    drawn = {
        "forest": [("", charts.forest(comparisons, verdicts, _CHART))],
        "steps": [
            (curve.run, over_steps(curve, _WIDE))
            for curve in curves(comparisons, verdicts)
            if len(curve.steps) > 1
        ],
        "flips": [("", charts.flips(comparisons, _CHART))],
        "style": [
            (info.name, charts.style_features(comparisons, info.name, width=_CHART))
            for info in comparisons[0].base.suites
        ],
    }
    return {
        kind: [(name, _drawn(chart)) for name, chart in found if chart is not None]
        for kind, found in drawn.items()
    }


def _drawn(chart: charts.Chart | None) -> Any:
    """A chart as it stands in the page; empty where there is none."""
    from markupsafe import Markup

    # The one place where text enters the page unescaped: an SVG that vl-convert made, which
    # escapes the names in it (a test holds it to that).
    return "" if chart is None else Markup(charts.to_svg(chart))  # noqa: S704


def _judgings(comparison: Comparison) -> Sequence[tuple[JudgingView, Any]]:
    """What judges said, each with its chart."""
    return [
        (view, _drawn(win_rates(comparison, view.judging, _CHART)))
        for view in judging_views(comparison)
    ]


def _dark_charts() -> str:
    """Rules that recolour the SVGs on a dark page; a rule outweighs a presentation attribute."""
    rules = "".join(
        f'figure [fill="{light}"]{{fill:{dark}}}figure [stroke="{light}"]{{stroke:{dark}}}'
        for light, dark in charts.dark_colours().items()
    )
    return f"@media screen and (prefers-color-scheme:dark){{{rules}}}"


@cache
def _asset(name: str) -> str:
    return resources.files("reports").joinpath("templates", name).read_text("utf-8")


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= _filters()
    environment.globals |= {
        "symbol": wording.SYMBOL,
        "facts": _keys,
        "suite_anchor": suite_anchor,
        "sample_anchor": sample_anchor,
    }
    return environment.get_template("report.html.j2")


def _filters() -> Mapping[str, Any]:
    return {
        "clean": wording.one_line,
        "number": wording.number,
        "signed": wording.signed,
        "interval": wording.interval,
        "shown": wording.shown_interval,
        "metric": wording.metric_label,
        "count": wording.sample_count,
        "margin": wording.margin_text,
        "reason": wording.reason,
        "tally": wording.tally,
        "answers": answers_text,
        "digits": _digits,
        "find": _find,
        "tone": _tone,
        "breakable": _breakable,
        "flips": better_and_worse,
        "nats": nats,
        "p": p_text,
        "ratio": wording.ratio_text,
        "win_rate": wording.win_rate_text,
        "slices": slices_text,
        "stands_out": stands_out,
    }


def _digits(delta: Delta) -> int:
    return wording.decimals(delta.base, delta.tuned)


def _find(verdict: Verdict, label: str) -> SuiteVerdict | None:
    return next((one for one in verdict.suites if one.label == label), None)


def _tone(delta: Delta) -> str:
    """Whether a difference is surely good or bad: only then it is coloured."""
    gain = wording.benefit(delta)
    if gain is None or delta.low is None or delta.high is None or delta.low <= 0 <= delta.high:
        return ""
    return "good" if gain > 0 else "bad"


def _breakable(name: str) -> Any:
    """A suite's name, escaped, that may be broken after its separators and nowhere else."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[/:_])|(?=\[)", wording.one_line(name))
    return Markup("<wbr>").join(escape(part) for part in parts)


def _keys(tables: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))
