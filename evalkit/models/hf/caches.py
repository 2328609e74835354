"""Keys and values: of starts that many texts share, and of texts in the making.

Both hold every key of every layer, sliding windows included: windows live in the mask alone,
because a cache that drops keys by their place cannot serve texts of unequal length.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from evalkit.models.hf import attention

Ids = tuple[int, ...]
Where = tuple[int, slice]
"""A row of a forward, and a text's part of it."""


def empty() -> Any:
    """A cache that keeps all keys of all layers and grows as it is used."""
    return DynamicCache()


def grown_from(cache: Any) -> Any:
    """A cache that goes on from another, which stays as it is."""
    fresh = copy.copy(cache)
    # Appending concatenates into new tensors, so those of `cache` are never written to.
    fresh.layers = [copy.copy(layer) for layer in cache.layers]
    return fresh


class Borrowed(CacheLayerMixin):  # type: ignore[misc]  # untyped in transformers
    """One layer's keys and values of a start [1, heads, n, width], lent to many rows.

    The rows' own keys [B, heads, L, width] stand behind it for this one forward. They are kept
    only if asked for: the start's copies for all rows and layers together would fill a memory.
    With `lends` there are no copies: the attention is lent the start by itself.
    """

    is_sliding = False

    def __init__(self, start: Any = None, *, keep: bool = True, lends: bool = False) -> None:
        super().__init__()
        self.is_initialized = True
        self.keep = keep
        self.lends = lends
        if start is not None:
            self.keys, self.values = start.keys, start.values
        self.fresh: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is made beforehand."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """The start's keys and values, for each row, with its own behind them."""
        if self.keep:
            self.fresh = key_states, value_states
        if self.keys is None:
            return key_states, value_states
        if self.lends:
            attention.lend(self.keys, self.values)
            return key_states, value_states
        rows = key_states.shape[0]
        keys = torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=2)
        values = torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=2)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys there will be, and how many stand before the first of them."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens of the start."""
        return 0 if self.keys is None else int(self.keys.shape[2])

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def lent(start: Any, *, keep: bool, lends: bool = False) -> Any:
    """A cache whose rows all go on from `start`; from nothing where it is empty."""
    if not len(start):
        return Cache(layer_class_to_replicate=Borrowed)
    return Cache(layers=[Borrowed(layer, keep=keep, lends=lends) for layer in start.layers])


def own(out: Any) -> dict[str, Any]:
    """The cache a model made for itself, under the name it wants it back by."""
    for name in ("past_key_values", "cache_params"):
        if out.get(name) is not None:
            return {name: out[name]}
    return {}


class Trunks:
    """The starts that were read for one arm, each going on from the one before it.

    Work comes trunk by trunk in the order of the tree, so the path to the present one is all
    that has to be kept.
    """

    def __init__(self) -> None:
        self._path: list[tuple[Ids, Any]] = []

    def nearest(self, ids: Ids) -> tuple[int, Any]:
        """The longest kept start that `ids` begin with: its length and its cache (0, empty).

        Starts beside the way to it are forgotten.
        """
        while self._path and ids[: len(self._path[-1][0])] != self._path[-1][0]:
            self._path.pop()
        if not self._path:
            return 0, empty()
        known, cache = self._path[-1]
        return len(known), cache

    def keep(self, ids: Ids, cache: Any) -> None:
        """Keep the cache of a start that goes on from the nearest."""
        self._path.append((ids, cache))

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._path)

    def only(self, ids: Ids) -> bool:
        """Give the memory of all starts but this one back; whether there were any."""
        kept = [one for one in self._path if one[0] == ids]
        before, self._path = len(self._path), kept
        return len(kept) < before

    def forget(self) -> None:
        """Give the memory of all of them back."""
        self._path.clear()


class Places(CacheLayerMixin):  # type: ignore[misc]  # untyped in transformers
    """One layer's keys and values of texts in the making: [rows, heads, tokens, width].

    `write_at` says at which token of each row the next key belongs. What lies beyond a row's end is
    garbage that the mask hides. `wide`: they are kept in float32, whatever the model computes in.
    """

    is_sliding = False

    def __init__(self, *, wide: bool = False) -> None:
        super().__init__()
        self.is_initialized = True
        self.rows, self.tokens, self.wide = 0, 0, wide
        self.write_at: tuple[Tensor, Tensor, int] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room in the shape of the first keys and values; untouched room costs nothing."""
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.rows, states.shape[1], self.tokens, states.shape[3])
            dtype = torch.float32 if self.wide else states.dtype
            setattr(self, name, _room(shape, dtype, states.device))

    def widen(self, rows: int, tokens: int, kept: int) -> None:
        """Have room for so many rows and tokens of each; the first `kept` rows keep theirs."""
        self.rows, self.tokens = rows, tokens
        if self.keys is not None:
            for name in ("keys", "values"):
                setattr(self, name, _relaid(getattr(self, name), rows, tokens, kept))

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """Write one token of each active row in place; gives all that the mask may show."""
        assert self.write_at is not None
        rows, at, seen = self.write_at
        rows, at = rows.to(key_states.device), at.to(key_states.device)
        active = key_states.shape[0]
        if self.keys is None:
            self.lazy_initialization(key_states, value_states)
        self.keys[rows, :, at] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[rows, :, at] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[:active, :, :seen], self.values[:active, :, :seen]

    def put(self, rows: slice, keys: Tensor, values: Tensor, start: int) -> None:
        """Copy keys and values [B or 1, heads, n, width] into rows from token `start` on."""
        if self.keys is None:
            self.lazy_initialization(keys, values)
        self.keys[rows, :, start : start + keys.shape[2]] = keys
        self.values[rows, :, start : start + values.shape[2]] = values

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy a row's first tokens over another row's."""
        self.keys[target, :, :tokens] = self.keys[source, :, :tokens]
        self.values[target, :, :tokens] = self.values[source, :, :tokens]

    def get_mask_sizes(self, _query_length: int) -> tuple[int, int]:
        """Never asked, because the mask is always given."""
        return self.tokens, 0

    def get_seq_length(self) -> int:
        """Tokens there is room for: every row's own length is its owner's to know."""
        return self.tokens

    def get_max_length(self) -> int:
        """Tokens there is room for."""
        return self.tokens


def _relaid(old: Tensor, rows: int, tokens: int, kept: int) -> Tensor:
    """[rows, heads, tokens, width] with what stood in the first `kept` rows: in the same memory if
    it is enough, for new memory is what costs most, and rows that have left give theirs."""
    shape = (rows, old.shape[1], tokens, old.shape[3])
    memory = old.untyped_storage().nbytes() // old.itemsize
    if math.prod(shape) <= memory:
        found = old[:kept].clone()  # the rows move over each other
        new = old.as_strided((memory,), (1,))[: math.prod(shape)].view(shape)
    else:
        found, new = old[:kept], _room(shape, old.dtype, old.device)
    new[:kept, :, : old.shape[2]] = found
    return new


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros: what is masked counts nothing, but nothing times NaN is NaN.

    On a CPU as pages that the system hands out, zeroed, when they are first written to.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    blank = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(blank).view(dtype).reshape(shape)


_LEAST, _MORE = 64, 1.5
"""Tokens there is room for at first; how much more of it is made than is wanted."""


class Desk:
    """Room for texts in the making of at most `tokens` tokens, in all layers.

    Active rows are the first ones: whoever takes a row out moves the last into its place. `seats`
    is how many may come to sit here at a time, for the owner to lower as fewer are left. The room
    is as long as the longest text wants it, and some more: most texts end long before the limit,
    and when the last few are near it the others have left.
    """

    def __init__(self, layers: int, seats: int, tokens: int, *, wide: bool = False) -> None:
        self.wide, self.seats = wide, seats
        self._tokens = tokens
        self._layers = [Places(wide=wide) for _ in range(layers)]
        self.cache: Any = Cache(layers=list(self._layers))

    def put(self, first: int, source: Any, texts: Sequence[Where]) -> None:
        """Seat texts that were read in a lent cache, by where they stand there, from row `first`
        on."""
        rows = slice(first, first + len(texts))
        longest = max(part.stop - part.start for _, part in texts)
        self._have_room(source.layers[0].get_seq_length() + longest, first)
        for place, layer in zip(self._layers, source.layers, strict=True):
            start = layer.get_seq_length()
            keys, values = layer.fresh
            if start:
                place.put(rows, layer.keys, layer.values, 0)
            for seat, (row, part) in enumerate(texts, first):
                text = (slice(row, row + 1), slice(None), part)
                place.put(slice(seat, seat + 1), keys[text], values[text], start)

    def _have_room(self, tokens: int, kept: int) -> None:
        """Room for texts of so many tokens; the first `kept` rows are those that hold something."""
        if tokens <= self._layers[0].tokens:
            return
        more = max(tokens, min(self._tokens, max(_LEAST, int(_MORE * tokens))))
        with torch.inference_mode():
            for place in self._layers:
                place.widen(self.seats, more, kept)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Let one row take another's place."""
        with torch.inference_mode():
            for place in self._layers:
                place.move(source, target, tokens)

    def next_token(self, lengths: Sequence[int], device: torch.device) -> None:
        """The next forward writes token `lengths[i]` of row i and sees the longest of them."""
        self._have_room(max(lengths) + 1, len(lengths))
        rows = torch.arange(len(lengths), device=device)
        at = torch.tensor(lengths, device=device)
        for place in self._layers:
            place.write_at = (rows, at, max(lengths) + 1)
