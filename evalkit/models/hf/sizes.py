"""What work amounts to: tokens that are asked, those that have to be read, and where they stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from evalkit.models.base import Batch, Prepared
from evalkit.models.hf.plan import Ids, same_texts
from evalkit.models.hf.prefixes import Prefixes


@dataclass(slots=True)
class Size:
    """Tokens of some work: all that is asked; and, each prefix counted once per arm, the unique
    ones, the sum of the places they stand at (what attention looks back on), the positions
    whose logits are needed, and how many of the unique ones an encoder reads."""

    tokens: int = 0
    unique: int = 0
    places: int = 0
    reads: int = 0
    encoded: int = 0

    def add(self, other: Size) -> None:
        """Count other work too."""
        self.tokens += other.tokens
        self.unique += other.unique
        self.places += other.places
        self.reads += other.reads
        self.encoded += other.encoded

    def add_text(self, start: int, end: int, reads: int) -> None:
        """Count the tokens from `start` to `end` of one text."""
        self.unique += end - start
        self.places += (end * (end + 1) - start * (start + 1)) // 2
        self.reads += reads

    def add_encoded(self, count: int) -> None:
        """Count a prompt that an encoder reads, every token of which looks at all."""
        self.unique += count
        self.places += count * count
        self.encoded += count

    def add_decoded(self, count: int, prompt: int, reads: int) -> None:
        """Count what a decoder reads of one text, looking at an encoded prompt, too."""
        self.add_text(0, count, reads)
        self.places += count * prompt


def size(batches: Sequence[Batch], max_length: int, whole: Collection[str] = ()) -> Size:
    """What the batches amount to; generated tokens are not counted. `whole` are arms of which
    every text is read by itself, whatever it shares."""
    total = Size()
    by_arm: dict[tuple[bool, str], list[Prepared]] = {}
    for one in (one for batch in batches for one in batch):
        if one.request.kind == "rolling":
            _add_rolled(total, one, max_length)
        elif one.request.arm in whole:
            _add_whole(total, one)
        else:
            by_arm.setdefault((one.request.kind == "whole", one.request.arm), []).append(one)
    planned: dict[bool, tuple[list[Prepared], Size]] = {}
    for (every, _), items in by_arm.items():
        if every not in planned or not same_texts(planned[every][0], items):
            tree = _tree_size(items)
            if every:  # every token of such a text is scored
                tree.reads = tree.unique
            planned[every] = (items, tree)
        total.add(planned[every][1])
    return total


def _add_whole(total: Size, one: Prepared) -> None:
    total.tokens += len(one.prompt_ids) + len(one.continuation_ids)
    # The last token of a continuation is only predicted, never read.
    read = len(one.prompt_ids) + max(0, len(one.continuation_ids) - 1)
    scored = max(1, len(one.continuation_ids))
    total.add_text(0, read, read if one.request.kind == "whole" else scored)


def _add_rolled(total: Size, one: Prepared, max_length: int) -> None:
    for prompt, text in windows(one.prompt_ids, one.continuation_ids, max_length):
        read = len(prompt) + len(text) - 1
        total.tokens += read + 1
        total.add_text(0, read, len(text))


def paired(
    batches: Sequence[Batch], max_length: int, started: int, anew: Collection[str] = ()
) -> Size:
    """The same where an encoder reads the prompts, equal ones once, and a decoder what follows.

    `started` are the tokens that a decoder reads before it writes; `anew` are arms of which a
    prompt is read for each of its choices.
    """
    total = Size()
    read: dict[tuple[str, str, Ids], list[Ids]] = {}
    for one in (one for batch in batches for one in batch):
        request = one.request
        total.tokens += len(one.prompt_ids) + len(one.continuation_ids)
        if request.kind == "rolling":
            for prompt, text in windows(one.prompt_ids, one.continuation_ids, max_length):
                total.add_encoded(len(prompt))
                total.add_decoded(len(text), len(prompt), len(text))
            continue
        on_prompt = read.setdefault((request.arm, request.kind, one.prompt_ids), [])
        if not on_prompt or request.arm in anew:
            total.add_encoded(len(one.prompt_ids))
        on_prompt.append(one.continuation_ids[:-1])
    for (_, kind, prompt), texts in read.items():
        if kind == "generate":
            for _ in texts:
                total.add_decoded(started, len(prompt), 1)
            continue
        for text in _longest(texts):
            total.add_decoded(1 + len(text), len(prompt), 1 + len(text))
    return total


def _longest(texts: Sequence[Ids]) -> Iterator[Ids]:
    """The texts in their order, without those that another begins with."""
    last: Ids | None = None
    for text in sorted(texts):
        if last is not None and text[: len(last)] != last:
            yield last
        last = text
    if last is not None:
        yield last


def _tree_size(items: Sequence[Prepared]) -> Size:
    tree, total = Prefixes(items, 0), Size()
    total.tokens += sum(len(one.prompt_ids) + len(one.continuation_ids) for one in items)
    for group, agreed in zip(tree.groups, tree.lcp.tolist(), strict=True):
        long = len(group.prompt)
        total.add_text(agreed, long, 1 + group.own)
        total.unique += group.own
        total.places += group.own * long + group.deep
    return total


def windows(prompt: Ids, text: Ids, max_length: int) -> list[tuple[Ids, Ids]]:
    """Cut a text into (prompt, continuation) pairs of at most `max_length` tokens that score each
    token once.

    lm-eval's rolling windows: the first is conditioned on `prompt` (one token), each later one
    on as much of the text before it as fits, and at least on one token.
    """
    pairs = [(prompt, text[:max_length])] if text else []
    done = min(max_length, len(text))
    while done < len(text):
        end = min(done + max_length, len(text))
        pairs.append((text[max(0, end - max_length - 1) : done], text[done:end]))
        done = end
    return pairs
