"""What a training file says: a base, data, a method, and our defaults for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from evalkit.config import HubOrFolder, InputPath, Strict, safe_name


class DataFile(Strict):
    """One JSONL file of training rows, and how much of it is used."""

    path: InputPath
    limit: int | None = Field(default=None, ge=1, description="a seeded subset of so many rows")
    weight: float = Field(default=1.0, gt=0.0, le=100.0, description="times a row is seen an epoch")
    license: str = ""


class Lora(Strict):
    """The adapter: rank, scale and place (LoRA, https://arxiv.org/abs/2106.09685)."""

    r: int = Field(default=16, ge=1, le=1024)
    alpha: int = Field(default=32, ge=1, le=4096)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"


class TrainConfig(Strict):
    """One supervised fine-tuning run; the loss is on the answers only."""

    name: str
    model: Annotated[str, HubOrFolder()] = Field(min_length=1)
    revision: str | None = None
    trust_remote_code: bool = False
    method: Literal["qlora", "lora"] = "qlora"
    data: tuple[DataFile, ...] = Field(min_length=1)
    held_out: float = Field(default=0.1, ge=0.0, le=0.5, description="share never trained on")
    system: str | None = None
    chat_template: InputPath | None = None
    max_length: int = Field(default=1024, ge=16, description="tokens; longer rows are cut")

    lora: Lora = Lora()
    double_quantization: bool = True
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    gradient_checkpointing: bool = False

    epochs: float = Field(default=1.0, gt=0.0, le=1000.0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=4, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0.0, le=1.0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    seed: int = Field(default=0, ge=0, lt=2**32)

    save_every: int | None = Field(default=None, ge=1, description="steps between checkpoints")
    keep_checkpoints: bool = Field(default=False, description="all of them, to be compared")
    eval_every: int | None = Field(default=None, ge=1, description="steps between evaluations")
    output: Path | None = None

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        """The run's name becomes a folder's name and the tuned arm's name."""
        return safe_name(name)

    @property
    def folder(self) -> Path:
        """Where everything this run makes goes."""
        return self.output if self.output is not None else Path("runs") / "train" / self.name
