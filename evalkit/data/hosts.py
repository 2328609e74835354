"""What a host has of a model or a data set, and bringing it here."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from evalkit.data.arrive import Kind, Listing
from evalkit.data.places import HubName
from evalkit.progress import Progress


def list_files(name: HubName, kind: Kind, revision: str | None) -> Listing:
    """All files of it, with sizes and hashes as far as they are told. Raises FetchError."""
    match name.host:
        case "hub":
            from evalkit.data import hub

            return hub.list_files(name.name, kind, revision)
        case "modelscope":
            from evalkit.data import modelscope

            return modelscope.list_files(name.name, kind, revision)
        case _:
            assert_never(name.host)


def download(name: HubName, kind: Kind, listing: Listing, folder: Path, progress: Progress) -> None:
    """Bring the listed files into `folder`, going on where a killed download stopped.

    Raises FetchError, also where a file is not the one whose SHA-256 was told.
    """
    match name.host:
        case "hub":
            from evalkit.data import hub

            hub.download(name.name, kind, listing, folder, progress)
        case "modelscope":
            from evalkit.data import modelscope

            modelscope.download(name.name, kind, listing, folder, progress)
        case _:
            assert_never(name.host)
