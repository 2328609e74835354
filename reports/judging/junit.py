"""Judge health for CI: a test case for each judging, which tests whether it can be trusted."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from evalkit.gate.trust import decides
from evalkit.records import Comparison, Judging, Verdict
from reports.judging.figures import figures
from reports.judging.words import alarm, headline, jury_sentence, qualifications, title, warnings
from reports.wording import clean, one_line


def add_judgings(
    arm: ET.Element, name: str, comparison: Comparison, verdict: Verdict, *, passed_over: str = ""
) -> None:
    """Append the cases of one tuned arm; an error is what fails the gate, and nothing else is.

    What is not trustworthy and not gated warns in <system-out>: the exit code lets it through.
    `passed_over` says why the arm does not count.
    """
    for one in comparison.judgings:
        case = ET.SubElement(arm, "testcase", classname=name, name=f"judge: {title(one)}")
        trouble = alarm(comparison, one)
        if fails(comparison, verdict, one):
            if passed_over:
                ET.SubElement(case, "skipped", message=f"{passed_over}: {trouble}")
            else:
                ET.SubElement(case, "error", type="judge", message=trouble)
        ET.SubElement(case, "system-out").text = _told(comparison, one, trouble)


def fails(comparison: Comparison, verdict: Verdict, judging: Judging) -> bool:
    """Whether the gate goes by a judging that is not trustworthy."""
    gated = {(one.suite, one.delta.metric.name) for one in verdict.suites if one.delta}
    return decides(judging, gated) and bool(alarm(comparison, judging))


def _told(comparison: Comparison, judging: Judging, trouble: str) -> str:
    lines = [
        trouble,
        headline(comparison, judging),
        *qualifications(comparison, judging),
        jury_sentence(judging),
        *(f"warning: {text}" for text in warnings(judging)),
    ]
    names = [one_line(one.judge) for one in judging.judges]
    for row in figures(comparison, judging):
        cells = [
            f"{name} {cell.text}" if len(names) > 1 else cell.text
            for name, cell in zip(names, row.cells, strict=True)
        ]
        lines.append(f"{row.name}: {'; '.join(cells)}")
    return clean("\n".join(filter(None, lines)))
