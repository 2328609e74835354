"""Logits where they are asked for, and only as many at a time as memory and caches hold well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evalkit.models.hf import products

CHUNK = 512
CHUNK_NUMBERS = 2**25
"""Positions, and numbers, of the logits that exist at the same time."""

PART_NUMBERS = 2**22
"""Of those that are looked at together: what is computed from them still finds them in a large
cache of a processor, in room that the C library keeps."""


@dataclass(frozen=True, slots=True)
class Finish:
    """What some models do to their logits after the head: a factor, a bias, and a soft cap."""

    scale: float = 1.0
    cap: float | None = None
    bias: Tensor | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The logits as the model gives them."""
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.bias is not None:
            logits = logits + self.bias.to(logits.device)
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


UNCHANGED = Finish()


def finish_of(model: Any) -> Finish:
    """What configuration and buffers tell of it: Cohere and Granite scale, Gemma caps, Marian has
    a bias."""
    config = model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None and not bool(bias.any()):
        bias = None
    return Finish(scale, getattr(config, "final_logit_softcapping", None), bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """Logits [N, V] at N positions, computed as they are read.

    `chunks` are hidden states [n, width] that `head` and `finish` make logits of; without a head
    they are logits.
    """

    chunks: Sequence[Tensor]
    device: torch.device
    head: Any = None
    finish: Finish = UNCHANGED

    def parts(self) -> Iterator[Tensor]:
        """Rows [n, V] after rows; each is to be done with before the next is taken, whose numbers
        may stand where its own stood."""
        for chunk in self.chunks:
            logits = chunk if self.head is None else products.passing(self.head, chunk)
            numbers = PART_NUMBERS if logits.device.type == "cpu" else CHUNK_NUMBERS
            few = max(1, numbers // logits.shape[1])
            yield from (self._finished(part) for part in torch.split(logits, few))

    def whole(self) -> Tensor:
        """All of them, to keep."""
        made = self.chunks if self.head is None else [self.head(chunk) for chunk in self.chunks]
        finished = [self._finished(logits) for logits in made]
        return torch.cat(finished) if len(finished) > 1 else finished[0]

    def _finished(self, logits: Tensor) -> Tensor:
        return (logits if self.head is None else self.finish(logits)).to(self.device)
