"""Which files of a data set are which configuration and which split, told from their names.

A dataset card's `configs` decides, as on the hub. Without one it is what people write:
`test.jsonl`, `main/train-00000-of-00001.parquet`, `data/validation.csv`, `arts/test/0000.parquet`,
`dev/arts.csv` beside `test/arts.csv`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import yaml

DEFAULT = "default"
"""The configuration of files that name none."""

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")

_ALIKE = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
_SPLITS = {word for words in _ALIKE for word in words}
_ENDINGS = re.compile(rf"\.(?:{'|'.join(FORMATS)})(?:\.gz)?$", re.IGNORECASE)
_SHARD = re.compile(r"(?P<name>.+?)-\d{5}-of-\d{5}")
_NUMBERED = re.compile(r"(?:part|shard|data|chunk)?[-_.]?\d*")
_BETWEEN = re.compile(r"[-_. ]+")
_CARD = 2_000_000  # characters of a card that are read; the largest on the hub are far below it
# Beside the data, and JSON, but no rows of it.
_NO_ROWS = ("dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json")

Layout: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]
"""configuration → split → files, relative to the data set's folder, in their order."""


def format_of(name: str) -> str | None:
    """One of FORMATS, by the ending; `.gz` may follow all but Parquet. None for other files."""
    endings = PurePosixPath(name.lower()).suffixes
    if endings and endings[-1] == ".gz":
        endings = [] if endings[-2:-1] == [".parquet"] else endings[:-1]
    ending = endings[-1][1:] if endings else ""
    return ending if ending in FORMATS else None


def lay_out(names: Iterable[str], card: str = "") -> Layout:
    """The layout of a data set with these files (relative, with `/`) and this README.md.

    Raises ValueError where the card is no YAML, or names files outside the data set.
    """
    data = sorted(name for name in names if holds_rows(name))
    declared = _declared(card)
    if declared:
        return {
            name: {split: _matching(data, patterns) for split, patterns in splits.items()}
            for name, splits in declared.items()
        }
    return _inferred(data)


def split_of(splits: Collection[str], wanted: str) -> str | None:
    """The split of that name, or the one that means the same (`dev` is `validation`)."""
    if wanted in splits:
        return wanted
    alike = next((words for words in _ALIKE if wanted in words), ())
    return next((word for word in alike if word in splits), None)


def holds_rows(name: str) -> bool:
    """Whether a file, by its name, is data and not something that lies beside it."""
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not hidden and path.name not in _NO_ROWS and format_of(name) is not None


def matches(name: str, pattern: str) -> bool:
    """Whether a file has this pattern, as on the hub: `*` stays in its folder, `**` does not.

    A `**` is any number of folders, or none.
    """
    parts = name.split("/")
    reached = {0}  # how many parts of the name the pattern may have used up so far
    for wanted in pattern.split("/"):
        if wanted == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else set()
        else:
            reached = {n + 1 for n in reached if n < len(parts) and fnmatchcase(parts[n], wanted)}
    return len(parts) in reached


def _matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if any(matches(name, one) for one in patterns))


def read_card(file: Path) -> str:
    """The beginning of a card, where all that counts here stands."""
    with file.open(encoding="utf-8", errors="replace") as card:
        return card.read(_CARD)


class _CardLoader(yaml.SafeLoader):
    """YAML without merge keys: a few lines of them would stand for gigabytes."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse what PyYAML would merge."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("`<<` is not supported")


def _declared(card: str) -> dict[str, dict[str, list[str]]]:
    """What the card's front matter says: configuration → split → patterns; empty without."""
    front = re.match(r"\s*---\s*\n(.*?)\n---\s*(?:\n|$)", card, re.DOTALL)
    if front is None:
        if len(card) >= _CARD and card.lstrip().startswith("---"):
            raise ValueError(f"its front matter is longer than {_CARD:,} characters")
        return {}
    try:
        told = yaml.load(front[1], _CardLoader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"its front matter is no YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ValueError("its front matter is nested too deeply") from None
    listed = told.get("configs") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        return {}
    found = {}
    for one in listed:
        if isinstance(one, dict) and "data_files" in one:
            name = _text(one.get("config_name", DEFAULT), "config_name")
            folder = _text(one.get("data_dir", ""), "data_dir")
            found[name] = _patterns(one["data_files"], folder)
    return found


def _patterns(value: Any, folder: str) -> dict[str, list[str]]:
    """`data_files` in its three forms: a pattern, a list of them, or {split, path} each."""
    entries = value if isinstance(value, list) else [value]
    found: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        split, paths = ("train", entry)
        if isinstance(entry, dict):
            split, paths = _text(entry.get("split", "train"), "split"), entry.get("path", [])
        for each in paths if isinstance(paths, list) else [paths]:
            path = _text(each, "data_files")
            pattern = (PurePosixPath(folder) / path).as_posix()
            if ".." in PurePosixPath(pattern).parts or pattern.startswith("/"):
                raise ValueError(f"data_files names {path!r}, which is outside the data set")
            found[split].append(pattern)
    return dict(found)


def _text(value: Any, key: str) -> str:
    # Aliases make a list of a few lines one whose text has gigabytes: only scalars are written out.
    if value is None or isinstance(value, (list, tuple, dict, set)):
        raise ValueError(f"{key} must be a text")
    return str(value)


def _inferred(names: Sequence[str]) -> Layout:
    named = [_named(name) for name in names]
    splits_of_stem: dict[tuple[str, str], set[str]] = defaultdict(set)
    for config, split, stem in named:
        if stem:
            splits_of_stem[config, stem].add(split)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (config, split, stem) in zip(names, named, strict=True):
        # `dev/arts.csv` and `test/arts.csv` are two splits of `arts`; `train/a.csv` and
        # `train/b.csv` are two pieces of one split.
        several = len(splits_of_stem[config, stem]) > 1
        parts = (config, stem) if several else (config,)
        found["/".join(part for part in parts if part) or DEFAULT][split].append(name)
    return {config: _without_strays(splits) for config, splits in sorted(found.items())}


def _named(name: str) -> tuple[str, str, str]:
    """(configuration, split, stem) of one file; the stem only where a folder names the split."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part.lower() != "data"]
    stem = _ENDINGS.sub("", path.name)
    split = next((part for part in reversed(folders) if part.lower() in _SPLITS), "")
    if not split:
        return "/".join(folders), _split_in(stem), ""
    folders.remove(split)
    shard = _SHARD.fullmatch(stem)
    stem = shard["name"] if shard else stem
    words = [word for word in _BETWEEN.split(stem) if word.lower() not in _SPLITS]
    stem = stem if len(words) == len(_BETWEEN.split(stem)) else "_".join(words)
    return "/".join(folders), split.lower(), "" if _NUMBERED.fullmatch(stem) else stem


def _split_in(stem: str) -> str:
    """The split a file's name tells; "" where it tells none."""
    shard = _SHARD.fullmatch(stem)
    if shard:
        return shard["name"]
    words = [word.lower() for word in _BETWEEN.split(stem)]
    return next((word for word in words if word in _SPLITS), "")


def _without_strays(splits: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Files that name no split are the training split, as on the hub, if no file names one."""
    told = {split: tuple(names) for split, names in sorted(splits.items()) if split}
    return told or {"train": tuple(splits[""])}
