"""One forward pass: only the logits that are asked for, and a prompt cache that rows can share.

What an architecture allows is not read off a list of names but tried once, on a few tokens, when
the model is loaded (`survey`): each shortcut that does not reproduce the plain forward is not
taken, and the plain way, which every causal language model has, gives the same numbers.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.hf.plan import Ids, common_start

HEAD_CHUNK = 512
"""Positions whose logits exist at the same time."""

SHARED_STEP = 8
"""Common starts are shared in whole steps: none for a few tokens, and the same from batch to batch
where neighbours happen to agree on a word or two more."""

TRIAL_TOKENS = 40

LogitsFrom = Literal["head", "tail", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A loaded model under one arm, and which shortcuts give the plain forward's numbers.

    `logits_from`: "head", hidden states are gathered and the output head called on chunks;
    "tail", gathered, but the model does something after its head (soft caps), so that it must
    finish itself; "full", all logits are computed and picked from. `caches`: left-padded rows
    decode with a key-value cache. `shares`: one prompt's cache may serve many rows.
    """

    model: Any
    head: Any
    device: torch.device
    logits_from: LogitsFrom = "full"
    caches: bool = False
    shares: bool = False
    takes_positions: bool = False

    def forward(self, input_ids: Tensor, **inputs: Any) -> Any:
        """The model's output for ids [B, T]; position ids only where it knows them."""
        if not self.takes_positions:
            inputs.pop("position_ids", None)
        return self.model(input_ids=input_ids, **inputs)

    def logits_at(
        self, input_ids: Tensor, rows: Tensor, columns: Tensor, **inputs: Any
    ) -> tuple[Iterator[Tensor], Any]:
        """Logits [≤ HEAD_CHUNK, V], chunk by chunk, at N positions of ids [B, T]; and the cache."""
        if self.logits_from == "full":
            out = self.forward(input_ids, **inputs)
            # Prompt tuning puts virtual tokens in front: the real ones are the last T.
            logits = out.logits[:, -input_ids.shape[1] :]
            picked = logits[rows.to(logits.device), columns.to(logits.device)].to(self.device)
            return iter(torch.split(picked, HEAD_CHUNK)), out.get("past_key_values")
        gathered: list[Tensor] = []

        def gather(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            hidden = args[0][rows.to(args[0].device), columns.to(args[0].device)]
            gathered.append(hidden)
            return ((hidden if self.logits_from == "tail" else hidden[:1])[None],)

        hook = self.head.register_forward_pre_hook(gather)
        try:
            out = self.forward(input_ids, **inputs)
        finally:
            hook.remove()
        cache = out.get("past_key_values")
        if self.logits_from == "tail":
            return iter(torch.split(out.logits[0].to(self.device), HEAD_CHUNK)), cache
        chunks = torch.split(gathered[0], HEAD_CHUNK)
        return (self.head(chunk).to(self.device) for chunk in chunks), cache


class Prefilled(NamedTuple):
    """Prompts that were read: their cache, its mask [B, T], the logits [B, V] after each."""

    cache: Any
    mask: Tensor
    lengths: Tensor
    logits: Tensor
    tokens: int


@dataclass(slots=True)
class SharedStart:
    """The last common start of prompts that was computed, kept for the next batch of its arm."""

    ids: Ids = ()
    cache: Any = None


def prefill(network: Network, prompts: Sequence[Ids], memo: SharedStart) -> Prefilled:
    """Read prompts side by side, left-padded; a start they all share is read once."""
    # What is shared depends on this batch alone, never on what the memo happens to hold, so that
    # a resumed run computes the very same numbers.
    shared = shared_start(network, prompts)
    tokens = _read_start(network, prompts[0][:shared], memo) if shared else 0
    rests = [prompt[shared:] for prompt in prompts]
    ids, mask = left_padded(rests, network.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=network.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0) + shared
    inputs: dict[str, Any] = {"use_cache": True}
    if shared:
        inputs["past_key_values"] = _expanded(memo.cache, len(prompts))
        before = torch.ones(len(prompts), shared, dtype=mask.dtype, device=network.device)
        mask = torch.cat([before, mask], dim=1)
    everyone = torch.arange(len(prompts), device=network.device)
    last = torch.full_like(everyone, ids.shape[1] - 1)
    chunks, cache = network.logits_at(
        ids, everyone, last, attention_mask=mask, position_ids=positions, **inputs
    )
    return Prefilled(cache, mask, lengths, torch.cat(list(chunks)), tokens + ids.numel())


def shared_start(network: Network, prompts: Sequence[Ids]) -> int:
    """How many first tokens of these prompts are read once for all of them."""
    if not network.shares or len(prompts) < 2:
        return 0
    common = common_start(prompts)
    return common - common % SHARED_STEP


def _read_start(network: Network, start: Ids, memo: SharedStart) -> int:
    """Put the cache of this start into the memo; gives the number of tokens that were read."""
    if memo.ids == start:
        return 0
    ids = torch.tensor([start], device=network.device)
    zero = torch.zeros(1, dtype=torch.long, device=network.device)
    chunks, cache = network.logits_at(ids, zero, zero, use_cache=True)
    next(chunks)
    memo.ids, memo.cache = start, cache
    return len(start)


def _expanded(cache: Any, rows: int) -> Any:
    """A cache for `rows` rows that looks into the one row of `cache`, copying nothing yet."""
    fresh = copy.copy(cache)
    fresh.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in fresh.layers:
        # Appending concatenates into new tensors, so the memo's own are never written to.
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return fresh


def left_padded(rows: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T] with the padding in front; padding is token 0, hidden by the mask."""
    wide = max(map(len, rows))
    ids = torch.tensor([[0] * (wide - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (wide - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def right_padded(rows: Sequence[Ids], device: torch.device) -> Tensor:
    """Ids [B, T] with the padding behind, where a causal model's real tokens cannot see it."""
    wide = max(map(len, rows))
    return torch.tensor([list(row) + [0] * (wide - len(row)) for row in rows], device=device)


def survey(network: Network, max_length: int) -> tuple[Network, list[str]]:
    """The network with every shortcut that passes its trial, and notes on those that do not."""
    if max_length < TRIAL_TOKENS:
        return network, ["is too short for the trial of shortcuts: everything is computed plainly"]
    generator = torch.Generator().manual_seed(0)
    vocabulary = network.model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, vocabulary, (TRIAL_TOKENS,), generator=generator).tolist()
    plain = plain_logits(network, ids)
    if not bool(torch.isfinite(plain).all()):
        raise ModelError(not_finite(network.model))
    scale = float(plain.abs().max()) + 1e-6
    # The weights' own precision: `plain` is float32 whatever it was computed in.
    tolerance = scale * (1e-4 if network.model.dtype == torch.float32 else 5e-2)
    takes_positions = "position_ids" in inspect.signature(network.model.forward).parameters
    network = replace(network, takes_positions=takes_positions)
    notes: list[str] = []
    for way in ("head", "tail"):
        trial = replace(network, logits_from=way)
        if network.head is not None and _close(_gathered, trial, ids, plain, tolerance):
            network = trial
            break
    else:
        notes.append("computes all logits: the output head cannot be called on its own")
    caching = replace(network, caches=True)
    if _close(_from_cache, caching, ids, plain, tolerance):
        network = caching
    else:
        notes.append("decodes one row at a time: the key-value cache does not batch")
    sharing = replace(network, shares=True)
    allowed = network.caches and takes_positions and _plain_layers(network, ids)
    if allowed and _close(_from_shared, sharing, ids, plain, tolerance):
        network = sharing
    return network, notes


def plain_logits(network: Network, ids: Sequence[int]) -> Tensor:
    """All logits [T, V] of one text, float32, without any shortcut."""
    out = network.forward(torch.tensor([list(ids)], device=network.device), use_cache=False)
    logits: Tensor = out.logits[0, -len(ids) :].float()
    return logits


def _close(
    way: Callable[[Network, Sequence[int]], tuple[Tensor, list[int]]],
    network: Network,
    ids: Sequence[int],
    plain: Tensor,
    tolerance: float,
) -> bool:
    """Whether a shortcut reproduces the plain logits; one that raises does not."""
    try:
        logits, positions = way(network, ids)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # an architecture may refuse a shortcut in any way it likes
        return False
    wanted = plain[positions]
    return logits.shape == wanted.shape and bool(
        ((logits.float() - wanted).abs().max() <= tolerance).item()
    )


def _gathered(network: Network, ids: Sequence[int]) -> tuple[Tensor, list[int]]:
    positions = [3, 20, len(ids) - 1]
    columns = torch.tensor(positions, device=network.device)
    chunks, _ = network.logits_at(
        torch.tensor([list(ids)], device=network.device),
        torch.zeros_like(columns),
        columns,
        use_cache=False,
    )
    return torch.cat(list(chunks)), positions


def _from_cache(network: Network, ids: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Two left-padded rows, then the first row alone decodes the next tokens."""
    cut = 30
    read = prefill(network, [tuple(ids[:cut]), tuple(ids[: cut - 7])], SharedStart())
    read.cache.batch_select_indices(torch.tensor([0], device=network.device))
    return _appended(network, read, ids, cut)


def _from_shared(network: Network, ids: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Two rows of unequal length on one shared start, with a gap between start and rest."""
    cut, start = 22, 18
    read = prefill(network, [tuple(ids[:cut]), tuple(ids[:start]) + tuple(ids[:9])], SharedStart())
    read.cache.batch_select_indices(torch.tensor([0], device=network.device))
    return _appended(network, read, ids, cut)


def _appended(
    network: Network, read: Prefilled, ids: Sequence[int], cut: int
) -> tuple[Tensor, list[int]]:
    rest = torch.tensor([list(ids[cut:])], device=network.device)
    columns = torch.arange(rest.shape[1], device=network.device)
    chunks, _ = network.logits_at(
        rest,
        torch.zeros_like(columns),
        columns,
        attention_mask=torch.cat([read.mask[:1], torch.ones_like(rest)], dim=1),
        position_ids=(columns + cut)[None],
        past_key_values=read.cache,
        use_cache=True,
    )
    logits = torch.cat([read.logits[:1], *chunks])
    return logits, list(range(cut - 1, len(ids)))


def _plain_layers(network: Network, ids: Sequence[int]) -> bool:
    """Whether every layer keeps every key: a sliding window measures by place, which gaps shift."""
    from transformers.cache_utils import DynamicLayer

    read = prefill(network, [tuple(ids[:4])], SharedStart())
    return all(type(layer) is DynamicLayer for layer in read.cache.layers)


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
