"""Sentences and figures of one judging, for every report; nothing in them is marked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.gate.trust import reasons
from evalkit.records import Comparison, Corrected, Delta, Judging, Rate
from reports.wording import (
    UNKNOWN,
    interval,
    is_preference,
    number,
    one_line,
    rate_text,
    signed,
    win_rate_at,
)

HALF = 0.5
METHODS = {
    "ppi": "prediction-powered inference",
    "misclassification": "misclassification correction",
}
REASONS = {
    "unparsed": "unreadable",
    "refused": "refused",
    "error": "failed",
    "unasked": "not asked, the budget had ended",
    "no_answer": "without an answer to judge",
}


SHORT = {"ppi": "PPI", "misclassification": "misclassification"}


class Said(NamedTuple):
    """A win rate under one condition, by `judge` (empty: all of them together); `corrected` is
    what people's labels made of it."""

    variant: str
    judge: str
    rate: Rate
    corrected: Corrected | None = None


def title(judging: Judging) -> str:
    """What was judged, and by which rubric."""
    return f"{one_line(judging.suite)} · {one_line(judging.rubric)}"


def alarm(comparison: Comparison, judging: Judging) -> str:
    """Why the judging is not to be believed; empty where no reason was found."""
    why = "; ".join(map(one_line, reasons(comparison, judging)))
    return f"Judge results not trustworthy: {why}" if why else ""


def alarms(comparisons: Sequence[Comparison]) -> list[str]:
    """The same of every judging, each beginning with what it is about; and with the tuned arm,
    where there are several."""
    return [
        f"{one_line(arm.tuned.name)}: {text}" if len(comparisons) > 1 else text
        for arm in comparisons
        for one in arm.judgings
        if (why := alarm(arm, one)) and (text := f"{title(one)}: {why}")
    ]


def subject(judging: Judging) -> str:
    """Who judged: "The judge", or how many of them there were."""
    count = len(judging.judges)
    return "The judge" if count == 1 else f"The {count} judges together"


def delta_of(comparison: Comparison, judging: Judging) -> Delta | None:
    """What the gate sees of it: the difference in which all its judges count."""
    return next(
        (
            delta
            for delta in comparison.deltas
            if (delta.suite, delta.metric.name) == (judging.suite, judging.metric)
            and not delta.slice
        ),
        None,
    )


def win_rate(comparison: Comparison, judging: Judging) -> Rate | None:
    """The tuned arm's win rate by all judges; None where ratings were given, or nothing is known.

    It is the one that the gate decides on, where there is a difference to decide on.
    """
    if judging.protocol != "pairwise":
        return None
    delta = delta_of(comparison, judging)
    if delta is not None and delta.difference is not None and is_preference(delta.metric):
        return Rate(
            value=(1 + delta.difference) / 2,
            low=win_rate_at(delta.low),
            high=win_rate_at(delta.high),
            n=delta.n,
            level=delta.level,
        )
    return judging.judges[0].win_rate if len(judging.judges) == 1 else None


def headline(comparison: Comparison, judging: Judging) -> str:
    """What the judging came to, in one plain sentence or two."""
    if judging.protocol == "pointwise":
        return _rated(comparison, judging)
    rate = win_rate(comparison, judging)
    who, tuned = subject(judging), one_line(comparison.tuned.name)
    verb = "prefers" if len(judging.judges) == 1 else "prefer"
    if rate is None:
        return f"{who} preferred neither: no pair has a preference."
    text = f"{who} {verb} {tuned} in {share(rate)} of {rate.n:,} pairs, a tie counting half."
    return f"{text} {_side(rate, one_line(comparison.base.name), tuned)}"


def _side(rate: Rate, base: str, tuned: str) -> str:
    """Which arm a win rate speaks for."""
    if rate.low is None or rate.high is None:
        return "Too little is known to say which of the two is better."
    if rate.low > HALF:
        return f"That speaks for {tuned}."
    if rate.high < HALF:
        return f"That speaks for {base}."
    return "50 % lies within: it may be that neither is better."


def _rated(comparison: Comparison, judging: Judging) -> str:
    who = subject(judging)
    verb = "rates" if len(judging.judges) == 1 else "rate"
    base, tuned = one_line(comparison.base.name), one_line(comparison.tuned.name)
    delta = delta_of(comparison, judging)
    if delta is None or delta.difference is None:
        means = judging.judges[0].ratings if len(judging.judges) == 1 else {}
        if not {"base", "tuned"} <= set(means):
            return f"{who} gave no ratings of both."
        return (
            f"{who} {verb} {tuned} {number(means['tuned'], 2)}, {base} {number(means['base'], 2)}."
        )
    scale = delta.metric.scale
    of = f" on a scale from {scale[0]:g} to {scale[1]:g}" if scale else ""
    change = f"{signed(delta.difference, 2)} {interval(delta.low, delta.high, 2)}"
    return (
        f"{who} {verb} {tuned} {number(delta.tuned, 2)} and {base} {number(delta.base, 2)}{of}: "
        f"{change} over {delta.n:,} pairs."
    )


def qualifications(comparison: Comparison, judging: Judging) -> list[str]:
    """What becomes of the win rate where lengths are equal, markup is taken out, people correct."""
    plain = win_rate(comparison, judging)
    told = []
    for one in variants(comparison, judging):
        if one.variant == RAW or (one.judge and len(judging.judges) > 1):
            continue
        turned = plain is not None and (one.rate.value - HALF) * (plain.value - HALF) < 0
        condition = _by_people(one.corrected) if one.corrected else one.variant
        told.append(f"{condition}: {share(one.rate)}{', on the other side of one half' * turned}.")
    return told


RAW = "as judged"
EQUAL_LENGTHS = "at equal lengths"
BARE = "without emoji and markup"


def variants(comparison: Comparison, judging: Judging) -> list[Said]:
    """Every win rate there is, as judged first; all judges together before each of them."""
    found: list[Said] = []
    whole = win_rate(comparison, judging)
    if whole is not None and len(judging.judges) > 1:
        found.append(Said(RAW, "", whole))
    who = one_line(judging.judges[0].judge) if len(judging.judges) == 1 else ""
    found += [Said(_set_right(one), who, one.rate, one) for one in judging.corrected]
    for one in judging.judges:
        name = one_line(one.judge)
        alone = whole if len(judging.judges) == 1 else one.win_rate
        pairs = [(RAW, alone), (EQUAL_LENGTHS, one.length_controlled), (BARE, one.stripped)]
        found += [Said(words, name, rate) for words, rate in pairs if rate is not None]
        mine = [each for each in one.corrected if each not in judging.corrected]
        found += [Said(_set_right(each), name, each.rate, each) for each in mine]
    order = list(dict.fromkeys([RAW, EQUAL_LENGTHS, BARE, *(said.variant for said in found)]))
    return sorted(found, key=lambda said: order.index(said.variant))


def _set_right(one: Corrected) -> str:
    return f"set right by people ({SHORT.get(one.method, one_line(one.method))})"


def _by_people(one: Corrected) -> str:
    labels = f"{one.labels:,} human label{'' if one.labels == 1 else 's'}"
    return f"set right by {labels} ({METHODS.get(one.method, one_line(one.method))})"


def share(rate: Rate | None) -> str:
    """A share with its interval: "64.3 % (58.1–70.2 %)"; a dash where there is none."""
    if rate is None:
        return UNKNOWN
    return rate_text(rate.value, rate.low, rate.high)


def counted(reasons: Mapping[str, int]) -> str:
    """Missing samples by reason, "3 unreadable, 1 refused"; "none" where there are none."""
    told = [
        f"{count:,} {REASONS.get(reason, one_line(reason))}"
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        if count
    ]
    return ", ".join(told) or "none"


def by_arm(comparison: Comparison, counts: Mapping[str, int]) -> str:
    """Missing samples by the arm that they count against."""
    names = {"base": comparison.base.name, "tuned": comparison.tuned.name}
    return ", ".join(f"{one_line(name)} {counts.get(arm, 0):,}" for arm, name in names.items())


def jury_sentence(judging: Judging) -> str:
    """How far several judges agree; empty where there is one."""
    jury = judging.jury
    if jury is None:
        return ""
    told = []
    if jury.alpha is not None:
        told.append(f"Krippendorff's α {number(jury.alpha, 2)}")
    if jury.kappa is not None:
        told.append(f"Cohen's κ {number(jury.kappa, 2)} on the mean over pairs of judges")
    if not told:
        return "How far the judges agree is not defined: they said too little, or always the same."
    return f"Agreement of the judges: {', '.join(told)} (1 is full agreement, 0 that of chance)."


def warnings(judging: Judging) -> list[str]:
    """What a reader should know, each once; whose it is where there are several judges."""
    several = len(judging.judges) > 1
    told = [
        f"{one_line(one.judge)}: {one_line(text)}" if several else one_line(text)
        for one in judging.judges
        for text in one.warnings
    ]
    return list(dict.fromkeys([*told, *map(one_line, judging.notes)]))


def flagged(judging: Judging) -> list[tuple[str, str, tuple[str, ...]]]:
    """Arm, sample id and what was found, of each answer that looks like an attempt on the judge."""
    return [
        (arm, sample_id, found)
        for arm, samples in judging.flagged.items()
        for sample_id, found in samples.items()
    ]


def flagged_sentence(comparison: Comparison, judging: Judging) -> str:
    """How many answers look like an attempt on the judge; empty where none does."""
    names = {"base": comparison.base.name, "tuned": comparison.tuned.name}
    told = [
        f"{len(samples):,} of {one_line(names.get(arm, arm))}"
        for arm, samples in judging.flagged.items()
        if samples
    ]
    return f"Answers that look like an attempt on the judge: {', '.join(told)}." if told else ""
