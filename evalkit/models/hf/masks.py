"""Attention masks in the form a model's layers take them.

Found by trying each architecture: eager attention adds the mask to its scores, so that a boolean
one is silently wrong; a model whose layers differ takes one mask for each kind, and one mask for
all is silently wrong beyond the sliding window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """How a model's attention layers take their masks.

    `windows` maps each kind of layer to its sliding window (None: it sees everything); the one
    kind "" stands for a model that takes one mask for all. `additive`: a mask is added.
    `masked`: a mask says all that a token sees; not so where layers look at its place in the row.
    """

    windows: dict[str, int | None]
    additive: bool
    dtype: torch.dtype
    masked: bool = True

    @property
    def unwindowed(self) -> bool:
        """Whether every layer sees all that came before, and computes its attention by SDPA."""
        return not self.additive and not any(self.windows.values())


PLACED = ("attention_layers", "attention_chunk_size", "window_size", "attention_window")
"""Settings of architectures that measure by place: GPT-Neo's local layers, Llama 4's chunks."""


def layers_of(model: Any) -> Layers:
    """What the configuration of a loaded model tells of its layers."""
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    known = not kinds or set(kinds) <= {"full_attention", "sliding_attention"}
    windows: dict[str, int | None]
    if kinds and set(kinds) <= {"full_attention", "sliding_attention"}:
        windows = {kind: window if kind == "sliding_attention" else None for kind in set(kinds)}
    else:
        windows = {"": window if getattr(config, "use_sliding_window", True) else None}
    return Layers(
        windows=windows,
        additive=config._attn_implementation != "sdpa",
        dtype=model.dtype,
        masked=known and not any(getattr(config, name, None) for name in PLACED),
    )


def switches_at(config: Any) -> int | None:
    """The length beyond which a text's rotary frequencies change, for all that is read with it
    (long and dynamic RoPE); None where they never do."""
    inner = config.get_text_config(decoder=True)
    found = getattr(inner, "rope_parameters", None) or getattr(inner, "rope_scaling", None) or {}
    nested = [one for one in found.values() if isinstance(one, dict)] or [found]
    limits = [
        one.get("original_max_position_embeddings")
        or getattr(inner, "original_max_position_embeddings", None)
        or inner.max_position_embeddings
        for one in nested
        if (one.get("rope_type") or one.get("type")) in ("longrope", "dynamic")
    ]
    return min(limits, default=None)


def seen_mask(
    seen: Tensor, queries: Tensor, keys: Tensor, layers: Layers
) -> Tensor | dict[str, Tensor]:
    """The mask [B, 1, Q, K], by kind of layer where they differ.

    `seen` [B, Q, K] says which key each query sees; `queries` [B, Q] and `keys` [B, K] are the
    places of both in their texts, by which a sliding window measures.
    """
    masks: dict[str, Tensor] = {}
    for kind, window in layers.windows.items():
        allowed = seen
        if window is not None:
            allowed = seen & (keys[:, None, :] > queries[:, :, None] - window)
        masks[kind] = _as_taken(allowed[:, None], layers)
    return masks.get("", masks)


def _as_taken(allowed: Tensor, layers: Layers) -> Tensor:
    if not layers.additive:
        return allowed
    lowest = torch.finfo(layers.dtype).min
    return torch.zeros(allowed.shape, dtype=layers.dtype, device=allowed.device).masked_fill(
        ~allowed, lowest
    )
