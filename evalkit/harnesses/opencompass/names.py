"""What OpenCompass's data sets are called, and which file each is written in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.config import OpenCompassConfig, OpenCompassCustom
from evalkit.errors import SuiteError
from evalkit.harnesses.opencompass.environment import required
from evalkit.harnesses.rows import near

PREFIX = "opencompass:"
_FOLDERS = ("datasets", "dataset_collections")


class Place(NamedTuple):
    """Where a suite is written, and what the process is told to open it."""

    path: Path
    told: Mapping[str, Any]


def find(name: str, options: OpenCompassConfig, shipped: Path) -> Place:
    """Data of the run's own, a config of its folder, or one of `shipped`, in this order.

    `NAME/SUFFIX` takes of a config only what is called …SUFFIX, as OpenCompass does. SuiteError
    with the nearest name where there is none.
    """
    custom = options.custom.get(name)
    if custom is not None:
        return _own(custom)
    stem, _, suffix = name.partition("/")
    known: dict[str, Path] = {}
    for root in filter(None, (options.config_dir, shipped)):
        for other, path in _configs(root).items():
            known.setdefault(other, path)
    if stem not in known:
        hint = near(stem, [*known, *options.custom])
        where = f"; its configurations are in {shipped / _FOLDERS[0]}" if not hint else ""
        raise SuiteError(f"OpenCompass has no data set {stem!r}{where}.{hint}")
    return Place(known[stem], {"path": str(known[stem]), "suffix": suffix})


def names_with(text: str) -> list[str]:
    """OpenCompass's own names that hold a text; SuiteError where it is not installed."""
    return sorted(name for name in _configs(required().configs) if text in name)


def _own(custom: OpenCompassCustom) -> Place:
    path = custom.path.resolve()
    if path.suffix == ".py":
        return Place(path, {"path": str(path)})
    told = {
        "path": str(path),
        "infer_method": custom.infer_method,
        "data_type": custom.data_type,
        "meta_path": None if custom.meta_path is None else str(custom.meta_path.resolve()),
    }
    return Place(path, {"custom": {key: one for key, one in told.items() if one is not None}})


@lru_cache(maxsize=4)
def _configs(root: Path) -> Mapping[str, Path]:
    """The configurations below a folder by name; of several with one name the first."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if not path.name.startswith("_"):
                found.setdefault(path.stem, path)
    return found
