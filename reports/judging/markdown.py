"""Judge health in a comment on a pull request: one line a judging, and what is wrong in bold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from evalkit.records import Comparison, JudgeHealth, Judging
from reports.judging.words import (
    counted,
    flagged_sentence,
    headline,
    qualifications,
    share,
    title,
    warnings,
)

_WARNINGS = 3  # told of a judging; the report has them all


def judge_lines(comparisons: Sequence[Comparison], escape: Callable[[str], str]) -> list[str]:
    """A list of all judgings; empty where no judge was asked. `escape` makes text harmless."""
    lines: list[str] = []
    for comparison in comparisons:
        for one in comparison.judgings:
            name = f"{comparison.tuned.name}: " if len(comparisons) > 1 else ""
            lines += _judging(comparison, one, f"{name}{title(one)}", escape)
    return ["", "**Judge health**", "", *lines] if lines else []


def _judging(
    comparison: Comparison, judging: Judging, name: str, escape: Callable[[str], str]
) -> Iterator[str]:
    told = [headline(comparison, judging), *qualifications(comparison, judging)]
    words = escape(" ".join(text[:1].upper() + text[1:] for text in told))
    yield f"- **{escape(name)}**: {words}"
    for one in judging.judges:
        yield f"  - {escape(_figures(one))}"
    for text in [flagged_sentence(comparison, judging), *_warnings(judging)]:
        if text:
            yield f"  - ⚠️ {escape(text)}"


def _figures(one: JudgeHealth) -> str:
    """The few figures by which a judge is known, in one line."""
    parts = [
        ("first answer wins", one.first_wins),
        ("flips", one.flips),
        ("longer answer wins", one.longer_wins),
    ]
    told = [f"{name} {share(rate)}" for name, rate in parts if rate is not None]
    if one.probes_passed is not None:
        told.append(f"known answers {one.probes_passed} of {one.probes}")
    name = f"{one.judge} ({one.model})" if one.model else one.judge
    return f"{name}: {'; '.join([*told, f'missing {counted(one.missing)}'])}"


def _warnings(judging: Judging) -> list[str]:
    every = warnings(judging)
    more = [f"and {len(every) - _WARNINGS} more warnings"] if len(every) > _WARNINGS else []
    return [*every[:_WARNINGS], *more]
