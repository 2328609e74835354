"""The last layer's feed-forward network, computed only where its output is read.

Attention needs the keys and values of every token in every layer, but behind the last attention
no token looks at another: what follows there is wanted for the tokens alone whose logits are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe")


def last_feed_forward(model: Any) -> Any:
    """The feed-forward network of the last of the model's layers, by its usual names; or None.

    Whether it may be trimmed is for a trial to say.
    """
    stacks = [one for one in model.modules() if isinstance(one, torch.nn.ModuleList)]
    last = list(max(stacks, key=len, default=[]))[-1:]
    found = (getattr(layer, name, None) for layer in last for name in _NAMES)
    return next((one for one in found if isinstance(one, torch.nn.Module)), None)


@contextmanager
def only_at(network: Any, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Within, `network` takes hidden states [B, T, width] at N positions, and gives 0 elsewhere."""
    shapes: list[torch.Size] = []

    def gather(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shapes.append(args[0].shape)
        device = args[0].device
        return args[0][rows.to(device), columns.to(device)][None], *args[1:]

    def scatter(_: Any, __: Any, out: Tensor) -> Tensor:
        everywhere = out.new_zeros(shapes.pop())
        everywhere[rows.to(out.device), columns.to(out.device)] = out[0]
        return everywhere

    hooks = [
        network.register_forward_pre_hook(gather),
        network.register_forward_hook(scatter),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
