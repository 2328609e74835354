"""Rubrics: by what answers are judged. YAML files, the shipped ones beside this module."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import StringConstraints, field_validator, model_validator

from evalkit.config.base import NAME, Strict, safe_name
from evalkit.configfile import load_config
from evalkit.configfile.tree import near, near_files
from evalkit.errors import ConfigError, UsageError

Scale: TypeAlias = Literal["rating", "checklist"]
RubricLanguage: TypeAlias = Literal["en", "zh"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]

RATINGS = (1, 2, 3, 4, 5)
MOST_ITEMS = 9  # a number of items is one character, so one token
FILE = (".yaml", ".yml")
"""What the path of a rubric's file ends in; a name does not."""
_FOLDER = Path(__file__).with_name("rubrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """By what an answer is judged.

    `question` says what is asked of the answers. Pairwise it decides between two; pointwise an
    answer gets a rating from 1 to 5 (`items` describe the five, or are empty) or, on a checklist,
    the share of `items` that hold. `style`: the look counts, so that judging without markup tells
    something. `reference`: the sample's reference is shown where there is one. `hash` is of all
    that the file says.
    """

    name: str
    title: str
    language: RubricLanguage
    question: str
    scale: Scale
    items: tuple[str, ...]
    style: bool
    reference: bool
    hash: str


class RubricFile(Strict):
    """A rubric's YAML file; without a `name` it is called as its file."""

    name: str | None = None
    title: Text
    language: RubricLanguage
    question: Text
    scale: Scale = "rating"
    items: tuple[Text, ...] = ()
    style: bool = False
    reference: bool = False

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str | None) -> str | None:
        """A rubric's name stands in metrics and files."""
        return None if name is None else safe_name(name)

    @model_validator(mode="after")
    def items_fit_the_scale(self) -> Self:
        """A rating has five levels, a checklist its items."""
        count = len(self.items)
        if self.scale == "rating" and count not in (0, len(RATINGS)):
            raise ValueError(
                f"the items of a rating describe its levels 1 to 5, and here are {count}; write "
                "five, or leave items out (yes/no questions need scale: checklist)"
            )
        if self.scale == "checklist" and not 1 <= count <= MOST_ITEMS:
            raise ValueError(
                f"a checklist has 1 to {MOST_ITEMS} items, yes/no questions; here are {count}"
            )
        if len(set(self.items)) < count:
            raise ValueError("the same item stands there twice")
        return self


def shipped() -> tuple[str, ...]:
    """The names of the rubrics that evalkit brings, each in English and Chinese."""
    return tuple(sorted(file.stem for file in (_FOLDER / "en").glob("*.yaml")))


def open_rubric(name: str, language: str) -> Rubric:
    """A shipped rubric by name, or one from a file, by a path that ends in .yaml.

    A shipped one is in Chinese for `language` "zh" and in English for every other; a file is in
    the language it says. Raises UsageError for a name that is none, with the nearest, and
    ConfigError with every mistake in the file.
    """
    if name.endswith(FILE):
        return _read(Path(name))
    if name not in shipped():
        hint = near(name, shipped()) or f" There are: {', '.join(shipped())}."
        raise UsageError(
            f"No rubric {name!r}.{hint} A rubric of your own is a file; give its path, ending in "
            ".yaml."
        )
    return _shipped(name, "zh" if language == "zh" else "en")


@lru_cache(maxsize=64)
def _shipped(name: str, language: RubricLanguage) -> Rubric:
    return _read(_FOLDER / language / f"{name}.yaml")


def _read(path: Path) -> Rubric:
    if not path.exists():
        raise UsageError(f"No rubric at {path}: no such file.{near_files(path)}")
    told = load_config(path, RubricFile)
    name = told.name or path.stem
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: name: missing, and the file's own name {name!r} cannot be a metric's; add "
            "`name:`, of letters, digits, '.', '_' and '-'"
        )
    content = {**told.model_dump(mode="json"), "name": name}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return Rubric(
        name=name,
        title=told.title,
        language=told.language,
        question=told.question,
        scale=told.scale,
        items=told.items,
        style=told.style,
        reference=told.reference,
        hash=hashlib.sha256(text.encode()).hexdigest()[:12],
    )
