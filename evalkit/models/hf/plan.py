"""How work is cut: which starts are shared, which requests lie side by side.

A plain function of the requests, testable and printable without a model. The requests of one arm
form a prefix tree (few-shot block, question, choice). Where a start is long enough and enough
hangs on it, it becomes a *trunk*: read once per arm and kept as keys and values. What hangs on a
trunk is packed into *rows*; inside a row every token of the tree stands once. Rows of one trunk
fill a *batch*, which is one forward pass.

The cut depends on the full list of requests and on the budget, so a killed run resumes with the
same batches wherever memory is not short. Both arms of a comparison get the same ones, so that what
a batch's shape does to the numbers cancels in the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from evalkit.models.base import Batch, Prepared
from evalkit.models.hf.prefixes import Prefixes

Ids = tuple[int, ...]

ROW = 192
"""Tokens to which a row is filled: longer rows waste attention on neighbours, shorter ones copy
the trunk's keys more often."""

LONG_ROW = 512
"""Tokens a row may have whose texts share a start: reading that once is worth some waste."""

WORTH_SHARING = 8
"""A start of fewer tokens than this is read again rather than kept."""

WORTH_READING = 128
"""A trunk must save this many tokens: it costs a forward pass of its own, and one that its last
batch does not fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much one forward may hold, in tokens; `trunk_tokens` is what shared starts may occupy.

    `padded`: rows are expected to stand side by side, so that their padding counts; else one behind
    the other (a network that pads all the same takes its batches in parts).
    """

    score_tokens: int
    decode_tokens: int
    decode_rows: int
    trunk_tokens: int
    padded: bool = True


def cut(
    prepared: Sequence[Prepared], pools: Sequence[Sequence[str]], budget: Budget
) -> list[Batch]:
    """Batches in the order they are best computed: scored arm by arm, then written pool by pool.

    `pools` are the arms, those that may be decoded in one batch together.
    """
    by_kind: dict[tuple[str, str], list[Prepared]] = {}
    for one in prepared:
        by_kind.setdefault((one.request.arm, one.request.kind), []).append(one)
    batches: list[Batch] = []
    firsts: dict[str, _Cut] = {}
    for arm in (arm for pool in pools for arm in pool):
        for kind in _TREES:
            scored = by_kind.get((arm, kind), [])
            first = firsts.get(kind)
            if first is None or not same_texts(first.items, scored):
                first = firsts[kind] = _Cut(scored, list(_scored(scored, budget)))
                batches += first.batches
            else:
                batches += _twins(first, scored)
        batches += _alone(by_kind.get((arm, "rolling"), []), budget)
    for pool in pools:
        batches += _written([one for arm in pool for one in by_kind.get((arm, "generate"), [])])
    return batches


_TREES = ("loglikelihood", "whole")
"""Kinds of requests whose texts share their starts."""


@dataclass(frozen=True, slots=True)
class _Cut:
    items: list[Prepared]
    batches: list[Batch]


def same_texts(some: Sequence[Prepared], others: Sequence[Prepared]) -> bool:
    """Whether two arms are asked the same, in the same order; equal ids are one object."""
    return len(some) == len(others) and all(
        a.prompt_ids is b.prompt_ids and a.continuation_ids is b.continuation_ids
        for a, b in zip(some, others, strict=True)
    )


def _twins(first: _Cut, others: Sequence[Prepared]) -> Iterator[Batch]:
    """The batches of an arm that is asked what another was: the same, with its own requests."""
    twin = {id(one): other for one, other in zip(first.items, others, strict=True)}
    for batch in first.batches:
        rows = tuple(tuple(twin[id(one)] for one in row) for row in batch.rows)
        yield Batch(rows=rows, shared=batch.shared)


def width(item: Prepared) -> int:
    """Tokens this request may come to occupy in a batch."""
    new = item.decoding.max_new_tokens if item.decoding else 0
    return len(item.prompt_ids) + len(item.continuation_ids) + new


def _scored(items: Sequence[Prepared], budget: Budget) -> Iterator[Batch]:
    """One arm's choices: trunk by trunk, rows of about one length together."""
    if not items:
        return
    row = min(ROW, budget.score_tokens)
    prefixes = Prefixes(items, row)
    for trunk in trunks(prefixes, row, budget.trunk_tokens):
        rows = list(_rows(prefixes, trunk, row))
        rows.sort(key=attrgetter("tokens"), reverse=True)
        for part in _fill(rows, budget):
            yield Batch(rows=tuple(tuple(row.items) for row in part), shared=trunk.shared)


@dataclass(frozen=True, slots=True)
class Trunk:
    """A start of `shared` tokens and the groups that hang on it, in the order of the tree."""

    shared: int
    groups: tuple[int, ...]


def trunks(prefixes: Prefixes, row: int, most: int) -> list[Trunk]:
    """The starts worth sharing when rows hold about `row` tokens, parents before children; what
    shares nothing hangs on trunk 0. Those on one way from the root, each of which holds its own
    keys and values, have at most `most` tokens together."""
    found: list[Trunk] = []
    _hang(prefixes, (0, len(prefixes)), 0, row, found, most)
    return found


NESTED = 64
"""Trunks on one way from the root at most."""


def _hang(
    tree: Prefixes,
    interval: tuple[int, int],
    shared: int,
    row: int,
    found: list[Trunk],
    most: int,
    deep: int = 0,
) -> None:
    """Hang the groups of an interval on a trunk of `shared` tokens, or on longer ones below it,
    which may have `most` tokens."""
    place = len(found)
    leaves: list[int] = []
    waiting = [interval]
    while waiting:
        low, high = waiting.pop()
        common = tree.common(low, high) if high - low > 1 else shared
        alone = high - low == 1 or deep == NESTED
        if alone or tree.tokens(low, high, shared) <= _room(common - shared, row):
            leaves += range(low, high)
        elif common <= most and _is_worth(
            common - shared, tree.tokens(low, high, common), high - low, row
        ):
            _hang(tree, (low, high), common, row, found, most - common, deep + 1)
        else:
            waiting += reversed(tree.children(low, high))
    if leaves:
        found.insert(place, Trunk(shared, tuple(leaves)))


def _room(extra: int, row: int) -> int:
    """Tokens that may stand in one row whose texts share the first `extra` of them."""
    return row * LONG_ROW // ROW if extra >= WORTH_SHARING else row


def _is_worth(extra: int, tokens: int, groups: int, row: int) -> bool:
    """Whether reading `extra` tokens once beats reading them in every row: `tokens` in all, of
    `groups` that stay whole, stand behind them."""
    rows = min(groups, -(-tokens // max(1, _room(extra, row) - extra)))
    return extra >= WORTH_SHARING and (rows - 1) * extra >= WORTH_READING


@dataclass(slots=True)
class _Row:
    items: list[Prepared]
    tokens: int


def _rows(tree: Prefixes, trunk: Trunk, most: int) -> Iterator[_Row]:
    """Pack neighbours of the tree into rows of at most `most` tokens; one group at least.

    Texts that share nothing are not packed: side by side they would only see more padding.
    """
    row: _Row | None = None
    last = -1
    for place in trunk.groups:
        group = tree.groups[place]
        agreed = max(trunk.shared, tree.lcp[place]) if place == last + 1 else trunk.shared
        more = len(group.prompt) - agreed + group.own
        packs = trunk.shared > 0 or agreed >= WORTH_SHARING
        room = _room(agreed - trunk.shared, most)
        if row is not None and packs and row.tokens + more <= room:
            row.items += group.items
            row.tokens += more
        else:
            if row is not None:
                yield row
            row = _Row(list(group.items), len(group.prompt) - trunk.shared + group.own)
        last = place
    if row is not None:
        yield row


def _fill(rows: Sequence[_Row], budget: Budget) -> list[list[_Row]]:
    """Rows, the longest first, into batches within the budget; one row at least.

    Without padding as few as that takes are of about one size: a small last one would read all
    the weights for a few tokens.
    """
    parts = list(_greedy(rows, budget.score_tokens, padded=budget.padded))
    if budget.padded or len(parts) < 2:
        return parts
    widest = rows[0].tokens
    even = sum(row.tokens for row in rows) // len(parts)
    fills = (even + widest // 2, even + widest)  # the latter leaves no row over
    tries = (list(_greedy(rows, min(fill, budget.score_tokens), padded=False)) for fill in fills)
    return next((found for found in tries if len(found) <= len(parts)), parts)


def _greedy(rows: Sequence[_Row], most: int, *, padded: bool) -> Iterator[list[_Row]]:
    part: list[_Row] = []
    held = 0
    for row in rows:
        after = part[0].tokens * (len(part) + 1) if part and padded else held + row.tokens
        if part and after > most:
            yield part
            part, held = [], 0
        part.append(row)
        held += row.tokens
    if part:
        yield part


def _alone(items: Sequence[Prepared], budget: Budget) -> Iterator[Batch]:
    """Whole texts, the longest first, each in a row of its own."""
    ordered = sorted(items, key=lambda one: (-width(one), one.continuation_ids, one.key))
    for part in _fill([_Row([one], width(one)) for one in ordered], budget):
        yield Batch(rows=tuple(tuple(row.items) for row in part))


def _written(items: Sequence[Prepared]) -> Iterator[Batch]:
    """Texts to write: those of about one width share a batch, which rows leave and enter.

    Each row's place holds as many tokens as the widest needs, so the widest is at most twice as
    wide as the narrowest. In which order they enter is decided at the desk.
    """
    part: list[Prepared] = []
    for one in sorted(items, key=width, reverse=True):
        if part and 2 * width(one) < width(part[0]):
            yield Batch.of(part)
            part = []
        part.append(one)
    if part:
        yield Batch.of(part)


def starts(items: Sequence[Prepared], budget: Budget) -> dict[Ids, int]:
    """How many first tokens of each prompt are worth reading once for several; each prompt is a
    row of its own."""
    tree = Prefixes(items, 0)
    found = trunks(tree, 1, budget.trunk_tokens)
    return {tree.groups[i].prompt: trunk.shared for trunk in found for i in trunk.groups}


def seated(items: Sequence[Prepared], starts: Mapping[Ids, int]) -> list[Prepared]:
    """The texts in the order in which they enter a desk.

    Those of one limit together, so that few steps are decoded for a single straggler; in them
    those that share a start, the longest first, so that little is read for padding alone; arms
    side by side, for the same prompt is decoded in lockstep.
    """

    def order(one: Prepared) -> tuple[int, Ids, int, Ids, int, str]:
        prompt, new = one.prompt_ids, one.decoding.max_new_tokens if one.decoding else 0
        start = prompt[: starts.get(prompt, 0)]
        return -new, start, -len(prompt), prompt, one.request.index, one.request.arm

    return sorted(items, key=order)
