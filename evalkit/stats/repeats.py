"""Several completions of one sample: averaged first, and what more of them would bring.

Completions of a sample are not samples: pooled, they would count the same question K times and
give intervals that are too narrow. What is compared is the mean of each sample's scores; the
variance within samples only says how much of the noise more completions can take away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from evalkit.stats.base import Codes, Reals, number
from evalkit.stats.means import cluster_sums


class SampleMeans(NamedTuple):
    """One mean score per sample, in the order of the sample ids, and how many it is the mean of."""

    samples: list[str]
    means: Reals
    counts: Codes


class Components(NamedTuple):
    """Variance of the samples' true means (between) and of completions of one sample (within).

    `repeats` is the number of completions per sample that the mean over the samples has now
    (the harmonic mean of the counts, for the variance of a mean goes with 1/K).
    """

    between: float
    within: float
    samples: int
    repeats: float


def sample_means(scores: Reals, samples: Sequence[str]) -> SampleMeans:
    """Average the scores of each sample; scores and samples are of equal length, in any order."""
    sums, counts = cluster_sums(scores, samples)
    return SampleMeans(sorted(set(samples)), sums / counts, counts)


def variance_components(scores: Reals, samples: Sequence[str]) -> Components | None:
    """One-way random effects by analysis of variance, for equal or unequal counts per sample.

    within = Σ_i Σ_j (x_ij − x̄_i)² / (N − n), between = max(0, (V − within/k̃)), V the variance of
    the n sample means and k̃ the harmonic mean of their counts: the unweighted-means estimator
    (Searle, Casella & McCulloch 1992), equal to (MSB − MSW)/K for equal counts.
    None below 2 samples and where no sample has a second completion: the two cannot be told
    apart then.
    """
    names, codes = number(samples)
    means, counts = sample_means(scores, samples)[1:]
    spare = len(scores) - len(names)
    if len(names) < 2 or spare < 1:
        return None
    within = math.fsum((scores - means[codes]) ** 2) / spare
    repeats = len(names) / math.fsum(1 / counts)
    centre = math.fsum(means) / len(means)
    observed = math.fsum((means - centre) ** 2) / (len(means) - 1)
    return Components(max(0.0, observed - within / repeats), within, len(names), repeats)


def difference_components(base: Components, tuned: Components, differences: Reals) -> Components:
    """Components of the paired differences of sample means, shape [n].

    Completions of the two arms are independent given the sample, so within is the sum of the
    arms' (each as if both had the tuned arm's number of repeats) and between is what their
    means leave: Var(d) = ω² + σ²_base/K_base + σ²_tuned/K_tuned (Miller 2024, arXiv:2411.00640).
    `repeats` is the tuned arm's.
    """
    n = len(differences)
    noise = base.within / base.repeats + tuned.within / tuned.repeats
    centre = math.fsum(differences) / n
    observed = math.fsum((differences - centre) ** 2) / (n - 1)
    return Components(max(0.0, observed - noise), noise * tuned.repeats, n, tuned.repeats)


def paired_components(base: Reals, tuned: Reals) -> Components | None:
    """Components of the paired differences where both arms have K answers, shape [n, K].

    The j-th answers of the arms may have been drawn with the same random numbers and then go
    together, which makes their difference less noisy than `difference_components` takes it to be.
    So this is the analysis of variance of the differences d_ij = tuned_ij − base_ij themselves:
    within is σ²_base + σ²_tuned − 2·cov, whatever the covariance. None below 2 samples and for
    K = 1.
    """
    samples, repeats = base.shape
    names = [str(place) for place in range(samples) for _ in range(repeats)]
    return variance_components((tuned - base).ravel(), names)


def standard_error(components: Components, repeats: float, samples: int | None = None) -> float:
    """Standard error of the mean with `repeats` completions of each sample (inf: no noise left).

    √((between + within/K)/n) (Miller 2024); n is that of the components unless given.
    """
    n = samples or components.samples
    return math.sqrt((components.between + components.within / repeats) / n)


def variance_cut(components: Components, repeats: float, now: float = 1.0) -> float:
    """Share of the variance of the mean that `repeats` completions per sample take away.

    1 − (between + within/K)/(between + within/K_now); negative if K is less than now. For scores
    with between 1/12 and within 1/6, K = 2, 4, 6 take away 1/3, 1/2, 5/9 (Miller 2024). 0 where
    nothing varies.
    """
    before = components.between + components.within / now
    after = components.between + components.within / repeats
    return 1 - after / before if before > 0 else 0.0
