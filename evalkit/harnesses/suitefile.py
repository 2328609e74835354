"""suite.yaml: what a suite says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from evalkit.config import Strict
from evalkit.configfile import load_config
from evalkit.errors import ConfigError, SuiteError
from evalkit.harnesses.base import Task
from evalkit.harnesses.prompts import Template
from evalkit.records import Policy

Language = Annotated[str, StringConstraints(pattern=r"^([a-z]{2,3}|mixed)$")]


class ScorerLine(Strict):
    """A scorer's name, or a mapping of its name and its options (checked by the scorer)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def bare_name(cls, value: Any) -> Any:
        """`- chrf` is `- {name: chrf}`."""
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, object]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Fewshot(Strict):
    """Worked examples before each question, the same ones for every question."""

    count: int = Field(ge=1, le=64)
    seed: int = 1
    file: str = "fewshot.jsonl"

    @field_validator("file")
    @classmethod
    def inside_the_suite(cls, file: str) -> str:
        """The worked examples lie in the suite's folder; a scorer's file may lie anywhere."""
        if Path(file).name != file or file in {"", ".", ".."}:
            raise ValueError("expected the name of a file in the suite's folder")
        return file


class SuiteGateDefault(Strict):
    """When the suite passes, unless the run's own gate says otherwise."""

    policy: Policy = "non_inferiority"
    margin: float = Field(default=0.02, ge=0.0)


class SuiteConfig(Strict):
    """A suite's suite.yaml."""

    title: str = Field(min_length=1)
    description: str = ""
    version: int = 1
    language: Language
    license: str = ""
    source: str = ""
    task: Task
    chat: bool | None = None
    system: str | None = None
    prompt: str | None = None
    delimiter: str | None = None
    fewshot: Fewshot | None = None
    max_new_tokens: int | None = Field(default=None, ge=1, le=32_768)
    stop: tuple[str, ...] = ()
    scorers: tuple[ScorerLine, ...] = Field(min_length=1)
    metric: str | None = None
    gate: SuiteGateDefault = SuiteGateDefault()
    slices: tuple[str, ...] = ()
    cluster: str | None = None

    @field_validator("prompt")
    @classmethod
    def prompt_is_plain(cls, prompt: str | None) -> str | None:
        """Refuse at once what could never be rendered."""
        if prompt is not None:
            Template.parse(prompt)
        return prompt

    @model_validator(mode="after")
    def keys_fit_the_task(self) -> SuiteConfig:
        """A key that this task would ignore is a mistake, not a wish."""
        ignored: dict[Literal["choice", "generate", "perplexity"], tuple[str, ...]] = {
            "choice": ("max_new_tokens", "stop"),
            "generate": (),
            "perplexity": (
                "max_new_tokens", "stop", "chat", "system", "prompt", "delimiter", "fewshot",
            ),
        }  # fmt: skip
        given = [key for key in ignored[self.task] if getattr(self, key) not in (None, (), False)]
        if given:
            raise ValueError(f"a suite of task {self.task!r} has no {', '.join(map(repr, given))}")
        if self.task == "generate" and self.delimiter is not None and self.fewshot is None:
            raise ValueError("'delimiter' stands before choices and worked examples; here are none")
        return self

    @property
    def template(self) -> Template:
        """The prompt's template; the default is the row's `prompt`, or its `text`."""
        default = "{text}" if self.task == "perplexity" else "{prompt}"
        return Template.parse(self.prompt if self.prompt is not None else default)


def read_suite_file(folder: Path) -> SuiteConfig:
    """The suite.yaml of a folder; raises SuiteError listing every mistake in it."""
    try:
        return load_config(folder / "suite.yaml", SuiteConfig)
    except ConfigError as error:
        raise SuiteError(str(error)) from None
