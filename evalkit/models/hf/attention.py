"""Attention of many rows to the start they share: read once for all of them, not copied for each.

The softmax over a start and a row's own keys is a mean of the softmax over either, weighted by the
sums of their exponentials (as FlashAttention joins its blocks, Dao et al. 2022; for shared starts
Juravsky et al. 2024, "Hydragen"). All rows' queries meet the start in one product without a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evalkit.models.hf.masks import Layers

NAME = "evalkit_split"

_START: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("start", default=None)


def may_split(device: torch.device, layers: Layers) -> bool:
    """Whether there is a product that gives its sums back, and nothing but the mask hides keys."""
    return device.type == "cpu" and layers.unwindowed


def lend(keys: Tensor, values: Tensor) -> None:
    """Have the attention that is computed next see a start's keys and values [1, heads, n, width]
    before its own."""
    _START.set((keys, values))


@contextmanager
def split(model: Any) -> Iterator[None]:
    """Within, the layers of `model` (whose attention is SDPA) take what is lent to them."""
    _register()
    config = model.config.get_text_config(decoder=True)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _START.set(None)


@cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: queries [B, H, L, width] to output [B, L, H, width].

    `attention_mask` [B, 1, L, n + L] speaks of the start too, though all of it is seen.
    """
    start = _START.get()
    if start is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return result
    _START.set(None)
    assert attention_mask is not None
    if any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "s_aux")):
        raise ValueError("nothing but a mask may change what a row sees of its start")
    mine, weight = _own(query, key, value, attention_mask, scaling)
    theirs, start_weight = _of_start(query, *start, scaling)
    share = torch.sigmoid(start_weight - weight)[..., None].to(mine.dtype)
    return torch.lerp(mine, theirs, share).transpose(1, 2).contiguous(), None


def _own(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """Each row's attention to its own keys, and the logarithm of the sum of its exponentials."""
    groups = query.shape[1] // key.shape[1]
    keys, values = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    seen = mask[..., -key.shape[2] :]
    added = torch.zeros(seen.shape, dtype=query.dtype).masked_fill_(~seen, -torch.inf)
    return _flash(query, keys, values, added, scaling)


def _of_start(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """All rows' attention to the start: heads that share its keys stand below each other too."""
    rows, heads, long, width = query.shape
    shared = keys.shape[1]
    groups = heads // shared
    stacked = query.view(rows, shared, groups, long, width).transpose(0, 1)
    found, weight = _flash(
        stacked.reshape(1, shared, rows * groups * long, width), keys, values, None, scaling
    )
    found = found.view(shared, rows, groups, long, -1).transpose(0, 1)
    weight = weight.view(shared, rows, groups, long).transpose(0, 1)
    return found.reshape(rows, heads, long, -1), weight.reshape(rows, heads, long)


def _flash(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """The operator behind `scaled_dot_product_attention` on a CPU, for the sums it keeps back."""
    found, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, keys, values, 0.0, False, attn_mask=mask, scale=scaling
    )
    return found, weight
