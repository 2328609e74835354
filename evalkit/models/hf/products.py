"""Matrix products arranged for the processor: the same numbers as the libraries', sooner.

PyTorch multiplies float32 by MKL, which is behind oneDNN, its own choice for 16 bits, where rows
are few. oneDNN puts the weights into an order of its own in each product; they can be kept in it.
An output head is a product with so many columns that a CPU loses its caches on the way.
"""

from __future__ import annotations

import platform
from functools import cache
from math import ceil
from typing import Any

import torch
from torch import Tensor

from evalkit.models.hf.memory import free_bytes

FEW = 256
"""Rows up to which oneDNN is taken for float32. With more there is less to gain, and the many
tokens of a long text add up what the two libraries round otherwise: in 1,600 tokens to 1.4e-3
nats. In 16 bits it is PyTorch's own choice for any number."""

OFTEN = 32
"""Products of a layer after which its weights are kept in oneDNN's order: who asks a model little
need not wait for it. One of many rows counts as those of FEW that it is made of."""

PACKED_SHARE = 0.25
"""Part of the free memory that weights in that order may occupy, beside those as they are."""

PIECE = 3_072
"""Words of the vocabulary whose weights and logits stay in a CPU's cache together."""


def multiply_sooner(model: Any) -> None:
    """Arrange the plain layers of a model on a CPU, and its output head."""
    for module in model.modules():
        if _is_plain_linear(module) and _may_suit_onednn(module.weight):
            module.forward = Product(module)
    head: Any = model.get_output_embeddings()
    if _is_plain_linear(head) and head.bias is None and head.weight.device.type == "cpu":
        head.forward = Pieces(head)


def _is_plain_linear(module: Any) -> bool:
    return type(module) is torch.nn.Linear


def keep_in_order(model: Any) -> None:
    """Have weights that are used often kept in oneDNN's order, if all of them fit beside those as
    they are.

    Once adapters are attached and the base is known to be what it was: from now on nobody may
    write into weights, which those in the other order would not follow.
    """
    layers = [one for one in model.modules() if isinstance(one.forward, Product | Pieces)]
    weights = sum(layer.weight.nbytes for layer in layers)
    if weights <= PACKED_SHARE * free_bytes(torch.device("cpu")):
        for layer in layers:
            for in_order in layer.forward.orders:
                in_order.keeps = True


class InOrder:
    """A weight in oneDNN's order, once it was asked for OFTEN times and may be kept so."""

    def __init__(self) -> None:
        self.keeps = False
        self._asked = 0
        self._kept: Tensor | None = None

    def __call__(self, weight: Tensor, rows: int) -> Tensor:
        """The weight [out, in] for a product of so many rows, in its own order or in the other;
        always the same weight."""
        if self._kept is None and self.keeps:
            self._asked += ceil(rows / FEW)
            if self._asked >= OFTEN:
                self._kept = _packed(weight)
        return weight if self._kept is None else self._kept


class Product:
    """The forward of a plain layer: x W^T + b [..., out] of x [..., in] and weights W [out, in]."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.orders = (InOrder(),)

    def __call__(self, x: Tensor) -> Tensor:
        """The product, by whichever library is sooner."""
        return multiply(x, self._layer.weight, self._layer.bias, *self.orders)


def multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, in_order: InOrder | None = None
) -> Tensor:
    """x W^T + b [..., out] of x [..., in] and W [out, in], as plain layers compute it here."""
    if not suits_onednn(x, weight):
        return torch.nn.functional.linear(x, weight, bias)
    rows = x.numel() // x.shape[-1]
    return _by_onednn(x, in_order(weight, rows) if in_order else weight, bias)


def suits_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is to multiply these rows: where nothing is derived, as its product has no
    derivative here."""
    wanted = weight.dtype == torch.bfloat16 or x.numel() <= FEW * x.shape[-1]
    alike = x.dtype == weight.dtype
    return wanted and alike and not torch.is_grad_enabled() and _may_suit_onednn(weight)


def _may_suit_onednn(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and _has_onednn(weight.dtype)


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the products, which are not ones that it promises, and the processor
    is of the kind where they were measured."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    x, weight = torch.arange(6.0).view(2, 3).to(dtype), torch.arange(12.0).view(4, 3).to(dtype)
    wanted = x @ weight.T
    try:
        return all(torch.equal(_by_onednn(x, one), wanted) for one in (weight, _packed(weight)))
    except (AttributeError, RuntimeError):
        return False


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def in_pieces(head: Any) -> bool:
    """Whether an output head is arranged so, and no adapter changes what it computes."""
    return isinstance(getattr(head, "forward", None), Pieces)


def passing(head: Any, hidden: Tensor) -> Tensor:
    """Logits [N, V] of hidden states [N, width], to be read before the head is asked again."""
    logits: Tensor = head.forward.passing(hidden) if in_pieces(head) else head(hidden)
    return logits


class Pieces:
    """The forward of an output head."""

    def __init__(self, head: Any) -> None:
        self._head = head
        self.orders = tuple(InOrder() for _ in torch.split(head.weight, PIECE))
        self._room = torch.empty(0)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., width]."""
        weight = self._head.weight
        if torch.is_grad_enabled():
            return torch.nn.functional.linear(hidden, weight)
        flat = hidden.flatten(0, -2)
        logits = self._into(flat.new_empty(len(flat), len(weight)), flat)
        return logits.view(*hidden.shape[:-1], len(weight))

    def passing(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] that stand where those before them stood.

        They are too large for the C library to keep, so that new room comes from the system page
        by page: as long as a quarter of the product takes (SmolLM2, 512 rows in float32).
        """
        if torch.is_grad_enabled():
            return self(hidden)
        size = len(hidden) * len(self._head.weight)
        if self._room.numel() < size or self._room.dtype != hidden.dtype:
            self._room = torch.empty(0)  # not both at the same time
            self._room = hidden.new_empty(size)
        return self._into(self._room[:size].view(len(hidden), -1), hidden)

    def _into(self, logits: Tensor, hidden: Tensor) -> Tensor:
        weights = torch.split(self._head.weight, PIECE)
        parts = zip(torch.split(logits, PIECE, 1), weights, self.orders, strict=True)
        few = len(hidden) <= FEW  # of many, one product more would have to be copied
        for part, weight, in_order in parts:
            if few and suits_onednn(hidden, weight):
                part.copy_(_by_onednn(hidden, in_order(weight, len(hidden))))
            else:
                torch.mm(hidden, weight.T, out=part)
        return logits
