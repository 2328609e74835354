"""Sets of suites that are named as one: sets.yaml beside the suites."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
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


def expanded(
    names: Sequence[str], folders: Sequence[Path], own: Container[str] = ()
) -> dict[str, str]:
    """Each suite that is named, alone or by a set, once, with what it stands for ('' alone).

    A set gives way to one of one's `own` tables, and to a suite of its name that is found before
    it, or beside it.
    """
    sets = {name: one for name, one in find_sets(folders).items() if name not in own}
    found: dict[str, str] = {}
    for name in names:
        named = sets.get(name)
        if named is None or _is_suite_before(named, folders):
            found[name] = found.get(name, "")
            continue
        for suite, aspect in named.suites.items():
            found[suite] = found.get(suite) or aspect
    return found


def _is_suite_before(one: SuiteSet, folders: Sequence[Path]) -> bool:
    searched = folders[: folders.index(one.path.parent) + 1]
    return any((folder / one.name / "suite.yaml").is_file() for folder in searched)
