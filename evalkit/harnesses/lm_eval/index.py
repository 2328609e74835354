"""What lm-eval's tasks, groups and tags are called, and where each is written down."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from evalkit.errors import SuiteError
from evalkit.harnesses.lm_eval.quiet import quietly
from evalkit.harnesses.rows import near
from evalkit.home import home

PREFIX = "lm_eval:"


class Index:
    """lm-eval's own names and those of a folder of task files, which go before them.

    lm-eval reads all of its 14,000 files to learn its names, which takes half a minute. They are
    kept in `EVALKIT_HOME/lm_eval`, and not read at all where the folder knows the name.
    """

    def __init__(self, include: Path | None = None) -> None:
        """`include` is a folder of task files; it is walked at once, lm-eval's own on demand."""
        self._own = _read_folder(include) if include is not None else {}
        # Building a group writes into the first map: theirs stay as they are.
        self.entries: MutableMapping[str, Any] = ChainMap(dict(self._own), _Shipped())

    def find(self, name: str) -> Any:
        """lm-eval's entry of a name; SuiteError with the nearest name where there is none."""
        if name in self.entries:
            return self.entries[name]
        hint = near(name, self.entries) or " `lm-eval ls tasks` lists them."
        raise SuiteError(f"lm-eval {version()} has no task, group or tag {name!r}.{hint}")

    def members(self, tag: str) -> list[str]:
        """The tasks that carry a tag, in lm-eval's order."""
        return sorted(name for name in self.entries[tag].tags if name in self.entries)


def open_index(include: Path | None) -> Index:
    """The index with a run's own folder of task files; SuiteError where that is none."""
    if include is None:
        return Index()
    if not include.is_dir():
        raise SuiteError(f"lm_eval.include_path: {include} is no folder.")
    return _walked(include.resolve(), include.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _walked(include: Path, _changed: int) -> Index:
    """Each suite of a run asks for the same folder; one that changed is walked again."""
    return Index(include)


def version() -> str:
    """The installed lm-eval's version; SuiteError without one."""
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise SuiteError(
            "lm-eval is not installed, and suites named lm_eval:… are its tasks. Install it: "
            "pip install 'evalkit-compare[lm-eval]'"
        ) from None


class _Shipped(MutableMapping[str, Any]):
    """lm-eval's own names, read when one is first looked for."""

    def __getitem__(self, name: str) -> Any:
        return _shipped()[name]

    def __contains__(self, name: object) -> bool:
        return name in _shipped()

    def __iter__(self) -> Iterator[str]:
        return iter(_shipped())

    def __len__(self) -> int:
        return len(_shipped())

    def __setitem__(self, name: str, entry: Any) -> None:
        raise AssertionError("lm-eval's own names stay as they are")

    def __delitem__(self, name: str) -> None:
        raise AssertionError("lm-eval's own names stay as they are")


@cache
def _shipped() -> Mapping[str, Any]:
    with quietly():
        from lm_eval import tasks

    assert tasks.__file__ is not None
    folder = Path(tasks.__file__).parent
    # Another version, or files that came and went, make another index.
    mark = f"{version()} {folder} {folder.stat().st_mtime_ns}"
    file = home() / "lm_eval" / "index.json"
    return _kept(file, mark) or _written(file, mark, _read_folder(folder))


def _read_folder(folder: Path) -> dict[str, Any]:
    with quietly():
        from lm_eval.tasks._index import TaskIndex

        return dict(TaskIndex.build([folder]))


def _kept(file: Path, mark: str) -> dict[str, Any] | None:
    """The index of an earlier run; None where there is none of this version that can be read."""
    from lm_eval.tasks._index import Entry, Kind

    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["mark"] != mark:
            return None
        return {
            name: Entry(
                name=name,
                kind=Kind[kind],
                yaml_path=Path(path) if path else None,
                tags=set(tags),
            )
            for name, kind, path, tags in told["entries"]
        }
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _written(file: Path, mark: str, entries: dict[str, Any]) -> dict[str, Any]:
    rows = [
        [one.name, one.kind.name, str(one.yaml_path or ""), sorted(one.tags)]
        for one in entries.values()
    ]
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"mark": mark, "entries": rows}), encoding="utf-8")
        part.replace(file)
    except OSError:
        pass  # then it is read again next time
    return entries
