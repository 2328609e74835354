"""How much a batch may hold, what to do when it held too much, and what was used at most."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from evalkit.errors import ModelError
from evalkit.models.base import Prepared
from evalkit.models.hf.plan import Budget
from evalkit.records import Completion

T = TypeVar("T")

CPU_CACHE = 2 * 2**30
"""Bytes of keys and values that texts decoded together may occupy on a CPU."""


def default_budget(device: torch.device, batch_tokens: int | None, cache_bytes: int = 0) -> Budget:
    """Batch sizes for this kind of device; constants, so that a resumed run cuts the same ones.

    `cache_bytes` is what one token occupies while texts are decoded (0: unknown). On a CPU wider
    batches than these win nothing when scoring, while decoding gains up to a hundred rows: a
    product with few rows is bound by reading the weights.
    """
    if device.type == "cpu":
        fitting = CPU_CACHE // cache_bytes if cache_bytes else 0
        scoring, decoding = 8192, min(max(fitting, 16_384), 65_536)
    else:
        scoring, decoding = 32_768, 131_072
    return Budget(
        score_tokens=batch_tokens or scoring,
        decode_tokens=batch_tokens or decoding,
        decode_rows=128,
    )


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


def halving(
    items: Sequence[Prepared], run: Callable[[Sequence[Prepared]], Iterator[Completion]]
) -> Iterator[Completion]:
    """Run the items; where memory runs out, halve what is left and go on without repeating.

    Raises ModelError when a single item does not fit.
    """
    waiting = [list(items)]
    while waiting:
        chunk = waiting.pop()
        finished: set[str] = set()
        try:
            for completion in run(chunk):
                finished.add(completion.key)
                yield completion
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(chunk) == 1:
                raise ModelError(
                    f"One request of {len(chunk[0].prompt_ids)} tokens does not fit in memory. "
                    "Use a smaller max_length, a smaller dtype, or quantization."
                ) from error
        # Outside the handler, because the traceback keeps the failed batch's tensors alive.
        release()
        left = [item for item in chunk if item.key not in finished]
        half = (len(left) + 1) // 2
        waiting += [part for part in (left[half:], left[:half]) if part]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA says it by type, the CPU allocator only in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def release() -> None:
    """Give cached blocks back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> float:
    """Most bytes in use so far: of the device's allocator on CUDA, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
