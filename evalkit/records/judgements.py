"""What judges said of two arms' answers, and how far each of them can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Protocol: TypeAlias = Literal["pairwise", "pointwise"]
Side: TypeAlias = Literal["base", "tuned"]
Order: TypeAlias = Literal["base_first", "tuned_first", ""]
JudgementStatus: TypeAlias = Literal["judged", "unparsed", "refused", "error", "unasked"]
MissingReason: TypeAlias = Literal["unparsed", "refused", "error", "unasked", "no_answer"]
PreferenceOutcome: TypeAlias = Literal["tuned", "base", "tie", "flip", "wavered", "missing"]

_PREFIX: Mapping[Protocol, str] = {"pairwise": "judge.", "pointwise": "rating."}


def metric_name(rubric: str, protocol: Protocol) -> str:
    """What a rubric's scores are called: judge.rednote, or rating.rednote."""
    return _PREFIX[protocol] + rubric


def corrected_name(rubric: str) -> str:
    """What the preference is called that people's labels have set right."""
    return f"judge.{rubric}.corrected"


def is_judged(metric: str) -> bool:
    """Whether a metric's scores are a judge's: they are in comparisons, and in no run."""
    return metric.startswith(tuple(_PREFIX.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one judge said at one call.

    Pairwise, `value` is the utility for the tuned arm: 1 it is preferred, ½ a tie, 0 the base is;
    a judge that gives probabilities may give anything between. Pointwise, it is the rating of
    `arm`'s answer on the rubric's scale. None where `status` says that there is none; `unasked`:
    the budget had ended. `level` is the verdict in the judge's own word ("better"), said of the
    first answer shown. `stripped`: the answers were shown without emoji and markup. `repeat`
    counts from 0. `key` is that of the stored completion, empty where none was asked for.
    `answers` is a hash of the answers that were judged: it tells these from those of another
    training.
    """

    suite: str
    sample_id: str
    judge: str
    rubric: str
    protocol: Protocol
    order: Order = ""
    arm: Side | Literal[""] = ""
    repeat: int = 0
    stripped: bool = False
    status: JudgementStatus = "judged"
    value: float | None = None
    level: str = ""
    rationale: str = ""
    error: str = ""
    key: str = ""
    answers: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One judge's pairwise word on one sample, both orders together.

    `value` is the utility for the tuned arm, None where it is missing. Of orders that name winners,
    both must name the same: else the sample counts ½, as `flip` where the winners are opposite and
    as `wavered` where one order is a tie. `reason` says why it is missing.
    """

    suite: str
    sample_id: str
    judge: str
    rubric: str
    value: float | None
    outcome: PreferenceOutcome
    reason: MissingReason | Literal[""] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share (or a coefficient) with its interval at `level`, over `n` cases; bounds None where
    too few cases say anything."""

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A judged mean set right by `labels` human labels.

    `method`: "ppi" (prediction-powered inference) or "misclassification" (the binary correction).
    `labels` counts the samples that people labelled, the rate's `n` all that were judged.
    `agreement` is the judge's with the people, `ceiling` the people's among each other, where
    samples have several labels; `kappa` is Cohen's, of judge and people.
    """

    method: str
    labels: int
    rate: Rate
    agreement: Rate | None = None
    kappa: float | None = None
    ceiling: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeHealth:
    """How one judge did on one suite and rubric.

    Pairwise: `win_rate` is the mean utility for the tuned arm (a tie counts half). `first_wins`:
    how often the answer shown first was preferred, among calls that named a winner. `flips`,
    `ties`, `wavered` are shares of the samples judged in both orders. `longer_wins`: how often the
    longer answer was preferred, among samples with a winner and unequal lengths.
    `length_coefficient` is that of the length difference in a logistic regression of the
    preference, `length_controlled` the win rate that it gives at equal lengths. `stripped` is the
    win rate where the answers were shown without emoji and markup. Pointwise these are None, and
    `ratings` holds both arms' means. `missing` counts samples by reason. `same_family` names the
    candidate of the judge's own family. `cost` is in the currency of the configured prices, None
    where there are none. `warnings` are sentences for a reader; `untrusted` the reasons why the
    results are not trustworthy, empty where none was found.
    """

    judge: str
    model: str
    prompt_hash: str
    n: int
    win_rate: Rate | None = None
    ratings: Mapping[str, float] = field(default_factory=dict)
    first_wins: Rate | None = None
    flips: Rate | None = None
    ties: Rate | None = None
    wavered: Rate | None = None
    longer_wins: Rate | None = None
    length_coefficient: Rate | None = None
    length_controlled: Rate | None = None
    stripped: Rate | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    missing_by_arm: Mapping[str, int] = field(default_factory=dict)
    same_family: str = ""
    probes_passed: int | None = None
    probes: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    corrected: tuple[Corrected, ...] = ()
    warnings: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JuryHealth:
    """How several judges agree on one suite and rubric.

    `alpha` is Krippendorff's (interval metric), `kappa` the mean of Cohen's over pairs of judges;
    None where they are not defined. `without` holds the jury's win rate (pointwise: the difference
    of the arms' means) without each judge.
    """

    alpha: float | None
    kappa: float | None
    without: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """All that is known of the judging of one suite by one rubric.

    `metric` names the delta in which its scores stand. `flagged` holds, by arm, the ids of samples
    whose answer looks like an attempt on the judge, with what was found. `file` is that of the
    judgements, beside comparison.json.
    """

    suite: str
    rubric: str
    metric: str
    protocol: Protocol
    judges: tuple[JudgeHealth, ...]
    jury: JuryHealth | None = None
    corrected: tuple[Corrected, ...] = ()
    flagged: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: str = ""

    @property
    def untrusted(self) -> tuple[str, ...]:
        """Why its results are not trustworthy; each reason once."""
        return tuple(dict.fromkeys(why for one in self.judges for why in one.untrusted))
