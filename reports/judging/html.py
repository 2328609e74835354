"""Judge health as the HTML report and the dashboard lay it out; the page escapes what is in it."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.gate.trust import reasons
from evalkit.records import Comparison, Judging
from reports.judging.figures import Figure, figures
from reports.judging.words import (
    alarm,
    flagged,
    flagged_sentence,
    headline,
    jury_sentence,
    qualifications,
    title,
    warnings,
)
from reports.wording import one_line

_FLAGGED = 100  # answers listed; comparison.json holds all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An answer that looks like an attempt on the judge."""

    arm: str
    sample_id: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingView:
    """One judging, ready to be shown: sentences, figures in groups, suspects, warnings."""

    judging: Judging
    title: str
    alarm: str
    distrust: tuple[str, ...]
    headline: str
    sentences: tuple[str, ...]
    judges: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Figure, ...]], ...]
    warnings: tuple[str, ...]
    flagged: str
    suspects: tuple[Suspect, ...]
    more: int


def judging_view(comparison: Comparison, judging: Judging) -> JudgingView:
    """Sort a judging into what a page shows of it."""
    rows = figures(comparison, judging)
    groups = dict.fromkeys(row.group for row in rows)
    told = [*qualifications(comparison, judging), jury_sentence(judging)]
    names = {"base": comparison.base.name, "tuned": comparison.tuned.name}
    every = flagged(judging)
    return JudgingView(
        judging=judging,
        title=title(judging),
        alarm=alarm(comparison, judging),
        distrust=tuple(map(one_line, reasons(comparison, judging))),
        headline=headline(comparison, judging),
        sentences=tuple(text[:1].upper() + text[1:] for text in told if text),
        judges=tuple(one_line(one.judge) for one in judging.judges),
        groups=tuple((name, tuple(r for r in rows if r.group == name)) for name in groups),
        warnings=tuple(warnings(judging)),
        flagged=flagged_sentence(comparison, judging),
        suspects=tuple(
            Suspect(
                arm=one_line(names.get(arm, arm)),
                sample_id=sample_id,
                found=", ".join(map(one_line, found)),
            )
            for arm, sample_id, found in every[:_FLAGGED]
        ),
        more=max(0, len(every) - _FLAGGED),
    )


def judging_views(comparison: Comparison) -> tuple[JudgingView, ...]:
    """All judgings of one tuned arm, those first that are not to be believed."""
    views = [judging_view(comparison, one) for one in comparison.judgings]
    return tuple(sorted(views, key=lambda view: not view.alarm))
