"""Texts of a decoder: those that begin at once are written in step, as each would be alone.

They are of one length at every step, so that nothing has to be padded but their prompts. One that
ends leaves, and what is left goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from evalkit.errors import ModelError
from evalkit.models.hf import caches, memory
from evalkit.models.hf.decoding import NO_ROOM, Spent
from evalkit.models.hf.generation import Row, Rules, choose
from evalkit.models.hf.lanes import Ids
from evalkit.models.hf.logits import Logits
from evalkit.models.hf.network import Network
from evalkit.models.hf.seq2seq.reading import encoded, of_rows


class Text(Protocol):
    """A text in the making."""

    @property
    def prompt(self) -> Ids:
        """What the encoder reads."""

    @property
    def read(self) -> Ids:
        """What the decoder has read, and the token it is to read next."""


def in_step(network: Network, texts: Sequence[Text], most: int | None = None) -> Iterator[Logits]:
    """Logits [B, V] of the next token of texts that are of one length, a step at a time.

    Those that are taken out of `texts` between two steps are not written on. Prompts are encoded
    at most `most` tokens at a time. Where the model's own cache does not give the plain numbers,
    all that was written is read anew.
    """
    inputs = encoded(network, [text.prompt for text in texts], most)
    present = list(texts)
    cache: dict[str, Any] = {}
    fresh = [text.read for text in texts]
    while texts:
        if len(texts) < len(present):
            kept = [present.index(text) for text in texts]
            inputs, cache = of_rows(inputs, kept), _left(cache, kept)
            present = list(texts)
        ids = torch.tensor(fresh, device=network.device)
        everyone = torch.arange(len(texts), device=network.device)
        last = torch.full_like(everyone, ids.shape[1] - 1)
        logits, out = network.logits_at(
            ids, everyone, last, use_cache=network.steps, **inputs, **cache
        )
        yield logits
        cache = caches.own(out) if network.steps else {}
        fresh = [text.read[-1:] if network.steps else text.read for text in texts]


def _left(cache: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """A model's own cache of some of its rows."""
    for one in cache.values():
        one.batch_select_indices(torch.tensor(kept))  # on the CPU: its layers lie on any device
    return cache


@dataclass(slots=True, kw_only=True)
class Writer:
    """Writes texts of one arm, `places` at once: fewer from the moment on when memory runs out.

    `use` makes the weights behave as the arm's; prompts are encoded at most `read_tokens` at a
    time.
    """

    network: Network
    use: Callable[[], None]
    rules: Rules
    places: int
    read_tokens: int
    spent: Spent

    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Write the texts, in this order; each as soon as it is there."""
        waiting = list(rows)
        while waiting:
            # Texts that had to stop on the way come first, and are of one length among themselves.
            written = len(waiting[0].ids)
            some = [row for row in waiting[: self.places] if len(row.ids) == written]
            cause = None
            try:
                yield from self._write(some)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                cause = error.with_traceback(None)  # which holds the tensors of the step
            if cause is not None:
                self._give_way(cause)
            waiting = [row for row in waiting if row.stop_reason is None]

    def _write(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Write texts in step; their first tokens come with reading the prompts."""
        left = list(rows)
        steps = in_step(self.network, left, self.read_tokens)
        reading = True
        while left:
            started = time.perf_counter()
            self.use()
            with torch.inference_mode():
                choose(self.network.model, next(steps).parts(), left, self.rules)
            self._count(left, time.perf_counter() - started, reading=reading)
            ended = [row for row in left if row.stop_reason is not None]
            left[:] = [row for row in left if row.stop_reason is None]
            reading = False
            yield from ended

    def _count(self, rows: Sequence[Row], seconds: float, *, reading: bool) -> None:
        for row in rows:
            row.seconds += seconds / len(rows)
        if not reading:
            self.spent.decode_seconds += seconds
            self.spent.decode_tokens += len(rows)
            return
        self.spent.prefill_seconds += seconds
        for prompt in {row.prompt for row in rows}:
            self.spent.read.add_encoded(len(prompt))
        for row in rows:
            self.spent.read.add_decoded(len(row.read) - 1, len(row.prompt), 1)

    def _give_way(self, cause: Exception) -> None:
        """Take half as many texts at once from now on; ModelError where that is not possible."""
        if self.places == 1:
            raise ModelError(NO_ROOM) from cause
        self.places //= 2
        self.read_tokens = max(1, self.read_tokens // 2)
        memory.release()
