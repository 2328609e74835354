"""How often the bounds err, and what deciding early saves: docs/results/error-rates.md.

    python -m benchmarks.error_rates [--simulations N]

Simulated with fixed seeds. `evalkit gate calibrate` tries the whole gate in the same way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import accumulate
from math import exp, nan
from pathlib import Path

import numpy as np

from benchmarks import machine
from evalkit.gate.rule import gate_rule
from evalkit.records import Metric
from evalkit.stats import simulate
from evalkit.stats.base import Reals
from evalkit.stats.binary import tango_interval
from evalkit.stats.calibrate import Case, error_rates
from evalkit.stats.means import MeanEstimate, mean_difference
from evalkit.stats.sequential import blocks, first_settled
from evalkit.stats.skewed import p_at_most

ALPHA = 0.05
SIZES = (5, 20, 50, 200, 1_000)
MARGIN, FLIPPED, PLANNED = 0.05, 0.2, 1_000
GAINS = (-0.15, -0.05, 0.0, 0.05, 0.10)
_LOST: tuple[Case, ...] = tuple(
    Case("binary, only losses", n, "at the margin", MARGIN) for n in (25, 52, 59, 133)
)
DECIDED: tuple[Case, ...] = (
    *_LOST,
    *(Case("binary", n, "at the margin", MARGIN) for n in SIZES[1:]),
    *(Case("binary", n, "at the margin", MARGIN, "absolute") for n in (25, 52, 59, 133, 1_000)),
    Case("clustered", 100, "at the margin", MARGIN),
    Case("clustered, few and unequal", 300, "at the margin", MARGIN),
    Case("clustered, few and unequal", 60, "at the margin", MARGIN, "absolute"),
    Case("clustered, few and unequal", 300, "at the margin", MARGIN, "absolute"),
    Case("5 completions, little noise", 50, "at the margin", MARGIN),
    Case("5 completions", 50, "at the margin", MARGIN, "absolute"),
)
PAGE = Path("docs/results/error-rates.md")

Draw = Callable[[np.random.Generator, tuple[int, int]], Reals]
"""Scores [simulations, n] whose true mean is 0."""


def _lognormal(rng: np.random.Generator, shape: tuple[int, int]) -> Reals:
    return exp(0.8**2 / 2) - rng.lognormal(0.0, 0.8, shape)


def _shares(rng: np.random.Generator, shape: tuple[int, int]) -> Reals:
    rate = rng.uniform(0.2, 0.8, shape)
    return (rng.binomial(5, rate) - rng.binomial(5, rate)) / 5


TAILS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0.0, 1.0, shape),
    "means of five right-or-wrong answers": _shares,
    "long tail within bounds (Beta 4, ½; skewness −1.8)": lambda rng, shape: (
        rng.beta(4.0, 0.5, shape) - 8 / 9
    ),
    "exponential (skewness −2)": lambda rng, shape: 1.0 - rng.exponential(1.0, shape),
    "lognormal (σ = .8, skewness −3.7)": _lognormal,
}


def wrong(draws: Reals) -> tuple[float, float, float]:
    """Shares of samples whose bound is wrong: on the tail's side, there by Student's t, and on
    the other side."""
    tail = naive = other = 0
    for scores in draws:
        found = mean_difference(scores)
        tail += p_at_most(found, 0.0) < ALPHA
        naive += p_at_most(found._replace(skewness=nan), 0.0) < ALPHA
        other += p_at_most(_mirrored(found), 0.0) < ALPHA
    return tail / len(draws), naive / len(draws), other / len(draws)


def _mirrored(found: MeanEstimate) -> MeanEstimate:
    return found._replace(mean=-found.mean, skewness=-found.skewness)


def tails(simulations: int) -> Iterator[str]:
    """Rows of the first table."""
    yield f"| differences | {' | '.join(f'n = {n:,}' for n in SIZES)} |"
    yield "|---|" + "---:|" * len(SIZES)
    for name, draw in TAILS.items():
        rng = np.random.default_rng(20_261_126)
        shares = [wrong(draw(rng, (simulations, n))) for n in SIZES]
        cells = (f"{tail:.1%} ({naive:.1%}) {other:.1%}" for tail, naive, other in shares)
        yield f"| {name} | {' | '.join(cells)} |".replace("%", "")


def early(simulations: int) -> Iterator[str]:
    """Rows of the second table: a look after every block, against one look at the end."""
    ends = list(accumulate(map(len, blocks([str(i) for i in range(PLANNED)], 0))))
    heads = ("true difference", "passed early", "failed early", "open", "samples asked", "fixed n")
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---:|" * len(heads)
    rng = np.random.default_rng(20_261_127)
    for gain in GAINS:
        draws = simulate.binary(
            PLANNED, base_rate=0.5, difference=gain, discordance=FLIPPED, rng=rng,
            simulations=simulations,
        ).differences  # fmt: skip
        stops = [first_settled(one, -MARGIN, -1, 1, ALPHA, PLANNED) for one in draws]
        asked = [next(end for end in ends if end >= stop.used) for stop in stops]
        shares = (
            sum(stop.outcome == wanted for stop in stops) / simulations
            for wanted in ("pass", "fail", "undecided")
        )
        fixed = sum(map(_passes, draws)) / simulations
        cells = " | ".join(f"{share:.1%}" for share in shares)
        yield f"| {gain:+.2f} | {cells} | {np.mean(asked):.0f} | {fixed:.1%} |"


def _passes(differences: Reals) -> bool:
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    found = tango_interval(gained, lost, len(differences), 1 - 2 * ALPHA)
    return found is not None and found.low > -MARGIN


def decided(simulations: int) -> Iterator[str]:
    """Rows of the third table: the gate itself, on shares, few clusters and tuned scores."""
    few = max(1, simulations // 20)
    yield "| data | asked | samples | wrong pass | wrong fail | simulations |"
    yield "|---|---|---:|---:|---:|---:|"
    for case in DECIDED:
        floor = case.floor if case.ask == "absolute" else None
        rule = gate_rule(Metric(name="score", kind="binary"), MARGIN, ALPHA, case.ask, floor)
        count = simulations if case.countable else few
        (found,) = error_rates(rule, [case], count, 20_261_128)
        assert found.wrong_pass is not None
        shares = (
            f"{one.share:.1%} ± {one.error:.1%}" for one in (found.wrong_pass, found.wrong_fail)
        )
        asked = "not worse" if case.ask == "non_inferiority" else case.ask
        yield f"| {case.kind} | {asked} | {case.n:,} | {' | '.join(shares)} | {count:,} |"


TEXT = """\
# How often the bounds err, and what deciding early saves

Written by `python -m benchmarks.error_rates`.

## One-sided bounds of a mean at α = .05

Percent of {simulations:,} simulated samples whose bound excludes the true mean: on the side of the
long tail, in brackets the same by Student's t, then on the other side. 5.0 is promised; the
standard error of a figure is at most {error:.2f}.

"""
EARLY = """

## Looking after every block

At most {planned:,} right-or-wrong samples, of which a fifth flip; non-inferiority with a margin
of .05 at α = .05; {simulations:,} simulations each. At −.05 every pass is wrong. *Fixed n*: the
share that passes when all samples are asked and looked at once. A figure's standard error is at
most {error:.1f} %. *Open*: neither passed nor failed when all were asked.

"""
DECIDED_TEXT = """

## The gate, where its bounds are nearest to alpha

Of data whose true difference is the margin of .05, or whose true tuned score is the floor, so that
a pass and a fail are both wrong: at most 5.0% each are promised. Shares are decided by Tango's
bounds, with exact ones of a tuned score; fewer than 40 clusters by the wild bootstrap. Only losses:
every flip is one.

"""


def page(simulations: int) -> str:
    """The page; the second table takes a tenth of the simulations, the third's slow rows a 20th."""
    error = 100 * (ALPHA * (1 - ALPHA) / simulations) ** 0.5
    few = max(1, simulations // 10)
    packages = machine.versions(("numpy", "scipy"))
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return "\n".join([
        TEXT.format(simulations=simulations, error=error) + "\n".join(tails(simulations))
        + EARLY.format(planned=PLANNED, simulations=few, error=100 * (0.25 / few) ** 0.5)
        + "\n".join(early(few)) + DECIDED_TEXT + "\n".join(decided(simulations)),
        "", versions, "",
    ])  # fmt: skip


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=20_000, metavar="N")
    PAGE.write_text(page(parser.parse_args().simulations), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
