"""How another harness's suites are asked, and a table of one's own."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from evalkit.config.base import GenerationValue, InputPath, Strict, data_name


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
    """How suites named `opencompass:…` are found, asked and read.

    `better` says by suite and metric whether more or less of it is wanted, for OpenCompass does
    not tell; what it leaves out is guessed by the metric's name.
    """

    better: dict[str, dict[str, Literal["higher", "lower"]]] = Field(default_factory=dict)
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


class OwnData(Strict):
    """A table of one's own that is asked as a suite; what is left out is guessed from it."""

    file: InputPath
    prompt: str | None = Field(default=None, description="column that holds the question")
    target: str | None = Field(default=None, description="column that holds the answer")
    scorer: str | None = Field(default=None, description="how answers are scored")
