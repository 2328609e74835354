"""The data root, and the names of what lies in it or on a hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from evalkit.errors import DataError

DATA_VARIABLE = "EVALKIT_DATA"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"  # the hub's own, so that one word holds for every library

_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_MODELSCOPE = "modelscope:"

Host = Literal["hub", "modelscope"]


class HubName(NamedTuple):
    """`org/name`, and who keeps it. The data root does not care for the host."""

    host: Host
    name: str

    def __str__(self) -> str:
        return self.name if self.host == "hub" else f"{_MODELSCOPE}{self.name}"

    @property
    def folder_name(self) -> str:
        """A name for one folder, which no other id and no other host shares."""
        flat = self.name.replace("/", "--")
        return flat if self.host == "hub" else f"modelscope--{flat}"


def parse_name(text: str) -> HubName | None:
    """`org/name` or `modelscope:org/name`; None for what cannot be one, such as a path."""
    host: Host = "modelscope" if text.startswith(_MODELSCOPE) else "hub"
    name = text.removeprefix(_MODELSCOPE)
    if _NAME.fullmatch(name) is None or ".." in name:
        return None
    return HubName(host, name)


def data_root() -> Path | None:
    """The folder that is laid out like the hub, where one is named; DataError if it is none."""
    given = os.environ.get(DATA_VARIABLE, "").strip()
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{DATA_VARIABLE} (or --data-root) names {folder}, which is no folder. Make it, and "
            "put data sets and models there as ORG/NAME, or leave the setting out."
        )
    return folder


def in_data_root(name: str) -> Path | None:
    """The folder of `org/name` in the data root, if there is one."""
    root = data_root()
    if root is None:
        return None
    folder = root / name
    return folder if folder.is_dir() else None


@contextmanager
def at_data_root(folder: Path | None) -> Iterator[None]:
    """With this data root, which the processes started meanwhile inherit; None changes nothing."""
    before = os.environ.get(DATA_VARIABLE)
    if folder is not None:
        os.environ[DATA_VARIABLE] = str(folder.expanduser().absolute())
    try:
        yield
    finally:
        if folder is not None:
            if before is None:
                os.environ.pop(DATA_VARIABLE, None)
            else:
                os.environ[DATA_VARIABLE] = before


def is_offline() -> bool:
    """Whether the environment forbids the network, as `--offline` makes it."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().upper() in {"1", "ON", "YES", "TRUE"}
