"""Log-likelihoods: per-token values of given continuations, and whether greedy decoding agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.hf.network import (
    Network,
    Prefilled,
    SharedStart,
    not_finite,
    prefill,
    right_padded,
    shared_start,
)
from evalkit.models.hf.plan import Ids

WORTH_CACHING = 0.8
"""Share prompts only where that reads at most this part of the tokens the plain way reads."""


class Span(NamedTuple):
    """A prompt and the continuation to score on it; neither is empty."""

    prompt: Ids
    continuation: Ids


class Scored(NamedTuple):
    """One log-probability (nats) per continuation token; whether each was the likeliest."""

    logprobs: tuple[float, ...]
    is_greedy: bool


class Picked(NamedTuple):
    """Log-probabilities [N] of target tokens, and whether each was the likeliest [N]."""

    logprobs: Tensor
    likeliest: Tensor


def score(network: Network, spans: Sequence[Span], memo: SharedStart) -> tuple[list[Scored], int]:
    """Score the spans, in their order; and the number of tokens that were read for it."""
    prompts = list(dict.fromkeys(span.prompt for span in spans))
    if network.caches and _is_worth_caching(network, spans, prompts):
        return _score_on_prompts(network, spans, prompts, memo)
    return _score_whole(network, spans)


def parts(spans: Sequence[Span], tokens: int) -> Iterator[list[Span]]:
    """The spans, in their order, in parts of at most `tokens` with the padding counted."""
    part: list[Span] = []
    widest = 0
    for span in spans:
        widest = max(widest, len(span.prompt) + len(span.continuation))
        if part and widest * (len(part) + 1) > tokens:
            yield part
            part, widest = [], len(span.prompt) + len(span.continuation)
        part.append(span)
    if part:
        yield part


def windows(prompt: Ids, text: Ids, max_length: int) -> list[Span]:
    """Cut a text into spans of at most `max_length` tokens that score each token once.

    lm-eval's rolling windows: the first is conditioned on `prompt` (one token), each later one
    on as much of the text before it as fits, and at least on one token.
    """
    spans = [Span(prompt, text[:max_length])] if text else []
    done = min(max_length, len(text))
    while done < len(text):
        end = min(done + max_length, len(text))
        spans.append(Span(text[max(0, end - max_length - 1) : done], text[done:end]))
        done = end
    return spans


def _is_worth_caching(network: Network, spans: Sequence[Span], prompts: Sequence[Ids]) -> bool:
    whole = sum(len(span.prompt) + len(span.continuation) - 1 for span in spans)
    start = shared_start(network, prompts)
    read = start + sum(len(prompt) - start for prompt in prompts)
    read += sum(len(span.continuation) - 1 for span in spans)
    return read <= WORTH_CACHING * whole


def _score_whole(network: Network, spans: Sequence[Span]) -> tuple[list[Scored], int]:
    """The plain way: every span is one row, read from its first token."""
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, span in enumerate(spans):
        first = len(span.prompt) - 1
        rows += [row] * len(span.continuation)
        columns += range(first, first + len(span.continuation))
        targets += span.continuation
    # Causal attention hides the padding behind a row from it: no mask, as in HFLM.
    ids = right_padded([(span.prompt + span.continuation)[:-1] for span in spans], network.device)
    chunks, _ = network.logits_at(
        ids, _index(rows, network), _index(columns, network), use_cache=False
    )
    picked = pick(network, chunks, _index(targets, network))
    return _split(picked, [len(span.continuation) for span in spans]), ids.numel()


def _score_on_prompts(
    network: Network, spans: Sequence[Span], prompts: Sequence[Ids], memo: SharedStart
) -> tuple[list[Scored], int]:
    """Each prompt is read once; its continuations follow, side by side, on its cache."""
    read = prefill(network, prompts, memo)
    place = {prompt: row for row, prompt in enumerate(prompts)}
    owners = _index([place[span.prompt] for span in spans], network)
    first_targets = _index([span.continuation[0] for span in spans], network)
    firsts = pick(network, iter([read.logits[owners]]), first_targets)
    longer = [index for index, span in enumerate(spans) if len(span.continuation) > 1]
    rests: dict[int, Scored] = {}
    tokens = read.tokens
    if longer:
        chosen = [spans[index].continuation for index in longer]
        picked, extra = _score_rests(network, read, owners[_index(longer, network)], chosen)
        tokens += extra
        rests = dict(zip(longer, _split(picked, [len(c) - 1 for c in chosen]), strict=True))
    scored = []
    for index, (value, hit) in enumerate(
        zip(firsts.logprobs.tolist(), firsts.likeliest.tolist(), strict=True)
    ):
        rest = rests.get(index, Scored((), True))
        scored.append(Scored((value, *rest.logprobs), hit and rest.is_greedy))
    return scored, tokens


def _score_rests(
    network: Network, read: Prefilled, owners: Tensor, continuations: Sequence[Ids]
) -> tuple[Picked, int]:
    """Second and later tokens of each continuation, on a copy of its prompt's cache."""
    ids = right_padded([tokens[:-1] for tokens in continuations], network.device)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, tokens in enumerate(continuations):
        rows += [row] * (len(tokens) - 1)
        columns += range(len(tokens) - 1)
        targets += tokens[1:]
    read.cache.batch_select_indices(owners)
    steps = torch.arange(ids.shape[1], device=network.device)
    lengths = _index([len(tokens) - 1 for tokens in continuations], network)
    chunks, _ = network.logits_at(
        ids,
        _index(rows, network),
        _index(columns, network),
        attention_mask=torch.cat(
            [read.mask[owners], (steps < lengths[:, None]).to(read.mask.dtype)], dim=1
        ),
        position_ids=read.lengths[owners][:, None] + steps,
        past_key_values=read.cache,
        use_cache=True,
    )
    return pick(network, chunks, _index(targets, network)), ids.numel()


def pick(network: Network, chunks: Iterator[Tensor], targets: Tensor) -> Picked:
    """Log-softmax of logits [N, V] (in chunks) at the targets [N], in float32.

    Raises ModelError where a logit is NaN or infinite.
    """
    values, hits = [], []
    done = 0
    for chunk in chunks:
        logits = chunk.float()
        wanted = targets[done : done + len(logits)].to(logits.device)
        # HFLM's own formula: its rounding, up to 2e-5 a token, adds up over a long text.
        values.append(logits.log_softmax(1).gather(1, wanted[:, None])[:, 0])
        hits.append(logits.argmax(1) == wanted)
        done += len(logits)
    logprobs, likeliest = torch.cat(values), torch.cat(hits)
    if not bool(torch.isfinite(logprobs).all()):
        raise ModelError(not_finite(network.model))
    return Picked(logprobs, likeliest)


def _split(picked: Picked, lengths: Sequence[int]) -> list[Scored]:
    values, hits = picked.logprobs.tolist(), picked.likeliest.tolist()
    scored, done = [], 0
    for length in lengths:
        part = slice(done, done + length)
        scored.append(Scored(tuple(values[part]), all(hits[part])))
        done += length
    return scored


def _index(values: Sequence[int], network: Network) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device=network.device)
