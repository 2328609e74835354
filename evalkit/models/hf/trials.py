"""Which shortcuts a loaded model allows: each is tried once, against the plain forward.

What an architecture allows is not read off a list of names. A shortcut that does not reproduce
the plain logits on a few dozen tokens is not taken, and the plain way, which every causal language
model has, gives the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.hf import caches
from evalkit.models.hf.attention import may_chain
from evalkit.models.hf.lanes import Span, lay
from evalkit.models.hf.logits import finish_of
from evalkit.models.hf.memory import is_out_of_memory
from evalkit.models.hf.network import Network, next_logits, not_finite, read_trunk
from evalkit.models.hf.seq2seq.reading import plain_answer
from evalkit.models.hf.trimming import last_feed_forward

_LOG = logging.getLogger(__name__)

TOKENS = 40
"""Length of a trial."""

COMMON = 18
"""Tokens that its two texts have in common."""

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Known:
    """Two texts that part after `COMMON` tokens, and the plain logits of both [T, V]."""

    long: tuple[int, ...]
    short: tuple[int, ...]
    of_long: Tensor
    of_short: Tensor


_K = TypeVar("_K")
Way = Callable[[Network, _K], tuple[Tensor, Tensor]]
"""Logits [N, V] as a shortcut has them, and as they should be."""


def survey(network: Network, max_length: int, *, soft: bool = False) -> tuple[Network, list[str]]:
    """The network with every shortcut that passes its trial, and notes on those that do not.

    `soft`: a soft prompt stands before every text, so that texts can share nothing.
    """
    if max_length < TOKENS:
        return network, ["is too short for the trial of shortcuts: everything is computed plainly"]
    known = _known(network)
    plain = known.of_long
    if not bool(torch.isfinite(plain).all()):
        raise ModelError(not_finite(network.model))
    tolerance = tolerance_of(network, plain)
    close = causal_tolerance(network, plain)
    if not network.singly and not near(known.of_short[:COMMON], plain[:COMMON], close):
        raise ModelError(
            f"{type(network.model).__name__} is not causal: its logits depend on what comes after. "
            "Such models cannot be evaluated here."
        )
    notes: list[str] = []

    def works(way: Way[Known], trial: Network) -> bool:
        return agrees(way, trial, known, tolerance)

    finish = finish_of(network.model)
    ways = [
        replace(network, logits_from="head"),
        replace(network, logits_from="head", finish=finish),
        replace(network, logits_from="tail"),
    ]
    for trial in ways:
        if works(_gathered, trial):
            network = trial
            break
    else:
        notes.append("computes all logits: the output head cannot be called on its own")
    last = last_feed_forward(network.model) if network.logits_from != "full" else None
    if last is not None and works(_gathered, trial := replace(network, trimmed=last)):
        network = trial
    if not soft and network.layers.masked and not network.singly:
        network = _packing(network, works)
    if not network.desks and works(_stepwise, network):
        network = replace(network, steps=True)
    return network, [*notes, *_lacking(network, soft=soft)]


def _packing(network: Network, works: Callable[[Way[Known], Network], bool]) -> Network:
    """The network with those shortcuts that lay texts side by side."""
    packs = replace(network, packs=True)
    chains = replace(packs, chains=True)
    if may_chain(network.device, network.layers) and works(_packed, chains):
        packs = chains
    elif not works(_packed, packs):
        return network
    return replace(packs, desks=works(_at_a_desk, packs))


def _lacking(network: Network, *, soft: bool) -> list[str]:
    """What is computed the slow way, in words."""
    notes = []
    if not network.packs:
        why = "a soft prompt stands before it" if soft else "its attention takes no tree mask"
        if network.singly:
            why = (
                "its positions turn otherwise where another text is longer than the original reach"
            )
        notes.append(f"reads every text whole: {why}")
    if not network.desks:
        how = "" if network.steps else ", reading it anew for every token"
        notes.append(f"writes one text at a time{how}")
    return notes


def mixes(network: Network, names: Sequence[str], logits: Sequence[Tensor], probe: Ids) -> bool:
    """Whether one forward gives each of the arms (PEFT's names) its own logits [T, V]."""
    everyone = replace(network, names=tuple(names))
    try:
        rows = torch.tensor([list(probe)] * len(names), device=network.device)
        last = torch.arange(len(names), device=network.device)
        ends = torch.full_like(last, len(probe) - 1)
        told, _ = everyone.logits_at(rows, last, ends, use_cache=False)
        mixed = told.whole().float()
    except Exception as error:  # PEFT refuses mixed batches for many kinds of adapters
        if is_out_of_memory(error):  # which says nothing of the model
            raise
        return False
    wanted = torch.stack([one[-1] for one in logits])
    return near(mixed, wanted, tolerance_of(network, wanted))


def plain_logits(network: Network, ids: Ids) -> Tensor:
    """All logits [T, V] of one text, float32, without any shortcut.

    Where an encoder reads prompts, it reads the text, and the decoder says it again.
    """
    if start := network.decoder_start:
        return plain_answer(network, ids, (*start, *ids)[: len(ids)])
    whole = torch.tensor([list(ids)], device=network.device)
    out = network.model(input_ids=whole, use_cache=False)
    logits: Tensor = out.logits[0, -len(ids) :].float()
    return logits


def _known(network: Network) -> Known:
    ids = random_ids(network, TOKENS)
    long, short = tuple(ids), tuple(ids[:COMMON] + ids[25:36])
    return Known(long, short, plain_logits(network, long), plain_logits(network, short))


def random_ids(network: Network, count: int) -> list[int]:
    """Random tokens: nothing that a model has learnt is asked for."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = network.model.get_input_embeddings().weight.shape[0]
    ids: list[int] = torch.randint(0, vocabulary, (count,), generator=generator).tolist()
    return ids


def agrees(way: Way[_K], network: Network, known: _K, tolerance: float) -> bool:
    """Whether a shortcut reproduces the plain logits; one that raises does not."""
    try:
        got, wanted = way(network, known)
    except Exception as error:  # an architecture may refuse a shortcut in any way it likes
        if is_out_of_memory(error):  # which says nothing of the model
            raise
        _LOG.debug("%s is not taken: %s", getattr(way, "__name__", way), error)
        return False
    return got.shape == wanted.shape and near(got, wanted, tolerance)


def tolerance_of(network: Network, logits: Tensor) -> float:
    """How far two ways may be apart, in the weights' own precision: logits are float32 whatever
    they were computed in."""
    scale = float(logits.abs().max()) + 1e-6
    return scale * (1e-4 if network.model.dtype == torch.float32 else 5e-2)


def causal_tolerance(network: Network, logits: Tensor) -> float:
    """How far logits may move when tokens come after them."""
    # LLM.int8 looks at all tokens before it rounds any, which is not what is meant here.
    if getattr(network.model, "is_quantized", False):
        return 0.05 * float(logits.abs().max())
    return tolerance_of(network, logits)


def near(got: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether no logit is further off than that."""
    return bool(((got.float() - wanted).abs().max() <= tolerance).item())


def _gathered(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """A few logits of one text, gathered before the head."""
    columns = torch.tensor([3, 20, TOKENS - 1], device=network.device)
    logits, _ = network.logits_at(
        torch.tensor([known.long], device=network.device),
        torch.zeros_like(columns),
        columns,
        use_cache=False,
    )
    return logits.whole(), known.of_long[columns]


def _packed(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """Three texts that part twice after a shared start, in one row beside a shorter one."""
    start = known.long[:12]
    texts = [known.long[:30], known.short, known.long]
    trunks = caches.Trunks()
    read_trunk(network, trunks, start, 8)
    lanes = [
        lay([Span(text[:20], text[20:]) for text in texts], len(start)),
        lay([Span(known.short[:-2], known.short[-2:])], len(start)),
    ]
    packed = network.pack(lanes, len(start))
    where = [(row, column) for row, lane in enumerate(lanes) for c in lane.columns for column in c]
    rows, columns = torch.tensor(where, device=network.device).T
    _, trunk = trunks.nearest(start)
    logits = network.packed_logits(packed, rows, columns, network.lent(trunk, keep=False))
    long, short = known.of_long[19:-1], known.of_short[19:-1]
    return logits.whole(), torch.cat([long[:10], short, long, short[-2:]])


def _at_a_desk(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """Two texts of unequal length go on for two tokens in places of their own."""
    texts = [known.long[:30], known.short[:20]]
    lanes = [lay([Span(text, ())], 0) for text in texts]
    cache = network.lent(caches.empty(), keep=True)
    rows = torch.arange(2, device=network.device)
    ends = torch.tensor([29, 19], device=network.device)
    packed = network.pack(lanes, 0)
    got = [network.packed_logits(packed, rows, ends, cache).whole()]
    desk = network.desk(len(cache.layers), 2, TOKENS)
    desk.put(0, cache, [packed.part(i, len(lane)) for i, lane in enumerate(lanes)])
    for step in range(2):
        lengths = [30 + step, 20 + step]
        ids = [known.long[30 + step], known.short[20 + step]]
        got.append(next_logits(network, desk, lengths, ids).whole())
    wanted = torch.stack([known.of_long[29:32], known.of_short[19:22]], dim=1).flatten(0, 1)
    return torch.cat(got), wanted


def _stepwise(network: Network, known: Known) -> tuple[Tensor, Tensor]:
    """One text goes on for three tokens from the cache the model made for itself."""
    zero = torch.zeros(1, dtype=torch.long, device=network.device)
    fresh = list(known.long[:30])
    inputs: dict[str, Any] = {}
    got = []
    for step in range(4):
        logits, out = network.logits_at(
            torch.tensor([fresh], device=network.device),
            zero,
            zero + len(fresh) - 1,
            use_cache=True,
            **inputs,
        )
        got.append(logits.whole())
        inputs, fresh = caches.own(out), [known.long[30 + step]]
        if not inputs:
            raise ModelError("the model gives no cache back")
    return torch.cat(got), known.of_long[29:33]
