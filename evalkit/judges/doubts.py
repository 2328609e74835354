"""From figures to words: what a reader has to know of a judge, and where it cannot be believed.

| figure | warning | not trustworthy |
|---|---|---|
| P(first wins) | its interval misses ½, by .1 or more | .3 or more from ½ (80 % to one place) |
| samples whose winner changes with the order | a quarter or more | half, its interval above ¼ |
| consistent ties | half of the samples or more | – |
| P(prefers the longer) | its interval misses ½, at .65 or more, or .35 or less | – |
| win rate at equal lengths | on the other side of ½ | – |
| win rate without emoji and markup | on the other side of ½, or .1 away | – |
| missing, of the samples that were asked | one in twenty or more | half or more |
| all samples unasked | – | always |
| of a candidate's family | always | – |
| known-answer probes | one failed | as many as the probes' own rule says |
| agreement with people | κ below .2 | – |
"""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.records import JudgeHealth, Rate

POSITION, POSITION_BAD = 0.1, 0.3
FLIPS, FLIPS_BAD = 0.25, 0.5
TIES = 0.5
LONGER = 0.15
STRIPPED = 0.1
MISSING, MISSING_BAD = 0.05, 0.5
KAPPA = 0.2


def warnings_of(health: JudgeHealth) -> tuple[str, ...]:
    """Sentences for a reader, what weighs most first."""
    return (*_of_order(health), *_of_length(health), *_of_the_rest(health))


def untrusted_of(health: JudgeHealth, probes: str = "") -> tuple[str, ...]:
    """Why nothing should rest on this judge's word; empty where no reason was found.

    `probes` says that it failed the known-answer probes.
    """
    found = [f"{health.judge}: {probes}"] if probes else []
    first, flips = health.first_wins, health.flips
    if first and _misses_half(first) and abs(first.value - 0.5) >= POSITION_BAD:
        found.append(
            f"{health.judge} goes by the place and not by the answer: it prefers "
            f"{_place(first)} in {_percent(_part(first))} of the calls that name a winner"
        )
    if flips and flips.value >= FLIPS_BAD and (flips.low or 0.0) > FLIPS:
        found.append(
            f"{health.judge} contradicts itself: on {_percent(flips.value)} of the samples the "
            "other answer wins when their order changes"
        )
    missing = _missing(health)
    if health.n and health.missing.get("unasked", 0) == health.n:
        found.append(f"{health.judge} said nothing of these answers")
    elif missing >= MISSING_BAD:
        found.append(f"{health.judge} gave no verdict on {_percent(missing)} of the samples")
    return tuple(found)


def _of_order(health: JudgeHealth) -> Iterator[str]:
    first, flips, ties = health.first_wins, health.flips, health.ties
    if first and _misses_half(first) and abs(first.value - 0.5) >= POSITION:
        yield (
            f"It favours {_place(first)}: {_percent(_part(first))} of the calls that name a winner "
            f"name it ({_span(first)} for the first). Both orders are asked, so this makes ties, "
            "not wins."
        )
    if flips and flips.value >= FLIPS:
        yield (
            f"On {_percent(flips.value)} of the samples the winner changes with the order "
            f"({_span(flips)}); they count as ties."
        )
    if ties and ties.value >= TIES:
        yield f"It calls {_percent(ties.value)} of the samples a tie, in both orders."


def _of_length(health: JudgeHealth) -> Iterator[str]:
    longer, controlled, plain = health.longer_wins, health.length_controlled, health.win_rate
    if longer and _misses_half(longer) and abs(longer.value - 0.5) >= LONGER:
        kind = "longer" if longer.value > 0.5 else "shorter"
        yield (
            f"It prefers the {kind} answer in {_percent(_part(longer))} of the samples with a "
            "winner. That may be a bias or be deserved; see the win rate at equal lengths."
        )
    if controlled and plain and _turned(plain, controlled):
        yield (
            f"At equal lengths the verdict turns: a win rate of {_percent(plain.value)} becomes "
            f"{_percent(controlled.value)} ({_span(controlled)})."
        )


def _of_the_rest(health: JudgeHealth) -> Iterator[str]:
    stripped, plain = health.stripped, health.win_rate
    if stripped and plain:
        away = abs(stripped.value - plain.value)
        if _turned(plain, stripped) or away >= STRIPPED:
            yield (
                f"Without emoji and markup the win rate is {_percent(stripped.value)}, with them "
                f"{_percent(plain.value)}: part of it is dress."
            )
    missing = _missing(health)
    if missing >= MISSING:
        yield f"It gave no verdict on {_percent(missing)} of the samples; they are left out."
    if health.same_family:
        yield (
            f"It is of the same family as {health.same_family}, which it judges: models tend to "
            "prefer their own kind."
        )
    if health.probes_passed is not None and health.probes_passed < health.probes:
        yield (
            f"It read {health.probes_passed} of {health.probes} pairs with an obvious winner right."
        )
    kappas = [one.kappa for one in health.corrected if one.kappa is not None]
    if kappas and kappas[0] < KAPPA:
        yield (
            f"It agrees with people little more than chance would (κ = {kappas[0]:.2f}): look at "
            "the corrected number."
        )


def _missing(health: JudgeHealth) -> float:
    """Of the samples that were asked, the share without a verdict: what a judge was not asked, as
    what people were not given to label, says nothing of it."""
    unasked = health.missing.get("unasked", 0)
    asked = health.n - unasked
    return (sum(health.missing.values()) - unasked) / asked if asked else 0.0


def _misses_half(rate: Rate) -> bool:
    return rate.low is not None and rate.high is not None and not rate.low <= 0.5 <= rate.high


def _turned(one: Rate, other: Rate) -> bool:
    return (one.value - 0.5) * (other.value - 0.5) < 0


def _place(first: Rate) -> str:
    return "the answer shown first" if first.value > 0.5 else "the answer shown second"


def _part(rate: Rate) -> float:
    return max(rate.value, 1 - rate.value)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _span(rate: Rate) -> str:
    return f"{100 * (rate.low or 0.0):.0f}–{100 * (rate.high or 0.0):.0f} %"
