"""How numbers, outcomes and untrusted text are worded, the same in every report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.gate.bounds import tuned_bounds
from evalkit.gate.settling import available
from evalkit.records import Comparison, Delta, Metric, Outcome, SuiteInfo, SuiteVerdict, Verdict
from evalkit.records import metric_name as judged_name

SYMBOL: dict[Outcome, str] = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
HEADLINE: dict[Outcome, str] = {
    "pass": "Ship it",
    "fail": "Do not ship",
    "inconclusive": "Not settled yet",
}
ORDER: list[Outcome] = ["fail", "inconclusive", "pass"]
"""What a reader has to see first."""
UNKNOWN = "–"
_PREFERRED, _RATED = judged_name("", "pairwise"), judged_name("", "pointwise")

# Characters that change how the text around them is shown: bidirectional embeddings, overrides
# and isolates (Trojan Source, CVE-2021-42574), and what XML and terminals cannot carry.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"
    "\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Untrusted text with control, bidirectional and unencodable characters made visible.

    Tabs and line feeds stay; carriage returns become line feeds. The result can be encoded as
    UTF-8 and is valid in XML.
    """
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n").replace("\r", "\n"))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"⟨U+{code:04X}⟩"


def one_line(text: str, width: int = 0) -> str:
    """Cleaned text on one line; cut to `width` characters (0: not cut), the cut shown."""
    flat = " ".join(clean(text).split())
    return f"{flat[: width - 1].rstrip()}…" if 0 < width < len(flat) else flat


def decimals(*values: float | None) -> int:
    """Digits after the point that suit numbers shown side by side."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 3 if largest < 10 else 2 if largest < 100 else 1


def number(value: float | None, digits: int = 3) -> str:
    """A value with a real minus sign; a dash where there is none."""
    if value is None:
        return UNKNOWN
    return _signed(f"{value:,.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign."""
    if value is None:
        return UNKNOWN
    return _signed(f"{value:+,.{digits}f}")


def _signed(text: str) -> str:
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")  # neither +0.000 nor −0.000: it rounds to nothing
    return text.replace("-", "−")


def percent(share: float) -> str:
    """A share in per cent, with a digit after the point where it is not whole."""
    return f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def rate_text(value: float, low: float | None, high: float | None) -> str:
    """A share and its interval in per cent, "64.3 % (58.1–70.0 %)"; without one that is unknown."""
    if low is None or high is None:
        return percent(value)
    whole = all(f"{one:.1%}".endswith(".0%") for one in (value, low, high))
    first, start, end = (f"{100 * one:.{0 if whole else 1}f}" for one in (value, low, high))
    return f"{first} % ({start}–{end} %)"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval of a difference, in brackets; a dash where it is unknown."""
    if low is None or high is None:
        return UNKNOWN
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval of a value, in brackets; a dash where it is unknown."""
    if low is None or high is None:
        return UNKNOWN
    return f"[{number(low, digits)}, {number(high, digits)}]"


def ratio_text(delta: Delta) -> str:
    """A perplexity's tuned/base with its interval; empty for other metrics."""
    if delta.ratio is None:
        return ""
    bounds = "" if delta.ratio_low is None else span(delta.ratio_low, delta.ratio_high)
    return f"{number(delta.ratio)} times the base's {bounds}".rstrip()


def direction(metric: Metric) -> str:
    """The mark beside a metric's name: nothing where higher is better, as is usual."""
    if metric.higher_is_better is None:
        return "(descriptive)"
    return "" if metric.higher_is_better else "↓"


def metric_label(metric: Metric) -> str:
    """Name, unit and direction."""
    unit = f"({one_line(metric.unit)})" if metric.unit else ""
    return " ".join(filter(None, [metric_name(metric.name), unit, direction(metric)]))


def metric_name(name: str) -> str:
    """What a metric is called; a judge's say what the judge did, and by which rubric."""
    for start, words in ((_PREFERRED, "preferred by the judge"), (_RATED, "rated by the judge")):
        if name.startswith(start):
            rubric = one_line(name.removeprefix(start))
            plain = rubric.removesuffix(".corrected")
            return f"{words}{', set right by people' * (plain != rubric)} ({plain})"
    return one_line(name)


def is_preference(metric: Metric) -> bool:
    """Whether its scores are a judge's preferences: tuned's are the wins, base's the rest."""
    return metric.name.startswith(_PREFERRED)


def win_rate_text(delta: Delta) -> str:
    """The tuned arm's win rate by a judge with its interval; empty for other metrics."""
    if not is_preference(delta.metric):
        return ""
    rate, low, high = map(win_rate_at, (delta.difference, delta.low, delta.high))
    return f"win rate {rate_text(rate, low, high)}" if rate is not None else ""


def win_rate_at(difference: float | None) -> float | None:
    """The win rate that a difference of the arms' preferences stands for, or that a bound of one
    does: bounds may reach where no difference can lie."""
    return None if difference is None else min(1.0, max(0.0, (1 + difference) / 2))


def benefit(delta: Delta) -> float | None:
    """The difference turned so that more is better; None where more is neither."""
    if delta.difference is None or delta.metric.higher_is_better is None:
        return None
    return delta.difference if delta.metric.higher_is_better else -delta.difference


def margin_text(one: SuiteVerdict) -> str:
    """What the gate asked of a suite; of a judge's preferences also as the win rate it comes to."""
    asked = _margin_text(one)
    bare = one.delta is None or one.threshold is None or not is_preference(one.delta.metric)
    if bare or one.policy in ("absolute", "equivalence"):
        return asked
    return f"{asked}, which is a win rate above {percent(win_rate_at(one.threshold) or 0.0)}"


def _margin_text(one: SuiteVerdict) -> str:
    match one.policy:
        case "superiority":
            return f"better by more than {number(one.margin)}"
        case "equivalence":
            return f"at most {number(one.margin)} better or worse"
        case "absolute":
            return _own_score(one.floor, one.ceiling)
        case "point":
            return f"at most {number(one.margin)} worse, whatever the noise"
        case _:
            return f"at most {number(one.margin)} worse"


def _own_score(floor: float | None, ceiling: float | None) -> str:
    digits = decimals(floor, ceiling)
    words = [("at least", floor), ("at most", ceiling)]
    asked = [f"{word} {number(value, digits)}" for word, value in words if value is not None]
    return " and ".join(asked) or "a score of its own"  # a verdict of an earlier version


def reason(one: SuiteVerdict, comparison: Comparison) -> str:
    """Why a suite got its outcome, with the number of samples that would settle an open one."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "−", one_line(one.reason))
    early = early_text(one.delta) if one.delta and one.delta.planned else ""
    return "; ".join(filter(None, [text, early, outlook(one, comparison)]))


def outlook(one: SuiteVerdict, comparison: Comparison) -> str:
    """What would settle an open suite or slice, and whether it can; empty where nobody knows."""
    if not one.samples_needed:
        return "no number of samples would settle it" if one.reachable is False else ""
    text = f"about {one.samples_needed:,} samples would settle it"
    held = available(comparison.base, one.suite, one.slice)
    what = "slice" if one.slice else "suite"
    if one.reachable is None or held is None:
        return text
    if one.reachable:
        return f"{text}: the {what} has {held:,}"
    return f"{text}: not reachable with this {what}, which has {held:,}"


def fixed_n_hidden(delta: Delta) -> Delta:
    """Without what only an interval for a fixed number of samples is made of, where that is wrong.

    Of a suite that could be stopped early: the difference ± 1.96 standard errors is what must not
    be shown. The record keeps them, for what more samples would bring.
    """
    if not delta.planned:
        return delta
    return replace(delta, standard_error=None, tuned_error=None, skewness=None, tuned_skewness=None)


class Saved(NamedTuple):
    """What was not asked because it was settled before, of what was planned."""

    samples: int
    planned_samples: int
    requests: int
    planned_requests: int


def saved(comparisons: Sequence[Comparison]) -> Saved | None:
    """Over all suites that could be stopped early; None where none could. Requests are all arms',
    samples are counted once."""
    base = comparisons[0].base
    manifests = [base, *(one.tuned for one in comparisons)]
    if not any(one.early for one in manifests):
        return None
    samples = max(manifests, key=lambda one: len(one.early)).early.values()
    every = [one for manifest in manifests for one in manifest.early.values()]
    return Saved(
        samples=sum(one.planned - one.asked for one in samples),
        planned_samples=sum(one.planned for one in samples),
        requests=sum(one.planned_requests - one.requests for one in every),
        planned_requests=sum(one.planned_requests for one in every),
    )


def saved_text(comparisons: Sequence[Comparison]) -> str:
    """The same in words; empty where nothing could be stopped early."""
    found = saved(comparisons)
    if found is None:
        return ""
    why = "a suite was left once it was settled" if found.samples else "no suite was settled early"
    return (
        f"{found.samples:,} of {found.planned_samples:,} samples and {found.requests:,} of "
        f"{found.planned_requests:,} requests: {why}"
    )


def early_text(delta: Delta) -> str:
    """How far a suite that could be stopped was asked."""
    asked = delta.n + delta.missing
    if asked >= delta.planned:
        return f"all {delta.planned:,} samples were asked"
    return f"left after {asked:,} of {delta.planned:,} samples: {delta.planned - asked:,} saved"


def sample_count(delta: Delta) -> str:
    """The samples with a score in both arms, and of how many where a suite could be stopped.

    Samples that belong together count for less: then their clusters are told, too.
    """
    count = f"{delta.n:,} of {delta.planned:,}" if delta.planned else f"{delta.n:,}"
    if not 0 < delta.clusters < delta.n:
        return count
    return f"{count} in {delta.clusters:,} cluster{'' if delta.clusters == 1 else 's'}"


def shown_interval(one: SuiteVerdict, digits: int = 3) -> str:
    """The two-sided interval beside a verdict: of what was decided on.

    That is the difference or, by the absolute policy, the tuned score, and then it says so.
    """
    delta = one.delta
    if delta is None:
        return UNKNOWN
    if one.policy != "absolute":
        return interval(delta.low, delta.high, digits)
    found = tuned_bounds(delta, (1 - delta.level) / 2)
    return f"tuned {span(found.low, found.high, digits)}" if found else UNKNOWN


def departure_text(verdict: Verdict, base: str) -> str:
    """That another gate decided than was declared before the run; empty where it was that one."""
    if not verdict.departures:
        return ""
    return f"Decided by another gate than {base} declares: {'; '.join(verdict.departures)}"


SEQUENCE_NOTE = (
    "Suites were looked at after every block of samples. The intervals shown hold at all looks at "
    "once; one for a fixed number of samples would be too narrow here."
)


def needs_sequence_note(verdict: Verdict) -> bool:
    """Whether an interval is shown that holds at every look."""
    return any(one.delta is not None and one.delta.interval == "sequence" for one in verdict.suites)


def needs_bound_note(one: SuiteVerdict) -> bool:
    """Whether the outcome seems to contradict the interval shown, which is two-sided."""
    delta, threshold = one.delta, one.threshold
    if delta is None or delta.low is None or delta.high is None:
        return False
    if threshold is None or one.ground != "bounds":
        return False
    both = (threshold, -threshold) if one.policy == "equivalence" else (threshold,)
    if one.outcome == "inconclusive" and not _across(one.low, one.high, both):
        return False  # it is open for another reason: Holm's rule took a fail back
    low, high = delta.low, delta.high
    if delta.metric.higher_is_better is False:
        low, high = -high, -low
    return _across(low, high, both) is not (one.outcome == "inconclusive")


def _across(low: float | None, high: float | None, thresholds: Sequence[float]) -> bool:
    return low is not None and high is not None and any(low <= at <= high for at in thresholds)


BOUND_NOTE = (
    "The gate decides on one-sided bounds at its own alpha, which the reason names; they are not "
    "the ends of the two-sided interval shown."
)


def missing_text(delta: Delta, unpaired: Sequence[str], base: str, tuned: str) -> str:
    """What is not in the numbers of a suite; empty where nothing is missing."""
    parts = [
        f"{count:,} without a score in {arm}"
        for count, arm in ((delta.missing_base, base), (delta.missing_tuned, tuned))
        if count
    ]
    if unpaired:
        parts.append(f"{len(unpaired):,} in one arm only")
    return ", ".join(parts)


def some_ids(ids: Sequence[str], shown: int = 5) -> str:
    """The first few ids, and how many more there are."""
    text = ", ".join(one_line(one, 60) for one in ids[:shown])
    return text if len(ids) <= shown else f"{text} and {len(ids) - shown:,} more"


def suite_info(comparison: Comparison, name: str) -> SuiteInfo | None:
    """What the base's run remembers of a suite."""
    return next((info for info in comparison.base.suites if info.name == name), None)


def tally(verdict: Verdict) -> str:
    """How many suites, and slices that are gated, passed, failed and are open."""
    counts = {
        outcome: sum(one.outcome == outcome for one in verdict.suites)
        for outcome in ("pass", "fail", "inconclusive")
    }
    words = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}
    parts = [f"{count} {words[outcome]}" for outcome, count in counts.items() if count]
    slices = sum(bool(one.slice) for one in verdict.suites)
    asked = [(len(verdict.suites) - slices, "suite"), (slices, "slice")]
    named = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in asked if count]
    return f"{' and '.join(named)}: {', '.join(parts)}"


def outcomes_of(verdict: Verdict) -> dict[str, Outcome]:
    """Each suite's outcome, or that of the worst of its gated slices."""
    found: dict[str, Outcome] = {}
    for one in verdict.suites:
        found[one.suite] = min(found.get(one.suite, "pass"), one.outcome, key=ORDER.index)
    return found


def duration(seconds: float) -> str:
    """A time span as people say it: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
