"""Where a data set's files are: the data root, evalkit's own copies, then the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from evalkit.data.layout import DEFAULT, Layout, lay_out, matches, read_card, split_of
from evalkit.data.needs import Need, at_revision, missing_text
from evalkit.data.places import HubName, in_data_root, is_offline, parse_name
from evalkit.errors import DataError
from evalkit.home import home
from evalkit.progress import Progress, Silent

CARD = "README.md"
LISTING = ".evalkit_listing.json"
"""In a fetched folder: all that the hub has, for what lies there may be a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A data set: which of its files are which configuration and split.

    Of a fetched one some files may not be here; of one that people laid out themselves all are.
    """

    name: str
    folder: Path
    layout: Layout
    names: tuple[str, ...]

    def config(self, wanted: str | None = None) -> str:
        """The configuration of that name; without one, the only one. Raises DataError."""
        if wanted is not None and wanted in self.layout:
            return wanted
        if wanted is None:
            if DEFAULT in self.layout or len(self.layout) == 1:
                return DEFAULT if DEFAULT in self.layout else next(iter(self.layout))
            raise DataError(f"{self.name} has several configurations: name {_any(self.layout)}.")
        hint = f" Put its files into {self.folder / wanted}." if DEFAULT in self.layout else ""
        raise DataError(
            f"{self.name} in {self.folder} has no configuration {wanted!r}, but "
            f"{_any(self.layout, wanted)}.{hint}"
        )

    def splits(self, config: str | None = None) -> Mapping[str, tuple[Path, ...]]:
        """The files of each split of a configuration. Raises DataError."""
        found = self.layout[self.config(config)]
        return {
            split: tuple(self.folder / name for name in names) for split, names in found.items()
        }

    def files(self, split: str | None = None, config: str | None = None) -> tuple[Path, ...]:
        """The files of a split; without one, of the only split there is. Raises DataError."""
        splits = self.splits(config)
        if split is None:
            if len(splits) == 1:
                return next(iter(splits.values()))
            raise DataError(f"{self.name} has several splits: name {_any(splits)}.")
        found = split_of(splits, split)
        if found is None or not splits[found]:
            raise DataError(
                f"{self.name} in {self.folder} has no split {split!r}, but {_any(splits, split)}. "
                f"Add a file such as {split}.jsonl."
            )
        return splits[found]

    def matching(self, pattern: str) -> tuple[Path, ...]:
        """The files whose names have this pattern. Raises DataError where there is none."""
        found = [name for name in self.names if matches(name, pattern)]
        if not found:
            raise DataError(f"{self.name} in {self.folder} has no file {pattern!r}.")
        return tuple(self.folder / name for name in found)

    def needed(self, need: Need) -> tuple[Path, ...]:
        """All the files of a need, here or not. Raises DataError where it has none such."""
        if need.files is not None:
            return self.matching(need.files)
        if need.layout_only:
            return ()
        splits = need.splits or tuple(self.splits(need.config))
        return tuple(file for split in splits for file in self.files(split, need.config))


def find_data(
    name: str,
    *,
    config: str | None = None,
    split: str | None = None,
    files: str | None = None,
    revision: str | None = None,
    progress: Progress = Silent(),  # noqa: B008  stateless
) -> tuple[Path, ...]:
    """The files of one split of a data set, in their order; `read_rows` reads them.

    `name` is `org/name`, `modelscope:org/name`, or a folder. `files` is a pattern of file names
    ("question.jsonl") instead of a configuration and a split, for data sets that have none.
    What is not here is fetched, unless the run is offline. Raises DataError that says where was
    looked, what is there, and what to do.
    """
    known = parse_name(name)
    if known is None:
        return _asked(_local(name), config, split, files)
    splits = () if split is None else (split,)
    need = Need(
        kind="dataset", name=known, revision=revision, config=config, splits=splits, files=files
    )
    if not is_offline() or kept_data_set(known, revision) is not None:
        # What the data set does not have is told before anything is downloaded.
        _asked(obtain(replace(need, layout_only=True), progress=progress), config, split, files)
    return _asked(obtain(need, progress=progress), config, split, files)


def _asked(
    found: DataSet, config: str | None, split: str | None, files: str | None
) -> tuple[Path, ...]:
    return found.matching(files) if files is not None else found.files(split, config)


def obtain(need: Need, *, progress: Progress) -> DataSet:
    """The data set with all the files of a need, fetched where they are not here.

    Raises DataError, offline with the command that fetches them elsewhere.
    """
    kept = kept_data_set(need.name, need.revision)
    if kept is not None and not missing_files(kept, need):
        return kept
    local = Path(need.name.name)
    if kept is None and need.name.host == "hub" and local.is_dir():
        return open_data_set(local, str(need.name))
    if is_offline() or in_data_root(need.folder) is not None:
        raise DataError(missing_text([need], _why(kept, need)))
    from evalkit.data.fetching import fetch_data_set

    return fetch_data_set(need, data_folder(need.name, need.revision), progress)


def _why(kept: DataSet | None, need: Need) -> str:
    if kept is not None:
        lost = ", ".join(str(file) for file in missing_files(kept, need))
        return f"A part of {need.name} is not on this machine ({lost})"
    return f"{need.name} is not on this machine, and this run is offline"


def missing_files(found: DataSet, need: Need) -> list[Path]:
    """The files of a need that are not here."""
    return [file for file in found.needed(need) if not file.is_file()]


def find_data_set(name: str, *, progress: Progress = Silent()) -> DataSet:  # noqa: B008
    """The data set of that name, with its layout; of one on a hub, its files may not be here yet.

    Raises DataError as `find_data` does.
    """
    known = parse_name(name)
    if known is None:
        return _local(name)
    return obtain(Need(kind="dataset", name=known, layout_only=True), progress=progress)


def _local(name: str) -> DataSet:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return open_data_set(folder, name)
    raise DataError(f"There is no folder {folder}, and it is no data set's id (like openai/gsm8k).")


def data_folder(name: HubName, revision: str | None = None) -> Path:
    """Where evalkit keeps its own copy of a data set."""
    return home() / "data" / (name.folder_name + at_revision(revision))


def kept_data_set(name: HubName, revision: str | None = None) -> DataSet | None:
    """The data set in the data root, else evalkit's own copy, if there is one.

    Raises DataError for a folder of that name without data.
    """
    rooted = in_data_root(name.name + at_revision(revision))
    if rooted is not None:
        return open_data_set(rooted, str(name))
    kept = data_folder(name, revision)
    return open_data_set(kept, str(name)) if (kept / LISTING).is_file() else None


def open_data_set(folder: Path, name: str = "") -> DataSet:
    """The data set that lies in a folder. Raises DataError where none does."""
    card = folder / CARD
    try:
        text = read_card(card) if card.is_file() else ""
        names = tuple(sorted(_listed(folder) or _names(folder)))
        layout = lay_out(names, text)
    except ValueError as error:
        raise DataError(f"{card}: {error}.") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}.") from None
    if not any(files for splits in layout.values() for files in splits.values()):
        raise DataError(f"{folder} holds no data: no JSONL, JSON, CSV, TSV or Parquet file.")
    return DataSet(name=name or folder.name, folder=folder, layout=layout, names=names)


def _listed(folder: Path) -> list[str]:
    """What a fetch noted of the whole data set; empty for a folder that was laid out by hand."""
    told = read_listing(folder)
    return [str(one["path"]) for one in told["files"]] if told else []


def read_listing(folder: Path) -> dict[str, Any] | None:
    """The note of a fetch; None without one. Raises DataError where it is damaged."""
    file = folder / LISTING
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        paths = [Path(one["path"]) for one in told["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: delete it, and fetch the data set again.") from error
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DataError(f"{file} names files outside its folder: delete it.")
    assert isinstance(told, dict)
    return told


def _names(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            yield (Path(parent) / file).relative_to(folder).as_posix()


def _any(names: Mapping[str, object], near: str = "") -> str:
    """Some of the names, the nearest first, for a message."""
    close = get_close_matches(near, names, n=3) if near else []
    listed = list(dict.fromkeys([*close, *names]))
    rest = f" … ({len(listed)} in all)" if len(listed) > 8 else ""
    return ", ".join(listed[:8]) + rest
