"""Where a data set's files are: the data root, evalkit's own copies, then the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from evalkit.data.layout import DEFAULT, Layout, lay_out, split_of
from evalkit.data.places import DATA_VARIABLE, in_data_root, parse_name
from evalkit.errors import DataError

CARD = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A data set on this machine: which of its files are which configuration and split."""

    name: str
    folder: Path
    layout: Layout

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


def find_data(
    name: str,
    *,
    config: str | None = None,
    split: str | None = None,
    files: str | None = None,
) -> tuple[Path, ...]:
    """The files of one split of a data set, in their order; `read_rows` reads them.

    `name` is `org/name`, `modelscope:org/name`, or a folder. `files` is a pattern of file names
    ("question.jsonl") instead of a configuration and a split, for data sets that have none.
    Raises DataError that says where was looked, what is there, and what to do.
    """
    found = find_data_set(name)
    if files is None:
        return found.files(split, config)
    matching = tuple(path for path in sorted(found.folder.glob(files)) if path.is_file())
    if not matching or ".." in Path(files).parts:
        raise DataError(f"{name} in {found.folder} has no file {files!r}.")
    return matching


def find_data_set(name: str) -> DataSet:
    """The data set of that name, with its layout. Raises DataError."""
    local = Path(name).expanduser()
    known = parse_name(name)
    if known is None:
        if local.is_dir():
            return open_data_set(local, name)
        raise DataError(
            f"There is no folder {local}, and it is no data set's id (like openai/gsm8k)."
        )
    folder = in_data_root(known.name)
    if folder is not None:
        return open_data_set(folder, name)
    if local.is_dir():
        return open_data_set(local, name)
    raise DataError(
        f"The data set {name} is not on this machine. Put its files into {known.name}/ under a "
        f"folder, and name that folder with --data-root or {DATA_VARIABLE}."
    )


def open_data_set(folder: Path, name: str = "") -> DataSet:
    """The data set that lies in a folder. Raises DataError where none does."""
    card = folder / CARD
    try:
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        layout = lay_out(_names(folder), text)
    except ValueError as error:
        raise DataError(f"{card}: {error}.") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}.") from None
    if not any(files for splits in layout.values() for files in splits.values()):
        raise DataError(f"{folder} holds no data: no JSONL, JSON, CSV, TSV or Parquet file.")
    return DataSet(name=name or folder.name, folder=folder, layout=layout)


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
