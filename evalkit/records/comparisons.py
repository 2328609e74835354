"""Two arms side by side: pairs, differences, and what a reader looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalkit.records.judgements import Judging
from evalkit.records.runs import Check, Manifest, Metric, Result

IntervalKind: TypeAlias = Literal[
    "tango", "t", "wild", "bootstrap", "sequence", "corrected", "none"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same sample, answered by both arms."""

    base: Result
    tuned: Result


@dataclass(frozen=True, slots=True)
class Tail:
    """Bounds of a difference, each of which alone holds at 1 − alpha."""

    alpha: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """tuned − base on one metric of one suite (or one slice of it), over the paired samples.

    `low`, `high` bound the difference at `level`; they are None when it cannot be estimated
    (`note` says why; it also says where too few samples flipped for any test to tell).
    `boot_low`, `boot_high` bound it by the bootstrap. `gained` and `lost` count the samples on
    which a binary metric rose and fell: where lower is better, `lost` ones improved.
    `missing` pairs lack a score in at least one arm. `interval` names the kind of the bounds;
    `tails` keeps one-sided ones where the numbers here do not give them again. `tuned_error` is
    the standard error of the tuned arm's own mean, `tuned_tails` its bounds, kept for the same
    reason.

    `skewness` is that of the differences (of their clusters' sums), `tuned_skewness` that of the
    tuned arm's own scores. `adjusted_p` is a slice's p
    among all slices of the comparison (Benjamini–Hochberg). Of a binary choice, `changed` counts
    the samples that both arms got wrong in different ways, and `divergence` is the mean
    Kullback–Leibler divergence of the choices' probabilities, base from tuned, in nats.
    `ratio` is tuned/base of a perplexity, with its bounds at `level`: 1 is no change.
    `completions` answers were averaged for each sample: `between` is the variance between samples
    of the difference, `within_base` and `within_tuned` that of one answer within a sample.
    `unscored` adds up, over the samples, the share of their answers that could not be scored in
    one arm or the other, where there are several.
    `planned` is the number of samples there would have been, had it not been settled early; 0
    where nothing was to be stopped. `unpaired` samples are in one run only; None where that is
    not known of a slice.
    """

    suite: str
    metric: Metric
    slice: str = ""
    base: float | None = None
    tuned: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    standard_error: float | None = None
    p_value: float | None = None
    boot_low: float | None = None
    boot_high: float | None = None
    interval: IntervalKind = "none"
    method: str = ""
    tails: tuple[Tail, ...] = ()
    tuned_error: float | None = None
    tuned_tails: tuple[Tail, ...] = ()
    n: int = 0
    clusters: int = 0
    missing: int = 0
    missing_base: int = 0
    missing_tuned: int = 0
    gained: int = 0
    lost: int = 0
    skewness: float | None = None
    tuned_skewness: float | None = None
    adjusted_p: float | None = None
    changed: int | None = None
    divergence: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    completions: int = 1
    between: float | None = None
    within_base: float | None = None
    within_tuned: float | None = None
    unscored: float = 0.0
    planned: int = 0
    unpaired: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A sample whose answer changed most, kept with the comparison so that it can be read.

    The first `lead` characters of the prompt come before the question: worked examples.
    """

    suite: str
    sample_id: str
    metric: str
    base_score: float | None
    tuned_score: float | None
    prompt: str
    base_text: str
    tuned_text: str
    lead: int = 0

    @property
    def question(self) -> str:
        """The prompt without what comes before the question."""
        return self.prompt[self.lead :].strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How often no answer could be extracted for a metric of a suite, by arm.

    `lost_base`, `lost_tuned` are shares of the `n` samples scored in both arms. `both` of them have
    an extracted answer in both; `both_base`, `both_tuned` are the metric's means over those, None
    where there are none.
    """

    suite: str
    metric: str
    n: int
    lost_base: float
    lost_tuned: float
    both: int
    both_base: float | None
    both_tuned: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """How many answers of a suite were cut off within their thinking, and of how many, by arm."""

    suite: str
    base: int
    of_base: int
    tuned: int
    of_tuned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything a gate and a report need; holds no model and needs none."""

    schema_version: int
    base: Manifest
    tuned: Manifest
    base_path: str
    tuned_path: str
    deltas: tuple[Delta, ...]
    checks: tuple[Check, ...]
    unpaired: Mapping[str, tuple[str, ...]]
    flips: tuple[Flip, ...] = ()
    extractions: tuple[Extraction, ...] = ()
    truncations: tuple[Truncation, ...] = ()
    judgings: tuple[Judging, ...] = ()
