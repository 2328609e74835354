"""The A/A test of the gate: how often a rule passes or fails what it must not.

The rule comes from the caller, so that nothing here knows of gates or records.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from evalkit.stats import simulate
from evalkit.stats.base import Reals

Outcome = Literal["pass", "fail", "inconclusive"]
Kind = Literal[
    "binary",
    "binary, few flips",
    "binary, only losses",
    "continuous",
    "continuous, long upper tail",
    "continuous, long lower tail",
    "clustered",
    "clustered, few and unequal",
    "clustered, lost as a whole",
    "5 completions",
    "5 completions, little noise",
]
Ask = Literal[
    "non_inferiority", "lower is better", "superiority", "equivalence", "absolute", "3 suites"
]
Truth = Literal["no difference", "at the margin"]
# From differences [n] and their clusters [n] (empty where there are none) to what the gate says.
Rule = Callable[[Reals, Sequence[str]], Outcome]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
KINDS: tuple[Kind, ...] = get_args(Kind)
TRUTHS: tuple[Truth, ...] = get_args(Truth)
ASKS: tuple[Ask, ...] = get_args(Ask)
SIZES = (20, 50, 200, 1000, 5000)
SUITES = 3
"""As many suites as "3 suites" judges together."""
CHEAP, QUICK_CHEAP = 20, 5
"""Times as many simulations where the outcome hangs on a few counts (see `Case.countable`)."""

_QUICK_SIZES = (20, 200, 1000)
_OTHER_SIZES: dict[Kind, tuple[int, ...]] = {
    "clustered, few and unequal": (60, 300, 1200),
    "clustered, lost as a whole": (200, 1000),
}
# The edges of the scores that no flip of the samples tells apart: 25, 52, 133 are those of margins
# of .1, .05 and .02 by the score bound, 59 that of .05 by the exact one.
_EDGES = (25, 52, 59, 133)
# Not in a quick table; few clusters are in it with their tuned scores.
_SLOW: frozenset[Kind] = frozenset(("binary, few flips", *KINDS[4:6], "clustered, few and unequal"))
# What else is asked than non-inferiority, of which data, and of how many samples.
_ASKED: dict[Ask, dict[Kind, tuple[int, ...]]] = {
    "lower is better": {"binary": (50, 1000), "continuous, long upper tail": (50, 1000)},
    "superiority": {"binary": (50, 1000), "continuous": (50, 1000)},
    "equivalence": {"binary": (200, 1000), "continuous": (200, 1000)},
    "absolute": {
        "binary": (*_EDGES, 1000),
        "continuous": (50, 1000),
        "clustered, few and unequal": (60, 300),
        "5 completions": (50, 1000),
    },
    "3 suites": {"binary": (50, 200), "continuous": (50, 200)},
}
_TWO_TRUTHS: frozenset[Ask] = frozenset(("non_inferiority", "lower is better", "equivalence"))
# Ten clusters, the largest five times the smallest.
_UNEQUAL = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)

# Values drawn at once: 16 MB.
_BATCH = 2_000_000


class Case(NamedTuple):
    """Data of one kind and size, and what is asked of them.

    `difference` is the truth, of the benefit; of "absolute" it is the tuned score's from 1.
    """

    kind: Kind
    n: int
    truth: Truth
    margin: float
    ask: Ask = "non_inferiority"

    @property
    def difference(self) -> float:
        """The true mean difference."""
        if self.truth == "no difference":
            return 0.0
        return self.margin if self.ask == "superiority" else -self.margin

    @property
    def floor(self) -> float:
        """The true mean of the tuned scores that are made up for "absolute"."""
        match self.kind:
            case "binary":
                return 1 - self.margin
            case "continuous":
                return 8 / 9
            case "clustered, few and unequal":
                return 0.6
            case _:
                return 0.5

    @property
    def countable(self) -> bool:
        """Whether the outcome hangs on the numbers of gained and lost samples alone."""
        return self.kind.startswith("binary") and self.ask != "3 suites"


class Rate(NamedTuple):
    """How often something happened, and the standard error of that share."""

    times: int
    simulations: int

    @property
    def share(self) -> float:
        """Times over simulations."""
        return self.times / self.simulations

    @property
    def error(self) -> float:
        """Standard error of the share, never zero: one yes and one no are added."""
        share = (self.times + 1) / (self.simulations + 2)
        return math.sqrt(share * (1 - share) / self.simulations)

    def exceeds(self, alpha: float, doubt: float = 1e-3) -> bool:
        """Whether chance cannot explain the count if the true rate is alpha at most.

        One-sided exact binomial test at the level `doubt`.
        """
        return bool(stats.binom.sf(self.times - 1, self.simulations, alpha) < doubt)


class ErrorRates(NamedTuple):
    """What a rule said of one case.

    `wrong_pass` is None where a pass is right, which it is without a difference; a fail is wrong
    in every case, as the truth is never below the margin.
    """

    case: Case
    wrong_pass: Rate | None
    wrong_fail: Rate
    inconclusive: Rate


class SplitRates(NamedTuple):
    """How often a rule said what of a model compared with itself."""

    passed: Rate
    failed: Rate
    inconclusive: Rate


def cases(margin: float = 0.05, quick: bool = False) -> tuple[Case, ...]:
    """The table of cases, n from 20 to 5,000; `quick` leaves out kinds and the largest sizes.

    The margin is in (0, 0.3]: beyond, the made-up data would not be like those of any suite.
    """
    if not 0 < margin <= 0.3:
        raise ValueError(f"The gate is calibrated for margins in (0, 0.3], not {margin}.")
    usual = [kind for kind in KINDS if not (quick and kind in _SLOW)]
    table: list[Case] = []
    for kind in usual:
        sizes = _sizes(kind, margin, quick)
        table += (Case(kind, n, truth, margin) for n in sizes for truth in _truths(kind))
    for ask, kinds in _ASKED.items():
        truths = TRUTHS if ask in _TWO_TRUTHS else TRUTHS[1:]
        for kind, sizes in kinds.items():
            few = sizes[: len(_EDGES)] if sizes[0] == _EDGES[0] else sizes[:1]
            chosen = few if quick else sizes
            table += (Case(kind, n, truth, margin, ask) for n in chosen for truth in truths)
    return tuple(table)


def _sizes(kind: Kind, margin: float, quick: bool) -> tuple[int, ...]:
    if kind == "binary, only losses":
        # Also where none lost among n first excludes this margin.
        own = {math.ceil(2.71 * (1 - margin) / margin), math.ceil(math.log(0.05, 1 - margin))}
        return tuple(sorted({*_EDGES, *(n for n in own if n <= SIZES[-1])}))
    if kind in _OTHER_SIZES:
        return _OTHER_SIZES[kind][: 1 if quick else None]
    return _QUICK_SIZES if quick else SIZES


def _truths(kind: Kind) -> tuple[Truth, ...]:
    """Where every flip is a loss there is none without a difference."""
    return TRUTHS[1:] if kind in ("binary, only losses", "clustered, lost as a whole") else TRUTHS


def error_rates(
    rule: Rule, chosen: Iterable[Case], simulations: int, seed: int
) -> tuple[ErrorRates, ...]:
    """How often the rule errs in each case, in `simulations` made-up runs.

    The figures of a case depend on the seed and the case alone, not on what else is tried.
    """
    return tuple(_error_rates(rule, case, simulations, seed) for case in chosen)


def draw(case: Case, rng: np.random.Generator, simulations: int) -> simulate.Batch:
    """Differences [simulations, n] of the case; of "absolute" the tuned scores.

    Of several suites, n of each, one after the other.
    """
    if case.ask == "absolute":
        return _draw_scores(case, rng, simulations)
    n = case.n * SUITES if case.ask == "3 suites" else case.n
    difference = case.difference
    flips = max(0.2, 2 * case.margin)
    match case.kind:
        case "binary" | "binary, few flips" | "binary, only losses":
            # The fewest flips that leave some in both directions where the truth is the margin.
            shares = {"binary, few flips": 1.2 * case.margin, "binary, only losses": case.margin}
            return simulate.binary(
                n,
                base_rate=0.4 if difference > 0 else 0.6,
                difference=difference,
                discordance=shares.get(case.kind, flips),
                rng=rng,
                simulations=simulations,
            )
        case "clustered" | "clustered, few and unequal" | "clustered, lost as a whole":
            whole = case.kind == "clustered, lost as a whole"
            equal = 4 if whole else 5 if n <= 200 else 10
            return simulate.clustered(
                n,
                difference=difference,
                discordance=case.margin if whole else flips,
                correlation=1.0 if whole else 0.3,
                size=_UNEQUAL if case.kind == "clustered, few and unequal" else equal,
                rng=rng,
                simulations=simulations,
            )
        case "5 completions":
            return simulate.repeated(
                n, difference=difference, completions=5, rng=rng, simulations=simulations
            )
        case "5 completions, little noise":
            return simulate.rarely_lost(
                n, difference=difference, completions=5, rng=rng, simulations=simulations
            )
        case _:
            shapes = {"continuous, long upper tail": (0.5, 4.0), "continuous": (2.0, 2.0)}
            return simulate.continuous(
                n,
                difference=difference,
                spread=0.7,
                rng=rng,
                simulations=simulations,
                shape=shapes.get(case.kind, (4.0, 0.5)),
            )


def _draw_scores(case: Case, rng: np.random.Generator, simulations: int) -> simulate.Batch:
    """Scores [simulations, n] of one model whose true mean is `case.floor`."""
    shape, right = (simulations, case.n), case.floor
    match case.kind:
        case "continuous":
            return simulate.Batch(rng.beta(4.0, 0.5, shape))
        case "5 completions":
            return simulate.Batch(rng.binomial(5, rng.beta(0.5, 0.5, shape)) / 5)
        case "clustered, few and unequal":
            lost = simulate.clustered(
                case.n,
                difference=right - 1,
                discordance=1 - right,
                correlation=0.3,
                size=_UNEQUAL,
                rng=rng,
                simulations=simulations,
            )
            return lost._replace(differences=1 + lost.differences)
        case _:
            return simulate.Batch((rng.random(shape) < right).astype(np.float64))


def split_rates(
    rule: Rule, scores: Reals, clusters: Sequence[str], simulations: int, seed: int
) -> SplitRates:
    """What the rule says of a model against itself: scores [n, K] of its own completions, split.

    Both arms are the same model, so the true difference is 0; see `simulate.split`. The draws go by
    the place of a sample, not of a completion. ValueError below two completions of each sample.
    """
    # The order of the completions of a sample must not matter either.
    ordered = np.sort(scores, axis=1)
    rng = np.random.default_rng([seed, *scores.shape])
    counts = _no_counts()
    for drawn in _steps(simulations, scores.size):
        for differences in simulate.split(ordered, rng=rng, simulations=drawn).differences:
            counts[rule(differences, clusters)] += 1
    return SplitRates(*(Rate(counts[one], simulations) for one in OUTCOMES))


def _no_counts() -> dict[Outcome, int]:
    return dict.fromkeys(OUTCOMES, 0)


def _steps(simulations: int, values: int) -> Iterator[int]:
    """How many simulations to draw at once, of so many values each."""
    step = max(1, _BATCH // values)
    return (min(step, simulations - start) for start in range(0, simulations, step))


def _error_rates(rule: Rule, case: Case, simulations: int, seed: int) -> ErrorRates:
    name = f"{case.kind}/{case.n}/{case.truth}/{case.margin!r}"
    if case.ask != "non_inferiority":
        name += f"/{case.ask}"
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    counts = _no_counts()
    for drawn in _steps(simulations, case.n * SUITES):
        batch = draw(case, rng, drawn)
        for differences in batch.differences:
            counts[rule(differences, batch.clusters)] += 1
    tolerated = case.truth == "no difference"
    return ErrorRates(
        case=case,
        wrong_pass=None if tolerated else Rate(counts["pass"], simulations),
        wrong_fail=Rate(counts["fail"], simulations),
        inconclusive=Rate(counts["inconclusive"], simulations),
    )
