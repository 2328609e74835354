"""Generated texts: greedy or sampled, many rows at once, each as if it were alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.base import Prepared
from evalkit.models.hf.network import Network, SharedStart, not_finite, prefill
from evalkit.models.hf.tokens import Tokens, generation_defaults
from evalkit.records import Decoding, StopReason

NEUTRAL = {
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "bad_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "guidance_scale": None,
}
"""Settings of a generation_config.json that are not followed, with the value that does nothing."""


@dataclass(slots=True)
class Row:
    """One text in the making."""

    item: Prepared
    decoding: Decoding
    chance: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    stop_reason: StopReason | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What ends a text, and how the model wants its logits treated."""

    tokenizer: Any
    stop_ids: frozenset[int]
    repetition_penalty: float = 1.0


def rules_of(folder: Path, tokens: Tokens) -> Rules:
    """The rules of a model folder: its end tokens, and its own repetition penalty."""
    penalty = generation_defaults(folder).get("repetition_penalty")
    return Rules(
        tokenizer=tokens.tokenizer,
        stop_ids=tokens.stop_ids,
        repetition_penalty=float(penalty or 1.0),
    )


def ignored_defaults(folder: Path) -> list[str]:
    """Settings of generation_config.json that would change texts and are not followed."""
    declared = generation_defaults(folder)
    ignored = [
        f"{name}: {declared[name]}"
        for name, neutral in NEUTRAL.items()
        if name in declared and declared[name] not in (neutral, None)
    ]
    if not ignored:
        return []
    return [f"The model's generation_config.json is not followed in {', '.join(ignored)}."]


def rows_for(items: Sequence[Prepared]) -> list[Row]:
    """Fresh rows; each has a random stream of its own, so that its neighbours do not matter."""
    return [Row(item, _decoding(item), _chance(item)) for item in items]


class Decoder:
    """Decodes rows to their ends, a step at a time; finished rows leave the batch at once.

    A greedy text is the argmax at every step, as of `generate` on that row alone; only where the
    two best logits differ by less than rounding may it differ.
    """

    def __init__(
        self, network: Network, rows: Sequence[Row], rules: Rules, memo: SharedStart
    ) -> None:
        """Nothing is computed before the first step, which reads the prompts."""
        self.active = list(rows)
        self._network = network
        self._rules = rules
        self._memo = memo
        self._cache: Any = None
        self._mask = self._lengths = self._last = torch.empty(0)

    def step(self) -> list[Row]:
        """Give every row one more token; the rows that ended with it."""
        started = time.perf_counter()
        stepped = self.active if self._network.caches else self.active[:1]
        logits = self._logits(stepped)
        self._last = choose(self._network, logits, stepped, self._rules)
        share = (time.perf_counter() - started) / len(stepped)
        for row in stepped:
            row.seconds += share
        return self._let_go()

    def _logits(self, rows: Sequence[Row]) -> Tensor:
        if not self._network.caches:
            return self._read_again(rows[0])
        if self._cache is None:
            read = prefill(self._network, [row.item.prompt_ids for row in rows], self._memo)
            self._cache, self._mask, self._lengths = read.cache, read.mask, read.lengths
            return read.logits
        return self._next_logits()

    def _next_logits(self) -> Tensor:
        """One forward of the last token of each row, on the cache."""
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        everyone = torch.arange(len(self.active), device=self._network.device)
        chunks, self._cache = self._network.logits_at(
            self._last[:, None],
            everyone,
            torch.zeros_like(everyone),
            attention_mask=self._mask,
            position_ids=self._lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._lengths = self._lengths + 1
        return torch.cat(list(chunks))

    def _read_again(self, row: Row) -> Tensor:
        """Without a cache: the whole text is read at every step."""
        ids = torch.tensor([[*row.item.prompt_ids, *row.ids]], device=self._network.device)
        zero = torch.zeros(1, dtype=torch.long, device=self._network.device)
        chunks, _ = self._network.logits_at(ids, zero, zero + ids.shape[1] - 1, use_cache=False)
        return next(chunks)

    def _let_go(self) -> list[Row]:
        """Take finished rows out of the batch and its cache."""
        finished = [row for row in self.active if row.stop_reason is not None]
        keep = [index for index, row in enumerate(self.active) if row.stop_reason is None]
        if finished and keep and self._network.caches:
            kept = torch.tensor(keep, device=self._network.device)
            self._cache.batch_select_indices(kept)
            self._mask, self._lengths = self._mask[kept], self._lengths[kept]
            self._last = self._last[kept]
        self.active = [self.active[index] for index in keep]
        return finished


def choose(network: Network, logits: Tensor, rows: Sequence[Row], rules: Rules) -> Tensor:
    """Append one token to each row, from logits [B, V]; marks the rows that end with it."""
    logits = logits.float()
    plain = logits
    if rules.repetition_penalty != 1.0:
        logits = _penalised(logits, rows, rules.repetition_penalty)
    chosen = logits.argmax(1)
    sampled = [index for index, row in enumerate(rows) if row.decoding.temperature > 0]
    for index in sampled:
        chosen[index] = _sample(logits[index], rows[index])
    logprobs = plain.log_softmax(1).gather(1, chosen[:, None])[:, 0]
    if not bool(torch.isfinite(logprobs).all()):
        raise ModelError(not_finite(network.model))
    for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True):
        row.ids.append(token)
        row.logprobs.append(logprob)
        _end(row, rules)
    return chosen


def _end(row: Row, rules: Rules) -> None:
    """Set the row's stop reason and text if its last token ended it."""
    if row.ids[-1] in rules.stop_ids:
        row.stop_reason = "stop"
        row.text = cut_at(_decode(row.ids[:-1], rules), row.decoding.stop)
        return
    if any(row.decoding.stop) and _may_have_stopped(row, rules):
        text = _decode(row.ids, rules)
        if (short := cut_at(text, row.decoding.stop)) != text:
            row.stop_reason, row.text = "stop", short
            return
    if len(row.ids) >= row.decoding.max_new_tokens:
        row.stop_reason, row.text = "length", _decode(row.ids, rules)


def _may_have_stopped(row: Row, rules: Rules) -> bool:
    """Look for the stop strings in the last few tokens, which is cheaper than in all of them."""
    longest = max(len(stop.encode()) for stop in row.decoding.stop)
    tail = _decode(row.ids[-(longest + 8) :], rules)  # a token is at least one byte of the text
    return any(stop in tail for stop in row.decoding.stop if stop)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    found = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def _decode(ids: Sequence[int], rules: Rules) -> str:
    return str(rules.tokenizer.decode(ids, skip_special_tokens=True))


def _penalised(logits: Tensor, rows: Sequence[Row], penalty: float) -> Tensor:
    """The repetition penalty of Keskar et al. 2019 (arXiv:1909.05858), as in transformers."""
    logits = logits.clone()
    for index, row in enumerate(rows):
        seen = torch.tensor(
            sorted({*row.item.prompt_ids, *row.ids}), device=logits.device, dtype=torch.long
        )
        values = logits[index, seen]
        logits[index, seen] = torch.where(values < 0, values * penalty, values / penalty)
    return logits


def _sample(logits: Tensor, row: Row) -> int:
    """Draw from the temperature- and top-p-shaped distribution with one uniform number.

    By inverting the cumulative distribution of the sorted tokens, in float64 on the CPU, so that
    devices and batch shapes that differ by rounding draw the same token nearly always.
    """
    scaled = logits.double().cpu().numpy() / row.decoding.temperature
    order = np.argsort(-scaled, kind="stable")
    weights = np.exp(scaled[order] - scaled[order[0]])
    cumulative = np.cumsum(weights / weights.sum())
    kept = int(np.searchsorted(cumulative, row.decoding.top_p)) + 1
    cumulative = cumulative[:kept]
    place = int(np.searchsorted(cumulative, row.chance.random() * cumulative[-1], side="right"))
    return int(order[min(place, len(cumulative) - 1)])


def _decoding(item: Prepared) -> Decoding:
    assert item.decoding is not None, "a generate request carries its decoding"
    return item.decoding


def _chance(item: Prepared) -> np.random.Generator:
    """Seeded by prompt, seed and repeat, not by arm: both arms draw the same uniform numbers."""
    seed = (item.prompt_hash, _decoding(item).seed, item.request.index)
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
