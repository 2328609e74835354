"""JUnit XML, for CI systems that list tests.

One <testsuite> per tuned arm and one <testcase> per suite and gated slice. Fail and inconclusive
are both a <failure>, told apart by its type: a pipeline that reads only this file must not let
through what the exit code holds back, and <skipped> is green in most of them. For the same reason
the checkpoints that are not the best of their training run are <skipped> where they do not pass:
the exit code does not hold them back. A canary that failed is an <error>; one that warns is written
to <system-out>. Each judging is a testcase, an <error> where the gate goes by it and it cannot be
trusted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from evalkit.gate.trust import NAME as TRUST
from evalkit.records import Check, Comparison, SuiteVerdict, Verdict
from reports.formats import remarks
from reports.judging.junit import add_judgings, fails
from reports.steps import speaking
from reports.wording import (
    clean,
    decimals,
    departure_text,
    metric_label,
    number,
    one_line,
    reason,
    sample_count,
    shown_interval,
    signed,
)


def junit_xml(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    """The document, with an XML declaration; valid whatever the names hold."""
    root = ET.Element("testsuites", name="evalkit")
    decide = [comparison.tuned.run_id for comparison, _ in speaking(comparisons, verdicts)]
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        counts = comparison.tuned.run_id in decide
        _add_arm(root, comparison, verdict, counts=counts)
    for kind in ("tests", "failures", "errors", "skipped"):
        root.set(kind, str(sum(int(suite.get(kind, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_arm(root: ET.Element, comparison: Comparison, verdict: Verdict, *, counts: bool) -> None:
    name = f"{one_line(comparison.tuned.name)} against {one_line(comparison.base.name)}"
    # What a judge's word is not worth is told by a case for each judging.
    distrusted = sum(fails(comparison, verdict, one) for one in comparison.judgings)
    failed = [check for check in verdict.checks if check.status == "failed"]
    broken = [check for check in failed if not (distrusted and check.name == TRUST)]
    errors = len(broken) + distrusted
    open_ones = sum(one.outcome != "pass" for one in verdict.suites)
    arm = ET.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(verdict.suites) + len(broken) + len(comparison.judgings)),
        failures=str(open_ones if counts else 0),
        errors=str(errors if counts else 0),
        skipped=str(0 if counts else open_ones + errors),
        timestamp=one_line(comparison.tuned.finished).partition("+")[0],
    )
    for one in verdict.suites:
        _add_suite(arm, name, one, comparison, counts=counts)
    for check in broken:
        title = f"canary: {one_line(check.name)}"
        case = ET.SubElement(arm, "testcase", classname=name, name=title)
        if counts:
            ET.SubElement(case, "error", type="canary", message=one_line(check.message))
        else:
            ET.SubElement(case, "skipped", message=f"{_PASSED_OVER}: {one_line(check.message)}")
    passed_over = "" if counts else _PASSED_OVER
    add_judgings(arm, name, comparison, verdict, passed_over=passed_over)
    ET.SubElement(arm, "system-out").text = _remarks(comparison, verdict)


_PASSED_OVER = "not the best checkpoint"


def _add_suite(
    arm: ET.Element, name: str, one: SuiteVerdict, comparison: Comparison, *, counts: bool
) -> None:
    case = ET.SubElement(arm, "testcase", classname=name, name=one_line(one.label))
    if one.outcome == "pass":
        ET.SubElement(case, "system-out").text = _numbers(one)
        return
    message = f"{one.outcome}: {reason(one, comparison)}"
    if counts:
        ET.SubElement(case, "failure", type=one.outcome, message=message).text = _numbers(one)
    else:
        ET.SubElement(case, "skipped", message=f"{_PASSED_OVER}: {message}").text = _numbers(one)


def _numbers(one: SuiteVerdict) -> str:
    delta = one.delta
    if delta is None:
        return "not evaluated"
    digits = decimals(delta.base, delta.tuned)
    return (
        f"{metric_label(delta.metric)}: base {number(delta.base, digits)}, "
        f"tuned {number(delta.tuned, digits)}, difference {signed(delta.difference, digits)} "
        f"{shown_interval(one, digits)}, n {sample_count(delta)}; {one_line(one.reason)}"
    )


def _remarks(comparison: Comparison, verdict: Verdict) -> str:
    other = departure_text(verdict, comparison.base.name)
    warned = [_check(one) for one in verdict.checks if one.status == "warning"]
    formats = [f"{one.suite}: {one.text}" for one in remarks(comparison, verdict)]
    return clean("\n".join(filter(None, [verdict.advice, other, *warned, *formats])))


def _check(check: Check) -> str:
    return f"{check.status}: {check.name}: {check.message}"
