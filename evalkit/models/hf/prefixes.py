"""The prefix tree of prompts, as a sorted list and the lengths of what neighbours share."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evalkit.models.base import Prepared

Ids = tuple[int, ...]


@dataclass(slots=True)
class Group:
    """Requests on one prompt; `own` tokens must be read after it, each shared one once, and
    `deep` is the sum of how far behind it they stand."""

    prompt: Ids
    items: list[Prepared]
    own: int
    deep: int


class Prefixes:
    """Prompts in the order of their tree; `lcp[i]` is what group i shares with group i − 1.

    A sorted list with these lengths says all that a tree of nodes would: the subtree below a
    common start is an interval, and it costs two numbers a prompt.
    """

    def __init__(self, items: Sequence[Prepared], row: int) -> None:
        """`row` > 0: requests on one prompt that need more tokens than that make several groups,
        so that no row holds them all."""
        self.groups: list[Group] = []
        shared: list[int] = []
        last = b""
        for key, mine in sorted(_by_prompt(items).items()):
            agreed = _agreed(last, key)
            prompt = mine[0].prompt_ids
            for group in _groups(prompt, mine, row):
                self.groups.append(group)
                shared.append(agreed)
                agreed = len(prompt)
            last = key
        self.lcp: NDArray[np.int64] = np.array(shared, dtype=np.int64)
        self._lengths = np.array([len(group.prompt) for group in self.groups], dtype=np.int64)
        self._own = np.array([group.own for group in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.groups)

    def common(self, low: int, high: int) -> int:
        """Tokens that all of [low, high) share, leaving at least one to each: its logits score
        the first token of every continuation."""
        agreed = int(self.lcp[low + 1 : high].min())
        return min(agreed, int(self._lengths[low:high].min()) - 1)

    def tokens(self, low: int, high: int, shared: int) -> int:
        """Tokens of the tree of [low, high) beyond the first `shared`."""
        agreed = np.maximum(self.lcp[low:high], shared)
        agreed[0] = shared
        return int((self._lengths[low:high] - agreed + self._own[low:high]).sum())

    def children(self, low: int, high: int) -> list[tuple[int, int]]:
        """The intervals into which [low, high) falls where its common start ends."""
        inside = self.lcp[low + 1 : high]
        cuts = (np.flatnonzero(inside == inside.min()) + low + 1).tolist()
        return list(pairwise([low, *cuts, high]))


def _by_prompt(items: Sequence[Prepared]) -> dict[bytes, list[Prepared]]:
    """The requests on each prompt, whose key is its tokens as big-endian bytes: those sort as the
    numbers do, and compare far faster than tuples."""
    found: dict[bytes, list[Prepared]] = {}
    seen: dict[int, list[Prepared]] = {}  # equal prompts are mostly one object: hash it once
    for one in items:
        mine = seen.get(id(one.prompt_ids))
        if mine is None:
            ids = array("I", one.prompt_ids)
            ids.byteswap()
            mine = seen[id(one.prompt_ids)] = found.setdefault(ids.tobytes(), [])
        mine.append(one)
    return found


def _groups(prompt: Ids, items: list[Prepared], row: int) -> Iterator[Group]:
    """The requests on one prompt, in the order of their continuations."""
    if len(items) > 1:
        items.sort(key=lambda one: (one.continuation_ids, one.key))
    part: list[Prepared] = []
    own = deep = 0
    last: Ids = ()
    for one in items:
        read = one.continuation_ids[:-1]
        agreed = shared_start(last, read)
        if row and part and own + len(read) - agreed > row:
            yield Group(prompt, part, own, deep)
            part, own, deep, agreed = [], 0, 0, 0
        part.append(one)
        own += len(read) - agreed
        deep += (len(read) * (len(read) + 1) - agreed * (agreed + 1)) // 2
        last = read
    yield Group(prompt, part, own, deep)


def _agreed(a: bytes, b: bytes) -> int:
    """First tokens that two texts, as four bytes a token, share."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size // 4
    left = np.frombuffer(a, dtype=np.uint32, count=size // 4)
    right = np.frombuffer(b, dtype=np.uint32, count=size // 4)
    return int((left != right).argmax())


def shared_start(a: Ids, b: Ids) -> int:
    """First tokens that two texts share."""
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1
    return shared
