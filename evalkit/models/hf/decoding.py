"""Decoding many texts at once: rows enter and leave the batch one by one, each as if it were alone.

Continuous batching: the batch is a desk with a fixed number of places. A text that ends leaves
its place in the same step, and the next one waiting is read into it; nobody waits for the longest
text. Texts of several arms may sit at one desk, so that one reading of the weights serves all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from typing import Any

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.hf import caches, memory
from evalkit.models.hf.generation import Row, Rules, choose
from evalkit.models.hf.lanes import Lane, Span, first_part, lay
from evalkit.models.hf.logits import Logits
from evalkit.models.hf.network import Network, next_logits, read_trunk
from evalkit.models.hf.sizes import Size

REFILL = 6
"""A sixth of the places is filled together: forwards for a few newcomers cost more than waiting."""


NO_ROOM = (
    "Not even one text at a time fits in memory. Use a smaller max_length or max_new_tokens, a "
    "smaller dtype, or quantization."
)


@dataclass(slots=True)
class Spent:
    """Seconds and tokens of reading prompts and of writing."""

    prefill_seconds: float = 0.0
    read: Size = field(default_factory=Size)
    decode_seconds: float = 0.0
    decode_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one arm's texts are decoded with; `use` makes the weights behave as the arm's."""

    network: Network
    trunks: caches.Trunks
    use: Callable[[], None]
    name: str
    """PEFT's name of its adapter, for mixed batches."""


@dataclass(slots=True)
class Decoder:
    """Decodes rows to their ends. `arms` are those of the rows; more than one only where `mixed`,
    which runs rows of several arms in one forward.

    `starts` says how many first tokens of each prompt others share. Reads at most `read_tokens`
    tokens at a time, and holds at most `places` rows of `tokens` tokens.
    """

    arms: Mapping[str, Arm]
    mixed: Arm | None
    rules: Rules
    starts: Mapping[tuple[int, ...], int]
    places: int
    tokens: int
    read_tokens: int
    spent: Spent = field(default_factory=Spent)
    _active: list[Row] = field(default_factory=list)
    _lengths: list[int] = field(default_factory=list)
    _desk: caches.Desk | None = None

    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """The rows, each as soon as it has ended."""
        waiting = deque(rows)
        while waiting or self._active:
            try:
                finished = self._turn(waiting)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
                if self.places == 1 and not self._has_way:
                    raise ModelError(NO_ROOM) from error
                finished = None
            if finished is None:
                self._make_room(waiting)  # outside the handler, whose traceback holds tensors
            else:
                yield from finished

    def _turn(self, waiting: deque[Row]) -> list[Row]:
        """Let rows in where places are free, or else give every row one more token."""
        if self._desk is not None:
            self._desk.seats = min(self.places, len(self._active) + len(waiting))
        free = self.places - len(self._active)
        enough = min(-(-self.places // REFILL), len(waiting))
        if waiting and (not self._active or free >= enough):
            return self._let_in(waiting, free)
        return self._step()

    def _make_room(self, waiting: deque[Row]) -> None:
        """Out of memory: half the places, and no start is kept. All leave the desk, for nobody
        knows what of the last turn was done; they keep what is written, and wait.

        Not the starts alone: the same rows would bring the same ones back, again and again.
        """
        for arm in self.arms.values():
            arm.trunks.forget()
        self.places = max(1, min(self.places, len(self._active) or self.places) // 2)
        self.read_tokens = max(64, self.read_tokens // 2)
        waiting.extendleft(reversed(self._active))
        self._active, self._lengths, self._desk = [], [], None
        memory.release()

    @property
    def _has_way(self) -> bool:
        """Whether starts are kept on the way to a longer one."""
        return any(len(arm.trunks) > 1 for arm in self.arms.values())

    def _let_in(self, waiting: deque[Row], free: int) -> list[Row]:
        """Read the next rows' texts onto the desk; their first token comes with it."""
        started = time.perf_counter()
        # No further than there are places, so that the arms of one prompt come in together.
        nearest = list(islice(waiting, free))
        arm, start = nearest[0].item.request.arm, self._start(nearest[0])
        alike = [r for r in nearest if r.item.request.arm == arm and self._start(r) == start]
        texts = [lay([Span(text, ())], len(start)) for text in dict.fromkeys(r.read for r in alike)]
        chained = self.arms[arm].network.chains
        lanes = {
            lane.spans[0].prompt: lane
            for lane in first_part(texts, self.read_tokens, chained=chained)
        }
        newcomers = list(takewhile(lambda row: row.read in lanes, alike))
        logits = self._read(self.arms[arm], start, newcomers, lanes)
        for row in newcomers:
            waiting.remove(row)
        finished = self._chosen(newcomers, [logits], started)
        self.spent.prefill_seconds += time.perf_counter() - started
        return finished

    def _start(self, row: Row) -> tuple[int, ...]:
        """The tokens that a row's prompt shares with others."""
        prompt = row.item.prompt_ids
        return prompt[: self.starts.get(prompt, 0)]

    def _read(
        self,
        arm: Arm,
        start: tuple[int, ...],
        rows: Sequence[Row],
        by_text: Mapping[tuple[int, ...], Lane],
    ) -> Tensor:
        """Logits [B, V] after each row's text; the rows then sit at the desk."""
        arm.use()
        network, shared = arm.network, len(start)
        lanes = list(by_text.values())
        numbers = {text: number for number, text in enumerate(by_text)}
        whose = [numbers[row.read] for row in rows]
        with torch.inference_mode():
            read = read_trunk(network, arm.trunks, start, self.read_tokens) if start else 0
            packed = network.pack(lanes, shared)
            places = torch.arange(len(lanes), device=network.device)
            ends = torch.tensor([len(lane) - 1 for lane in lanes], device=network.device)
            cache = network.lent(arm.trunks.nearest(start)[1], keep=True)
            logits = network.packed_logits(packed, places, ends, cache).whole()[whose]
            where = [packed.part(number, len(lanes[number])) for number in whose]
            self._seat(network, rows, where, cache)  # last: who sits must not be waiting any more
        self.spent.read.add_text(shared - read, shared, 0)
        for lane in lanes:
            self.spent.read.add_text(shared, shared + len(lane), 1)
        return logits

    def _seat(
        self, network: Network, rows: Sequence[Row], where: Sequence[caches.Where], cache: Any
    ) -> None:
        if self._desk is None:
            self._desk = network.desk(len(cache.layers), self.places, self.tokens)
        self._desk.put(len(self._active), cache, where)
        self._active += rows
        self._lengths += [len(row.read) for row in rows]

    def _step(self) -> list[Row]:
        """One forward of the last token of each row."""
        assert self._desk is not None
        started = time.perf_counter()
        logits = self._logits()
        self.spent.decode_tokens += len(self._active)
        self._lengths = [length + 1 for length in self._lengths]
        finished = self._chosen(self._active, logits.parts(), started)
        self.spent.decode_seconds += time.perf_counter() - started
        return finished

    def _logits(self) -> Logits:
        assert self._desk is not None
        arm = self._arm()
        arm.use()
        network = arm.network
        if arm is self.mixed:
            names = tuple(self.arms[row.item.request.arm].name for row in self._active)
            network = replace(network, names=names)
        with torch.inference_mode():
            last = [row.ids[-1] for row in self._active]
            return next_logits(network, self._desk, self._lengths, last)

    def _arm(self) -> Arm:
        """The arm of all active rows, or the mixed one where they differ."""
        present = {row.item.request.arm for row in self._active}
        if len(present) == 1:
            return self.arms[present.pop()]
        assert self.mixed is not None, "rows of several arms at one desk need a mixed network"
        return self.mixed

    def _chosen(self, rows: list[Row], parts: Iterable[Tensor], started: float) -> list[Row]:
        """Give each row its token; those that ended leave the desk."""
        model = next(iter(self.arms.values())).network.model
        with torch.inference_mode():  # in which their logits are computed as they are read
            choose(model, parts, rows, self.rules)
        share = (time.perf_counter() - started) / len(rows)
        for row in rows:
            row.seconds += share
        finished = [row for row in rows if row.stop_reason is not None]
        for row in finished:
            self._leave(self._active.index(row))
        return finished

    def _leave(self, place: int) -> None:
        """Free a place; the last row moves into it, so that active rows are the first ones."""
        assert self._desk is not None
        row, length = self._active.pop(), self._lengths.pop()
        if place < len(self._active):
            self._desk.move(len(self._active), place, length)
            self._active[place], self._lengths[place] = row, length


def alone(network: Network, row: Row) -> Iterator[Tensor]:
    """The plain way, for a model whose cache is its own affair: logits [1, V], a step at a time.

    Where not even its own cache gives the plain numbers, the whole text is read at every step.
    """
    zero = torch.zeros(1, dtype=torch.long, device=network.device)
    inputs: dict[str, Any] = {}
    fresh: Sequence[int] = row.read
    while True:
        ids = torch.tensor([list(fresh)], device=network.device)
        logits, out = network.logits_at(
            ids, zero, zero + ids.shape[1] - 1, use_cache=network.steps, **inputs
        )
        yield logits.whole()
        if network.steps:
            inputs, fresh = caches.own(out), row.ids[-1:]
        else:
            fresh = row.read
