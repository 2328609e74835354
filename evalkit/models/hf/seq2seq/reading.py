"""What the two halves of an encoder-decoder model read, and the lanes of its decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from evalkit.models.hf.lanes import Ids, Lane, Span, lay
from evalkit.models.hf.network import Network


def laid(spans: Iterable[Span], start: Ids) -> Iterator[Lane]:
    """Lanes of a decoder that begins with `start`, each with a prompt for its encoder.

    Neighbours on one prompt whose decoder reads the same share a lane, as choices of one token.
    """
    together: list[Span] = []
    for span in spans:
        if together and _read(span) != _read(together[0]):
            yield _lane(together, start)
            together = []
        together.append(span)
    if together:
        yield _lane(together, start)


def apart(lane: Lane, start: Ids) -> list[Lane]:
    """The spans of a lane, each in one of its own."""
    return [_lane([span], start) for span in lane.spans]


def _read(span: Span) -> tuple[Ids, Ids]:
    return span.prompt, span.continuation[:-1]


def _lane(spans: Sequence[Span], start: Ids) -> Lane:
    """Spans of which the decoder reads the same."""
    lane = lay([Span(start, span.continuation) for span in spans], 0)
    return replace(lane, spans=tuple(spans), encoded=spans[0].prompt)


def encoded(network: Network, prompts: Sequence[Ids], most: int | None = None) -> dict[str, Any]:
    """What the model is given of the prompts [B] of its decoder's rows: the encoder's states, of
    equal prompts read once and at most `most` tokens at a time; or the prompts themselves, where
    states cannot be handed over."""
    if network.encoder is None:
        ids, mask = _padded(prompts, network.device)
        return {"input_ids": ids, "attention_mask": mask}
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    ids, mask = _padded(list(places), network.device)
    some = len(ids) if most is None else max(1, most // ids.shape[1])
    parts = [
        network.encoder(input_ids=some_ids, attention_mask=its_mask, return_dict=True)
        for some_ids, its_mask in zip(torch.split(ids, some), torch.split(mask, some), strict=True)
    ]
    states = torch.cat([part.last_hidden_state for part in parts])
    every = {_STATES: type(parts[0])(last_hidden_state=states), "attention_mask": mask}
    return rows_of(every, [places[prompt] for prompt in prompts])


_STATES = "encoder_outputs"


def rows_of(inputs: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """What a model is given of some of its rows, in this order."""

    def some(given: Any) -> Tensor:
        taken: Tensor = given[torch.tensor(rows, device=given.device)]
        return taken

    taken: dict[str, Any] = {name: some(one) for name, one in inputs.items() if name != _STATES}
    if states := inputs.get(_STATES):
        taken[_STATES] = type(states)(last_hidden_state=some(states.last_hidden_state))
    return taken


def prompts_of(network: Network, lanes: Sequence[Lane]) -> dict[str, Any]:
    """What the model is given beside the lanes: of their prompts, where an encoder reads them."""
    return encoded(network, [lane.encoded for lane in lanes]) if network.decoder_start else {}


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
