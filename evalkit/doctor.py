"""What this machine has, what it lacks, and the command that installs what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata

import psutil

from evalkit import __version__
from evalkit.errors import StoreError, pip
from evalkit.home import home
from evalkit.records import Check, CheckStatus
from evalkit.store.runs import check_writable

_EXTRAS = {
    "hf": ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "safetensors"),
    "train": ("trl", "datasets"),
    "lm-eval": ("lm_eval",),
    "dashboard": ("streamlit",),
}
_TORCH = "2.13.0"


def examine() -> list[Check]:
    """Every finding, in the order a reader would ask; imports torch if it is there."""
    return [
        Check(name="evalkit", status="ok", message=__version__),
        _python(),
        Check(name="machine", status="ok", message=_machine()),
        _folder(),
        *(_extra(extra, packages) for extra, packages in _EXTRAS.items()),
        *_devices(),
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


def _browser() -> Check:
    name = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if name:
        return Check(name="chromium", status="ok", message=f"{name} (browser tests)")
    return Check(
        name="chromium",
        status="warning",
        message="not found; only the browser tests need it: apt-get install chromium",
    )
