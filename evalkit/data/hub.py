"""The Hugging Face hub, or the mirror of it that HF_ENDPOINT names."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from evalkit.data.arrive import FetchError, Kind, Listing, Remote, check_arrived, follow
from evalkit.errors import MissingExtraError
from evalkit.progress import Progress

# An unreachable hub must be noticed while the user is still watching.
TIMEOUT_SECONDS = 5.0

_NOUNS = {"model": "model", "dataset": "data set"}


def endpoint() -> str | None:
    """The mirror that is named, if one is.

    huggingface_hub reads HF_ENDPOINT once, when first imported; what holds is its value now.
    """
    return os.environ.get("HF_ENDPOINT") or None


def list_files(name: str, kind: Kind, revision: str | None) -> Listing:
    """The files of a model or data set; their SHA-256 where they lie in Git LFS, as weights do."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError(f"Downloading a {_NOUNS[kind]}", "hf") from error
    where = endpoint()
    api = HfApi(endpoint=where)
    ask = api.model_info if kind == "model" else api.dataset_info
    try:
        info = ask(name, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
    except Exception as error:
        raise FetchError(_reason(error, where, kind)) from error
    files = tuple(
        Remote(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None)
        for one in info.siblings or []
    )
    return Listing(info.sha or revision, files)


def download(name: str, kind: Kind, listing: Listing, folder: Path, progress: Progress) -> None:
    """Bring the listed files into `folder`."""
    _snapshot(name, kind, listing, folder, progress)
    check_arrived(folder, listing.hashes, f"check {name}", progress)
    # Not before: it is what lets the next start fetch a damaged file alone.
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _snapshot(name: str, kind: Kind, listing: Listing, folder: Path, progress: Progress) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    failures: list[Exception] = []
    where = endpoint()

    def bring() -> None:
        try:
            snapshot_download(
                name,
                repo_type=kind,
                revision=listing.revision,
                local_dir=folder,
                endpoint=where,
                allow_patterns=[one.path for one in listing.files],
            )
        except Exception as error:  # carried to the thread that can report it
            failures.append(error)

    # A daemon, so that Ctrl-C ends the program and not only the waiting.
    worker = threading.Thread(target=bring, name="hub-download", daemon=True)
    own_bars = not are_progress_bars_disabled()
    disable_progress_bars()  # the download is shown through `progress`
    worker.start()
    try:
        part = f"download {name}"
        follow(folder, listing.bytes, part, progress, lambda: not worker.is_alive())
    finally:
        if own_bars:
            enable_progress_bars()
    if failures:
        raise FetchError(_reason(failures[0], where, kind)) from failures[0]


def _reason(error: Exception, endpoint: str | None, kind: Kind) -> str:
    """One clause on why the hub did not give it."""
    where, what = endpoint or "https://huggingface.co", _NOUNS[kind]
    kinds = {cls.__name__ for cls in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return f"{where} gives this {what} only to users who accepted its terms (set HF_TOKEN)"
    if "RepositoryNotFoundError" in kinds:
        return f"{where} has no public {what} of that name (for a private one set HF_TOKEN)"
    if "RevisionNotFoundError" in kinds:
        return f"{where} has the {what} but not that revision"
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE is set"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{where} could not be used ({first})"
