"""Attention of our own: of texts that stand one behind the other in one row, on a start they share,
and of single tokens in 16 bits.

Every text looks back on its own part of the row, so nothing is padded; all of them meet the start
in one product without a mask, so nothing is copied. The softmax over a start and a text's own keys
is a mean of the softmax over either, weighted by the sums of their exponentials (as FlashAttention
joins its blocks, Dao et al. 2022; for shared starts Juravsky et al. 2024, "Hydragen").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.models.hf.masks import Layers

CHAIN, WIDE = "evalkit_chain", "evalkit_wide"


class Piece(NamedTuple):
    """One text's part of a row, and what is added to the scores [L, L] of its tokens among
    themselves; None: each sees those before it."""

    part: slice
    added: Tensor | None


_PIECES: ContextVar[Sequence[Piece]] = ContextVar("pieces", default=())
_START: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("start", default=None)


def may_chain(device: torch.device, layers: Layers) -> bool:
    """Whether there is a product that gives its sums back, and nothing but the mask hides keys."""
    return device.type == "cpu" and layers.unwindowed


def lend(keys: Tensor, values: Tensor) -> None:
    """Have the attention that is computed next see a start's keys and values [1, heads, n, width]
    before its own."""
    _START.set((keys, values))


@contextmanager
def chained(model: Any, pieces: Sequence[Piece]) -> Iterator[None]:
    """Within, the layers of `model` (whose attention is SDPA) take their one row as these pieces,
    each going on from what is lent to the layer."""
    _PIECES.set(pieces)
    try:
        with _computed_by(model, CHAIN):
            yield
    finally:
        _PIECES.set(())
        _START.set(None)


def may_widen(device: torch.device, layers: Layers) -> bool:
    """Whether single tokens had better look back in float32 on keys that are kept in it.

    A CPU's 16-bit operator takes three times as long for them (256 rows on 70 keys), and more the
    more keys there are.
    """
    return device.type == "cpu" and not layers.additive and layers.dtype.itemsize == 2


def widened(model: Any) -> AbstractContextManager[None]:
    """Within, the layers of a 16-bit `model` (whose attention is SDPA) attend in float32 to a cache
    that is float32."""
    return _computed_by(model, WIDE)


@contextmanager
def _computed_by(model: Any, name: str) -> Iterator[None]:
    _register()
    config = model.config.get_text_config(decoder=True)
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


@cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    for name, function in ((CHAIN, _attention), (WIDE, _wide_attention)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)


def _attention(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: queries [1, H, N, width] to output [1, N, H, width].

    The pieces say what a mask would. ValueError where the model has made more of the mask than it
    was given (`lanes.chain`: one number), or wants more than a mask.
    """
    start = _START.get()
    _START.set(None)
    if attention_mask is not None and attention_mask.shape[-2:] != (1, 1):
        raise ValueError("this attention narrows its mask by itself")
    if any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "s_aux")):
        raise ValueError("nothing but a mask may change what a token sees")
    found, weight = _own(query, key, value, scaling)
    if start is not None:
        theirs, start_weight = _of_start(query, *start, scaling)
        share = torch.sigmoid(start_weight - weight)[..., None].to(found.dtype)
        found.lerp_(theirs, share)
    return found.transpose(1, 2), None


def _wide_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA for queries of 16 bits and float32 keys; its output has 16 again."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    found, _ = sdpa_attention_forward(
        module, query.float(), key.float(), value.float(), attention_mask, **kwargs
    )
    return found.to(query.dtype), None


def _own(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> tuple[Tensor, Tensor]:
    """Each text's attention to its own keys, and the logarithm of the sum of its exponentials."""
    _, heads, tokens, _ = query.shape
    groups = heads // key.shape[1]
    keys, values = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    # As the output is wanted, so that it need not be copied into that order.
    found = value.new_empty(1, tokens, heads, value.shape[-1]).transpose(1, 2)
    weight = query.new_empty(1, heads, tokens, dtype=torch.float32)
    for part, added in _PIECES.get():
        found[:, :, part], weight[:, :, part] = _flash(
            query[:, :, part],
            keys[:, :, part],
            values[:, :, part],
            added,
            scaling,
            causal=added is None,
        )
    return found, weight


def _of_start(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """All tokens' attention to the start: heads that share its keys stand below each other too."""
    _, heads, tokens, width = query.shape
    shared = keys.shape[1]
    stacked = query.reshape(1, shared, heads // shared * tokens, width)
    found, weight = _flash(stacked, keys, values, None, scaling)
    return found.reshape(1, heads, tokens, -1), weight.reshape(1, heads, tokens)


def _flash(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    added: Tensor | None,
    scaling: float | None,
    *,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """The operator behind `scaled_dot_product_attention` on a CPU, for the sums it keeps back."""
    found, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, keys, values, 0.0, causal, attn_mask=added, scale=scaling
    )
    return found, weight
