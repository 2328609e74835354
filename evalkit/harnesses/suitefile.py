"""suite.yaml: what a suite says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from evalkit.config import Strict, SuiteJudging
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


class DataSource(Strict):
    """The data set a recipe asks: found by its hub name, in the data root first.

    `config` is one configuration; `configs` are several and what each is called, which every row
    then holds as `config` and `label`. `files` is a pattern instead, for data without splits.
    """

    dataset: str = Field(min_length=1)
    config: str | None = None
    configs: dict[str, str] = Field(default_factory=dict)
    split: str | None = None
    files: str | None = None

    @model_validator(mode="after")
    def told_once(self) -> DataSource:
        """What would be ignored is a mistake."""
        if self.config is not None and self.configs:
            raise ValueError("config is one, configs are several: give one of the two")
        if self.files is not None and (self.split or self.config or self.configs):
            raise ValueError("files stands instead of config, configs and split")
        return self


class FieldSource(Strict):
    """Where a field of a recipe's rows is from; a bare name is that column."""

    column: str | None = None
    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    item: int | None = Field(default=None, ge=0, description="this item of a list, from 0")
    skip: int | None = Field(default=None, ge=1, description="the list without its first items")
    after: str | None = Field(default=None, description="what stands after this text's last place")
    strip: bool = False
    letter: bool = Field(default=False, description="A is 0, B is 1 …")

    @model_validator(mode="before")
    @classmethod
    def bare_column(cls, value: Any) -> Any:
        """`question: Question` is `question: {column: Question}`."""
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def one_origin(self) -> FieldSource:
        """The value is from one place, and what is done to it fits that place."""
        if sum(map(bool, (self.column, self.columns, self.texts))) != 1:
            raise ValueError("give one of column, columns and texts")
        changes = self.after, self.item, self.skip, self.strip or None, self.letter or None
        if self.column is None and any(each is not None for each in changes):
            raise ValueError("item, skip, after, strip and letter are of one column")
        if self.item is not None and self.skip is not None:
            raise ValueError("item takes one, skip takes the rest: give one of the two")
        return self


class Fewshot(Strict):
    """Worked examples before each question, the same ones for every question.

    A recipe takes them from a `split` of its data set; with `by`, from those rows that have the
    question's own value of that field. `answer` is the field that is shown as the answer.
    """

    count: int = Field(ge=1, le=64)
    seed: int = 1
    file: str = "fewshot.jsonl"
    split: str | None = None
    order: Literal["shuffled", "first"] = "shuffled"
    answer: str | None = None
    by: str | None = None

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
    data: DataSource | None = None
    fields: dict[str, FieldSource] = Field(default_factory=dict)
    fewshot: Fewshot | None = None
    max_new_tokens: int | None = Field(default=None, ge=1, le=32_768)
    stop: tuple[str, ...] = ()
    scorers: tuple[ScorerLine, ...] = Field(min_length=1)
    metric: str | None = None
    gate: SuiteGateDefault = SuiteGateDefault()
    slices: tuple[str, ...] = ()
    cluster: str | None = None
    judge: SuiteJudging | None = None

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
            "choice": ("max_new_tokens", "stop", "judge"),
            "generate": (),
            "perplexity": (
                "max_new_tokens", "stop", "chat", "system", "prompt", "delimiter", "fewshot",
                "judge",
            ),
        }  # fmt: skip
        given = [key for key in ignored[self.task] if getattr(self, key) not in (None, (), False)]
        if given:
            raise ValueError(f"a suite of task {self.task!r} has no {', '.join(map(repr, given))}")
        if self.task == "generate" and self.delimiter is not None and self.fewshot is None:
            raise ValueError("'delimiter' stands before choices and worked examples; here are none")
        return self

    @model_validator(mode="after")
    def recipe_is_whole(self) -> SuiteConfig:
        """What reads a data set has no effect on a suite that holds its own samples."""
        shots = self.fewshot
        if self.data is None:
            if self.fields:
                raise ValueError("'fields' are made of a data set's columns: it needs 'data'")
            if shots is not None and shots.split is not None:
                raise ValueError("fewshot.split is of a data set: it needs 'data'")
            return self
        if self.system is not None:
            Template.parse(self.system)
        if shots is not None and shots.split is None:
            raise ValueError("fewshot.split must name the split that worked examples are from")
        return self

    @property
    def template(self) -> Template:
        """The prompt's template; the default is the row's `prompt`, or its `text`."""
        default = "{text}" if self.task == "perplexity" else "{prompt}"
        return Template.parse(self.prompt if self.prompt is not None else default)


def without_judging(text: str) -> str:
    """A suite.yaml's text without its `judge`, for the fingerprint: it is asked and scored the same
    whoever judges it, and judgements are kept under a hash of their own."""
    kept, within = list[str](), False
    for line in text.splitlines(keepends=True):
        within = line.startswith("judge:") or (within and line.startswith((" ", "\t")))
        if not within:
            kept.append(line)
    return "".join(kept)


def read_suite_file(folder: Path) -> SuiteConfig:
    """The suite.yaml of a folder; raises SuiteError listing every mistake in it."""
    try:
        return load_config(folder / "suite.yaml", SuiteConfig)
    except ConfigError as error:
        raise SuiteError(str(error)) from None
