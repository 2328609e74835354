"""LoRA adapters added in place: the same numbers as PEFT's layers, sooner.

A LoRA layer of PEFT computes `x A B`, scales it and adds it to what the layer gives: three tensors
of the layer's size that are written and read again, five where the layer is of 16 bits and the
adapter of 32. A product that adds to what is there does it in one.

PEFT computes in float32 what an adapter adds to a layer of bfloat16, though what goes in and what
comes out is rounded to bfloat16. Here all of it is in bfloat16, for less than half the time; how
far both are from float32 is measured (`benchmarks/rounding.py`) and hardly differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def add_in_place(model: Any) -> None:
    """Have the plain LoRA layers of a PEFT model add in place, those on four bits too; every other
    kind stays PEFT's."""
    for module in model.modules():
        if _may_add(module):
            module.forward = Adding(module)


def _may_add(module: Any) -> bool:
    from peft.tuners.lora.layer import Linear

    if type(module) is Linear:
        return type(module.base_layer) is torch.nn.Linear
    # By its name: importing the class would bring bitsandbytes in where nothing is quantised.
    return (type(module).__module__, type(module).__name__) == _FOUR_BITS


_FOUR_BITS = ("peft.tuners.lora.bnb", "Linear4bit")


_ROWS: ContextVar[Sequence[str]] = ContextVar("rows", default=())


@contextmanager
def rows_of(names: Sequence[str]) -> Iterator[None]:
    """Within, each row of a forward has the adapter of this name; no names: all have the active.

    PEFT does the same by hooks on every layer, put there and taken away in every forward: a
    twelfth of a decoding step (SmolLM2, 117 rows).
    """
    token = _ROWS.set(names)
    try:
        yield
    finally:
        _ROWS.reset(token)


def all_add_in_place(model: Any) -> bool:
    """Whether `rows_of` reaches all that adapters change in a PEFT model."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return not any(
        isinstance(one, AuxiliaryTrainingWrapper)
        or (isinstance(one, BaseTunerLayer) and not isinstance(one.forward, Adding))
        for one in model.modules()
    )


class Adding:
    """The forward of one LoRA layer of PEFT."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._rounded: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, **kwargs: Any) -> Tensor:
        """What the layer gives for x [B, ..., in]; PEFT's own forward where anything is unusual."""
        layer = self._layer
        names: Sequence[str] = kwargs.get("adapter_names") or _ROWS.get()
        wanted = [] if layer.disable_adapters else sorted(set(names or layer.active_adapters))
        adapters = [name for name in wanted if name in layer.lora_A]
        if layer.merged or not all(_is_plain(layer, name, x) for name in adapters):
            if names:
                kwargs["adapter_names"] = names
            result: Tensor = type(layer).forward(layer, x, **kwargs)
            return result
        result = layer.base_layer(x)
        for name in adapters:
            down, up = self._weights(name, result.dtype)
            low = torch.nn.functional.linear(x.to(down.dtype), down)
            if names:
                others = _rows_of_others(name, tuple(names), low.device)
                low.masked_fill_(others.view(-1, *[1] * (low.dim() - 1)), 0.0)
            _add(result.view(-1, up.shape[0]), low.flatten(0, -2), up, layer.scaling[name])
        return result

    def _weights(self, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """An adapter's [rank, in] and [out, rank], as they are multiplied on a layer of `dtype`.

        float16 does not get them in its own dtype, whose range they would leave.
        """
        down, up = self._layer.lora_A[name].weight, self._layer.lora_B[name].weight
        if dtype != torch.bfloat16:
            return down, up
        if name not in self._rounded:
            self._rounded[name] = down.to(dtype), up.to(dtype)
        return self._rounded[name]


def _add(result: Tensor, low: Tensor, up: Tensor, scale: float) -> None:
    """Add an adapter's part to result [N, out], from its inner numbers low [N, rank]."""
    if result.dtype == up.dtype:
        result.addmm_(low, up.T, alpha=scale)
    else:
        result.add_(low @ up.T, alpha=scale)


def _is_plain(layer: Any, name: str, x: Tensor) -> bool:
    """No variant (DoRA …), no bias, nothing dropped; and one dtype throughout, or an adapter in
    float32 (as PEFT holds it) on a layer of 16 bits. Four bits give what they are given."""
    weight, own = layer.base_layer.weight, layer.lora_A[name].weight.dtype
    finer = own == torch.float32 and x.dtype in (torch.bfloat16, torch.float16)
    return (
        name not in layer.lora_variant
        and layer.lora_B[name].bias is None
        and not layer.training
        and (weight.dtype == x.dtype or not weight.is_floating_point())
        and (own == x.dtype or finer)
        and not torch.is_grad_enabled()
    )


@lru_cache(maxsize=8)
def _rows_of_others(name: str, names: tuple[str, ...], device: torch.device) -> Tensor:
    """Which rows [B] are not this adapter's; every layer of a forward asks the same."""
    return torch.tensor([one != name for one in names], device=device)
