"""How long a plan will take here, told before the weights are loaded.

Nearly all the time of a causal language model goes into matrix products with its weights. Two
such products of the model's own shape are timed on this device, one as wide as a scored batch and
one as narrow as a decoding step, and scaled to the number of weights and tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evalkit.models.base import Prepared
from evalkit.models.hf.loading import Placement

_WIDE = 512
_OVERHEAD = 1.4
"""What attention, norms, sampling and Python add; from a SmolLM2 run in float32 and bfloat16."""
_HEAD_ROWS = 1 / 8
"""Share of the scored positions that need the output head."""


def seconds(
    batches: Sequence[Sequence[Prepared]], folder: Path, config: Any, placement: Placement
) -> float:
    """Seconds the batches take at most: as if every text ran to its limit of new tokens."""
    width = int(getattr(config, "hidden_size", 0) or 1024)
    vocabulary = int(getattr(config, "vocab_size", 0) or 32_000)
    weights = _weights(folder)
    head = vocabulary * width
    body = max(weights - head, weights // 2)
    total = 0.0
    wide = _product(_WIDE, width, placement) / _WIDE
    for batch in batches:
        read = sum(len(one.prompt_ids) + len(one.continuation_ids) for one in batch)
        total += read * wide * (body + _HEAD_ROWS * head)
        steps = max((one.decoding.max_new_tokens for one in batch if one.decoding), default=0)
        if steps:
            total += steps * _product(len(batch), width, placement) * (body + head)
    return total * _OVERHEAD


def _weights(folder: Path) -> int:
    """Number of weights, from the headers of the safetensors files alone."""
    from safetensors import safe_open

    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            count += sum(math.prod(tensors.get_slice(k).get_shape()) for k in tensors.keys())  # noqa: SIM118
    return count


_timed: dict[tuple[int, int, str, torch.dtype], float] = {}


def _product(rows: int, width: int, placement: Placement) -> float:
    """Seconds for each weight of a product [rows, width] x [width, 4 width], best of five."""
    key = (rows, width, str(placement.device), placement.dtype)
    if key not in _timed:
        device, dtype = placement.device, placement.dtype
        left = torch.ones((rows, width), device=device, dtype=dtype)
        # More than a processor's cache holds: a decoding step reads every weight from memory.
        copies = max(2, 64_000_000 // (4 * width * width * left.element_size()))
        right = torch.ones((copies, width, 4 * width), device=device, dtype=dtype)
        _timed[key] = min(_once(left, right) for _ in range(5)) / right.numel()
    return _timed[key]


def _once(left: torch.Tensor, right: torch.Tensor) -> float:
    def wait() -> None:
        if left.is_cuda:
            torch.cuda.synchronize(left.device)

    wait()
    started = time.perf_counter()
    for weights in right:
        torch.matmul(left, weights)
    wait()
    return time.perf_counter() - started
