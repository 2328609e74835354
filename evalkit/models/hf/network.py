"""One forward pass: only the logits that are asked for, on whatever cache the texts go on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from evalkit.models.hf import adding, attention, caches, products
from evalkit.models.hf.lanes import Lane, Packed, chain, pack
from evalkit.models.hf.logits import CHUNK, CHUNK_NUMBERS, UNCHANGED, Finish, Logits
from evalkit.models.hf.masks import Layers, seen_mask
from evalkit.models.hf.trimming import only_at

LogitsFrom = Literal["head", "tail", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A loaded model under one arm, and which shortcuts give the plain forward's numbers.

    `logits_from`: "head", hidden states are gathered and the output head called on chunks;
    "tail", gathered, but the model does something after its head (soft caps), so that it must
    finish itself; "full", all logits are computed and picked from. `packs`: texts lie side by side
    in one row under a tree mask, on a shared start's keys. `chains`: all rows stand in one, without
    padding, and see that start in one product, without copies of it. `singly`: what a text
    computes depends on how long its neighbours are, so that it has none. `desks`: many texts are
    decoded at once, in places of their own. `steps`: a text goes on from the model's own cache.
    `trimmed`: the part of the last layer that is computed only where logits are read. `encoder`:
    what reads prompts, where its states may be handed to the decoder. `in_step`: several texts of
    a decoder may be written at once, if they begin together.
    """

    model: Any
    head: Any
    device: torch.device
    layers: Layers
    logits_from: LogitsFrom = "full"
    finish: Finish = UNCHANGED
    singly: bool = False
    packs: bool = False
    chains: bool = False
    desks: bool = False
    steps: bool = False
    trimmed: Any = None
    encoder: Any = None
    in_step: bool = False
    decoder_start: tuple[int, ...] = ()
    """What the decoder of an encoder-decoder model reads first; empty where there is no encoder."""
    names: tuple[str, ...] = ()
    """PEFT's names of the adapters of the rows, where rows of several arms stand together."""
    tells_rows: bool = False
    """Whether the layers are told these names by us, without PEFT's hooks."""

    @property
    def chunk(self) -> int:
        """Positions whose logits exist at the same time; fewer where the vocabulary is large."""
        vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        return max(16, min(CHUNK, CHUNK_NUMBERS // vocabulary))

    def logits_at(
        self, ids: Tensor, rows: Tensor, columns: Tensor, /, **inputs: Any
    ) -> tuple[Logits, Any]:
        """Logits at N positions of ids [B, T]; and the output.

        `inputs` are the model's own: masks, position ids, a cache, what an encoder reads.
        """
        if self.logits_from == "full":
            out = self._forward(ids, inputs)
            # Prompt tuning puts virtual tokens in front: the real ones are the last T.
            logits = out.logits[:, -ids.shape[1] :]
            picked = logits[rows.to(logits.device), columns.to(logits.device)]
            return Logits(chunks=[picked], device=self.device), out
        gathered: list[Tensor] = []
        # PEFT looks at the rows of a head that an adapter changes: one for each name.
        by_name = bool(self.names) and not products.in_pieces(self.head)

        def gather(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            hidden = args[0][rows.to(args[0].device), columns.to(args[0].device)]
            gathered.append(hidden)
            if by_name:
                return (hidden[:, None],)
            return ((hidden if self.logits_from == "tail" else hidden[:1])[None],)

        # Where nearly all is read, as in decoding, there is nothing to trim; and PEFT counts rows.
        trims = self.trimmed and not self.names and 2 * len(rows) < ids.numel()
        hook = self.head.register_forward_pre_hook(gather)
        try:
            with only_at(self.trimmed, rows, columns) if trims else nullcontext():
                out = self._forward(ids, inputs)
        finally:
            hook.remove()
        if by_name:
            return Logits(chunks=[out.logits[:, 0]], device=self.device), out
        if self.logits_from == "tail":
            return Logits(chunks=[out.logits[0]], device=self.device), out
        chunks = torch.split(gathered[0], self.chunk)
        return Logits(chunks=chunks, device=self.device, head=self.head, finish=self.finish), out

    def _forward(self, ids: Tensor, inputs: dict[str, Any]) -> Any:
        if self.names and not self.tells_rows:
            inputs["adapter_names"] = list(self.names)
        inputs["decoder_input_ids" if self.decoder_start else "input_ids"] = ids
        try:
            with adding.rows_of(self.names if self.tells_rows else ()):
                return self.model(**inputs)
        except BaseException:
            if self.names:
                _forget_names(self.model)
            raise

    def desk(self, layers: int, seats: int, tokens: int) -> caches.Desk:
        """Room for texts in the making, as this network looks back on it."""
        wide = attention.may_step(self.device, self.layers)
        return caches.Desk(layers, seats, tokens, wide=wide)

    def lent(self, start: Any, *, keep: bool) -> Any:
        """A cache of `start` for the rows of one packed forward, as this network takes it."""
        return caches.lent(start, keep=keep, lends=self.chains)

    def pack(self, lanes: Sequence[Lane], shared: int) -> Packed:
        """One forward of lanes that go on from `shared` tokens; without padding if that works."""
        if self.chains:
            return chain(lanes, self.layers, self.device)
        return pack(lanes, shared, self.layers, self.device)

    def packed_logits(
        self, packed: Packed, lanes: Tensor, columns: Tensor, cache: Any = None, **inputs: Any
    ) -> Logits:
        """Logits at N positions, given by lane and place in it, of what goes on from `cache`."""
        rows, columns = packed.where(lanes, columns)
        inputs["use_cache"] = cache is not None
        if packed.mask is not None:
            inputs["attention_mask"] = packed.mask
            inputs["position_ids"] = packed.places
        if cache is not None:
            inputs["past_key_values"] = cache
        with attention.chained(self.model, packed.pieces) if packed.pieces else nullcontext():
            return self.logits_at(packed.ids, rows, columns, **inputs)[0]


def _forget_names(model: Any) -> None:
    """Take away the hooks of a forward of several arms that broke off: PEFT leaves them behind,
    and the next forward would be told the same rows again."""
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if "adapter_names" in getattr(hook, "keywords", {}):
                del module._forward_pre_hooks[key]


def read_trunk(network: Network, trunks: caches.Trunks, ids: Sequence[int], most: int) -> int:
    """Have a start in `trunks`, reading at most `most` tokens at a time; tokens that were read."""
    wanted = tuple(ids)
    known, kept = trunks.nearest(wanted)
    if known == len(wanted):
        return 0
    grown = caches.grown_from(kept)
    for _ in read_on(network, grown, wanted, known, most):
        pass
    trunks.keep(wanted, grown)
    return len(wanted) - known


def read_on(
    network: Network, cache: Any, ids: caches.Ids, known: int, most: int, *, logits: bool = False
) -> Iterator[tuple[slice, Logits]]:
    """Read a text on from its first `known` tokens into their cache, which grows, at most `most`
    tokens at a time; each part, and its logits (of one token, unless all are wanted)."""
    for start in range(known, len(ids), most):
        end = min(start + most, len(ids))
        lane = Lane(ids[start:end], range(start, end), None, (), ())
        packed = pack([lane], start, network.layers, network.device)
        columns = torch.arange(len(lane) if logits else 1, device=network.device)
        yield (
            slice(start, end),
            network.packed_logits(packed, torch.zeros_like(columns), columns, cache),
        )


def next_logits(
    network: Network, desk: caches.Desk, lengths: Sequence[int], ids: Sequence[int]
) -> Logits:
    """Logits of B texts after one more token of each, at a desk; `lengths` are those before it."""
    desk.next_token(lengths, network.device)
    at = torch.tensor(lengths, device=network.device)
    keys = torch.arange(max(lengths) + 1, device=network.device).expand(len(lengths), -1)
    everyone = torch.arange(len(lengths), device=network.device)
    mask = seen_mask((keys <= at[:, None])[:, None], at[:, None], keys, network.layers)
    with attention.stepping(network.model) if desk.wide else nullcontext():
        logits, _ = network.logits_at(
            torch.tensor(ids, device=network.device)[:, None],
            everyone,
            torch.zeros_like(everyone),
            attention_mask=mask,
            position_ids=at[:, None],
            past_key_values=desk.cache,
            use_cache=True,
        )
    return logits


def not_finite(model: Any) -> str:
    """What to tell of a model that computes NaN or infinity, with the bad weight if one is."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            return (
                f"The weights hold NaN or infinity (in {name}), so every answer would be "
                "meaningless. Download or train the model again."
            )
    return (
        "The model computes NaN or infinity although its weights are finite: its numbers are too "
        "large for this dtype. Set model.dtype to bfloat16 or float32."
    )
