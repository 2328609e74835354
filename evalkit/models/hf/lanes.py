"""Texts side by side in one row: a tree in which every shared token stands once.

A *lane* is one row of a forward pass. It holds the tokens of several texts that go on from the
same start; each token sees that start, the tokens before it in its own text, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.models.hf.attention import Piece
from evalkit.models.hf.masks import Layers, seen_mask
from evalkit.models.hf.prefixes import shared_start

Ids = tuple[int, ...]


class Span(NamedTuple):
    """A prompt and the continuation to score on it; empty where a text is only read."""

    prompt: Ids
    continuation: Ids


@dataclass(frozen=True, slots=True)
class Lane:
    """One packed row: tokens, the place of each in its own text, and what each sees.

    `seen` [L, L] is None where the row is one text, read in order. `columns[i]` are the places in
    the row whose logits predict the tokens of span i. `encoded` is a prompt that does not stand in
    the row, for an encoder reads it.
    """

    ids: Sequence[int]
    places: Sequence[int]
    seen: NDArray[np.bool_] | None
    columns: tuple[tuple[int, ...], ...]
    spans: tuple[Span, ...]
    encoded: Ids = ()

    def __len__(self) -> int:
        """Tokens in the row."""
        return len(self.ids)


def lay(spans: Sequence[Span], shared: int) -> Lane:
    """Lay the spans into one row that goes on from their first `shared` tokens.

    Spans in the order of their tokens (as planned) share all they can; the columns come back in
    the order given.
    """
    if len(spans) == 1:
        return _one_text(spans[0], shared)
    texts = [(span.prompt + span.continuation[:-1])[shared:] for span in spans]
    ids: list[int] = []
    places: list[int] = []
    paths: list[list[int]] = []
    path: list[int] = []
    last: Ids = ()
    for text in texts:
        agreed = shared_start(last, text)
        path = [*path[:agreed], *range(len(ids), len(ids) + len(text) - agreed)]
        ids += text[agreed:]
        places += range(shared + agreed, shared + len(text))
        paths.append(path)
        last = text
    starts = [len(span.prompt) - 1 - shared for span in spans]
    columns = tuple(tuple(path[start:]) for start, path in zip(starts, paths, strict=True))
    return Lane(ids, places, _seen(paths, len(ids)), columns, tuple(spans))


PAIRS = 1_000
"""Pairs of tokens that do not see each other and are computed all the same, for which one token
may be read once more; measured with SmolLM2 in float32."""


def parted(spans: Sequence[Span], shared: int) -> Iterator[list[Span]]:
    """The spans of a row, in their order, in the parts that are worth a lane of their own.

    Where lanes need no padding, texts that have little in common beyond the start share no lane:
    each would compute its attention to the other for nothing.
    """
    part: list[Span] = []
    size = 0
    last: Ids = ()
    for span in spans:
        text = (span.prompt + span.continuation[:-1])[shared:]
        agreed = shared_start(last, text)
        if part and agreed < size * (len(text) - agreed) // PAIRS:
            yield part
            part, size, agreed = [], 0, 0
        part.append(span)
        size += len(text) - agreed
        last = text
    if part:
        yield part


def _one_text(span: Span, shared: int) -> Lane:
    text = (span.prompt + span.continuation[:-1])[shared:]
    places = range(shared, shared + len(text))
    columns = tuple(range(len(span.prompt) - 1 - shared, len(text)))
    return Lane(text, places, None, (columns,), (span,))


def _seen(paths: Sequence[list[int]], size: int) -> NDArray[np.bool_] | None:
    """[L, L]: each token sees itself and those before it on its path."""
    if all(path == list(range(len(path))) for path in paths):
        return None  # every text is a beginning of the longest
    seen = np.zeros((size, size), dtype=np.bool_)
    done = 0
    for path in paths:
        fresh = [place for place in path if place >= done]
        if not fresh:
            continue
        before = path[: len(path) - len(fresh)]
        end = done + len(fresh)
        seen[np.ix_(fresh, before)] = True
        seen[done:end, done:end] = np.tri(len(fresh), dtype=np.bool_)
        done = end
    return seen


def amount(lanes: Sequence[Lane], *, chained: bool) -> int:
    """Tokens of one forward of the lanes: in one row, or side by side with their padding; and those
    of the prompts that an encoder reads for them, equal ones once."""
    sizes = [len(lane) for lane in lanes]
    prompts = {lane.encoded for lane in lanes}
    rows = sum(sizes) if chained else max(sizes, default=0) * len(sizes)
    return rows + max(map(len, prompts), default=0) * len(prompts)


def first_part(lanes: Sequence[Lane], tokens: int, *, chained: bool) -> list[Lane]:
    """As many of the lanes, in their order, as `tokens` hold in one forward; one at least."""
    count, total, widest, longest = 0, 0, 0, 0
    prompts: set[Ids] = set()
    for lane in lanes:
        total += len(lane)
        widest = max(widest, len(lane))
        if lane.encoded:
            prompts.add(lane.encoded)
            longest = max(longest, len(lane.encoded))
        rows = total if chained else widest * (count + 1)
        if count and rows + longest * len(prompts) > tokens:
            break
        count += 1
    return list(lanes[:count])


class Packed(NamedTuple):
    """Lanes as the inputs of one forward: ids and places [B, L], the mask (None: causal).

    `starts` [lanes, 2] are row and column of each lane's first token. `pieces`: all stand in one
    row, and see what these say.
    """

    ids: Tensor
    places: Tensor | None
    mask: Tensor | dict[str, Tensor] | None
    starts: Tensor
    pieces: tuple[Piece, ...] = ()

    def where(self, lanes: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of tokens [N] that are given by their lane and their place in it."""
        rows, firsts = self.starts[lanes].T
        return rows, firsts + columns

    def part(self, lane: int, tokens: int) -> tuple[int, slice]:
        """The row in which a lane of `tokens` tokens stands, and its part of it."""
        row, first = self.starts[lane].tolist()
        return row, slice(first, first + tokens)


def pack(lanes: Sequence[Lane], shared: int, layers: Layers, device: torch.device) -> Packed:
    """Stand lanes side by side, padded on the right, on a trunk of `shared` tokens.

    Rows of single texts without a trunk need no mask: causal attention hides the padding behind
    a row from it.
    """
    wide = max(map(len, lanes))
    ids = torch.zeros((len(lanes), wide), dtype=torch.long)
    for row, lane in enumerate(lanes):
        ids[row, : len(lane)] = torch.tensor(lane.ids)
    starts = torch.tensor([(row, 0) for row in range(len(lanes))], device=device)
    if not shared and all(lane.seen is None for lane in lanes):
        return Packed(ids.to(device), None, None, starts)
    places = torch.zeros_like(ids)
    seen = np.zeros((len(lanes), wide, shared + wide), dtype=np.bool_)
    # A padding token must see something, or its softmax is undefined; nobody sees it.
    seen[:, :, shared:] = np.eye(wide, dtype=np.bool_)
    for row, lane in enumerate(lanes):
        long = len(lane)
        places[row, :long] = torch.tensor(lane.places)
        seen[row, :long, :shared] = True
        inside = lane.seen if lane.seen is not None else np.tri(long, dtype=np.bool_)
        seen[row, :long, shared : shared + long] = inside
    start = torch.arange(shared).expand(len(lanes), shared)
    keys = torch.cat([start, places], dim=1)
    mask = seen_mask(torch.from_numpy(seen).to(device), places.to(device), keys.to(device), layers)
    return Packed(ids.to(device), places.to(device), mask, starts)


def chain(lanes: Sequence[Lane], layers: Layers, device: torch.device) -> Packed:
    """Stand lanes one behind the other in one row, where each lane's attention is computed for
    itself: no token is padding."""
    ends = list(accumulate(map(len, lanes)))
    pieces = tuple(
        Piece(slice(end - len(lane), end), _added(lane, layers.dtype, device))
        for lane, end in zip(lanes, ends, strict=True)
    )
    # Layers that are given no mask would make one of the whole row; this one is never looked at.
    some = torch.zeros((1, 1), dtype=torch.long, device=device)
    mask = seen_mask(torch.ones((1, 1, 1), dtype=torch.bool, device=device), some, some, layers)
    return Packed(
        torch.tensor([[one for lane in lanes for one in lane.ids]], device=device),
        torch.tensor([[one for lane in lanes for one in lane.places]], device=device),
        mask,
        torch.tensor([(0, piece.part.start) for piece in pieces], device=device),
        pieces,
    )


def _added(lane: Lane, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    if lane.seen is None:
        return None
    seen = torch.from_numpy(lane.seen).to(device)
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)
