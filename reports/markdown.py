"""The verdict as a comment on a pull request: at most one screen of GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from evalkit.gate.decide import meaning
from evalkit.gate.trust import NAME as TRUST
from evalkit.records import Comparison, Flip, Outcome, SuiteVerdict, Verdict
from reports.anchors import sample_anchor
from reports.formats import remarks
from reports.judging.markdown import judge_lines
from reports.judging.words import alarms
from reports.repeats import repeated
from reports.steps import caution, curves, deciding, speaking
from reports.wording import (
    HEADLINE,
    ORDER,
    SEQUENCE_NOTE,
    SYMBOL,
    decimals,
    departure_text,
    margin_text,
    metric_label,
    needs_sequence_note,
    number,
    one_line,
    outcomes_of,
    sample_count,
    saved_text,
    shown_interval,
    signed,
    tally,
    win_rate_text,
)

_EMOJI: dict[Outcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}
_ROWS = 24  # suites and slices shown; those that do not pass come first when there are more
_WORST = 3
_EXCERPT = 160  # characters of a prompt or answer
_MARKUP = re.compile(r"([\\`*_\[\]|~<>&$]|:(?=//))")
_LEADING = re.compile(r"^(?=[-+#=]|\d+[.)])")


def report_markdown(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], report: str = "report.html"
) -> str:
    """Verdict, one line per suite and gated slice, the three worst answers, what to do.

    `report` is where report.html is: a path or a URL; empty where nothing is to be linked.
    """
    report = _address(report)
    _, last = deciding(comparisons, verdicts)
    chosen = [caution(one) for one in curves(comparisons, verdicts) if len(one.steps) > 1]
    arms = ", ".join(escape(one.tuned.name) for one in comparisons)
    head = HEADLINE[last.outcome] if len(verdicts) == 1 else last.outcome.capitalize()
    other = departure_text(verdicts[0], comparisons[0].base.name)
    lines = [
        f"## {_EMOJI[last.outcome]} {head}: {arms} against {escape(comparisons[0].base.name)}",
        "",
        *(f"**{escape(one.advice)}**  " for _, one in speaking(comparisons, verdicts)),
        *(f"{escape(text)}  " for text in chosen),
        f"Exit code {int(last.exit_code)}: {meaning(last).partition(': ')[2]}.",
        *([f"⚠️ **{escape(other)}**"] if other else []),
        *(f"❌ **{escape(text)}**  " for text in alarms(comparisons)),
        "",
        *_table(comparisons, verdicts),
        *_early(comparisons, verdicts),
        *_formats(comparisons, verdicts),
        *_repeats(comparisons, verdicts),
        *_checks(comparisons, verdicts),
        *judge_lines(comparisons, escape),
        *_regressions(comparisons, verdicts, report),
    ]
    return "\n".join(lines) + "\n"


def escape(text: str, width: int = 0) -> str:
    """Untrusted text as one line of plain Markdown text: no mark-up, HTML, link or mention."""
    flat = _MARKUP.sub(r"\\\1", one_line(text, width))
    flat = _LEADING.sub(r"\\", re.sub(r"(?i)\bwww\.", r"www\\.", flat))
    # GitHub looks for mentions and issue numbers in the rendered text, where a backslash is gone:
    # only a character in between keeps an answer from pinging people.
    return re.sub(r"@(?=\w)|#(?=\d)", "\\g<0>\u200b", flat)


def _table(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    found: dict[str, list[SuiteVerdict | None]] = {}
    for index, verdict in enumerate(verdicts):
        for one in verdict.suites:
            found.setdefault(one.label, [None] * len(verdicts))[index] = one
    names = list(found)
    if len(names) > _ROWS:
        names.sort(key=lambda name: min(ORDER.index(one.outcome) for one in found[name] if one))
    if len(verdicts) == 1:
        lines = [*_HEAD, *(_single_row(name, found[name][0]) for name in names[:_ROWS])]
    else:
        titles = " | ".join(escape(one.tuned.name) for one in comparisons)
        lines = [f"| suite | {titles} |", f"|---|{'---|' * len(verdicts)}"]
        lines += [_row(name, found[name]) for name in names[:_ROWS]]
    if len(names) > _ROWS:
        rest = [one for name in names[_ROWS:] for one in found[name] if one]
        passed = all(one.outcome == "pass" for one in rest)
        lines.append(f"| and {len(names) - _ROWS} more{', which passed' if passed else ''} |")
    return [*lines, "", f"{_sums(comparisons, verdicts)}. {_LEGEND}"]


_HEAD = (
    "| suite | base | tuned | difference, 95 % interval | n | verdict |",
    "|---|--:|--:|--:|--:|---|",
)
_LEGEND = "Differences are tuned − base; ↓ lower is better."


def _sums(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    if len(verdicts) == 1:
        return tally(verdicts[0])
    pairs = zip(comparisons, verdicts, strict=True)
    return "; ".join(f"{escape(c.tuned.name)}: {tally(v)}" for c, v in pairs)


def _single_row(name: str, one: SuiteVerdict | None) -> str:
    assert one is not None
    word = _word(one)
    if one.delta is None:
        return f"| {escape(name)} | – | – | – | 0 | {word} |"
    delta, digits = one.delta, decimals(one.delta.base, one.delta.tuned)
    rate = win_rate_text(delta)
    change = f"{signed(delta.difference, digits)} {shown_interval(one, digits)}"
    change += f"<br>{rate}" if rate else ""
    return (
        f"| {_named(name, one)} | {number(delta.base, digits)} | {number(delta.tuned, digits)} "
        f"| {change} | {sample_count(delta)} | {word}: {margin_text(one)} |"
    )


def _row(name: str, found: Sequence[SuiteVerdict | None]) -> str:
    first = next((one for one in found if one and one.delta), None)
    cells = [_cell(one) for one in found]
    return f"| {_named(name, first)} | {' | '.join(cells)} |"


def _named(name: str, one: SuiteVerdict | None) -> str:
    """The suite, and the metric that was gated."""
    # No brackets around it: its unit stands in brackets.
    label = f" · {escape(metric_label(one.delta.metric))}" if one and one.delta else ""
    return escape(name) + label


def _word(one: SuiteVerdict) -> str:
    word = f"{SYMBOL[one.outcome]} {one.outcome}"
    return f"**{word}**" if one.outcome != "pass" else word


def _cell(one: SuiteVerdict | None) -> str:
    if one is None:
        return "–"
    word = _word(one)
    if one.delta is None:
        return word
    digits = decimals(one.delta.base, one.delta.tuned)
    numbers = f"{signed(one.delta.difference, digits)} {shown_interval(one, digits)}"
    rate = win_rate_text(one.delta)
    return f"{word} {numbers} n={sample_count(one.delta)}{f'<br>{rate}' if rate else ''}"


def _early(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    """What was saved by stopping early, and what that makes of the intervals."""
    text = saved_text(comparisons)
    if not text:
        return []
    note = f" {SEQUENCE_NOTE}" if any(map(needs_sequence_note, verdicts)) else ""
    return ["", f"Saved {text}.{note}"]


def _formats(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    """How much could be read of what was written."""
    found = [
        remark
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        for remark in remarks(comparison, verdict)
    ]
    lines = [f"- {'⚠️ ' * one.warns}{escape(one.suite)}: {escape(one.text)}" for one in found]
    return ["", *lines] if lines else []


def _repeats(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    """That n counts questions, where each got several answers."""
    lines = [
        f"- {escape(comparison.tuned.name)}: {escape(suite)}: {text}"
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        for suite, text in repeated(verdict)
    ]
    return ["", *lines] if lines else []


def _checks(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> list[str]:
    lines = [
        f"- ⚠️ {escape(comparison.tuned.name)}: {check.status}: {escape(check.name)}: "
        f"{escape(check.message, 200)}"
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        for check in verdict.checks
        if check.status != "ok" and check.name != TRUST  # that is told of each judging
    ]
    return ["", *lines] if lines else []


def _regressions(
    comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], report: str
) -> list[str]:
    """The answers that lost most: of failed suites first, and of each suite one before a second."""
    ranked: list[tuple[int, int, int, Comparison, Flip]] = []
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        directions = {
            (info.name, metric.name): metric.higher_is_better is False
            for info in comparison.base.suites
            for metric in info.metrics
        }
        outcomes = outcomes_of(verdict)
        seen: dict[str, int] = {}
        for flip in comparison.flips:
            if _worse(flip, lower_is_better=directions[flip.suite, flip.metric]):
                seen[flip.suite] = seen.get(flip.suite, 0) + 1
                rank = (ORDER.index(outcomes[flip.suite]), seen[flip.suite], len(ranked))
                ranked.append((*rank, comparison, flip))
    ranked.sort(key=lambda row: row[:3])
    if not ranked:
        return []
    lines = [_regression(comparison, flip, report) for *_, comparison, flip in ranked[:_WORST]]
    return ["", "**Answers that got worse**", "", *lines]


def _worse(flip: Flip, *, lower_is_better: bool) -> bool:
    if flip.base_score is None or flip.tuned_score is None:
        return False
    return (flip.tuned_score > flip.base_score) is lower_is_better


def _regression(comparison: Comparison, flip: Flip, report: str) -> str:
    suite = escape(flip.suite)
    if report:
        anchor = sample_anchor(comparison.tuned.run_id, flip.suite, flip.sample_id)
        suite = f"[{suite}](<{report}#{anchor}>)"
    return (
        f"- {suite}: {escape(_asked(flip))}<br>"
        f"{escape(comparison.base.name)}: {escape(flip.base_text, _EXCERPT) or '(empty)'}<br>"
        f"{escape(comparison.tuned.name)}: {escape(flip.tuned_text, _EXCERPT) or '(empty)'}"
    )


def _asked(flip: Flip) -> str:
    """The question or, where it is long, its end: what is asked often stands behind a text."""
    flat = one_line(flip.question)
    return flat if len(flat) <= _EXCERPT else f"…{flat[1 - _EXCERPT :]}"


def _address(report: str) -> str:
    """The link's target, where it can be written between angle brackets; without a fragment."""
    return re.sub(r"[<>\\\s]", lambda found: quote(found[0]), report.partition("#")[0])
