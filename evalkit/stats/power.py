"""What a suite can show before it is run: sizes, detectable differences, decidable margins.

Tests are one-sided at `alpha` (a two-sided test at level 2·alpha has the same power in the
direction that matters). What names no distribution uses the normal approximation; for what the gate
does, `_mean` is Student's t and `_binary` Tango's score test. A deviation is the standard deviation
of the paired differences, in the metric's unit. Where it is zero, negative or NaN, nothing is known
of the noise: the answer is then "no power" (None, False or 0), never "safe".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import optimize, stats

from evalkit.stats.binary import HALF_A_FLIP, tango_statistic


def samples_needed(
    deviation: float, distance: float, alpha: float, power: float = 0.8
) -> int | None:
    """Samples with which a one-sided test settles an effect `distance` away from the margin.

    n = ((z_{1−α} + z_power) · σ_d / distance)² (Lachin 1981; Miller 2024). None
    where the distance is not positive (no number of samples settles it) or the deviation is not.
    """
    if not (deviation > 0 and distance > 0):
        return None
    return math.ceil((_reach(alpha, power) * deviation / distance) ** 2)


def detectable(deviation: float, n: int, alpha: float, power: float = 0.8) -> float | None:
    """The smallest true difference that a one-sided test on n samples finds with this power.

    δ = (z_{1−α} + z_power) · σ_d / √n (Miller 2024). None where n or the deviation is
    not positive.
    """
    if not (deviation > 0 and n > 0):
        return None
    return _reach(alpha, power) * deviation / math.sqrt(n)


def can_decide(n: int, deviation: float, margin: float, alpha: float, power: float = 0.8) -> bool:
    """Can n samples settle whether the tuned model is within `margin`, if it is truly equal?

    True where the detectable difference is at most |margin|: an unchanged model then passes
    non-inferiority, and one as far again below the margin fails it, with this power. False for
    a margin of zero, and where nothing is known of the deviation. For binary scores ask
    `least_margin_binary` too: the normal approximation flatters when little flips.
    """
    smallest = detectable(deviation, n, alpha, power)
    return smallest is not None and smallest <= abs(margin)


def least_margin_binary(n: int, alpha: float) -> float | None:
    """The smallest margin that n binary samples could ever meet: with not one flip among them.

    Where Tango's (1998) bound, corrected for continuity, lies without a discordant pair: the m
    with n·m − ½ = z·√(n·m(1 − m)), z = z_{1−α}. A smaller margin is out of the suite's reach,
    whatever the models do. None for n = 0; 1 where no margin would do.
    """
    if n <= 0:
        return None
    z2 = _z(1 - alpha) ** 2
    middle, square = n * (1 + z2), n * (n + z2)
    return min(1.0, (middle + math.sqrt(max(middle**2 - square, 0.0))) / (2 * square))


def samples_without_flip(margin: float, alpha: float) -> float:
    """The n, no whole number, at which `least_margin_binary` is `margin`; infinite for none."""
    if not 0 < margin < 1:
        return 0.0 if margin >= 1 else math.inf
    half = (1 + _z(1 - alpha) ** 2 * (1 - margin)) / 2
    return (half + math.sqrt(half**2 - 0.25)) / margin


def chance_mean(error: float, freedom: float, distance: float, alpha: float) -> float:
    """The chance that a one-sided t test excludes a threshold that lies `distance` from the truth.

    P(T > t_{1−α,ν}), T noncentral t with ν = `freedom` and noncentrality distance/error, error the
    standard error of the mean (Johnson & Welch 1940). 0 where nothing is known.
    """
    if not (error > 0 and freedom > 0 and distance >= 0):
        return 0.0
    return float(stats.nct.sf(stats.t.ppf(1 - alpha, freedom), freedom, distance / error))


def detectable_mean(error: float, freedom: float, alpha: float, power: float = 0.8) -> float | None:
    """The least distance of a threshold from the truth that a one-sided t test tells with `power`.

    The inverse of `chance_mean`, for a power above alpha. None where the error or the degrees of
    freedom are not positive.
    """
    if not (error > 0 and freedom > 0):
        return None

    def lacking(distance: float) -> float:
        return chance_mean(1.0, freedom, distance, alpha) - power

    most = _reach(alpha, power)
    while lacking(most) < 0:
        most *= 2
    return error * float(optimize.brentq(lacking, 0.0, most))


def samples_needed_mean(
    deviation: float, distance: float, alpha: float, power: float = 0.8
) -> int | None:
    """Samples with which a one-sided t test tells a threshold `distance` from the truth.

    The first n, from the normal approximation upwards, whose `chance_mean` is the power. None as
    for `samples_needed`.
    """
    least = samples_needed(deviation, distance, alpha, power)
    if least is None:
        return None
    n = max(2, least)
    while chance_mean(deviation / math.sqrt(n), n - 1, distance, alpha) < power:
        n += 1
    return n


def chance_binary(n: int, flips: float, margin: float, alpha: float) -> float:
    """The chance that Tango's score test excludes ±margin where both arms are equally good.

    `flips` is the share of samples that flip, as many up as down.
    Φ((margin·√n − ½/√n − z_{1−α}·σ₀)/σ₁), ½ the correction for continuity: σ₁² = flips is the
    variance of a difference, σ₀² what the score test takes for it at the margin (Nam 1997). With
    few flips σ₀ is much the larger, and the plain normal approximation flatters. 0 where nothing
    is known.
    """
    if not (n > 0 and 0 < flips <= 1 and 0 < margin < 1):
        return 0.0
    beyond = (n * margin - HALF_A_FLIP) / math.sqrt(n)
    beyond -= _z(1 - alpha) * _score_deviation(flips, margin)
    return float(stats.norm.cdf(beyond / math.sqrt(flips)))


def detectable_binary(n: int, flips: float, alpha: float, power: float = 0.8) -> float | None:
    """The least margin that Tango's score test excludes with `power` where the arms are equal.

    The inverse of `chance_binary`, for a power above one half. None where n or the flips are not
    positive, and where not even a margin of 1 would do.
    """
    least = least_margin_binary(n, alpha)
    edge = 1 - 1e-9
    if least is None or chance_binary(n, flips, edge, alpha) < power:
        return None

    def lacking(margin: float) -> float:
        return chance_binary(n, flips, margin, alpha) - power

    return float(optimize.brentq(lacking, least, edge))


def samples_needed_binary(
    flips: float, margin: float, alpha: float, power: float = 0.8
) -> int | None:
    """Samples with which Tango's score test excludes ±margin where both arms are equally good.

    √n = (r + √(r² + 2·margin))/(2·margin), r = z_{1−α}·σ₀ + z_power·σ₁ as in `chance_binary` (Nam
    1997, corrected for continuity). None for a margin or flips outside 0 to 1.
    """
    if not (0 < flips <= 1 and 0 < margin < 1):
        return None
    noise = _z(1 - alpha) * _score_deviation(flips, margin) + _z(power) * math.sqrt(flips)
    root = (noise + math.sqrt(noise**2 + 4 * margin * HALF_A_FLIP)) / (2 * margin)
    return math.ceil(root**2)


def _score_deviation(flips: float, margin: float) -> float:
    """What Tango's test takes for the deviation of a difference, at −margin and with these flips.

    His statistic grows with √n where the shares stay, so that it may be read off at any n.
    """
    size = 1e6
    statistic = tango_statistic(-margin, size * flips / 2, size * flips / 2, size)
    return margin * math.sqrt(size) / statistic


def flips_needed(alpha: float, *, two_sided: bool = True) -> int:
    """Fewest flips, all in one direction, at which the exact McNemar test can reject at `alpha`.

    The smallest k with 2·½ᵏ ≤ α (½ᵏ one-sided): six at .05. With fewer discordant pairs the test
    has no power at all, so that its p says nothing.
    """
    share = alpha / 2 if two_sided else alpha
    flips = max(1, math.ceil(-math.log2(share)))
    return flips if 0.5**flips <= share else flips + 1


def paired_deviation_binary(
    rate_base: float,
    rate_tuned: float,
    *,
    discordance: float | None = None,
    correlation: float | None = None,
) -> float:
    """Deviation of paired binary differences from declared rates; one of the two keywords is given.

    From the share of samples that flip in either direction, ψ: σ² = ψ − (p_t − p_b)² (Connor
    1987). From the correlation of the two scores, ρ: σ² = p_b(1 − p_b) + p_t(1 − p_t) −
    2ρ√(p_b(1 − p_b) p_t(1 − p_t)). ValueError for rates outside 0 to 1, and for a discordance or
    correlation that no table with these rates can have.
    """
    if (discordance is None) == (correlation is None):
        raise ValueError("give either the discordance or the correlation")
    if not (0 <= rate_base <= 1 and 0 <= rate_tuned <= 1):
        raise ValueError(f"rates lie between 0 and 1, not {rate_base:g} and {rate_tuned:g}")
    spread = rate_base * (1 - rate_base), rate_tuned * (1 - rate_tuned)
    if discordance is None:
        assert correlation is not None
        both = rate_base * rate_tuned + correlation * math.sqrt(spread[0] * spread[1])
        discordance = rate_base + rate_tuned - 2 * both
    shift = rate_tuned - rate_base
    most = min(rate_base + rate_tuned, 2 - rate_base - rate_tuned)
    if not abs(shift) - 1e-12 <= discordance <= most + 1e-12:
        raise ValueError(
            f"rates of {rate_base:g} and {rate_tuned:g} allow {abs(shift):g} to {most:g} of the "
            f"samples to flip, not {discordance:g}"
        )
    return math.sqrt(max(discordance - shift**2, 0.0))


def cautious_deviation_binary(flips: int, n: int, confidence: float = 0.8) -> float | None:
    """Deviation of paired binary differences that a pilot with few flips does not rule out.

    √ψ with ψ the one-sided Clopper–Pearson upper bound of flips/n: never zero, so that a pilot
    in which nothing flipped does not read as a suite without noise (Browne 1995 gives the reason
    for a bound in place of the estimate). None for n = 0.
    """
    if n <= 0:
        return None
    if flips >= n:
        return 1.0
    return math.sqrt(float(stats.beta.ppf(confidence, flips + 1, n - flips)))


def resampled_deviation(
    between: float, within_base: float, within_tuned: float, completions: int = 1
) -> float:
    """Deviation of paired differences when each sample is answered K times and averaged.

    √(ω² + σ_b²/K + σ_t²/K): ω² the variance between samples of the difference of the conditional
    means, σ² each arm's mean variance within a sample (Miller 2024). All are
    variances. ValueError for K < 1 or a negative variance.
    """
    if completions < 1 or min(between, within_base, within_tuned) < 0:
        raise ValueError("at least one completion, and no negative variance")
    return math.sqrt(between + (within_base + within_tuned) / completions)


def effective_samples(sizes: Sequence[int], correlation: float) -> float:
    """Independent samples that clustered ones are worth: Σm / (1 + (Σm²/Σm − 1) · ρ).

    `sizes` are the samples in each cluster, ρ the correlation of differences within one (the
    design effect of Kish 1965, for unequal clusters). 0 without samples.
    """
    total = sum(sizes)
    if not total:
        return 0.0
    return total / (1 + (sum(size**2 for size in sizes) / total - 1) * correlation)


def _reach(alpha: float, power: float) -> float:
    return _z(1 - alpha) + _z(power)


def _z(share: float) -> float:
    return float(stats.norm.ppf(share))
