"""One arm's file, checked whole before anything is loaded."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from evalkit.config.base import Strict, data_name, safe_name
from evalkit.config.gates import GateConfig
from evalkit.config.harnesses import LmEvalConfig, OpenCompassConfig, OwnData
from evalkit.config.judges import JudgeConfig
from evalkit.config.models import DecodingConfig, ModelConfig, ThinkingTags


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
    judge: JudgeConfig | None = None
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
