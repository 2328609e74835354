"""How much work a plan is, and how long it will take here, told before the weights are loaded.

Nearly all the time of a language model goes into matrix products with its weights. Two
such products of the model's own shape are timed on this device, one as wide as a scored batch and
one as narrow as a decoding step, and scaled to the number of weights and tokens.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from evalkit.errors import ModelError
from evalkit.models.base import Batch
from evalkit.models.hf.configs import is_encoder_decoder, text_part
from evalkit.models.hf.loading import Placement, stored_quantization
from evalkit.models.hf.memory import wait_for
from evalkit.models.hf.plan import Budget
from evalkit.models.hf.products import multiply
from evalkit.models.hf.sizes import Size
from evalkit.models.weights import weight_files

_WIDE = 512
_OVERHEAD = 1.4
"""What attention, norms, sampling and Python add; from a SmolLM2 run in float32 and bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the cost of a token depends on: the bytes of all weights where the files hold them
    quantised (else 0) and their number, how many of those outside and inside the output head a
    token meets (in an encoder, if there is one, others), and the width of what all layers' heads
    look back with."""

    packed_bytes: int = 0
    weights: int
    body: int
    head: int
    encoder: int = 0
    looking: int
    width: int

    def met(self, size: Size) -> float:
        """How often a weight is multiplied in reading the unique tokens, logits where needed."""
        decoded = size.unique - size.encoded
        return self.body * decoded + self.encoder * size.encoded + self.head * size.reads

    def flop(self, size: Size) -> float:
        """Floating-point operations of reading the unique tokens: 2 for each weight; 4 for each
        number of a key and its value that is looked back on."""
        return 2.0 * self.met(size) + 4.0 * self.looking * size.places


def shape_of(folder: Path, config: Any) -> Shape:
    """From the configuration and the headers of the safetensors files alone."""
    inner = text_part(config)
    width = int(getattr(inner, "hidden_size", 0) or 1024)
    heads = int(getattr(inner, "num_attention_heads", 0) or 1)
    layers = int(getattr(inner, "num_hidden_layers", 0) or 1)
    head = int(getattr(inner, "vocab_size", 0) or 32_000) * width
    bits = _stored_bits(config)
    weights, of_experts, of_encoder, stored = _weights(weight_files(folder), bits)
    encoder = of_encoder if is_encoder_decoder(config) else 0
    tied = bool(getattr(config, "tie_word_embeddings", False))
    # Looking a token's embedding up costs nothing, so it counts only where it is the head too.
    body = weights - head if tied else weights - 2 * head
    body -= encoder + round(of_experts * (1 - _asked_experts(inner)))
    per_head = int(getattr(inner, "head_dim", 0) or width // heads)
    return Shape(
        packed_bytes=stored if bits else 0,
        weights=weights,
        body=max(body, (weights - encoder - of_experts) // 4),
        head=head,
        encoder=encoder,
        looking=layers * heads * per_head,
        width=width,
    )


BYTES = {"nf4": 0.6, "int8": 1.1}
"""Of a quantised weight, with its scales and the layers that stay as they are."""


def weights_bytes(shape: Shape, placement: Placement) -> int:
    """About what the weights occupy."""
    return shape.packed_bytes or int(
        shape.weights * BYTES.get(placement.quantization, placement.dtype.itemsize)
    )


def seconds(
    batches: Sequence[Batch],
    size: Size,
    shape: Shape,
    placement: Placement,
    budget: Budget,
    whole: Collection[str] = (),
) -> float:
    """Seconds the batches take at most: as if every text ran to its limit of new tokens.

    `size` is what they read; `whole` are arms whose texts are written one at a time.
    """
    wide = _product(_WIDE, shape.width, placement) / _WIDE
    total = wide * shape.met(size)
    for batch in batches:
        for alone in (False, True):
            limits = [
                one.decoding.max_new_tokens
                for one in batch
                if one.decoding and (one.request.arm in whole) == alone
            ]
            if limits:
                together = 1 if alone else min(len(limits), budget.decode_rows)
                steps = max(*limits, sum(limits) / together)
                step = _product(together, shape.width, placement)
                total += steps * step * (shape.body + shape.head)
    return total * _OVERHEAD


def peak(placement: Placement) -> float:
    """Floating-point operations a second of a large matrix product here: the best of a second's,
    and of five at least. A machine that others share may be slow for as long as a few take."""
    rows = 1024 if placement.device.type == "cpu" else 8192
    products: list[float] = []
    until = time.perf_counter() + 1.0
    while len(products) < 5 or time.perf_counter() < until:
        products.append(_square(rows, placement))
    return 2.0 * rows**3 / min(products)


def _square(rows: int, placement: Placement) -> float:
    # Random numbers: a GPU multiplies ones faster than it multiplies weights.
    chance = torch.Generator(placement.device).manual_seed(0)
    left, right = torch.randn(
        (2, rows, rows), generator=chance, device=placement.device, dtype=placement.dtype
    )
    return _once(left, right[None])


def _weights(files: Sequence[Path], bits: int) -> tuple[int, int, int, int]:
    """Number of weights, how many of them are experts' and an encoder's, and their bytes, from the
    headers of the files alone; of `bits` each where whole numbers hold several (0: they are stored
    plainly)."""
    count, of_experts, of_encoder, stored = 0, 0, 0, 0
    for name, numbers, kind in _headers(files):
        width = int("".join(filter(str.isdigit, kind.partition("_")[0])) or 8)  # BF16, F8_E4M3
        weights = numbers * max(1, width // bits) if bits and kind[0] in "IU" else numbers
        count += weights
        of_experts += weights if _OF_EXPERTS.search(name) else 0
        of_encoder += weights if _OF_ENCODER.search(name) else 0
        stored += numbers * width // 8
    return count, of_experts, of_encoder, stored


def _headers(files: Sequence[Path]) -> Iterator[tuple[str, int, str]]:
    """Each tensor's name, how many numbers it has, and of which kind they are."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  not a dict
                    tensor = tensors.get_slice(name)
                    yield name, math.prod(tensor.get_shape()), tensor.get_dtype()
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} {_damage(file, error)}") from error


_OF_EXPERTS = re.compile(r"(^|\.)experts\.")
"""In the names of weights of which a token meets some only; experts that all share are others."""

_OF_ENCODER = re.compile(r"^(?!decoder)(\w+\.)?encoder\.(?!embed)")
"""In the names of weights that prompts meet where an encoder reads them."""


def _asked_experts(config: Any) -> float:
    """The part of a mixture's experts that one token is sent to; 1 where there is no mixture."""
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    there = next((n for name in names if (n := _mean(getattr(config, name, 0)))), 0.0)
    asked = _mean(getattr(config, "num_experts_per_tok", 0) or getattr(config, "top_k_experts", 0))
    return min(1.0, asked / there) if there and asked else 1.0


def _mean(setting: Any) -> float:
    """A number that may be one for each layer; 0 where it is none."""
    values = setting if isinstance(setting, list | tuple) else [setting]
    return fmean(values) if values and all(isinstance(one, int) for one in values) else 0.0


def _stored_bits(config: Any) -> int:
    """Bits of a weight in the files of a model that was quantised before; 0 for any other."""
    told = stored_quantization(config)
    if told.get("load_in_4bit") or told.get("quant_method") == "mxfp4":
        return 4
    groups = told.get("config_groups") or {}
    of_groups = [(group.get("weights") or {}).get("num_bits") for group in groups.values()]
    given = [told.get("bits"), told.get("w_bit"), *of_groups]
    return int(next(filter(None, given), 8)) if told else 0


def _damage(file: Path, error: Exception) -> str:
    """What a file is that holds no weights, and what to do."""
    with suppress(OSError), file.open("rb") as content:
        if content.read(len(_POINTER)) == _POINTER:
            return (
                "is a pointer of Git LFS, not the weights themselves: run `git lfs pull` in that "
                "folder, or download the model again."
            )
    return f"is damaged or incomplete ({error}): download the model again."


_POINTER = b"version https://git-lfs"


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
    wait_for(left.device)
    started = time.perf_counter()
    with torch.inference_mode():
        for weights in right:
            multiply(left, weights)
    wait_for(left.device)
    return time.perf_counter() - started
