"""Attention of our own: of texts that stand one behind the other in one row, on a start they share,
and of single tokens of texts in the making.

Every text looks back on its own part of the row, so nothing is padded; all of them meet the start
in one product without a mask, so nothing is copied. The softmax over a start and a text's own keys
is a mean of the softmax over either, weighted by the sums of their exponentials (as FlashAttention
joins its blocks, Dao et al. 2022; for shared starts Juravsky et al. 2024, "Hydragen").

A single token of each text looks back on keys of its own; the heads that share them ask together.
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

CHAIN, STEP = "evalkit_chain", "evalkit_step"


class Piece(NamedTuple):
    """One text's part of a row, and what is added to the scores [L, L] of its tokens among
    themselves; None: each sees those before it."""

    part: slice
    added: Tensor | None


_MORE_THAN_A_MASK = ("softcap", "position_bias", "s_aux")
"""What some models want done to their scores."""

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


def may_step(device: torch.device, layers: Layers) -> bool:
    """Whether single tokens had better look back by a function of ours, in float32 and on keys that
    are kept in it.

    A CPU's operator takes one head of one text at a time: up to twice as long as products of all
    the heads that share keys, and in 16 bits three times as long as in 32.
    """
    return device.type == "cpu" and not layers.additive and layers.dtype.itemsize <= 4


def stepping(model: Any) -> AbstractContextManager[None]:
    """Within, the layers of `model` (whose attention is SDPA) take one token of each text, and
    attend in float32 to a cache that is float32."""
    return _computed_by(model, STEP)


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

    for name, function in ((CHAIN, _attention), (STEP, _step_attention)):
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
    if any(kwargs.get(name) is not None for name in _MORE_THAN_A_MASK):
        raise ValueError("nothing but a mask may change what a token sees")
    found, weight = _own(query, key, value, scaling)
    if start is not None:
        theirs, start_weight = _of_start(query, *start, scaling)
        share = torch.sigmoid(start_weight - weight)[..., None].to(found.dtype)
        found.lerp_(theirs, share)
    return found.transpose(1, 2), None


def _step_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: queries [B, H, 1, width] on float32 keys and values
    [B, G, K, width], with a mask [B, 1, 1, K] of what they see; output [B, 1, H, width].

    transformers' SDPA in float32 where a model has made anything else of the mask.
    """
    more = any(kwargs.get(name) is not None for name in _MORE_THAN_A_MASK)
    if more or attention_mask is None or attention_mask.dtype != torch.bool:
        return _wide_attention(module, query, key, value, attention_mask, scaling, **kwargs)
    rows, heads, _, width = query.shape
    groups = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    looking = query.float().reshape(rows * groups, heads // groups, width) * scale
    scores = torch.bmm(looking, key.flatten(0, 1).transpose(1, 2))
    scores.view(rows, heads, 1, -1).masked_fill_(~attention_mask, -torch.inf)
    found = torch.bmm(scores.softmax(2), value.flatten(0, 1))
    return found.view(rows, 1, heads, -1).to(query.dtype), None


def _wide_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA for queries of 16 bits and float32 keys; its output has 16 again."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    found, _ = sdpa_attention_forward(
        module, query.float(), key, value, attention_mask, scaling=scaling, **kwargs
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
