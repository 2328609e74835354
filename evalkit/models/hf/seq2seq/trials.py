"""Which shortcuts a loaded encoder-decoder model allows: each is tried against a plain forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.hf.lanes import Ids, Span
from evalkit.models.hf.logits import finish_of
from evalkit.models.hf.network import Network, not_finite
from evalkit.models.hf.seq2seq.reading import laid, plain_answer, prompts_of
from evalkit.models.hf.seq2seq.writing import Text, in_step
from evalkit.models.hf.trials import (
    TOKENS,
    Way,
    agrees,
    causal_tolerance,
    near,
    random_ids,
    tolerance_of,
)

FRESH = 4
"""Tokens of a text that are read together before it is written on, one by one."""


@dataclass(frozen=True, slots=True)
class Known:
    """Two prompts of unequal length, what the decoder reads after each, and its plain logits."""

    prompts: tuple[Ids, Ids]
    read: tuple[Ids, Ids]
    logits: tuple[Tensor, Tensor]


def survey(network: Network, max_length: int, *, soft: bool = False) -> tuple[Network, list[str]]:
    """The network with every shortcut that passes its trial, and notes on those that do not.

    `soft`: a soft prompt stands before every prompt, so that the model must read them by itself.
    """
    if max_length < TOKENS:
        too_short = "is too short for the trial of shortcuts: everything is computed plainly"
        return replace(network, singly=True), [too_short]
    known = _known(network)
    first = known.logits[0]
    if not bool(torch.isfinite(first).all()):
        raise ModelError(not_finite(network.model))
    tolerance = tolerance_of(network, first)
    early = plain_answer(network, known.prompts[0], known.read[0][:FRESH])
    if not near(early, first[:FRESH], causal_tolerance(network, first)):
        raise ModelError(
            f"The decoder of {type(network.model).__name__} is not causal: its logits depend on "
            "what comes after, or on how much does. Such models cannot be evaluated here."
        )

    def works(way: Way[Known], trial: Network) -> bool:
        return agrees(way, trial, known, tolerance)

    alone = replace(network, singly=True)
    halves = _halves(network, soft=soft)
    network = next((one for one in halves if works(_answered, one)), alone)
    ways = [  # in 16 bits a small bias might be overlooked: the first would pass without it
        replace(network, logits_from="head", finish=finish_of(network.model)),
        replace(network, logits_from="head"),
        replace(network, logits_from="tail"),
    ]
    network = next((one for one in ways if works(_answered, one)), network)
    slow = replace(network, in_step=not network.singly)
    network = next((one for one in _paces(network) if works(_written, one)), slow)
    return network, _notes(network)


def _halves(network: Network, *, soft: bool) -> Iterator[Network]:
    """Ways to have prompts read that beat the plain one, the best first."""
    handed = None if soft else replace(network, encoder=network.model.get_encoder())
    if handed and not network.singly:
        yield handed
    if not network.singly:
        yield network
    if handed:
        yield replace(handed, singly=True)


def _paces(network: Network) -> Iterator[Network]:
    """Ways to write on from the model's own cache, the best first."""
    if network.encoder is None:  # the model would read its prompts anew at every step
        return
    if not network.singly:
        yield replace(network, steps=True, in_step=True)
    yield replace(network, steps=True)


def _notes(network: Network) -> list[str]:
    """What is computed the slow way, in words."""
    notes = ["reads every prompt whole, for its encoder looks at it from both ends"]
    if network.encoder is None:
        notes[0] += ", and once for each of its choices"
    if network.singly:
        notes.append("reads one text at a time: others beside it would change its numbers")
    if not network.in_step:
        notes.append("writes one text at a time")
    if not network.steps:
        notes.append("reads a text anew for every token that it writes")
    return notes


def _known(network: Network) -> Known:
    ids = tuple(random_ids(network, 2 * TOKENS))
    start = network.decoder_start
    prompts = ids[:TOKENS], ids[TOKENS : TOKENS + 11]
    read = (*start, *ids[-20:-10]), (*start, *ids[-10:-4])
    first, second = (plain_answer(network, *pair) for pair in zip(prompts, read, strict=True))
    return Known(prompts, read, (first, second))


def _answered(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """All logits of both texts, side by side; or, if they may not stand so, one by one."""
    begun = len(network.decoder_start)
    # The last token of a continuation is only predicted, never read: any will do.
    spans = [
        Span(prompt, (*read[begun:], 0))
        for prompt, read in zip(known.prompts, known.read, strict=True)
    ]
    lanes = list(laid(spans, network.decoder_start))
    got = []
    for part in [[lane] for lane in lanes] if network.singly else [lanes]:
        packed = network.pack(part, 0)
        where = [(row, column) for row, lane in enumerate(part) for column in lane.columns[0]]
        rows, columns = torch.tensor(where, device=network.device).T
        prompts = prompts_of(network, part)
        got.append(network.packed_logits(packed, rows, columns, **prompts).whole())
    return torch.cat(got), torch.cat(known.logits)


@dataclass(slots=True, eq=False)
class _Told:
    """A text that is known before it is written, up to the last of so many tokens."""

    prompt: Ids
    whole: Ids
    logits: Tensor
    last: int
    count: int = FRESH

    @property
    def read(self) -> Ids:
        """Its first tokens."""
        return self.whole[: self.count]


def _written(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """Texts go on token by token from the cache the model made for itself: one, or two in step, of
    which the first leaves before the other."""
    given = zip(known.prompts, known.read, known.logits, (FRESH + 1, FRESH + 3), strict=True)
    texts = [_Told(*one) for one in given][: 2 if network.in_step else 1]
    left: list[Text] = list(texts)
    got, wanted = [], []
    for logits in in_step(network, left):
        got.append(logits.whole())
        for text in (one for one in texts if one.count <= one.last):
            wanted.append(text.logits[text.count - 1])
            text.count += 1
        left[:] = [text for text in texts if text.count <= text.last]
    return torch.cat(got), torch.stack(wanted)
