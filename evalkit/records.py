"""The plain frozen records that flow, one way, from a suite to a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from evalkit.errors import ExitCode

Role: TypeAlias = Literal["system", "user", "assistant"]
RequestKind: TypeAlias = Literal["loglikelihood", "rolling", "whole", "generate"]
StopReason: TypeAlias = Literal["stop", "length", "scored", "error", "thinking"]
Outcome: TypeAlias = Literal["pass", "fail", "inconclusive"]
CheckStatus: TypeAlias = Literal["ok", "warning", "failed"]
MetricKind: TypeAlias = Literal[
    "binary", "continuous", "ratio", "perplexity", "bleu", "chrf", "mcc"
]
IntervalKind: TypeAlias = Literal["tango", "t", "wild", "bootstrap", "sequence", "none"]
Ground: TypeAlias = Literal["bounds", "value", "missing", "absent"]
Policy: TypeAlias = Literal["non_inferiority", "superiority", "equivalence", "absolute", "point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Prompt: TypeAlias = str | tuple[Message, ...]
"""What a model is asked: plain text, or turns that its chat template renders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How text is generated; temperature 0 is greedy.

    `end_of_turn`: a token that ends a turn in the chat template ends the text, too, also where
    the model's own files do not name it among the tokens that end a text. `thinking` are the tags
    around what a reasoning model writes first; stop strings count behind it only.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    end_of_turn: bool = True
    thinking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question of a suite, with all that scoring it needs.

    `choices` are the continuations whose log-likelihoods are compared and `answer` the index of
    the right one; `targets` are acceptable answers of a generated text. `fields` holds the
    sample's whole row as the suite's author wrote it (constraints, required facts …). `lead` counts
    the characters of the text asked (the plain prompt, or a chat's last turn) that come before the
    question itself, worked examples above all; None where that is not known.
    """

    id: str
    suite: str
    prompt: Prompt
    targets: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int | None = None
    cluster: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    lead: int | None = None

    @property
    def asked(self) -> str:
        """The text asked: the plain prompt, or the last turn of a chat."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1].content

    @property
    def then(self) -> tuple[str, ...]:
        """The user's later turns, each asked after the model's own answer to the one before."""
        turns = self.fields.get("then")
        return tuple(map(str, turns)) if isinstance(turns, list) else ()

    @property
    def slice_names(self) -> tuple[str, ...]:
        """The slices it is in, as they are written: "topic=history"."""
        return tuple(f"{key}={value}" for key, value in sorted(self.slices.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing asked of one arm: score a continuation, score a whole text, or generate.

    `index` tells a sample's requests apart (which choice, which repeat). `rolling` scores
    `continuation` from its first token, `whole` all but the first of the tokens that the tokenizer
    makes of it, nothing put in front; `prompt` is empty then.
    """

    arm: str
    suite: str
    sample_id: str
    kind: RequestKind
    prompt: Prompt
    continuation: str = ""
    decoding: Decoding | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model said to one request.

    `logprobs` are natural logarithms, one per scored or generated token (empty where the
    model does not tell); `prompt_text` is the prompt as the model saw it, `prompt_hash` a hash
    of its token ids and `prompt_start` the first of them (empty where unknown); `truncated`
    counts prompt tokens cut from the left. `thinking` is what a reasoning model wrote before the
    answer, which alone is `text`; a stop reason of "thinking" says that it was cut off in there.
    """

    key: str
    text: str = ""
    thinking: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    is_greedy: bool | None = None
    stop_reason: StopReason = "scored"
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: int = 0
    prompt_text: str = ""
    prompt_hash: str = ""
    prompt_start: tuple[int, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def loglikelihood(self) -> float:
        """Sum of the token log-probabilities, in nats."""
        return float(sum(self.logprobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one scorer says of one completion; `value` is None when it could not be scored.

    `stats` are the sample's sufficient statistics where the metric is an aggregate over the
    corpus (total negative log-likelihood and token count for perplexity, for instance). `values`
    are those of its several completions, of which `value` is the mean; empty where there is one.
    """

    sample_id: str
    scorer: str
    value: float | None
    reason: str = ""
    stats: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How the scores of one scorer are read; `higher_is_better` None: described, never judged.

    A "ratio" is the sum of the samples' first statistic over that of their second, a "perplexity"
    its exponential; "bleu" and "chrf" are computed from the sums of sacrebleu's statistics, "mcc"
    (Matthews' correlation) from the confusion matrix, the others are means over samples. `least`,
    `most` bound a sample's score, where its scale is bounded. `extraction_of` names the metric
    whose scores are 0 where this one says that no answer could be taken out of what was written.
    """

    name: str
    higher_is_better: bool | None = True
    kind: MetricKind = "continuous"
    unit: str = ""
    least: float | None = None
    most: float | None = None
    extraction_of: str = ""

    @property
    def scale(self) -> tuple[float, float] | None:
        """Between which values every sample's score lies; None where it has no bounds.

        A ratio of sums is no mean of its samples' scores, so bounds of theirs say nothing of it.
        """
        if self.kind == "binary":
            return (0.0, 1.0)
        if self.kind != "continuous" or self.least is None or self.most is None:
            return None
        return (self.least, self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a judge said of one sample (a later room; recorded runs may carry them)."""

    sample_id: str
    judge: str
    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that one run knows about one sample."""

    sample: Sample
    completions: tuple[Completion, ...]
    scores: tuple[Score, ...]
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteInfo:
    """What a run remembers of a suite it was measured on; `metric` is the one that is gated.

    `references` holds the mean of a metric over the suite's reference texts, where one is known.
    `samples` were asked, of the `available` ones of the whole suite; `slices` counts the latter by
    slice ("topic=history"). Both are None where a run does not tell. `margin_metric` is the one
    that `margin` was declared for, where a gate names another; `aspect` the ability that the suite
    stands for, where it was asked as one of a set.
    """

    name: str
    title: str
    language: str
    task: str
    metric: str
    metrics: tuple[Metric, ...]
    fingerprint: str
    path: str
    samples: int
    policy: Policy = "non_inferiority"
    margin: float = 0.02
    license: str = ""
    source: str = ""
    description: str = ""
    references: Mapping[str, float] = field(default_factory=dict)
    available: int | None = None
    slices: Mapping[str, int] | None = None
    margin_metric: str = ""
    aspect: str = ""

    @property
    def gated(self) -> Metric:
        """The metric that is gated."""
        return next(one for one in self.metrics if one.name == self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """How far a run went with a suite that was looked at after every block of samples.

    `planned` samples were to be asked, and as many of them by slice as `slices` says; they count
    as `draws` clusters (one without a cluster is its own), the largest of which has `largest`
    samples. `asked` were, and are the run's results: the first in the order of the run's seed.
    `settled`: they were enough for the verdict; else the suite was asked to its end. `alphas` are
    the one-sided levels at which it was looked at. `requests` were made of `planned_requests`.
    The gate asks of `metric`, for each of `claims` ("" the whole suite, else a slice); with
    `absolute`, of the tuned score itself. Runs that do not tell the metric have it "".
    """

    planned: int
    draws: int
    largest: int
    slices: Mapping[str, int] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    metric: str = ""
    claims: tuple[str, ...] = ("",)
    absolute: bool = False
    asked: int = 0
    settled: bool = False
    planned_requests: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Who, what, when of a run; written last, so its existence means the run is complete.

    `early` holds the suites that could be stopped before their end, by name: no interval for a
    fixed number of samples is right for them.
    """

    schema_version: int
    run_id: str
    name: str
    config: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    suites: tuple[SuiteInfo, ...]
    versions: Mapping[str, str]
    git_commit: str
    seed: int
    started: str
    finished: str
    counts: Mapping[str, int]
    measures: Mapping[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    early: Mapping[str, EarlyStop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One arm, evaluated."""

    manifest: Manifest
    results: tuple[Result, ...]
    path: str = ""


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
class Check:
    """A canary: a condition without which the comparison would mean nothing."""

    name: str
    status: CheckStatus
    message: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteVerdict:
    """The gate's word on one suite.

    `threshold` is what the benefit (the difference, turned so that more is better) was held
    against; None where the tuned arm's own score was, against a floor or a ceiling. `slice` is
    empty for the whole suite. `ground` is what decided: bounds, a bare value, missing samples, or
    that there was nothing to decide on. `floor`, `ceiling` are what the absolute policy asks of
    the tuned arm's own score. `low`, `high` are the bounds that decided, one-sided at 1 − alpha
    each, of what is held against threshold, floor or ceiling; None where none did. `reachable`:
    whether the suite holds `samples_needed`, False also where no number of samples would do; None
    where that is not known.
    """

    suite: str
    slice: str = ""
    outcome: Outcome
    policy: Policy
    margin: float
    threshold: float | None
    delta: Delta | None
    reason: str
    ground: Ground = "bounds"
    floor: float | None = None
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None
    samples_needed: int | None = None
    reachable: bool | None = None

    @property
    def label(self) -> str:
        """The suite, and in brackets the slice of it: what a report calls it."""
        return f"{self.suite}[{self.slice}]" if self.slice else self.suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The one object behind the printed verdict, the JSON, the JUnit file and the exit code.

    `departures`: how the gate that decided is another than the one declared before the run.
    """

    outcome: Outcome
    exit_code: ExitCode
    suites: tuple[SuiteVerdict, ...]
    checks: tuple[Check, ...]
    advice: str
    departures: tuple[str, ...] = ()
