"""What every part of a file a user writes is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

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


class NameOrFile:
    """Marks a name, or the path of a .yaml or .yml file, which must exist as other paths must."""


InputPath: TypeAlias = Annotated[Path, Existing()]
RubricName: TypeAlias = Annotated[str, NameOrFile(), Field(min_length=1)]
"""A shipped rubric's name, or the path of one of one's own (.yaml)."""
GenerationValue: TypeAlias = bool | int | float | str | list[str]
