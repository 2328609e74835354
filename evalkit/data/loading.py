"""`datasets.load_dataset("org/name", …)` out of the data root, for tools that call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from evalkit.data.find import DataSet, kept_data_set, obtain, open_data_set
from evalkit.data.layout import format_of, split_of
from evalkit.data.needs import Need, missing_text
from evalkit.data.places import is_offline, parse_name
from evalkit.errors import DataError, MissingExtraError
from evalkit.progress import Silent

Loader: TypeAlias = Callable[..., Any]

# Said of the hub's copy; a folder has one revision and needs no token, and runs no code.
_OF_THE_HUB = ("path", "name", "data_dir", "data_files", "split", "revision", "token")


@contextmanager
def local_datasets() -> Iterator[None]:
    """While it is open, `datasets.load_dataset` takes what the data root or a fetch holds.

    What is not there goes on to the hub as ever. Tasks must be loaded inside, for some import the
    function by name. Its DatasetDict finds a split by its other names too (`dev`, `validation`).
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("Loading a data set", "lm-eval") from error
    original = datasets.load_dataset
    signature = inspect.signature(original)

    def load_dataset(*positional: Any, **named: Any) -> Any:
        named.pop("trust_remote_code", None)
        bound = signature.bind(*positional, **named)
        asked = dict(bound.arguments)
        asked |= asked.pop("config_kwargs", {})
        found = _kept(asked)
        if found is not None:
            return _load(original, found, asked)
        with _naming_what_is_missing(asked):
            return original(*positional, **named)

    # Local files are nobody's download; the library would tell its server of each.
    counting = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.load_dataset = load_dataset
    try:
        yield
    finally:
        datasets.load_dataset = original
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counting


@contextmanager
def _naming_what_is_missing(asked: Mapping[str, Any]) -> Iterator[None]:
    """Offline, an absent data set is told with the command that fetches it elsewhere."""
    name = parse_name(asked["path"]) if isinstance(asked["path"], str) else None
    try:
        yield
    except (OSError, ValueError) as error:  # what the library raises of data it cannot find
        if name is None or "/" not in name.name or not is_offline():
            raise
        need = Need(
            kind="dataset", name=name, revision=asked.get("revision"), config=asked.get("name")
        )
        why = f"{name} is not on this machine, and this run is offline"
        raise DataError(missing_text([need], why)) from error


def _kept(asked: Mapping[str, Any]) -> DataSet | None:
    """The data set where it is on this machine; None for what only `datasets` can find.

    Of ModelScope the library knows nothing: what it keeps is fetched.
    """
    name = parse_name(asked["path"]) if isinstance(asked["path"], str) else None
    if name is None or "/" not in name.name:  # such as `json`, the library's own loaders of files
        return None
    config, revision = asked.get("name"), asked.get("revision")
    if name.host == "modelscope":
        need = Need(kind="dataset", name=name, revision=revision, config=config)
        return obtain(need, progress=Silent())
    return kept_data_set(name, revision)


def _load(original: Loader, found: DataSet, asked: Mapping[str, Any]) -> Any:
    """What `load_dataset` gives for these arguments, from the files of a folder."""
    from datasets.exceptions import DatasetGenerationError

    splits = _splits(found, asked)
    options = {key: value for key, value in asked.items() if key not in _OF_THE_HUB}
    builder, reading = _builder(found, [file for files in splits.values() for file in files])
    split = asked.get("split")
    try:
        loaded = original(
            builder,
            data_files={name: [str(file) for file in files] for name, files in splits.items()},
            split=None if split is None else _split(found, splits, split),
            **reading,
            **options,
        )
    except DatasetGenerationError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise DataError(f"{found.name} in {found.folder} cannot be read: {reason}") from error
    return loaded if split is not None else _by_any_name(loaded)


def _splits(found: DataSet, asked: Mapping[str, Any]) -> Mapping[str, tuple[Path, ...]]:
    """The files by split: those that were named, or those of the configuration."""
    if asked.get("data_dir"):
        found = open_data_set(_inside(found, asked["data_dir"]), found.name)
    files = asked.get("data_files")
    if not files:
        splits = found.splits(asked.get("name"))
        here = {split: tuple(f for f in files if f.is_file()) for split, files in splits.items()}
        return {split: files for split, files in here.items() if files}
    by_split = files if isinstance(files, Mapping) else {"train": files}
    return {str(split): _matching(found, given) for split, given in by_split.items()}


def _inside(found: DataSet, given: str) -> Path:
    if PurePosixPath(given).is_absolute() or ".." in PurePosixPath(given).parts:
        raise DataError(f"{found.name}: {given!r} is outside the data set's folder.")
    return found.folder / given


def _matching(found: DataSet, given: str | Sequence[str]) -> tuple[Path, ...]:
    patterns = [given] if isinstance(given, str) else list(given)
    files: list[Path] = []
    for pattern in patterns:
        _inside(found, pattern)
        matching = sorted(path for path in found.folder.glob(pattern) if path.is_file())
        if not matching:
            raise DataError(f"{found.name} in {found.folder} has no file {pattern!r}.")
        files += matching
    return tuple(dict.fromkeys(files))


def _builder(found: DataSet, files: Sequence[Path]) -> tuple[str, dict[str, Any]]:
    """The library's loader for these files, and what it must be told."""
    formats = {format_of(file.name) for file in files}
    loaders = {"jsonl": "json", "tsv": "csv"}
    builders = {loaders.get(str(one), str(one)) for one in formats}
    if len(builders) > 1 or ("tsv" in formats and len(formats) > 1):
        raise DataError(
            f"{found.name} in {found.folder} mixes {', '.join(sorted(map(str, formats)))} files in "
            "one configuration: keep one format."
        )
    return next(iter(builders)), {"sep": "\t"} if "tsv" in formats else {}


def _split(found: DataSet, splits: Mapping[str, object], wanted: Any) -> Any:
    """The split to ask for; a plain name may be one of the split's other names."""
    if not isinstance(wanted, str) or not wanted.replace("_", "").isalnum():
        return wanted  # "test[:10]", "train+test", a list of them
    name = split_of(splits, wanted)
    if name is None and wanted != "all":
        raise DataError(
            f"{found.name} in {found.folder} has no split {wanted!r}, but {', '.join(splits)}. "
            f"Add a file such as {wanted}.jsonl."
        )
    return name or wanted


def _by_any_name(loaded: Any) -> Any:
    """The splits, each also found by a name that means the same and no other split has."""
    kind = type(loaded)

    class Splits(kind):  # type: ignore[misc, valid-type]
        """A DatasetDict (or the streaming one) whose `dev` is also its `validation`."""

        def __missing__(self, key: str) -> Any:
            name = split_of(list(self), key)
            if name is None:
                raise KeyError(key)
            return self[name]

    return Splits(loaded)
