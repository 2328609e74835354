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
    "continuous",
    "continuous, long upper tail",
    "continuous, long lower tail",
    "clustered",
    "5 completions",
]
Truth = Literal["no difference", "at the margin"]
# From differences [n] and their clusters [n] (empty where there are none) to what the gate says.
Rule = Callable[[Reals, Sequence[str]], Outcome]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
KINDS: tuple[Kind, ...] = get_args(Kind)
TRUTHS: tuple[Truth, ...] = get_args(Truth)
SIZES = (20, 50, 200, 1000, 5000)
_QUICK_KINDS: tuple[Kind, ...] = ("binary", "continuous", "clustered", "5 completions")
_QUICK_SIZES = (20, 200, 1000)

# Values drawn at once: 16 MB.
_BATCH = 2_000_000


class Case(NamedTuple):
    """Data of one kind and size; `difference` is the truth, −`margin` what the gate tolerates."""

    kind: Kind
    n: int
    truth: Truth
    margin: float

    @property
    def difference(self) -> float:
        """The true mean difference."""
        return 0.0 if self.truth == "no difference" else -self.margin


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
    kinds, sizes = (_QUICK_KINDS, _QUICK_SIZES) if quick else (KINDS, SIZES)
    return tuple(Case(kind, n, truth, margin) for kind in kinds for n in sizes for truth in TRUTHS)


def error_rates(
    rule: Rule, chosen: Iterable[Case], simulations: int, seed: int
) -> tuple[ErrorRates, ...]:
    """How often the rule errs in each case, in `simulations` made-up runs.

    The figures of a case depend on the seed and the case alone, not on what else is tried.
    """
    return tuple(_error_rates(rule, case, simulations, seed) for case in chosen)


def draw(case: Case, rng: np.random.Generator, simulations: int) -> simulate.Batch:
    """Differences [simulations, n] of the case."""
    n, difference = case.n, case.difference
    flips = max(0.2, 2 * case.margin)
    match case.kind:
        case "binary" | "binary, few flips":
            # The fewest flips that leave some in both directions where the truth is the margin.
            few = case.kind == "binary, few flips"
            return simulate.binary(
                n,
                base_rate=0.6,
                difference=difference,
                discordance=1.2 * case.margin if few else flips,
                rng=rng,
                simulations=simulations,
            )
        case "clustered":
            return simulate.clustered(
                n,
                difference=difference,
                discordance=flips,
                correlation=0.3,
                size=5 if n <= 200 else 10,
                rng=rng,
                simulations=simulations,
            )
        case "5 completions":
            return simulate.repeated(
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
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    counts = _no_counts()
    for drawn in _steps(simulations, case.n):
        batch = draw(case, rng, drawn)
        for differences in batch.differences:
            counts[rule(differences, batch.clusters)] += 1
    tolerated = case.difference > -case.margin
    return ErrorRates(
        case=case,
        wrong_pass=None if tolerated else Rate(counts["pass"], simulations),
        wrong_fail=Rate(counts["fail"], simulations),
        inconclusive=Rate(counts["inconclusive"], simulations),
    )
