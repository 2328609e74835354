"""What the two halves of an encoder-decoder model read, and the lanes of its decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from evalkit.models.hf.lanes import Ids, Lane, Span, lay
from evalkit.models.hf.network import Network

STATES = "encoder_outputs"
"""The name under which a model takes what its encoder made of the prompts."""


def laid(spans: Iterable[Span], start: Ids) -> Iterator[Lane]:
    """Lanes of a decoder that begins with `start`, each with a prompt for its encoder.

    Neighbours share a lane where one's text begins with all that the decoder reads of the other's:
    choices of one token, and in the order of their tokens many more.
    """
    lane: list[Span] = []
    for span in spans:
        if lane and not _goes_on(span, lane[-1]):
            yield _lane(lane, start)
            lane = []
        lane.append(span)
    if lane:
        yield _lane(lane, start)


def apart(lane: Lane, start: Ids) -> list[Lane]:
    """The spans of a lane, each in one of its own."""
    return [_lane([span], start) for span in lane.spans]


def _goes_on(span: Span, last: Span) -> bool:
    read = last.continuation[:-1]
    return span.prompt == last.prompt and span.continuation[:-1][: len(read)] == read


def _lane(spans: Sequence[Span], start: Ids) -> Lane:
    """Spans on one prompt, each of which reads what the one before it does, and on."""
    lane = lay([Span(start, span.continuation) for span in spans], 0)
    return replace(lane, spans=tuple(spans), encoded=spans[0].prompt)


def prompts_of(network: Network, lanes: Sequence[Lane]) -> dict[str, Any]:
    """What the model is given beside the lanes: of their prompts, where an encoder reads them."""
    return encoded(network, [lane.encoded for lane in lanes]) if network.decoder_start else {}


def encoded(network: Network, prompts: Sequence[Ids], most: int | None = None) -> dict[str, Any]:
    """What the model is given of the prompts [B] of its decoder's rows: the encoder's states, of
    equal prompts read once and at most `most` tokens at a time; or the prompts themselves, where
    states cannot be handed over."""
    if network.encoder is None:
        ids, mask = _padded(prompts, network.device)
        return {"input_ids": ids, "attention_mask": mask}
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    ids, mask = _padded(list(places), network.device)
    rows = len(ids) if most is None else max(1, most // ids.shape[1])
    parts = [
        network.encoder(input_ids=part, attention_mask=its_mask, return_dict=True)
        for part, its_mask in zip(torch.split(ids, rows), torch.split(mask, rows), strict=True)
    ]
    states = type(parts[0])(last_hidden_state=torch.cat([out.last_hidden_state for out in parts]))
    unique = {STATES: states, "attention_mask": mask}
    return of_rows(unique, [places[prompt] for prompt in prompts])


def of_rows(inputs: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """What a model is given (as `encoded` tells) of some of its rows, in this order."""
    index = torch.tensor(rows)  # on the CPU: parts of a model may lie on several devices
    chosen: dict[str, Any] = {}
    for name, given in inputs.items():
        if name == STATES:
            chosen[name] = type(given)(last_hidden_state=given.last_hidden_state[index])
        else:
            chosen[name] = given[index]
    return chosen


def _padded(prompts: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T], padded on the right."""
    ids = torch.zeros((len(prompts), max(map(len, prompts))), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids.to(device), mask.to(device)


def plain_answer(network: Network, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """All logits [T, V] of what one decoder reads after one prompt, float32, by a plain forward."""
    out = network.model(
        input_ids=torch.tensor([list(prompt)], device=network.device),
        decoder_input_ids=torch.tensor([list(ids)], device=network.device),
        use_cache=False,
    )
    logits: Tensor = out.logits[0, -len(ids) :].float()
    return logits
