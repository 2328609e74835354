"""The scores of a shared start itself, where whole texts are scored and not their ends alone.

A text is then the start's tokens, the first token behind them, and the rest, which is scored in
its row. The distribution behind the start's last token is kept for the one between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.models.hf.caches import Trunks
from evalkit.models.hf.lanes import Ids, Lane
from evalkit.models.hf.network import Network
from evalkit.models.hf.scoring import Reads, Scored, pick


class Head(NamedTuple):
    """Scores of a start's tokens from its second on, and log-probabilities [V] of the next."""

    scored: Scored
    after: Tensor

    def through(self, token: int) -> Scored:
        """The scores of the start and of the token behind it."""
        likely = self.scored.is_greedy and int(self.after.argmax()) == token
        return Scored((*self.scored.logprobs, float(self.after[token])), likely)


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads on the way to the present start of one arm, each going on from one before it."""

    _known: dict[Ids, Head] = field(default_factory=dict)

    def of(self, network: Network, trunks: Trunks, start: Ids) -> Head:
        """The head of a start, computed on the nearest start that is kept with its head."""
        if start not in self._known:
            for other in [one for one in self._known if start[: len(one)] != one]:
                del self._known[other]
            before, cache = trunks.nearest(start)
            base = self._known.get(start[:before])
            if base is None or before == len(start):
                base, before, cache = None, 0, None
            self._known[start] = _grown(network, start, before, base, cache)
        return self._known[start]


def _grown(network: Network, start: Ids, before: int, base: Head | None, cache: object) -> Head:
    """The head of a start, of which the first `before` tokens are read and have their own."""
    lane = Lane(start[before:], range(before, len(start)), None, (), ())
    packed = network.pack([lane], before)
    columns = torch.arange(len(lane), device=network.device)
    borrowed = network.lent(cache, keep=False) if cache is not None else None
    chunks = network.packed_logits(packed, torch.zeros_like(columns), columns, borrowed)
    targets = torch.tensor(start[before + 1 :], dtype=torch.long, device=network.device)
    reads = Reads(columns, columns, columns[:-1], targets)
    last: list[Tensor] = []
    values, hits = pick(network, _noting_last(chunks, last), reads)
    scored = Scored(tuple(values.tolist()), bool(hits.all()))
    if base is not None:
        scored = base.through(start[before]).followed_by(scored)
    return Head(scored, last[0].float().log_softmax(0))


def _noting_last(chunks: Iterator[Tensor], last: list[Tensor]) -> Iterator[Tensor]:
    for chunk in chunks:
        last[:] = [chunk[-1].clone()]
        yield chunk
