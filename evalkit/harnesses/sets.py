"""Sets of suites that are named as one: sets.yaml beside the suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, RootModel

from evalkit.config import Strict
from evalkit.configfile import load_config
from evalkit.errors import ConfigError, SuiteError


class SetConfig(Strict):
    """One set of sets.yaml: its suites, and the ability that each of them stands for."""

    title: str = ""
    suites: dict[str, str] = Field(min_length=1)


class _Sets(RootModel[dict[str, SetConfig]]):
    """The whole file."""


@dataclass(frozen=True, slots=True)
class SuiteSet:
    """A set by its name and the file it is written in."""

    name: str
    path: Path
    title: str
    suites: Mapping[str, str]


def find_sets(folders: Sequence[Path]) -> dict[str, SuiteSet]:
    """The sets of all folders by name; one that is in two is the first one's. SuiteError."""
    found: dict[str, SuiteSet] = {}
    for folder in folders:
        file = folder / "sets.yaml"
        if not file.is_file():
            continue
        try:
            told = load_config(file, _Sets).root
        except ConfigError as error:
            raise SuiteError(str(error)) from None
        for name, one in told.items():
            found.setdefault(name, SuiteSet(name, file, one.title, one.suites))
    return found


def expanded(names: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Each suite that is named, alone or by a set, once, with what it stands for ('' alone)."""
    sets = find_sets(folders)
    found: dict[str, str] = {}
    for name in names:
        members = sets[name].suites if name in sets else {name: ""}
        for suite, aspect in members.items():
            found[suite] = found.get(suite) or aspect
    return found
