"""The scores of a shared start itself, where whole texts are scored and not their ends alone.

A text is then the start's tokens, the first token behind them, and the rest, which is scored in
its row. The distribution behind the start's last token is kept for the one between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.models.hf import caches
from evalkit.models.hf.caches import Trunks
from evalkit.models.hf.lanes import Ids
from evalkit.models.hf.network import Network, read_on
from evalkit.models.hf.scoring import Reads, Scored, pick


class Opening(NamedTuple):
    """Scores of a start's tokens from its second on, and log-probabilities [V] of the next."""

    scored: Scored
    after: Tensor

    def through(self, token: int) -> Scored:
        """The scores of the start and of the token behind it."""
        likely = self.scored.is_greedy and int(self.after.argmax()) == token
        return Scored((*self.scored.logprobs, float(self.after[token])), likely)


@dataclass(frozen=True, slots=True)
class Openings:
    """The openings on the way to the present start of one arm, each going on from one before it."""

    _known: dict[Ids, Opening] = field(default_factory=dict)

    def of(self, network: Network, trunks: Trunks, start: Ids, most: int) -> tuple[Opening, int]:
        """The opening of a start, and how many tokens were read for it, at most `most` at a time.

        It goes on from the nearest start that is kept with its opening; its keys are kept, too.
        """
        if start in self._known:
            return self._known[start], 0
        for other in [one for one in self._known if start[: len(one)] != one]:
            del self._known[other]
        kept, cache = trunks.nearest(start)
        before, base = kept, self._known.get(start[:kept])
        if base is None:  # whoever read that start wanted none of its scores
            before, cache = 0, caches.empty()
        grown = caches.grown_from(cache)
        self._known[start] = _grown(network, start, before, base, grown, most)
        if kept < len(start):
            trunks.keep(start, grown)
        return self._known[start], len(start) - before


def _grown(
    network: Network, start: Ids, before: int, base: Opening | None, cache: Any, most: int
) -> Opening:
    """The opening of a start, whose first `before` tokens are in the cache and have their own."""
    last: list[Tensor] = []
    scored = base.through(start[before]) if base is not None else Scored((), True)
    for part, logits in read_on(network, cache, start, before, most, logits=True):
        targets = torch.tensor(start[part.start + 1 : part.stop + 1], dtype=torch.long)
        columns = torch.arange(part.stop - part.start)
        reads = Reads(columns, columns, columns[: len(targets)], targets)
        values, hits = pick(network, _noting_last(logits.parts(), last), reads)
        scored = scored.followed_by(Scored(tuple(values.tolist()), bool(hits.all())))
    return Opening(scored, last[0].float().log_softmax(0).cpu())


def _noting_last(parts: Iterator[Tensor], last: list[Tensor]) -> Iterator[Tensor]:
    for part in parts:
        last[:] = [part[-1].clone()]
        yield part
