"""Where answers come from, and how texts are generated."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from evalkit.config.base import HubOrFolder, InputPath, Strict
from evalkit.records import Decoding


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


class ThinkingTags(Strict):
    """The tags around what a reasoning model thinks before it answers."""

    open: str = Field(min_length=1)
    close: str = Field(min_length=1)
