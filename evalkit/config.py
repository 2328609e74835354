"""What users write: one run's YAML, checked whole before anything is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from evalkit.records import Decoding, Policy

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
DATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}(/[A-Za-z0-9][A-Za-z0-9_-]{0,79})*")


def safe_name(name: str) -> str:
    """The name, where it can be a folder's name everywhere; raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError("use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    return name


def data_name(name: str) -> str:
    """The name, where it can name a table of one's own; raises ValueError."""
    if not DATA_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name it; use letters, digits, '_' and '-', with '/' between parts"
        )
    return name


class Strict(BaseModel):
    """A part of a file a user writes: unknown keys are errors, values never change."""

    # A margin or a floor that is no number would never be reached, and nobody would know.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Existing:
    """Marks a path that must exist: beside the file that names it, else in the current folder."""


class HubOrFolder:
    """Marks a hub id or a folder; a folder is looked for beside the file that names it."""


InputPath: TypeAlias = Annotated[Path, Existing()]
GenerationValue: TypeAlias = bool | int | float | str | list[str]


class HFModel(Strict):
    """A local model: a hub id or a folder, with or without an adapter on it."""

    kind: Literal["hf"]
    path: Annotated[str, HubOrFolder()] = Field(min_length=1)
    adapter: InputPath | None = None
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["none", "nf4", "int8"] = "none"
    device: str = "auto"
    max_length: int | None = Field(default=None, ge=8)
    batch_tokens: int | None = Field(default=None, ge=64)
    trust_remote_code: bool = False
    allow_other_base: bool = False
    chat_template: InputPath | None = None


class OpenAIModel(Strict):
    """Any OpenAI-compatible endpoint; the key comes from the environment."""

    kind: Literal["openai"]
    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=8, ge=1, le=512)
    requests_per_minute: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    max_retries: int = Field(default=6, ge=0, le=20)
    price_in: float = Field(default=0.0, ge=0, description="cost of a million input tokens")
    price_out: float = Field(default=0.0, ge=0, description="cost of a million output tokens")


class RecordedModel(Strict):
    """Completions made elsewhere, from a JSONL file of {id, text} or {id, choices: [float …]}."""

    kind: Literal["recorded"]
    path: InputPath


ModelConfig: TypeAlias = Annotated[
    HFModel | OpenAIModel | RecordedModel, Field(discriminator="kind")
]


class DecodingConfig(Strict):
    """How texts are generated; a suite's own limits win over these."""

    max_new_tokens: int = Field(default=256, ge=1, le=32_768)
    temperature: float = Field(default=0.0, ge=0.0, le=5.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    stop: tuple[str, ...] = ()
    repeats: int = Field(
        default=1, ge=1, le=1000, description="answers drawn for each question of a text suite"
    )

    @model_validator(mode="after")
    def repeats_differ(self) -> Self:
        """Greedy decoding gives the same text every time: there would be nothing to average."""
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError(
                f"repeats: {self.repeats} needs a temperature above 0, for at 0 every answer to a "
                "question is the same; set temperature, or leave repeats out"
            )
        return self

    def with_limits(self, max_new_tokens: int | None, stop: tuple[str, ...], seed: int) -> Decoding:
        """The decoding of one suite: its own limit where it has one, its stop strings added."""
        return Decoding(
            max_new_tokens=max_new_tokens or self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(dict.fromkeys((*stop, *self.stop))),
            seed=seed,
        )


class LmEvalTask(Strict):
    """What a run changes in one of lm-eval's tasks."""

    num_fewshot: int | None = Field(default=None, ge=0)
    repeats: int | None = Field(default=None, ge=1, le=1000)
    gen_kwargs: dict[str, GenerationValue] = Field(default_factory=dict)


class LmEvalConfig(Strict):
    """How suites named `lm_eval:…` are asked: lm-eval's own options, with its meaning of each."""

    include_path: InputPath | None = Field(default=None, description="folder of your own tasks")
    num_fewshot: int | None = Field(default=None, ge=0)
    fewshot_seed: int = 1234
    gen_kwargs: dict[str, GenerationValue] = Field(default_factory=dict)
    predict_only: bool = False
    tasks: dict[str, LmEvalTask] = Field(default_factory=dict)


class OpenCompassCustom(Strict):
    """Data of your own in OpenCompass's custom form, or a config file of yours.

    The other keys are of data alone; what is left out is guessed as OpenCompass does.
    """

    path: InputPath = Field(description=".jsonl or .csv with the data, or a .py config file")
    infer_method: Literal["gen", "ppl"] | None = None
    data_type: Literal["mcq", "qa", "circular-mcq"] | None = None
    meta_path: InputPath | None = None

    @model_validator(mode="after")
    def config_files_speak_for_themselves(self) -> Self:
        """What is known of data, and what a config file says itself."""
        if self.path.suffix not in (".jsonl", ".csv", ".py"):
            raise ValueError(f"{self.path.name} is no .jsonl, .csv or .py file")
        others = (self.infer_method, self.data_type, self.meta_path)
        if self.path.suffix == ".py" and any(one is not None for one in others):
            raise ValueError("a config file says for itself how it is asked: leave the rest out")
        return self


class OpenCompassConfig(Strict):
    """How suites named `opencompass:…` are found and asked."""

    custom: dict[str, OpenCompassCustom] = Field(default_factory=dict)
    config_dir: InputPath | None = Field(default=None, description="holds datasets/…/NAME.py")
    data: InputPath | None = Field(default=None, description="folder that holds OpenCompass's data")

    @field_validator("custom")
    @classmethod
    def custom_has_names(cls, custom: dict[str, OpenCompassCustom]) -> dict[str, OpenCompassCustom]:
        """Its name stands behind `opencompass:`."""
        for name in custom:
            data_name(name)
        return custom


class ThinkingTags(Strict):
    """The tags around what a reasoning model thinks before it answers."""

    open: str = Field(min_length=1)
    close: str = Field(min_length=1)


class Expected(Strict):
    """What is expected of the paired differences, from which the power before a run is told."""

    flips: float | None = Field(
        default=None, gt=0.0, le=1.0, description="share of samples whose binary score changes"
    )
    deviation: float | None = Field(
        default=None, gt=0.0, description="standard deviation of the differences of other scores"
    )


class SuiteGate(Strict):
    """The gate of one suite; what is left out comes from `gate`, then from the suite itself.

    The slices of `must_not_regress` ("topic=history") are gated by non-inferiority too, with
    `slice_margin` or else the margin of the suite.
    """

    metric: str | None = None
    policy: Policy | None = None
    margin: float | None = Field(default=None, ge=0.0)
    must_not_regress: tuple[str, ...] = ()
    slice_margin: float | None = Field(default=None, ge=0.0)
    expect: Expected | None = None
    floor: float | None = Field(default=None, description="absolute: the tuned score's least")
    ceiling: float | None = Field(default=None, description="absolute: the tuned score's most")

    @field_validator("must_not_regress")
    @classmethod
    def slices_are_named_once(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        """A slice is a field and its value; one that counts twice would be gated twice."""
        for name in slices:
            if not all(part.strip() for part in name.partition("=")):
                raise ValueError(f"{name!r} is no slice; write FIELD=VALUE, as in topic=history")
        twice = [name for name in dict.fromkeys(slices) if slices.count(name) > 1]
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} is named twice")
        return slices

    @model_validator(mode="after")
    def slice_margin_has_slices(self) -> Self:
        """A margin for slices that are not declared would have no effect."""
        if self.slice_margin is not None and not self.must_not_regress:
            raise ValueError("slice_margin is of the slices of must_not_regress, and there is none")
        return self

    @model_validator(mode="after")
    def absolute_has_a_bound(self) -> Self:
        """A floor or a ceiling is what `absolute` holds against, and means nothing elsewhere."""
        bounded = self.floor is not None or self.ceiling is not None
        if bounded and self.policy != "absolute":
            raise ValueError("floor and ceiling are of policy: absolute")
        if self.policy == "absolute" and not bounded:
            raise ValueError("policy: absolute needs a floor, a ceiling, or both")
        if self.floor is not None and self.ceiling is not None and self.floor >= self.ceiling:
            raise ValueError(
                f"no score is above a floor of {self.floor:g} and below a ceiling of "
                f"{self.ceiling:g}"
            )
        return self

    @model_validator(mode="after")
    def absolute_has_no_margin(self) -> Self:
        """A margin is of differences: beside `absolute` only its slices could use one."""
        sliced = self.must_not_regress and self.slice_margin is None
        if self.policy == "absolute" and self.margin is not None and not sliced:
            raise ValueError(
                "margin has no effect beside policy: absolute, which asks for a floor or a "
                "ceiling of the score itself; leave it out"
            )
        return self


class GateConfig(Strict):
    """When a tuned model may be shipped; declared before the run.

    `policy` and `margin` are the default of all suites. `on_inconclusive` says how a gate ends
    that the samples cannot settle: like a fail (1), like a pass (0), or with an exit code of 3.
    """

    policy: Policy | None = None
    margin: float | None = Field(default=None, ge=0.0)
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    max_missing: float = Field(default=0.0, ge=0.0, le=1.0)
    on_inconclusive: Literal["fail", "pass", "exit3"] = "exit3"
    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    expect: Expected = Expected()
    suites: dict[str, SuiteGate] = Field(default_factory=dict)


class OwnData(Strict):
    """A table of one's own that is asked as a suite; what is left out is guessed from it."""

    file: InputPath
    prompt: str | None = Field(default=None, description="column that holds the question")
    target: str | None = Field(default=None, description="column that holds the answer")
    scorer: str | None = Field(default=None, description="how answers are scored")


class RunConfig(Strict):
    """One arm: a model, what it is asked, and when it passes.

    `suites` may name an entry of `data`; that table is a suite then, without a folder of its own.
    """

    name: str
    model: ModelConfig
    suites: tuple[str, ...] = Field(min_length=1)
    data: dict[str, OwnData] = Field(default_factory=dict)
    decoding: DecodingConfig = DecodingConfig()
    gate: GateConfig = GateConfig()
    lm_eval: LmEvalConfig = LmEvalConfig()
    opencompass: OpenCompassConfig = OpenCompassConfig()
    chat: Literal["suite", "always", "never"] = "suite"
    system: str | None = None
    fewshot_as: Literal["turns", "text"] = "turns"
    limit: int | None = Field(default=None, ge=1)
    seed: int = 0
    reasoning: Literal["auto", "none"] | ThinkingTags = "auto"

    @property
    def thinking(self) -> tuple[str, ...]:
        """The tags around thinking; none where nothing is to be split off."""
        match self.reasoning:
            case "auto":
                return ("<think>", "</think>")
            case "none":
                return ()
            case tags:
                return (tags.open, tags.close)

    @field_validator("suites")
    @classmethod
    def suites_are_named_once(cls, suites: tuple[str, ...]) -> tuple[str, ...]:
        """A suite that counts twice would be gated twice."""
        twice = [name for name in dict.fromkeys(suites) if suites.count(name) > 1]
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} is named twice")
        return suites

    @field_validator("data")
    @classmethod
    def data_has_names(cls, data: dict[str, OwnData]) -> dict[str, OwnData]:
        """A table's name stands where a suite's does."""
        for name in data:
            data_name(name)
        return data

    @model_validator(mode="after")
    def data_is_asked(self) -> Self:
        """A table that no suite names would have no effect."""
        unasked = [name for name in self.data if name not in self.suites]
        if unasked:
            raise ValueError(
                f"data has {unasked[0]!r}, which is not among the suites: add it to them"
            )
        return self

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        """A run's name becomes a folder's name."""
        return safe_name(name)
