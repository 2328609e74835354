"""What this machine has, what it lacks, and the command that installs what is missing."""

from __future__ import annotations

import http.client
import importlib.util
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from importlib import metadata

import psutil

from evalkit import __version__
from evalkit.data.find import open_data_set
from evalkit.data.places import DATA_VARIABLE, data_root, is_offline
from evalkit.errors import DataError, StoreError, pip
from evalkit.harnesses.opencompass.environment import find as find_opencompass
from evalkit.home import home
from evalkit.records import Check, CheckStatus
from evalkit.scorers.code.sandbox import walls
from evalkit.store.runs import check_writable

_EXTRAS = {
    "hf": ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "safetensors"),
    "train": ("trl", "datasets"),
    "lm-eval": ("lm_eval",),
    "dashboard": ("streamlit",),
}
_TORCH = "2.13.0"
_HUB_SECONDS = 3.0


def examine() -> list[Check]:
    """Every finding, in the order a reader would ask; imports torch if it is there.

    The hub is asked whether it answers, unless the environment says offline.
    """
    return [
        Check(name="evalkit", status="ok", message=__version__),
        _python(),
        Check(name="machine", status="ok", message=_machine()),
        _folder(),
        _data_root(),
        _hub(),
        *(_extra(extra, packages) for extra, packages in _EXTRAS.items()),
        _opencompass(),
        *_devices(),
        _sandbox(),
        _browser(),
    ]


def _python() -> Check:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    status: CheckStatus = "ok" if good else "failed"
    return Check(name="python", status=status, message=version + ("" if good else ", 3.11 needed"))


def _machine() -> str:
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, "
        f"{memory.total / 2**30:.0f} GiB memory ({memory.available / 2**30:.0f} free)"
    )


def _folder() -> Check:
    folder = home()
    try:
        check_writable(folder)
    except StoreError:
        told = f"{folder} cannot be written: set EVALKIT_HOME to a folder that can be written"
        return Check(name="EVALKIT_HOME", status="failed", message=told)
    free = shutil.disk_usage(folder).free / 2**30
    status: CheckStatus = "ok" if free > 5 else "warning"
    return Check(name="EVALKIT_HOME", status=status, message=f"{folder}, {free:.0f} GiB free")


def _data_root() -> Check:
    """What of the data root can be read: a folder that cannot is found before a run misses it."""
    try:
        root = data_root()
    except DataError as error:
        return Check(name=DATA_VARIABLE, status="failed", message=str(error))
    if root is None:
        told = "not set: models and data sets are fetched from hubs"
        return Check(name=DATA_VARIABLE, status="ok", message=told)
    models, sets, broken = 0, 0, []
    for folder in sorted(root.glob("*/*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if (folder / "config.json").is_file():
            models += 1
            continue
        try:
            open_data_set(folder)
            sets += 1
        except DataError as error:
            broken.append(str(error))
    told = f"{root}: {models} models, {sets} data sets"
    status: CheckStatus = "warning" if broken else "ok"
    return Check(name=DATA_VARIABLE, status=status, message="; ".join([told, *broken[:3]]))


def _hub() -> Check:
    """Whether the hub, or the mirror that HF_ENDPOINT names, answers at all."""
    where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if is_offline():
        return Check(name="hub", status="ok", message=f"{where}, not asked: this is offline")
    if not where.startswith(("https://", "http://")):
        told = f"HF_ENDPOINT is {where!r}, which is no http address"
        return Check(name="hub", status="failed", message=told)
    try:
        with urllib.request.urlopen(f"{where}/api/models?limit=1", timeout=_HUB_SECONDS):  # noqa: S310
            return Check(name="hub", status="ok", message=f"{where} answers")
    except urllib.error.HTTPError as error:  # something is there, and speaks HTTP
        told = f"{where} answers {error.code}"
        return Check(name="hub", status="ok", message=told)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        told = (
            f"{where} cannot be reached ({reason}): set HF_ENDPOINT to a mirror or HTTPS_PROXY, "
            "or bring models and data in a --data-root (docs/offline.md)"
        )
        return Check(name="hub", status="warning", message=told)


def _extra(extra: str, packages: tuple[str, ...]) -> Check:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        return Check(
            name=f"[{extra}]",
            status="warning",
            message=f"{', '.join(missing)} not installed: {pip(extra)}",
        )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return Check(name=f"[{extra}]", status="ok", message=versions)


def harnesses() -> list[Check]:
    """The harnesses that suites can be named of, and where each is."""
    return [_extra("lm-eval", _EXTRAS["lm-eval"]), _opencompass()]


def _opencompass() -> Check:
    """The environment of its own that OpenCompass has."""
    found = find_opencompass()
    if found is None:
        told = "not installed; suites opencompass:… need it: evalkit harness install opencompass"
        return Check(name="opencompass", status="ok", message=told)
    shown = ("opencompass", "torch", "transformers", "datasets", "numpy")
    versions = ", ".join(f"{one} {found.versions.get(one, 'none')}" for one in shown)
    told = f"{versions}, Python {found.python}, in {found.folder}"
    if found.stale:
        told += "; made for another lock, renew it: evalkit harness install opencompass"
    return Check(name="opencompass", status="warning" if found.stale else "ok", message=told)


def _devices() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    found = []
    if torch.__version__.split("+")[0] != _TORCH:
        found.append(
            Check(
                name="torch",
                status="warning",
                message=f"{torch.__version__}; evalkit is tested with {_TORCH}",
            )
        )
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        size = f"{properties.total_memory / 2**30:.0f} GiB"
        found.append(Check(name=f"cuda:{index}", status="ok", message=f"{properties.name}, {size}"))
    if not torch.cuda.is_available():
        found.append(Check(name="devices", status="ok", message="CPU only; no CUDA device seen"))
    return found


def _sandbox() -> Check:
    """What holds the programs that a model writes, tried out on one."""
    found = walls()
    if not found.usable:
        told = f"none ({found.lacking}): suites that run generated code are refused on this machine"
        return Check(name="sandbox", status="warning", message=told)
    if not found.namespaces:
        told = f"{found.made_of}: generated code has no network, but can read your files"
        return Check(name="sandbox", status="warning", message=told)
    return Check(name="sandbox", status="ok", message=f"{found.made_of} (generated code)")


def _browser() -> Check:
    name = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if name:
        return Check(name="chromium", status="ok", message=f"{name} (browser tests)")
    return Check(
        name="chromium",
        status="warning",
        message="not found; only the browser tests need it: apt-get install chromium",
    )
