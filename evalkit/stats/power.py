"""What a suite can show before it is run: sizes, detectable differences, decidable margins.

Everything here uses the normal approximation for a one-sided test at `alpha` (a two-sided test at
level 2·alpha has the same power in the direction that matters). A deviation is the standard
deviation of the paired differences, in the metric's unit. Where it is zero, negative or NaN,
nothing is known of the noise: the answer is then "no power" (None or False), never "safe".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats


def samples_needed(
    deviation: float, distance: float, alpha: float, power: float = 0.8
) -> int | None:
    """Samples with which a one-sided test settles an effect `distance` away from the margin.

    n = ((z_{1−α} + z_power) · σ_d / distance)² (Lachin 1981, eq. 1; Miller 2024, section 5). None
    where the distance is not positive (no number of samples settles it) or the deviation is not.
    """
    if not (deviation > 0 and distance > 0):
        return None
    return math.ceil((_reach(alpha, power) * deviation / distance) ** 2)


def detectable(deviation: float, n: int, alpha: float, power: float = 0.8) -> float | None:
    """The smallest true difference that a one-sided test on n samples finds with this power.

    δ = (z_{1−α} + z_power) · σ_d / √n (Miller 2024, section 5). None where n or the deviation is
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

    z²/(n + z²), z = z_{1−α}: Tango's (1998) score bound with no discordant pair. A smaller margin
    is out of the suite's reach, whatever the models do. None for n = 0.
    """
    if n <= 0:
        return None
    z2 = float(stats.norm.ppf(1 - alpha)) ** 2
    return z2 / (n + z2)


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
    means, σ² each arm's mean variance within a sample (Miller 2024, section 5). All are
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
    return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
