"""Log-likelihoods: per-token values of given continuations, and whether greedy decoding agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.base import Prepared
from evalkit.models.hf.lanes import Lane, Span, lay, parted
from evalkit.models.hf.network import Network, not_finite
from evalkit.models.hf.seq2seq import reading as seq2seq
from evalkit.models.hf.sizes import windows


class Scored(NamedTuple):
    """One log-probability (nats) per continuation token; whether each was the likeliest."""

    logprobs: tuple[float, ...]
    is_greedy: bool

    def followed_by(self, rest: Scored) -> Scored:
        """The scores of a text whose first part these are."""
        return Scored(self.logprobs + rest.logprobs, self.is_greedy and rest.is_greedy)


class Reads(NamedTuple):
    """Where logits are needed, each place once: rows and columns [P]; and, for every scored token,
    which place [N] predicts it and the token itself [N]. The last two stay on the CPU, where they
    are looked through without waiting for a device."""

    rows: Tensor
    columns: Tensor
    places: Tensor
    targets: Tensor


class Text(NamedTuple):
    """A request and the spans that make up its answer: one, or the windows of a long text."""

    item: Prepared
    spans: tuple[Span, ...]


def ordered(row: Sequence[Prepared], network: Network) -> Sequence[Prepared]:
    """The requests of a row as they share most: a decoder's by what it reads of their answers."""
    if not network.decoder_start:
        return row
    return sorted(row, key=lambda one: (one.prompt_ids, one.continuation_ids[:-1]))


def text_of(item: Prepared, max_length: int, shared: int) -> Text:
    """The spans of a request; a rolling text is cut where the model's reach ends.

    Of a whole text it is what lies behind its `shared` start and the token after that.
    """
    if item.request.kind == "whole":
        ids = item.prompt_ids + item.continuation_ids
        return Text(item, (Span(ids[: shared + 1], ids[shared + 1 :]),))
    if item.request.kind == "rolling":
        pairs = windows(item.prompt_ids, item.continuation_ids, max_length)
        return Text(item, tuple(Span(*pair) for pair in pairs))
    return Text(item, (Span(item.prompt_ids, item.continuation_ids),))


def laid(rows: Sequence[Sequence[Text]], shared: int, network: Network) -> Iterator[Lane]:
    """The lanes of planned rows; each span in one of its own where nothing may lie side by side."""
    for row in rows:
        spans = [span for text in row for span in text.spans]
        if network.decoder_start:
            yield from seq2seq.laid(spans, network.decoder_start)
        elif not network.packs or any(len(text.spans) > 1 for text in row):
            yield from (lay([span], shared) for span in spans)
        elif network.chains:
            yield from (lay(part, shared) for part in parted(spans, shared))
        else:
            yield lay(spans, shared)


def apart(lane: Lane, shared: int, network: Network) -> list[Lane]:
    """The spans of a row, each in one of its own."""
    if network.decoder_start:
        return seq2seq.apart(lane, network.decoder_start)
    return [lay([span], shared) for span in lane.spans]


class Answers:
    """Puts the scores of spans together again: a request's answer is there with its last span."""

    def __init__(self, rows: Sequence[Sequence[Text]]) -> None:
        self._texts = iter([text for row in rows for text in row])
        self._scored: list[Scored] = []
        self._seconds = 0.0
        self._text: Text | None = next(self._texts, None)

    def add(
        self, scored: Sequence[Scored], seconds: float
    ) -> Iterator[tuple[Prepared, Scored, float]]:
        """Take in what one forward gave, in the order of the spans; the answers now complete."""
        share = seconds / len(scored)
        for one in scored:
            assert self._text is not None
            self._scored.append(one)
            self._seconds += share
            if len(self._scored) == len(self._text.spans):
                logprobs = tuple(value for part in self._scored for value in part.logprobs)
                whole = Scored(logprobs, all(part.is_greedy for part in self._scored))
                yield self._text.item, whole, self._seconds
                self._text, self._scored, self._seconds = next(self._texts, None), [], 0.0


def score_lanes(network: Network, lanes: Sequence[Lane], shared: int, cache: Any) -> list[Scored]:
    """Score the spans of the lanes, in their order, in one forward on the cache of their trunk."""
    packed = network.pack(lanes, shared)
    reads = _reads(lanes, network.device)
    borrowed = network.lent(cache, keep=False) if cache is not None else None
    prompts = seq2seq.prompts_of(network, lanes)
    logits = network.packed_logits(packed, reads.rows, reads.columns, borrowed, **prompts)
    values, hits = pick(network, logits.parts(), reads)
    lengths = [len(span.continuation) for lane in lanes for span in lane.spans]
    return _split(values, hits, lengths)


def _reads(lanes: Sequence[Lane], device: torch.device) -> Reads:
    """Choices of one prompt read its last token once."""
    known: dict[tuple[int, int], int] = {}
    places: list[int] = []
    targets: list[int] = []
    for row, lane in enumerate(lanes):
        for span, columns in zip(lane.spans, lane.columns, strict=True):
            places += [known.setdefault((row, column), len(known)) for column in columns]
            targets += span.continuation
    where = torch.tensor(list(known), dtype=torch.long, device=device).reshape(-1, 2)
    return Reads(
        rows=where[:, 0],
        columns=where[:, 1],
        places=torch.tensor(places, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
    )


def pick(network: Network, parts: Iterator[Tensor], reads: Reads) -> tuple[Tensor, Tensor]:
    """Log-softmax of logits [P, V] (some rows at a time) at the targets [N], in float32; and
    whether each was the likeliest [N].

    Raises ModelError where a logit is NaN or infinite.
    """
    values = torch.empty(len(reads.targets), dtype=torch.float32, device=network.device)
    hits = torch.empty(len(reads.targets), dtype=torch.bool, device=network.device)
    done = 0
    for part in parts:
        logits = part.float()
        mine = ((reads.places >= done) & (reads.places < done + len(logits))).nonzero()[:, 0]
        rows = (reads.places[mine] - done).to(network.device)
        wanted = reads.targets[mine].to(network.device)
        mine = mine.to(network.device)
        # HFLM's own formula: its rounding, up to 2e-5 a token, adds up over a long text.
        values[mine] = logits.log_softmax(1)[rows, wanted]
        hits[mine] = logits.argmax(1)[rows] == wanted
        done += len(logits)
    if not bool(torch.isfinite(values).all()):
        raise ModelError(not_finite(network.model))
    return values, hits


def _split(values: Tensor, hits: Tensor, lengths: Sequence[int]) -> list[Scored]:
    numbers, likeliest = values.tolist(), hits.tolist()
    scored, done = [], 0
    for length in lengths:
        part = slice(done, done + length)
        scored.append(Scored(tuple(numbers[part]), all(likeliest[part])))
        done += length
    return scored
