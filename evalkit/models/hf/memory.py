"""How much a batch may hold, what to do when it held too much, and what was used at most."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

from evalkit.models.hf.configs import text_part
from evalkit.models.hf.plan import Budget

CACHE_SHARE = 0.25
"""Part of the free memory that keys and values of texts in the making may occupy; those of shared
starts may occupy as much again."""

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Control groups: where Linux shows them, and where it tells a process its own."""


def default_budget(
    device: torch.device, batch_tokens: int | None, cache_bytes: int, weight_bytes: int
) -> Budget:
    """Batch sizes for this device: what computes fastest, or what fits where that is less.

    `cache_bytes` is what one token's keys and values occupy in all layers (0: unknown). A CPU
    computes a thousand tokens as fast as any number; a product with few rows is bound by reading
    the weights, so that a text's token takes a sixth less with 256 rows than with 128.
    """
    free = max(0, free_bytes(device) - weight_bytes)
    fitting = int(CACHE_SHARE * free) // cache_bytes if cache_bytes else 1 << 20
    scoring = 1536 if device.type == "cpu" else 16_384
    return Budget(
        score_tokens=batch_tokens or max(64, min(scoring, fitting)),
        decode_tokens=batch_tokens or max(64, fitting),
        decode_rows=256,
        trunk_tokens=max(64, fitting),
        padded=device.type != "cpu",
    )


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: measured on a GPU; on a CPU what the machine and the limits of
    containers and batch systems leave."""
    if device.type == "cuda":
        return sum(int(torch.cuda.mem_get_info(card)[0]) for card in _cards(device))
    return max(0, min([int(psutil.virtual_memory().available), *_left_by_groups()]))


def _left_by_groups() -> Iterator[int]:
    """What each limited control group above this process leaves, of version 2 or 1."""
    for folder in _groups():
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            yield limit - used + _idle_pages(folder / "memory.stat")


def _groups() -> Iterator[Path]:
    """The groups this process is in, each followed by those that it is within."""
    with suppress(OSError):
        for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines():
            _, kinds, own = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            root = GROUPS / "memory" if kinds else GROUPS
            folder = root / own.strip("/")
            yield from (one for one in (folder, *folder.parents) if one.is_relative_to(root))


def _number(*files: Path) -> int | None:
    """What the first of the files says that is there; None where that is no number, as `max`."""
    for file in files:
        with suppress(OSError):
            text = file.read_text(encoding="ascii").strip()
            return int(text) if text.isdigit() else None
    return None


def _idle_pages(file: Path) -> int:
    """Bytes of files that a group holds in memory and gives back when they are wanted."""
    with suppress(OSError):
        lines = (line.split() for line in file.read_text(encoding="ascii").splitlines())
        return next((int(line[1]) for line in lines if line[:1] == ["inactive_file"]), 0)
    return 0


def _cards(device: torch.device) -> list[int]:
    """The GPU that is named, or all of them: the weights are spread then."""
    return [device.index] if ":" in str(device) else list(range(torch.cuda.device_count()))


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that keys and values of one token occupy in all layers; 0 where nobody can tell."""
    inner = text_part(config)
    layers, width, heads = (
        getattr(inner, name, None) or 0
        for name in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    if not (layers and width and heads):
        return 0
    head = getattr(inner, "head_dim", None) or width // heads
    groups = getattr(inner, "num_key_value_heads", None) or heads
    return int(2 * layers * groups * head * dtype.itemsize)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch's allocator for CUDA says it by type, all else in words."""
    told = (
        "can't allocate memory",
        "MPS backend out of memory",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
    )
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in told)
    )


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for: a GPU is asked ahead of time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def keep_freed() -> None:
    """Have the C library keep the memory that tensors on a CPU give back, for those that follow.

    glibc returns large blocks to the system at once, and what it asks for again comes page by
    page, each filled with zeros first: a sixth of the seconds of a forward (SmolLM2, 1,300
    tokens). Who has set glibc's own variables for this is left alone; other C libraries too.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None or any(name in os.environ for name in _MALLOC_VARIABLES):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST_KEPT = 2**25  # the most that glibc allows on 64 bits
_MALLOC_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """One of glibc's own functions; None in a process that has another C library."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  whether it is there
        return getattr(library, name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):
        return None


def release() -> None:
    """Give cached blocks back to the device, or to the system."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if trim := _of_glibc("malloc_trim"):
        trim(ctypes.c_size_t(0))


def forget_peak(device: torch.device) -> None:
    """Count the most bytes of a GPU's allocator anew; what a process used at most, nobody can."""
    if device.type == "cuda":
        for card in _cards(device):
            torch.cuda.reset_peak_memory_stats(card)


def peak_memory(device: torch.device) -> float:
    """Most bytes in use so far: of the device's allocator on CUDA, else of this process."""
    if device.type == "cuda":
        return float(sum(torch.cuda.max_memory_allocated(card) for card in _cards(device)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
