"""Whether an answer could be read at all, in words: a changed format is no lost knowledge."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.records import Comparison, Delta, Extraction, Truncation, Verdict
from reports.wording import benefit, decimals, number, one_line, percent

_MOST = 0.5  # of a fall: what is left of it among answers extracted in both arms


class Remark(NamedTuple):
    """What is said of a suite; `warns` where the score may mean something else than it seems."""

    suite: str
    text: str
    warns: bool


def remarks(comparison: Comparison, verdict: Verdict | None = None) -> list[Remark]:
    """The rate not extracted of every suite that extracts, by arm; what it may explain; and
    answers that were cut off in their thinking. With a verdict, of its suites alone."""
    wanted = None if verdict is None else {one.suite for one in verdict.suites}
    found = [_extracted(comparison, one) for one in comparison.extractions]
    found += [_truncated(comparison, one) for one in comparison.truncations]
    return [one for one in found if wanted is None or one.suite in wanted]


def _extracted(comparison: Comparison, one: Extraction) -> Remark:
    base, tuned = one_line(comparison.base.name), one_line(comparison.tuned.name)
    text = (
        f"not extracted ({one_line(one.metric)}): {base} {percent(one.lost_base)}, "
        f"{tuned} {percent(one.lost_tuned)} of {one.n:,} samples"
    )
    if not changed_format(comparison, one):
        return Remark(one.suite, text, warns=False)
    return Remark(one.suite, f"{text}. {_explained(comparison, one, tuned)}", warns=True)


def changed_format(comparison: Comparison, one: Extraction) -> bool:
    """Whether far fewer answers of the tuned arm are extracted, and its score fell.

    Clearly fewer: the whole 95 % interval of the difference is below 0.
    """
    infos = [info for info in comparison.base.suites if info.name == one.suite]
    names = {
        metric.name
        for info in infos
        for metric in info.metrics
        if metric.extraction_of == one.metric
    }
    mine = [delta for delta in comparison.deltas if delta.suite == one.suite and not delta.slice]
    fewer = any(d.metric.name in names and d.high is not None and d.high < 0 for d in mine)
    return fewer and any(d.metric.name == one.metric and _fell(d) for d in mine)


def _fell(delta: Delta) -> bool:
    return (benefit(delta) or 0.0) < 0


def _explained(comparison: Comparison, one: Extraction, tuned: str) -> str:
    may = f"{tuned} may have changed its format and not its knowledge"
    if one.both_base is None or one.both_tuned is None:
        return f"{may}: no sample has an extracted answer in both arms, so nobody can tell."
    digits = decimals(one.both_base, one.both_tuned)
    among = (
        f"among the {one.both:,} extracted in both arms, {one_line(one.metric)} is "
        f"{number(one.both_base, digits)} for the base and {number(one.both_tuned, digits)} for it"
    )
    (whole,) = [
        delta
        for delta in comparison.deltas
        if delta.suite == one.suite and delta.metric.name == one.metric and not delta.slice
    ]
    left = one.both_base - one.both_tuned
    if left > _MOST * abs(whole.difference or 0.0):
        return f"Part of the fall may be format, but not all of it: {among}."
    return f"{may}: {among}."


def _truncated(comparison: Comparison, one: Truncation) -> Remark:
    counts = [
        f"{one_line(name)} {percent(count / of) if of else '0 %'} ({count:,} of {of:,})"
        for name, count, of in (
            (comparison.base.name, one.base, one.of_base),
            (comparison.tuned.name, one.tuned, one.of_tuned),
        )
    ]
    text = f"truncated while thinking: {', '.join(counts)}"
    advice = "They are missing, not wrong; a larger max_new_tokens lets them end."
    return Remark(one.suite, f"{text}. {advice}", warns=True)
