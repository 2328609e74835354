"""Before the run: what each suite can decide with the samples it has. No model is needed.

`detectable` is how far a threshold must lie from an unchanged model for the gate's own test, at its
alpha, to tell the two apart with its power. A margin at least as wide can be decided: an unchanged
model passes non-inferiority then, and is refused superiority.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.config import GateConfig, SuiteGate
from evalkit.errors import UsageError
from evalkit.estimates import ALPHAS, grouped
from evalkit.gate.asked import Asked, asked_of
from evalkit.gate.decide import why_whole
from evalkit.harnesses.base import Suite
from evalkit.noise import (
    UNKNOWN,
    Noise,
    Pilot,
    at_threshold,
    declared,
    in_slice,
    of_pilot,
    own_of_pilot,
    scale_of,
    usual,
)
from evalkit.records import Metric
from evalkit.stats.betting import (
    Drawn,
    chance_sequence,
    detectable_sequence,
    flips_drawn,
    least_distance,
    needed_sequence,
    spread_drawn,
)
from evalkit.stats.clusters import FEW_CLUSTERS
from evalkit.stats.power import (
    chance_binary,
    chance_mean,
    detectable_binary,
    detectable_mean,
    effective_samples,
    least_margin_binary,
    samples_needed_binary,
    samples_needed_mean,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePower:
    """What one question of the gate can be answered with; None: not known, or not asked.

    `decides`: whether the margin is at least `detectable`. `chance`: that it is decided where the
    tuned model is no better or worse than the base. `needed`: samples, in clusters of the same
    sizes, with which that chance is the gate's power. `least_margin`: no smaller one can be met by
    these samples, whatever the models do. `note` says why something is not known. `sequential`: all
    that is of a confidence sequence, which holds at every look; else of the test for one n.
    """

    asked: Asked
    samples: int
    clusters: int
    noise: Noise
    detectable: float | None = None
    decides: bool | None = None
    chance: float | None = None
    needed: int | None = None
    least_margin: float | None = None
    sequential: bool = False
    note: str = ""


def power_of(
    suites: Sequence[Suite],
    gate: GateConfig,
    pilot: Pilot | None = None,
    completions: int = 1,
    *,
    sequential: bool = False,
) -> list[SuitePower]:
    """The power of every question of the gate, suite by suite, each whole before its slices.

    `completions` are the answers that a generating suite will give to each sample. `sequential`:
    a suite is looked at after every block, unless it has to be asked as a whole. The suites and
    the gate have passed `check_gate`. UsageError for a pilot that knows none of the suites.
    """
    names = [suite.info.name for suite in suites]
    if pilot is not None and pilot.suites.isdisjoint(names):
        raise UsageError(
            f"The pilot holds none of the suites {', '.join(names)}, but "
            f"{', '.join(sorted(pilot.suites))}. Take another pilot, or none."
        )
    return [
        _power(
            asked,
            suite,
            gate,
            pilot,
            completions if suite.repeated else 1,
            sequential=sequential and not why_whole(suite.info, gate),
        )
        for suite in suites
        for asked in asked_of(suite.info, gate)
    ]


def _power(
    asked: Asked,
    suite: Suite,
    gate: GateConfig,
    pilot: Pilot | None,
    completions: int,
    *,
    sequential: bool,
) -> SuitePower:
    samples = [one for one in suite.samples if in_slice(one, asked.slice)]
    # A sample that is named a cluster of its own is still treated as clustered by the estimates.
    clusters = grouped([one.cluster for one in samples])
    sizes = sorted(Counter(clusters).values()) if clusters else [1] * len(samples)
    noise = _noise(asked, gate, pilot, completions)
    found = SuitePower(
        asked=asked,
        samples=len(samples),
        clusters=len(sizes),
        noise=noise,
        sequential=sequential,
    )
    paired_shares = asked.scored.kind == "binary" and asked.policy != "absolute"
    by_score = paired_shares and completions == 1 and not clusters
    if by_score:
        least = least_distance if sequential else least_margin_binary
        found = replace(found, least_margin=least(len(samples), gate.alpha))
    if noise.deviation is None:
        return replace(found, note="its noise is not known")
    if sequential:
        return _answered(found, _sequence(asked, sizes, noise, gate.alpha, by_score), gate)
    few = bool(clusters) and len(sizes) < FEW_CLUSTERS
    alpha = _kept_alpha(asked.scored, gate.alpha, few_clusters=few)
    if alpha is None:
        return replace(found, decides=False, note=f"no bounds are kept at alpha {gate.alpha:g}")
    design = _Design(
        sizes=tuple(sizes), noise=noise, by_score=by_score, few_clusters=few, alpha=alpha
    )
    return _answered(found, design, gate)


def _answered(found: SuitePower, design: _Design | _Sequence, gate: GateConfig) -> SuitePower:
    """What the design can tell, read by what is asked of it."""
    asked = found.asked
    # Both tests of an equivalence must hold, and either may miss by chance (Phillips 1990).
    both = asked.policy == "equivalence"
    power = (1 + gate.power) / 2 if both else gate.power
    detectable = design.detectable(power)
    span = scale_of(asked.scored)
    if detectable is not None and span is not None and detectable >= span:
        detectable = None
    found = replace(found, detectable=detectable, note=design.lacking())
    if asked.threshold is None:
        return found
    if asked.policy == "point":
        return replace(found, note="a bare threshold, which takes no account of noise")
    if not asked.margin:
        # Whether there is a gain of any size is a question without a distance.
        return found if asked.policy == "superiority" else replace(found, decides=False)
    chance = design.chance(asked.margin)
    return replace(
        found,
        decides=detectable is not None and asked.margin >= detectable,
        chance=max(0.0, 2 * chance - 1) if both else chance,
        needed=design.needed(asked.margin, power),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Design:
    """Samples in clusters of these sizes, their noise, and the test that the gate will use.

    `by_score`: Tango's score test, on flips; else a mean and its error, with Student's t.
    `few_clusters`: the wild bootstrap, whose reach is taken to be that of t: so it is from 6
    clusters on (simulated power 76 to 79 % where 80 is told); the 5 it takes at least have 64 %.
    """

    sizes: tuple[int, ...]
    noise: Noise
    by_score: bool
    few_clusters: bool
    alpha: float

    def detectable(self, power: float) -> float | None:
        """The least distance of a threshold that is told from no change."""
        if self.lacking():
            return None
        if self.by_score:
            return detectable_binary(sum(self.sizes), self._flips, self.alpha, power)
        return detectable_mean(self._error, len(self.sizes) - 1, self.alpha, power)

    def chance(self, margin: float) -> float:
        """The chance that no change is told from a threshold so far away."""
        if self.lacking():
            return 0.0
        if self.by_score:
            return chance_binary(sum(self.sizes), self._flips, margin, self.alpha)
        return chance_mean(self._error, len(self.sizes) - 1, margin, self.alpha)

    def needed(self, margin: float, power: float) -> int | None:
        """Samples in clusters of the same sizes, with which that chance is the power."""
        if self.by_score:
            return samples_needed_binary(self._flips, margin, self.alpha, power)
        of_clusters = self._error * math.sqrt(max(1, len(self.sizes)))
        clusters = samples_needed_mean(of_clusters, margin, self.alpha, power)
        if clusters is None:
            return None
        size = sum(self.sizes) / len(self.sizes) if self.sizes else 1.0
        return math.ceil(max(clusters, self._least_clusters) * size)

    def lacking(self) -> str:
        """Why there will be no interval at all; empty where there will be one."""
        if not self.sizes:
            return "it has no sample"
        if len(self.sizes) < self._least_clusters:
            what = "clusters" if self.few_clusters else "samples"
            return f"fewer than {self._least_clusters} {what} give no interval"
        return ""

    @property
    def _flips(self) -> float:
        return (
            self.noise.flips if self.noise.flips is not None else (self.noise.deviation or 0) ** 2
        )

    @property
    def _error(self) -> float:
        return _error_of(self.noise, self.sizes)

    @property
    def _least_clusters(self) -> int:
        """Of few clusters all signs are tried: 2^(G − 1) of them must reach below 2·alpha."""
        if self.by_score:
            return 1
        return max(2, 1 + math.ceil(-math.log2(2 * self.alpha))) if self.few_clusters else 2


def _error_of(noise: Noise, sizes: Sequence[int]) -> float:
    """Of the mean. Unless a pilot says better, all samples of a cluster are taken for one."""
    worth = sum(sizes) if noise.clustered else effective_samples(sizes, 1.0)
    return (noise.deviation or 0.0) / math.sqrt(max(1.0, worth))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    """As many draws (samples, or clusters of `size`) as `draws`, looked at early: `stats.betting`.

    `width` is that of the scale on which the draws are [0, 1]; no threshold nearer than `least`
    can be met.
    """

    draws: int
    size: float
    drawn: Drawn
    alpha: float
    width: float
    least: float
    most: float

    def detectable(self, power: float) -> float | None:
        """The least distance of a threshold that is told from no change."""
        found = detectable_sequence(self.draws, self.drawn, self.alpha, power, self.most)
        return None if found is None else max(found * self.width, self.least)

    def chance(self, margin: float) -> float:
        """The chance that no change is told from a threshold so far away."""
        if not self.least < margin < self.most * self.width:
            return 0.0 if margin <= self.least else 1.0
        return chance_sequence(self.draws, self.drawn, margin / self.width, self.alpha)

    def needed(self, margin: float, power: float) -> int | None:
        """Samples in clusters of the same sizes, with which that chance is the power."""
        if margin >= self.most * self.width:
            return None
        draws = needed_sequence(self.drawn, margin / self.width, self.alpha, power)
        return None if draws is None else math.ceil(draws * self.size)

    def lacking(self) -> str:
        """Why there will be no interval at all; empty where there will be one."""
        return "" if self.draws else "it has no sample"


def _sequence(
    asked: Asked, sizes: Sequence[int], noise: Noise, alpha: float, by_score: bool
) -> _Sequence:
    """Differences lie on [−span, span], the tuned score itself on the metric's own scale."""
    scale = asked.scored.scale
    assert scale is not None  # else the suite is asked as a whole
    draws, span = len(sizes), scale[1] - scale[0]
    deviation = _error_of(noise, sizes) * math.sqrt(max(1, draws))
    least = 0.0
    if asked.policy == "absolute":
        bound, width = _hardest(asked, scale), span
        drawn, most = spread_drawn(deviation / width, bound), 1 - bound
    else:
        width, most = 2 * span, 0.5
        drawn = (
            flips_drawn(noise.flips)
            if by_score and noise.flips is not None
            else spread_drawn(deviation / width)
        )
        least = (least_distance(draws, alpha) or 0.0) * span
    return _Sequence(
        draws=draws,
        size=sum(sizes) / draws if draws else 1.0,
        drawn=drawn,
        alpha=alpha,
        width=width,
        least=least,
        most=most,
    )


def _hardest(asked: Asked, scale: tuple[float, float]) -> float:
    """The floor on [0, 1], or the ceiling seen from above: the one on whose far side a bet is
    most limited."""
    low, high = scale
    places = [] if asked.floor is None else [(asked.floor - low) / (high - low)]
    places += [] if asked.ceiling is None else [(high - asked.ceiling) / (high - low)]
    return min(max(places, default=0.0), 1.0)


def _kept_alpha(metric: Metric, alpha: float, *, few_clusters: bool) -> float | None:
    """The alpha at which bounds are kept, where they cannot be had at any: see `bounds`."""
    if metric.kind in ("binary", "continuous") and not few_clusters:
        return alpha
    return max((one for one in ALPHAS if one <= alpha * (1 + 1e-9)), default=None)


def _noise(asked: Asked, gate: GateConfig, pilot: Pilot | None, completions: int) -> Noise:
    """The first source that knows: a pilot, what the gate declares, what is usual."""
    suite, metric = asked.suite, asked.scored
    if asked.policy == "absolute":
        own = own_of_pilot(pilot, suite, metric) if pilot else UNKNOWN
        return own if own.deviation else at_threshold(metric, (asked.floor, asked.ceiling))
    seen = of_pilot(pilot, suite, metric, asked.slice, completions) if pilot else UNKNOWN
    if seen.deviation:
        return seen
    expected = declared(metric, (gate.suites.get(suite) or SuiteGate()).expect, gate.expect)
    return expected if expected.deviation else usual(metric)
