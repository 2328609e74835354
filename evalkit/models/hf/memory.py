"""How much a batch may hold, what to do when it held too much, and what was used at most."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

from evalkit.models.hf.plan import Budget

CACHE_SHARE = 0.25
"""Part of the free memory that keys and values of texts in the making may occupy."""

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


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
        padded=device.type != "cpu",
    )


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: measured on a GPU, within the container's limit on a CPU."""
    if device.type == "cuda":
        return sum(int(torch.cuda.mem_get_info(card)[0]) for card in _cards(device))
    available = int(psutil.virtual_memory().available)
    used = int(psutil.Process().memory_info().rss)
    limits = [limit - used for limit in map(_limit, CGROUP_LIMITS) if limit is not None]
    return max(0, min([available, *limits]))


def _cards(device: torch.device) -> list[int]:
    """The GPU that is named, or all of them."""
    return [device.index] if ":" in str(device) else list(range(torch.cuda.device_count()))


def _limit(file: str) -> int | None:
    try:
        text = Path(file).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that keys and values of one token occupy in all layers; 0 where nobody can tell."""
    inner = getattr(config, "text_config", None) or config
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
    """Whether memory ran out: CUDA says it by type, the CPU allocator only in words."""
    told = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in told)
    )


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
    if trim := _of_glibc("malloc_trim"):
        trim(ctypes.c_size_t(0))


def peak_memory(device: torch.device) -> float:
    """Most bytes in use so far: of the device's allocator on CUDA, else of this process."""
    if device.type == "cuda":
        return float(sum(torch.cuda.max_memory_allocated(card) for card in _cards(device)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
