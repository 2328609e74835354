"""How work is cut into batches: a plain function of the requests, testable without a model.

A batch holds one arm and one kind. It is computed and stored whole, and its boundaries depend on
the full list of requests alone, so a killed run resumes with the very same batches; both arms of
a comparison get the same ones, so that batch-shape noise cancels in the paired difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.models.base import Prepared

Ids = tuple[int, ...]

SHARED_START = 32
"""Prompts that agree on this many first tokens are kept together: their start is computed once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much one forward may hold, in tokens with the padding counted."""

    score_tokens: int
    decode_tokens: int
    decode_rows: int


WITHOUT_LIMIT = Budget(score_tokens=1 << 60, decode_tokens=1 << 60, decode_rows=1 << 60)


def cut(prepared: Sequence[Prepared], arms: Sequence[str], budget: Budget) -> list[list[Prepared]]:
    """Batches in the order they are best computed: by arm, kind, shared start, then length."""
    batches: list[list[Prepared]] = []
    for arm in arms:
        mine = [item for item in prepared if item.request.arm == arm]
        scored = [item for item in mine if item.request.kind == "loglikelihood"]
        rolled = [item for item in mine if item.request.kind == "rolling"]
        written = [item for item in mine if item.request.kind == "generate"]
        batches += _scoring_batches(scored, budget)
        batches += _fill(
            ([item] for item in _longest_first(rolled)),
            budget.score_tokens,
            WITHOUT_LIMIT.decode_rows,
        )
        batches += _fill(
            ([item] for item in _by_expected_length(written)),
            budget.decode_tokens,
            budget.decode_rows,
        )
    return batches


def common_start(prompts: Iterable[Ids]) -> int:
    """How many first tokens all prompts share, leaving at least one token to each."""
    rows = list(prompts)
    low, high = min(rows), max(rows)  # all others lie between these two, and share what they share
    shared = 0
    for a, b in zip(low, high, strict=False):
        if a != b:
            break
        shared += 1
    return min(shared, min(map(len, rows)) - 1)


def width(item: Prepared) -> int:
    """Tokens this request may come to occupy in a batch."""
    new = item.decoding.max_new_tokens if item.decoding else 0
    return len(item.prompt_ids) + len(item.continuation_ids) + new


def _scoring_batches(items: Sequence[Prepared], budget: Budget) -> list[list[Prepared]]:
    """Requests on one prompt stay together, and prompts with a common start side by side."""
    by_prompt: dict[Ids, list[Prepared]] = {}
    for item in items:
        by_prompt.setdefault(item.prompt_ids, []).append(item)
    starts: dict[Ids, list[list[Prepared]]] = {}
    for prompt, group in by_prompt.items():
        group.sort(key=lambda item: (item.continuation_ids, item.key))
        starts.setdefault(prompt[:SHARED_START], []).append(group)
    # Starts that nobody shares are one pool: nothing is lost by mixing them, and padding is won.
    pool = [groups[0] for groups in starts.values() if len(groups) == 1]
    shared = [groups for groups in starts.values() if len(groups) > 1]
    batches: list[list[Prepared]] = []
    for groups in sorted([*shared, *([pool] if pool else [])], key=_widest, reverse=True):
        ordered = sorted(groups, key=lambda g: (-max(map(width, g)), g[0].prompt_ids))
        batches += _fill(ordered, budget.score_tokens, WITHOUT_LIMIT.decode_rows)
    return batches


def _widest(groups: Sequence[Sequence[Prepared]]) -> tuple[int, Ids]:
    return max((max(map(width, group)), group[0].prompt_ids) for group in groups)


def _longest_first(items: Sequence[Prepared]) -> list[Prepared]:
    return sorted(items, key=lambda item: (-width(item), item.continuation_ids, item.key))


def _by_expected_length(items: Sequence[Prepared]) -> list[Prepared]:
    """Rows of one limit together, so that few steps are decoded for a single straggler."""

    def order(item: Prepared) -> tuple[int, int, Ids, str]:
        new = item.decoding.max_new_tokens if item.decoding else 0
        return (-new, -len(item.prompt_ids), item.prompt_ids, item.key)

    return sorted(items, key=order)


def _fill(groups: Iterable[Sequence[Prepared]], tokens: int, rows: int) -> Iterator[list[Prepared]]:
    """Whole groups into batches of at most `tokens` (padded) and `rows`; one group at least."""
    batch: list[Prepared] = []
    widest = 0
    for group in groups:
        wider = max(widest, *map(width, group))
        size = len(batch) + len(group)
        if batch and (wider * size > tokens or size > rows):
            yield batch
            batch, wider = [], max(map(width, group))
        batch.extend(group)
        widest = wider
    if batch:
        yield batch
