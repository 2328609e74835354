"""Bringing parts of a data set here: the listing first, then the files that are needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from evalkit.data.arrive import FetchError, Listing, Remote, locked, writing
from evalkit.data.find import CARD, LISTING, DataSet, open_data_set, read_listing
from evalkit.data.hosts import download, list_files
from evalkit.data.needs import Need
from evalkit.data.places import ENDPOINTS, HOSTS
from evalkit.errors import DataError
from evalkit.progress import Progress


def fetch_data_set(need: Need, folder: Path, progress: Progress) -> DataSet:
    """The data set with the files of a need in `folder`; what is there already stays.

    Raises DataError with the reason and the ways out, and StoreError where it cannot be written.
    """
    with writing(folder.parent, "data folder"), locked(folder, progress, "data set"):
        arriving = folder.parent / f".{folder.name}.arriving"
        try:
            listing = _listing(need, folder, arriving, progress)
            found = open_data_set(folder, str(need.name))
            needed = {file.relative_to(folder).as_posix() for file in found.needed(need)}
            wanted = {name for name in needed if not (folder / name).is_file()}
            _bring(need, listing, wanted, arriving, folder, progress)
        except FetchError as error:
            raise DataError(
                f"{need} is not on this machine and could not be fetched: "
                f"{HOSTS[need.name.host]}: {error}. Put its files into {need.folder}/ under a "
                f"folder named with --data-root, set {ENDPOINTS[need.name.host]} to a mirror that "
                "can be reached, or set HTTPS_PROXY; then run the same command again."
            ) from error
    return found


def _listing(need: Need, folder: Path, arriving: Path, progress: Progress) -> Listing:
    """What the host has; of a data set that is here in part, what it had when that was fetched.

    All parts are then of one revision.
    """
    if told := read_listing(folder):
        files = (Remote(one["path"], one["size"], one["sha256"]) for one in told["files"])
        return Listing(told["revision"], tuple(files))
    _refuse_own_data(folder)
    listing = list_files(need.name, "dataset", need.revision)
    _bring(need, listing, {CARD} & {one.path for one in listing.files}, arriving, folder, progress)
    folder.mkdir(parents=True, exist_ok=True)
    note = {
        "source": str(need.name),
        "revision": listing.revision,
        "files": [one._asdict() for one in listing.files],
    }
    half = folder / f"{LISTING}.part"
    half.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    half.replace(folder / LISTING)
    return listing


def _refuse_own_data(folder: Path) -> None:
    """What a fetch notes in a folder hides the files that somebody put there."""
    try:
        open_data_set(folder)
    except DataError:  # nothing, or no data
        return
    raise DataError(
        f"{folder} holds data that no fetch brought there. Move it away, or fetch into another "
        "folder (--to)."
    )


def _bring(
    need: Need,
    listing: Listing,
    wanted: set[str],
    arriving: Path,
    folder: Path,
    progress: Progress,
) -> None:
    """Download some files of a listing and put each in its place in one step."""
    if not wanted:
        return
    # Kept when it fails: the next start goes on where this download stopped.
    download(need.name, "dataset", listing.only(wanted.__contains__), arriving, progress)
    for name in sorted(wanted):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (arriving / name).replace(target)
    shutil.rmtree(arriving, ignore_errors=True)
