"""Who judges the answers that no rule can score, of what, and for how much."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from evalkit.config.base import InputPath, RubricName, Strict, safe_name
from evalkit.config.models import HFModel, OpenAIModel
from evalkit.records import Policy, Protocol

JudgeModel: TypeAlias = Annotated[HFModel | OpenAIModel, Field(discriminator="kind")]


class ModelJudge(Strict):
    """A model that judges: an endpoint, which writes its verdict, or a local one, whose verdicts
    are scored as log-likelihoods of the options."""

    kind: Literal["model"] = "model"
    name: str
    model: JudgeModel
    structured: Literal["auto", "never"] = Field(
        default="auto", description="ask the endpoint for JSON by schema where it can do that"
    )
    max_new_tokens: int = Field(default=768, ge=16, le=32_768)
    reasoning: bool = Field(default=False, description="it thinks before it answers")

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        """A judge's name stands in metrics and files."""
        return safe_name(name)

    @model_validator(mode="after")
    def a_local_model_writes_nothing(self) -> Self:
        """What tells how a verdict is written has no effect on one that is scored."""
        told = [
            name
            for name in ("structured", "max_new_tokens", "reasoning")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if told and isinstance(self.model, HFModel):
            raise ValueError(
                f"{told[0]} is of judges that write their verdict; a local model (kind: hf) is "
                "scored on the options and writes nothing. Leave it out"
            )
        return self


class RecordedJudge(Strict):
    """Judgements made elsewhere, from a JSONL file; docs/judging.md has its fields."""

    kind: Literal["recorded"]
    name: str
    path: InputPath

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        """A judge's name stands in metrics and files."""
        return safe_name(name)


class HumanJudge(Strict):
    """People's labels as a judge, from a CSV that `evalkit judge labels export` made."""

    kind: Literal["human"]
    name: str = "people"
    path: InputPath

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        """A judge's name stands in metrics and files."""
        return safe_name(name)


JudgeMember: TypeAlias = Annotated[
    ModelJudge | RecordedJudge | HumanJudge, Field(discriminator="kind")
]


class Budget(Strict):
    """How much judging may cost; what is not asked for then is missing, as `unasked`."""

    money: float | None = Field(default=None, gt=0, description="in the currency of the prices")
    tokens: int | None = Field(default=None, ge=1)
    calls: int | None = Field(default=None, ge=1)


class JudgedSuite(Strict):
    """How one suite is judged; what is left out comes from `judge`, then from the suite itself."""

    rubrics: tuple[RubricName, ...] | None = Field(default=None, min_length=1)
    protocol: Protocol | None = None
    language: Literal["en", "zh"] | None = None
    limit: int | None = Field(default=None, ge=1, description="samples that are judged")


class SuiteJudging(Strict):
    """What a suite.yaml says of the judging of its answers, where a run has a judge.

    `metric` ("judge.rednote") is what such a run gates on instead of the suite's own metric, with
    this `policy` and `margin`.
    """

    rubrics: tuple[RubricName, ...] = Field(min_length=1)
    protocol: Protocol | None = None
    language: Literal["en", "zh"] | None = None
    metric: str | None = None
    policy: Policy | None = None
    margin: float | None = Field(default=None, ge=0.0)

    @model_validator(mode="after")
    def the_gate_is_of_a_metric(self) -> Self:
        """A policy and a margin of no metric would have no effect."""
        if self.metric is None and (self.policy is not None or self.margin is not None):
            raise ValueError("policy and margin are of metric: name it, or leave them out")
        return self


class JudgeConfig(Strict):
    """The judging of a comparison, declared with the base.

    `suites` names those that are judged; empty: every suite that declares a rubric of its own. A
    rubric is a shipped one's name or a file (.yaml). Several judges are a jury, whose mean counts.
    `labels` are people's, by which the judged numbers are corrected; `demand: corrected` gates on
    the corrected number. `probes: warn` goes on with a judge that fails the known-answer probes.
    """

    judges: tuple[JudgeMember, ...] = Field(min_length=1)
    suites: dict[str, JudgedSuite] = Field(default_factory=dict)
    protocol: Protocol = "pairwise"
    repeat: int = Field(default=1, ge=1, le=100)
    temperature: float = Field(default=0.0, ge=0.0, le=5.0)
    budget: Budget = Budget()
    max_missing: float = Field(default=0.05, ge=0.0, le=1.0)
    probes: Literal["refuse", "warn", "skip"] = "refuse"
    strip: bool = Field(default=True, description="judge style suites without markup, too")
    labels: InputPath | None = None
    demand: Literal["judged", "corrected"] = "judged"
    seed: int = 0

    @model_validator(mode="after")
    def judges_have_names_of_their_own(self) -> Self:
        """Judges are told apart by their names."""
        names = [one.name for one in self.judges]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"two judges are called {twice[0]!r}: give one another name")
        return self

    @model_validator(mode="after")
    def repeats_differ(self) -> Self:
        """At temperature 0 every answer to one question is the same."""
        if self.repeat > 1 and self.temperature == 0:
            raise ValueError(
                f"repeat: {self.repeat} needs a temperature above 0, for at 0 a judge says the "
                "same every time; set temperature, or leave repeat out"
            )
        return self

    @model_validator(mode="after")
    def corrections_have_labels(self) -> Self:
        """Without labels there is nothing to correct by."""
        if self.demand == "corrected" and self.labels is None:
            raise ValueError("demand: corrected needs labels, a CSV of people's labels")
        return self
