"""Three or more models from pairwise judgements: Bradley–Terry strengths.

A tie is half a win for each side. Davidson's (1970) and Rao and Kupper's (1967) models add a
parameter for how often ties happen, which ranking does not need: Davidson's strengths rest on the
same sums (wins + ½ ties), and utilities averaged over orders and judges are not of three kinds
only. Half wins take both alike. The likelihood is then only a way to an estimate, so that errors
come from a bootstrap over samples, which also keeps judgements of one sample together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.stats.base import Interval, Reals
from evalkit.stats.resampling import percentile_interval, resampled_sums

Flags = npt.NDArray[np.bool_]

_SEED = 20260105
_DRAWS = 1000
_STEPS = 20_000
_PRECISE = 1e-10
_ROUGH = 1e-6  # of a bootstrap draw: far below its spread


class Ranking(NamedTuple):
    """Strengths in natural-log units with their intervals, and what could not be estimated.

    The mean strength of the models in the largest group with finite strengths is 0; i beats j with
    chance 1/(1 + exp(s_j − s_i)). +inf is a model never beaten (however indirectly) by that group,
    −inf one that never beat it, NaN one that cannot be placed; `notes` say which and why.
    `draws` are bootstrap strengths, [draws, models], NaN where a draw had none.
    """

    models: tuple[str, ...]
    strengths: Reals
    intervals: tuple[Interval | None, ...]
    notes: tuple[str, ...]
    draws: Reals
    samples: int


def rank(
    samples: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
    utilities: Sequence[float] | Reals,
    level: float = 0.95,
) -> Ranking:
    """Rank models by judgements: on `samples[i]`, `firsts[i]` won utility u_i of `seconds[i]`.

    u is 1 for a win of the first, 0 for one of the second, ½ for a tie, or between. Strengths
    maximise Σ w_ij ln(γ_i/(γ_i + γ_j)) (Bradley & Terry 1952); intervals are percentiles of 1,000
    bootstrap draws of whole samples. A model's interval is None below 10 samples, and where too
    many draws leave it without a finite strength. ValueError for lists of unequal length, a model
    against itself, or utilities outside 0 to 1.
    """
    models = tuple(sorted({*firsts, *seconds}))
    tables = _tables(models, samples, firsts, seconds, utilities)
    wins = tables.sum(axis=0)
    within = _reference(wins)
    strengths = _placed(wins, within)
    draws = np.full((_DRAWS, len(models)), np.nan)
    members = np.flatnonzero(within)
    if len(members) > 1:
        inner = tables[:, members[:, None], members]
        start = bradley_terry(inner.sum(axis=0))
        strengths[members] = start
        sums = resampled_sums(inner.reshape(len(inner), -1), _DRAWS, _SEED)
        drawn = sums.reshape(_DRAWS, len(members), len(members))
        solvable = _beats(drawn).all(axis=(1, 2))
        found = _climb(drawn[solvable], start, _ROUGH)
        draws[np.ix_(np.flatnonzero(solvable), members)] = found
    intervals = tuple(percentile_interval(column, len(tables), level) for column in draws.T)
    notes = _notes(models, wins, within, strengths)
    return Ranking(models, strengths, intervals, notes, draws, len(tables))


def gap_interval(ranking: Ranking, one: str, other: str, level: float = 0.95) -> Interval | None:
    """Interval of the strength of `one` minus that of `other`, from the same bootstrap draws.

    Narrower than two single intervals suggest, as both rest on the same samples. None as for those.
    """
    i, j = ranking.models.index(one), ranking.models.index(other)
    return percentile_interval(ranking.draws[:, i] - ranking.draws[:, j], ranking.samples, level)


def bradley_terry(wins: Reals) -> Reals:
    """Log strengths, mean 0, of wins [models, models]: row over column, ties as half to each.

    The fixed point of γ_i = W_i / Σ_j n_ij/(γ_i + γ_j), W_i the points of i and n_ij the games
    of i with j (the MM algorithm; Hunter 2004). NaN throughout where no finite maximum
    exists: some group of models never lost a point to the others (Ford 1957), as `rank` explains.
    """
    if not _beats(wins[None]).all():
        return np.full(len(wins), np.nan)
    return np.asarray(_climb(wins[None], np.zeros(len(wins)), _PRECISE)[0])


def _climb(wins: Reals, start: Reals, precision: float) -> Reals:
    """MM steps for many tables of wins at once, [tables, models, models] → [tables, models].

    A table that does not settle in _STEPS steps is given up as NaN.
    """
    games = wins + wins.transpose(0, 2, 1)
    points = wins.sum(axis=2)
    logs = np.tile(start, (len(wins), 1))
    active = np.arange(len(wins))
    for _ in range(_STEPS):
        if not len(active):
            break
        gamma = np.exp(logs[active])
        rates = (games[active] / (gamma[:, :, None] + gamma[:, None, :])).sum(axis=2)
        moved = np.log(points[active] / rates)
        moved -= moved.mean(axis=1, keepdims=True)
        change = np.abs(moved - logs[active]).max(axis=1)
        logs[active] = moved
        active = active[change > precision]
    logs[active] = np.nan
    return logs


def _beats(wins: Reals) -> Flags:
    """Whether row ever won a point of column, directly or through others: [tables, models, models].

    All true is the condition for finite strengths (Ford 1957; Hunter 2004, assumption 1).
    """
    reach = (wins > 0) | np.eye(wins.shape[-1], dtype=bool)
    for _ in range(max(1, (wins.shape[-1] - 1).bit_length())):
        reach = np.matmul(reach, reach)
    return np.asarray(reach)


def _reference(wins: Reals) -> Flags:
    """The largest group whose members all beat each other somehow; the most played of equals."""
    reach = _beats(wins[None])[0]
    mutual = reach & reach.T
    games = wins + wins.T
    played = [float(games[np.ix_(row, row)].sum()) for row in mutual]
    return np.asarray(mutual[max(range(len(wins)), key=lambda i: (mutual[i].sum(), played[i]))])


def _placed(wins: Reals, within: Flags) -> Reals:
    """Strengths outside the group: +inf above it, −inf below it, NaN beside it (and within it).

    Where no two models beat each other, the group is one model and no yardstick: only a model
    that never lost, or never won, is placed.
    """
    reach = _beats(wins[None])[0]
    if within.sum() > 1:
        above, below = reach[:, within].any(axis=1), reach[within].any(axis=0)
    else:
        above, below = (wins > 0).any(axis=1), (wins > 0).any(axis=0)
    placed = np.where(above, np.inf, -np.inf)
    placed[above == below] = np.nan
    return placed


def _notes(
    models: tuple[str, ...], wins: Reals, within: Flags, strengths: Reals
) -> tuple[str, ...]:
    def named(flags: Flags) -> str:
        return ", ".join(name for name, flag in zip(models, flags, strict=True) if flag)

    apart = _beats((wins + wins.T)[None])[0]
    group = named(within) if within.sum() > 1 else "the others"
    notes: list[str] = []
    if not apart.all():
        islands = sorted({named(row) for row in apart})
        notes.append(f"never compared, not even through others: {' | '.join(islands)}")
    if (up := np.isposinf(strengths)).any():
        notes.append(f"undefeated, so of unbounded strength: {named(up)} (by {group})")
    if (down := np.isneginf(strengths)).any():
        notes.append(f"without a point, so of unbounded weakness: {named(down)} (from {group})")
    if (lost := np.isnan(strengths)).any():
        notes.append(f"no strength can be given: {named(lost)}")
    return tuple(notes)


def _tables(
    models: tuple[str, ...],
    samples: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
    utilities: Sequence[float] | Reals,
) -> Reals:
    """Points of row over column by sample, in the order of the samples' ids: [samples, M, M]."""
    values = np.asarray(utilities, dtype=np.float64)
    if not len(samples) == len(firsts) == len(seconds) == len(values):
        raise ValueError("as many samples, firsts, seconds and utilities are needed")
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError("utilities lie between 0 and 1; leave out what could not be judged")
    place = {name: number for number, name in enumerate(models)}
    one = np.array([place[name] for name in firsts], dtype=np.intp)
    two = np.array([place[name] for name in seconds], dtype=np.intp)
    if (one == two).any():
        raise ValueError("a model cannot be judged against itself")
    names, row = np.unique(np.asarray(samples, dtype=str), return_inverse=True)
    order = np.lexsort((values, two, one, row))  # sums round by order
    one, two, row, values = one[order], two[order], row[order], values[order]
    tables = np.zeros((len(names), len(models), len(models)))
    np.add.at(tables, (row, one, two), values)
    np.add.at(tables, (row, two, one), 1 - values)
    return tables
