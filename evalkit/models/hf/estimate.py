"""How much work a plan is, and how long it will take here, told before the weights are loaded.

Nearly all the time of a causal language model goes into matrix products with its weights. Two
such products of the model's own shape are timed on this device, one as wide as a scored batch and
one as narrow as a decoding step, and scaled to the number of weights and tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.models.base import Batch
from evalkit.models.hf.loading import Placement
from evalkit.models.hf.memory import finish
from evalkit.models.hf.plan import Budget, Size
from evalkit.models.hf.products import multiply

_WIDE = 512
_OVERHEAD = 1.4
"""What attention, norms, sampling and Python add; from a SmolLM2 run in float32 and bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the cost of a token depends on: all weights, those outside and inside the output head
    that it meets, and the width of what all layers' heads look back with."""

    weights: int
    body: int
    head: int
    looking: int
    width: int

    def flop(self, size: Size) -> float:
        """Floating-point operations of reading the unique tokens (2 for each weight; 4 for each
        number of a key and its value that is looked back on), logits where they are needed."""
        return (
            2.0 * self.body * size.unique + 2.0 * self.head * size.reads
            + 4.0 * self.looking * size.places
        )  # fmt: skip


def shape_of(folder: Path, config: Any) -> Shape:
    """From the configuration and the headers of the safetensors files alone."""
    inner = getattr(config, "text_config", None) or config
    width = int(getattr(inner, "hidden_size", 0) or 1024)
    heads = int(getattr(inner, "num_attention_heads", 0) or 1)
    layers = int(getattr(inner, "num_hidden_layers", 0) or 1)
    head = int(getattr(inner, "vocab_size", 0) or 32_000) * width
    weights = _weights(folder)
    tied = bool(getattr(config, "tie_word_embeddings", False))
    # Looking a token's embedding up costs nothing, so it counts only where it is the head too.
    body = weights - head if tied else weights - 2 * head
    per_head = int(getattr(inner, "head_dim", 0) or width // heads)
    return Shape(
        weights=weights,
        body=max(body, weights // 4),
        head=head,
        looking=layers * heads * per_head,
        width=width,
    )


BYTES = {"nf4": 0.6, "int8": 1.1}
"""Of a quantised weight, with its scales and the layers that stay as they are."""


def weights_bytes(shape: Shape, placement: Placement) -> int:
    """About what the weights occupy."""
    return int(shape.weights * BYTES.get(placement.quantization, placement.dtype.itemsize))


def seconds(
    batches: Sequence[Batch], size: Size, shape: Shape, placement: Placement, budget: Budget
) -> float:
    """Seconds the batches take at most: as if every text ran to its limit of new tokens."""
    wide = _product(_WIDE, shape.width, placement) / _WIDE
    total = wide * (shape.body * size.unique + shape.head * size.reads)
    for batch in batches:
        limits = [one.decoding.max_new_tokens for one in batch if one.decoding]
        if limits:
            together = min(len(limits), budget.decode_rows)
            steps = max(*limits, sum(limits) / together)
            step = _product(together, shape.width, placement)
            total += steps * step * (shape.body + shape.head)
    return total * _OVERHEAD


def peak(placement: Placement) -> float:
    """Floating-point operations a second of a large matrix product here: the best of a few."""
    rows = 1024 if placement.device.type == "cpu" else 8192
    product = min(_square(rows, placement) for _ in range(5))
    return 2.0 * rows**3 / product


def _square(rows: int, placement: Placement) -> float:
    # Random numbers: a GPU multiplies ones faster than it multiplies weights.
    chance = torch.Generator(placement.device).manual_seed(0)
    left, right = torch.randn(
        (2, rows, rows), generator=chance, device=placement.device, dtype=placement.dtype
    )
    return _once(left, right[None])


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
    """Seconds for each weight of a product [rows, width] x [width, 4 width], the better of two."""
    key = (rows, width, str(placement.device), placement.dtype)
    if key not in _timed:
        device, dtype = placement.device, placement.dtype
        left = torch.ones((rows, width), device=device, dtype=dtype)
        # More than a processor's cache holds: a decoding step reads every weight from memory.
        copies = max(2, 64_000_000 // (4 * width * width * left.element_size()))
        right = torch.ones((copies, 4 * width, width), device=device, dtype=dtype)
        _timed[key] = min(_once(left, right) for _ in range(2)) / right.numel()
    return _timed[key]


def _once(left: torch.Tensor, right: torch.Tensor) -> float:
    finish(left.device)
    started = time.perf_counter()
    with torch.inference_mode():
        for weights in right:
            multiply(left, weights)
    finish(left.device)
    return time.perf_counter() - started
