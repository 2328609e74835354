"""What runs need that a hub keeps: which of it is here, and bringing the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from evalkit.config import HFModel, ModelJudge, RunConfig
from evalkit.data.arrive import FetchError
from evalkit.data.fetching import fetch_data_set
from evalkit.data.find import DataSet, kept_data_set, missing_files, obtain
from evalkit.data.hosts import list_files
from evalkit.data.layout import lay_out
from evalkit.data.needs import Need, missing_text
from evalkit.data.places import parse_name
from evalkit.errors import DataError, ModelError, RunError, SuiteError
from evalkit.harnesses.needs import data_needs
from evalkit.models.fetch import is_wanted
from evalkit.models.weights import fetch_model, find_model
from evalkit.progress import Progress


class Standing(NamedTuple):
    """Whether something that is needed is here, and where; or how much is to come (bytes)."""

    need: Need
    folder: Path | None
    size: int | None = None
    unknown: str = ""
    """Why the size is not known."""


def needs_of(configs: Sequence[RunConfig]) -> list[Need]:
    """The models of all arms and of a judge, and the data sets of the first one's suites."""
    models: list[object] = [config.model for config in configs]
    if (judge := configs[0].judge) is not None:
        models += [one.model for one in judge.judges if isinstance(one, ModelJudge)]
    needs = [need for model in models if (need := _model_need(model)) is not None]
    needs += [need for name in configs[0].suites for need in data_needs(name, configs[0])]
    return list(dict.fromkeys(needs))


def _model_need(model: object) -> Need | None:
    """What a model needs of a hub; None for a folder, an endpoint or a recording."""
    if not isinstance(model, HFModel) or Path(model.path).expanduser().is_dir():
        return None
    name = parse_name(model.path)
    return None if name is None else Need(kind="model", name=name, revision=model.revision)


def standing(need: Need, *, offline: bool) -> Standing:
    """Whether a need is here; where it is not, its size, asked of the hub unless offline."""
    folder = _here(need)
    if folder is not None:
        return Standing(need, folder)
    if offline:
        return Standing(need, None, unknown="offline")
    try:
        listing = list_files(need.name, need.kind, need.revision)
    except FetchError as error:
        return Standing(need, None, unknown=str(error))
    names = tuple(one.path for one in listing.files)
    if need.kind == "model":
        return Standing(need, None, listing.only(is_wanted).bytes)
    try:
        found = DataSet(name=str(need.name), folder=Path(), layout=lay_out(names), names=names)
        wanted = {file.as_posix() for file in found.needed(need)}
    except DataError as error:  # its card, which is not here, may know better than the names
        return Standing(need, None, unknown=str(error))
    return Standing(need, None, listing.only(wanted.__contains__).bytes)


def _here(need: Need) -> Path | None:
    try:
        if need.kind == "model":
            return find_model(str(need.name), revision=need.revision, offline=True)
        found = kept_data_set(need.name, need.revision)
        whole = found is not None and not missing_files(found, need)
    except (ModelError, DataError):
        return None
    return found.folder if found is not None and whole else None


def fetch_need(need: Need, into: Path | None, *, offline: bool, progress: Progress) -> Path:
    """The folder of what is needed, in the data root `into` or wherever it is kept.

    Raises ModelError or DataError; offline they name the command that fetches it elsewhere.
    """
    if into is None:
        if need.kind == "dataset":
            return obtain(need, progress=progress).folder
        return find_model(
            str(need.name), revision=need.revision, offline=offline, progress=progress
        )
    folder = into / need.folder
    if offline:
        why = f"--offline forbids downloading {need.name} into {folder}"
        raise RunError(missing_text([need], why))
    if need.kind == "model":
        return fetch_model(need.name, revision=need.revision, root=into, progress=progress)
    return fetch_data_set(need, folder, progress).folder


@contextmanager
def naming_what_is_missing(configs: Sequence[RunConfig], *, offline: bool) -> Iterator[None]:
    """Where opening fails offline, raise one RunError with all that is not on this machine."""
    try:
        yield
    except (RunError, SuiteError) as error:
        # Not asked before: of lm-eval's tasks it takes seconds to tell what they read.
        lost = _lost(configs) if offline else []
        if not lost:
            raise
        why = "This run is offline, and what it needs is not all on this machine. Missing"
        raise RunError(missing_text(lost, why)) from error


def _lost(configs: Sequence[RunConfig]) -> list[Need]:
    try:
        return [need for need in needs_of(configs) if _here(need) is None]
    except SuiteError:  # opening told it already, with every other mistake
        return []
