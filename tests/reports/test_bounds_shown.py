"""The bounds that decided are told wherever the verdict is, and so are clusters."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from evalkit.compare import compare
from evalkit.config import GateConfig, SuiteGate
from evalkit.estimates import Scored, estimated
from evalkit.gate.decide import decide
from evalkit.records import Comparison, Delta, Metric, Score, Verdict
from reports.html import report_html
from reports.junit import junit_xml
from reports.machine import comparison_json
from reports.markdown import report_markdown
from reports.table import deltas_csv
from reports.terminal import print_verdict
from reports.wording import BOUND_NOTE, needs_bound_note, sample_count
from tests.builders import make_info, make_run

SUITE = "style/tiny"


def _terminal(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_verdict(comparisons, verdicts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


REPORTS: list[Callable[[Sequence[Comparison], Sequence[Verdict]], str]] = [
    _terminal,
    report_markdown,
    report_html,
]


def _compared(
    base: Sequence[float], tuned: Sequence[float], *, up: bool = True, clusters: Sequence[str] = ()
) -> Comparison:
    binary = {*base, *tuned} <= {0.0, 1.0}
    infos = [make_info(SUITE, kind="binary" if binary else "continuous", higher_is_better=up)]
    return compare(
        make_run("base", {SUITE: base}, infos=infos, clusters=clusters),
        make_run("tuned", {SUITE: tuned}, infos=infos, adapter="a", clusters=clusters),
    )


def _spread(*, up: bool = True) -> Comparison:
    """Differences around −.02 without skewness, so that the bounds are Student's."""
    around = np.tile([-0.2, 0.2], 100) - 0.02
    return _compared([0.5] * 200, (0.5 + around).tolist(), up=up)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("up", [True, False])
def test_the_bounds_that_decided_are_those_of_the_gates_own_alpha(alpha: float, up: bool) -> None:
    comparison = _spread(up=up)
    one = decide(comparison, GateConfig(margin=0.06, alpha=alpha)).suites[0]
    mean = -0.02 if up else 0.02
    error = np.tile([-0.2, 0.2], 100).std(ddof=1) / 200**0.5
    oracle = stats.t.interval(1 - 2 * alpha, 199, mean, error)
    assert (one.low, one.high) == pytest.approx(oracle)
    level = {0.001: "99.9", 0.05: "95", 0.2: "80"}[alpha]
    assert f"one-sided {level} % bounds {oracle[0]:+.3f} and {oracle[1]:+.3f}" in one.reason


def test_every_machine_readable_report_has_them() -> None:
    comparison = _spread()
    verdict = decide(comparison, GateConfig(margin=0.03))
    one = verdict.suites[0]
    assert one.outcome == "inconclusive"
    told = json.loads(comparison_json([comparison], [verdict]))["arms"][0]["suites"][0]
    assert (told["low"], told["high"]) == (one.low, one.high)
    row = next(csv.DictReader(io.StringIO(deltas_csv([comparison], [verdict]))))
    assert (float(row["gate_low"]), float(row["gate_high"])) == (one.low, one.high)
    failure = ET.fromstring(junit_xml([comparison], [verdict])).find(".//failure")
    assert failure is not None
    assert "one-sided 95 % bounds" in failure.attrib["message"]
    passed = decide(comparison, GateConfig(margin=0.3))
    output = ET.fromstring(junit_xml([comparison], [passed])).findtext(".//testcase/system-out")
    assert "one-sided 95 % bounds" in (output or "")


def test_an_open_verdict_beside_an_interval_inside_the_margin_is_explained() -> None:
    """At α = .001 the bounds lie outside the 95 % interval that is shown."""
    comparison = _spread()
    delta = comparison.deltas[0]
    assert delta.low is not None
    verdict = decide(comparison, GateConfig(margin=-delta.low + 0.005, alpha=0.001))
    assert verdict.outcome == "inconclusive"
    assert needs_bound_note(verdict.suites[0])
    assert BOUND_NOTE in " ".join(_terminal([comparison], [verdict]).split())
    usual = decide(comparison, GateConfig(margin=0.03))
    assert (usual.outcome, needs_bound_note(usual.suites[0])) == ("inconclusive", False)


@pytest.mark.parametrize("report", REPORTS)
def test_beside_an_absolute_verdict_stands_the_interval_of_the_tuned_score(
    report: Callable[[Sequence[Comparison], Sequence[Verdict]], str],
) -> None:
    comparison = _compared([1.0] * 200, [0.0] * 20 + [1.0] * 180)
    gate = GateConfig(suites={SUITE: SuiteGate(policy="absolute", floor=0.8)})
    text = report([comparison], [decide(comparison, gate)])
    wilson = stats.binomtest(180, 200).proportion_ci(0.95, method="wilson")
    exact = stats.binomtest(180, 200).proportion_ci(0.95, method="exact")
    spans = [f"tuned [{one.low:.3f}, {one.high:.3f}]" for one in (wilson, exact)]
    assert any(span in text for span in spans)


@pytest.mark.parametrize("report", REPORTS)
def test_samples_that_belong_together_are_told_with_their_clusters(
    report: Callable[[Sequence[Comparison], Sequence[Verdict]], str],
) -> None:
    rng = np.random.default_rng(1)
    base, tuned = rng.random((2, 300)).tolist()
    comparison = _compared(base, tuned, clusters=[f"text {place // 5}" for place in range(300)])
    assert "300 in 60 clusters" in report([comparison], [decide(comparison, GateConfig())])
    single = _compared(base, tuned)
    assert sample_count(single.deltas[0]) == "300"


def test_many_documents_are_counted_as_they_are_not_as_the_blocks_they_are_drawn_in() -> None:
    rng = np.random.default_rng(2)
    metric = Metric(name="bits", kind="ratio", higher_is_better=False)
    arms = [
        [Score(sample_id="", scorer="bits", value=a / 9, stats=(a, 9.0)) for a in rng.random(2_500)]
        for _ in range(2)
    ]
    delta = Delta(
        suite=SUITE, metric=metric, base=None, tuned=None, difference=None, low=None, high=None,
        n=2_500,
    )  # fmt: skip
    assert estimated(delta, Scored(arms[0], arms[1], ())).clusters == 2_500
