"""The table of one judging: what was measured of each judge, what it means, what would be good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeVar

from evalkit.judges.doubts import (
    FLIPS,
    KAPPA,
    LONGER,
    MISSING,
    POSITION,
    STRIPPED,
    TIES,
)
from evalkit.records import Comparison, Corrected, JudgeHealth, Judging, Rate
from reports.judging.words import (
    HALF,
    METHODS,
    SHORT,
    by_arm,
    counted,
    share,
    win_rate,
)
from reports.wording import UNKNOWN, interval, number, one_line, percent, signed

SAYS = "What it says"
SWAYED = "What may sway it"
PEOPLE = "Against people"
TOOK = "What it took"
_CENT = 0.1  # what costs less is told to a hundredth of a cent
_T = TypeVar("_T")


class Cell(NamedTuple):
    """One judge's value with its interval, over `n` cases (0: not told); `doubtful` where it speaks
    against the judge."""

    value: str
    interval: str = ""
    n: int = 0
    doubtful: bool = False

    @property
    def text(self) -> str:
        """Both on one line."""
        return f"{self.value} {self.interval}".rstrip()


class Figure(NamedTuple):
    """One line of the table, with a cell for each judge in their order."""

    group: str
    name: str
    cells: tuple[Cell, ...]
    means: str
    good: str


class _Line(NamedTuple):
    name: str
    cell: Callable[[JudgeHealth], Cell]
    means: str
    good: str


def figures(comparison: Comparison, judging: Judging) -> list[Figure]:
    """Every line of which some judge has a value, in groups."""
    groups = [
        (SAYS, _says(comparison, judging)),
        (SWAYED, _swayed()),
        (PEOPLE, _people(judging)),
        (TOOK, _took(comparison)),
    ]
    rows = [
        Figure(group, line.name, tuple(map(line.cell, judging.judges)), line.means, line.good)
        for group, lines in groups
        for line in lines
    ]
    return [row for row in rows if any(cell.text not in ("", UNKNOWN) for cell in row.cells)]


def _says(comparison: Comparison, judging: Judging) -> Iterator[_Line]:
    whole = win_rate(comparison, judging) if len(judging.judges) == 1 else None
    yield _Line(
        "Win rate",
        lambda one: _share(whole or one.win_rate),
        "pairs in which the tuned answer was preferred; a tie counts half",
        "all of the interval above 50 %",
    )
    yield _Line(
        "Win rate at equal lengths",
        lambda one: _share(one.length_controlled, turned=_turned(one, one.length_controlled)),
        "the same, had both answers been of one length (length-controlled)",
        "near the win rate, on its side of 50 %",
    )
    yield _Line(
        "Win rate without markup",
        lambda one: _share(one.stripped, turned=_turned(one, one.stripped, STRIPPED)),
        "the same, with emoji and markup taken out of both answers",
        f"within {100 * STRIPPED:.0f} points of the win rate, on its side of 50 %",
    )
    for arm in ("base", "tuned"):
        yield _Line(
            f"Mean rating, {arm}",
            partial(_rating, arm),
            f"of the {arm} answers on the rubric's scale",
            "higher for the tuned" if arm == "tuned" else "",
        )
    if judging.jury is not None:
        yield _Line(
            "Without this judge",
            lambda one: _without(judging, one),
            "what the others say together",
            "near what all say: no judge decides alone",
        )


def _swayed() -> Iterator[_Line]:
    yield _Line(
        "The first answer wins",
        lambda one: _share(one.first_wins, turned=_leans(one.first_wins, POSITION)),
        "of the calls that named a winner, those for the answer shown first",
        f"50 %, give or take {100 * POSITION:.0f} points",
    )
    yield _Line(
        "Flips",
        lambda one: _share(one.flips, turned=_at_least(one.flips, FLIPS)),
        "pairs whose winner changed with the order; each counts half",
        f"below {percent(FLIPS)}",
    )
    yield _Line(
        "Wavered",
        lambda one: _share(one.wavered),
        "pairs with a winner in one order and a tie in the other; each counts half",
        "few",
    )
    yield _Line(
        "Ties",
        lambda one: _share(one.ties, turned=_at_least(one.ties, TIES)),
        "pairs that were a tie in both orders",
        f"below {percent(TIES)}: else it tells little",
    )
    yield _Line(
        "The longer answer wins",
        lambda one: _share(one.longer_wins, turned=_leans(one.longer_wins, LONGER)),
        "of the pairs with a winner and unequal lengths, those for the longer one",
        f"50 %, give or take {100 * LONGER:.0f} points, unless longer is better here",
    )
    yield _Line(
        "Length coefficient",
        lambda one: _coefficient(one.length_coefficient),
        "how much a longer answer raises the log-odds that it is preferred",
        "0 within the interval",
    )
    yield _Line(
        "Known answers",
        _probes,
        "pairs with an obvious winner that it told right, asked before it judged",
        "all",
    )
    yield _Line(
        "Of the family of",
        lambda one: Cell(one_line(one.same_family), doubtful=bool(one.same_family)),
        "a candidate that the judge is kin to: judges favour their own kind",
        "neither",
    )


def _people(judging: Judging) -> Iterator[_Line]:
    every = [*judging.corrected, *(each for one in judging.judges for each in one.corrected)]
    methods = dict.fromkeys(each.method for each in every)
    for method in methods:
        yield _Line(
            f"Set right ({SHORT.get(method, one_line(method))})",
            partial(_corrected, judging, method),
            f"the win rate that people would give, by {METHODS.get(method, one_line(method))}",
            "near what the judge says",
        )
    yield _Line(
        "Human labels",
        lambda one: Cell(number(_of_people(judging, one, lambda each: each.labels), 0)),
        "judged samples of which people said which answer is better",
        "50 or more, drawn at random",
    )
    yield _Line(
        "Agreement with people",
        lambda one: _share(_of_people(judging, one, lambda each: each.agreement)),
        "samples with a label of which judge and people say the same",
        "near that of people among each other",
    )
    yield _Line(
        "People among each other",
        lambda one: _share(_of_people(judging, one, lambda each: each.ceiling)),
        "the same between people, of samples with several labels: no judge can be asked for more",
        "",
    )
    yield _Line(
        "Cohen's κ with people",
        lambda one: _kappa(_of_people(judging, one, lambda each: each.kappa)),
        "agreement beyond that of chance: 0 is chance, 1 all of it",
        f"above {KAPPA:g}; the nearer to 1 the better",
    )


def _took(comparison: Comparison) -> Iterator[_Line]:
    yield _Line("Samples", lambda one: Cell(f"{one.n:,}"), "that were to be judged", "")
    yield _Line(
        "Missing",
        _missing,
        "samples of which it said nothing; they are left out, and never filled in",
        f"none, at least below {percent(MISSING)}",
    )
    yield _Line(
        "Missing by arm",
        lambda one: Cell(by_arm(comparison, one.missing_by_arm) if one.missing_by_arm else ""),
        "whose answer it was that could not be judged",
        "none",
    )
    yield _Line("Calls", lambda one: Cell(f"{one.calls:,}"), "asked of the judge", "")
    yield _Line(
        "Tokens",
        lambda one: (
            Cell(f"{one.tokens_in:,} in,", f"{one.tokens_out:,} out")
            if one.tokens_in
            else Cell(UNKNOWN)
        ),
        "read and written by the judge",
        "",
    )
    yield _Line(
        "Cost",
        lambda one: Cell(number(one.cost, 2 if one.cost is None or one.cost >= _CENT else 4)),
        "in the currency of the configured prices",
        "",
    )
    yield _Line("Model", lambda one: Cell(one_line(one.model)), "that judged", "")
    yield _Line(
        "Prompt",
        lambda one: Cell(one_line(one.prompt_hash[:12])),
        "hash of rubric and prompt: another one asks something else",
        "",
    )


def _share(rate: Rate | None, *, turned: bool = False) -> Cell:
    """A share; doubtful where it is `turned` against the judge."""
    if rate is None:
        return Cell(UNKNOWN)
    value, bracket, bounds = share(rate).partition(" (")
    return Cell(value, f"({bounds}" if bracket else "", rate.n, turned)


def _coefficient(rate: Rate | None) -> Cell:
    if rate is None:
        return Cell(UNKNOWN)
    bounds = interval(rate.low, rate.high, 2)
    return Cell(signed(rate.value, 2), "" if bounds == UNKNOWN else bounds, rate.n)


# Doubtful is what the judge's own findings warn of, by the same bounds.
def _turned(one: JudgeHealth, rate: Rate | None, away: float = 1.0) -> bool:
    """Whether a win rate lies on another side of one half than that of the answers as they are."""
    if rate is None or one.win_rate is None:
        return False
    plain = one.win_rate.value
    return (rate.value - HALF) * (plain - HALF) < 0 or abs(rate.value - plain) >= away


def _leans(rate: Rate | None, least: float) -> bool:
    if rate is None or rate.low is None or rate.high is None:
        return False
    return not rate.low <= HALF <= rate.high and abs(rate.value - HALF) >= least


def _at_least(rate: Rate | None, least: float) -> bool:
    return rate is not None and rate.value >= least


def _kappa(value: float | None) -> Cell:
    return Cell(number(value, 2), doubtful=value is not None and value < KAPPA)


def _missing(one: JudgeHealth) -> Cell:
    gone = sum(one.missing.values())
    return Cell(counted(one.missing), doubtful=bool(one.n) and gone / one.n >= MISSING)


def _rating(arm: str, one: JudgeHealth) -> Cell:
    return Cell(number(one.ratings.get(arm), 2))


def _probes(one: JudgeHealth) -> Cell:
    if one.probes_passed is None:
        return Cell(UNKNOWN)
    text = f"{one.probes_passed:,} of {one.probes:,}"
    return Cell(text, doubtful=one.probes_passed < one.probes)


def _without(judging: Judging, one: JudgeHealth) -> Cell:
    value = judging.jury.without.get(one.judge) if judging.jury else None
    if value is None:
        return Cell(UNKNOWN)
    return Cell(percent(value) if judging.protocol == "pairwise" else number(value, 2))


def _corrected(judging: Judging, method: str, one: JudgeHealth) -> Cell:
    found = [each for each in _mine(judging, one) if each.method == method]
    if not found:
        return Cell(UNKNOWN)
    rate = found[0].rate
    return _share(rate, turned=_turned(one, rate))


def _mine(judging: Judging, one: JudgeHealth) -> tuple[Corrected, ...]:
    """The corrections of one judge; of a judge that is alone also those of the whole."""
    if one.corrected or len(judging.judges) > 1:
        return one.corrected
    return judging.corrected


def _of_people(
    judging: Judging, one: JudgeHealth, part: Callable[[Corrected], _T | None]
) -> _T | None:
    return next((found for each in _mine(judging, one) if (found := part(each)) is not None), None)
