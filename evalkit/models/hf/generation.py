"""Texts in the making: what becomes of the logits of a step, and what ends a text."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import ModelError
from evalkit.models.base import Prepared
from evalkit.models.hf.network import not_finite
from evalkit.models.hf.tokenizers import generation_defaults
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Decoding, StopReason
from evalkit.thinking import cut_at

NEUTRAL = {
    "num_beams": 1,
    "penalty_alpha": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
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


@dataclass(slots=True, eq=False)
class Row:
    """One text in the making."""

    item: Prepared
    start: tuple[int, ...]
    """What it goes on from: its prompt; or, where an encoder reads that, the decoder's start."""
    decoding: Decoding
    chance: np.random.Generator
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    draws: list[float] = field(default_factory=list)
    text: str = ""
    stop_reason: StopReason | None = None
    seconds: float = 0.0
    seen: Tensor | None = None
    """Which tokens occurred so far [V], where that matters."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """All tokens of its prompt."""
        return self.item.prompt_ids

    @property
    def read(self) -> tuple[int, ...]:
        """All tokens of the text so far: those it goes on from, and those written."""
        return (*self.start, *self.ids)

    def draw(self) -> float:
        """The uniform number that decides on the next token; the same one if asked again, as when
        memory ran out before the token was there."""
        while len(self.draws) <= len(self.ids):
            self.draws.append(self.chance.random())
        return self.draws[len(self.ids)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What ends a text, and how the model wants its logits treated."""

    tokenizer: Any
    stop_ids: frozenset[int]
    end_of_turn: int | None = None
    repetition_penalty: float = 1.0
    banned: tuple[int, ...] = ()
    """Tokens that are never written (Marian's models ban their padding)."""
    text_start: tuple[int, ...] = ()
    """What a decoder goes on from where an encoder reads the prompt."""
    special: Mapping[str, int] = field(default_factory=dict)
    """Tokens by their text that no text shows, so that a stop string would never be found in it."""

    def ending(self, decoding: Decoding) -> frozenset[int]:
        """The tokens that end a text which is generated so."""
        ends = self.stop_ids
        if self.end_of_turn is not None and decoding.end_of_turn:
            ends |= {self.end_of_turn}
        return ends | {self.special[stop] for stop in decoding.stop if stop in self.special}


def rules_of(folder: Path, tokens: Tokens) -> Rules:
    """The rules of a model folder: its end tokens, and its own repetition penalty."""
    told = generation_defaults(folder)
    return Rules(
        tokenizer=tokens.tokenizer,
        stop_ids=tokens.stop_ids,
        end_of_turn=tokens.end_of_turn,
        repetition_penalty=float(told.get("repetition_penalty") or 1.0),
        banned=_banned(told, tokens.stop_ids)[0],
        text_start=tokens.text_start,
        special=_hidden(tokens.tokenizer),
    )


def _banned(told: Mapping[str, Any], stop_ids: Collection[int]) -> tuple[tuple[int, ...], bool]:
    """The single tokens of `bad_words_ids`, but for those that end a text, as transformers reads
    them; and whether it bans sequences, too, which is not followed."""
    words = told.get("bad_words_ids") or []
    single = {word[0] for word in words if len(word) == 1} - set(stop_ids)
    return tuple(sorted(single)), any(len(word) > 1 for word in words)


def _hidden(tokenizer: Any) -> dict[str, int]:
    """The added tokens that a decoded text does not show."""
    added = tokenizer.get_added_vocab()
    added |= zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {
        text: token
        for text, token in added.items()
        if text and not tokenizer.decode([token], skip_special_tokens=True)
    }


def ignored_defaults(folder: Path, tokens: Tokens) -> list[str]:
    """Settings of generation_config.json that would change texts and are not followed."""
    declared = generation_defaults(folder)
    followed = ["forced_bos_token_id"] if tokens.text_start else []
    followed += [] if _banned(declared, tokens.stop_ids)[1] else ["bad_words_ids"]
    ignored = [
        f"{name}: {declared[name]}"
        for name, neutral in NEUTRAL.items()
        if name in declared and declared[name] not in (neutral, None) and name not in followed
    ]
    if not ignored:
        return []
    return [f"The model's generation_config.json is not followed in {', '.join(ignored)}."]


def rows_for(items: Sequence[Prepared], rules: Rules) -> list[Row]:
    """Fresh rows; each has a random stream of its own, so that its neighbours do not matter."""
    start = rules.text_start
    return [Row(item, start or item.prompt_ids, _decoding(item), _chance(item)) for item in items]


def choose(model: Any, parts: Iterable[Tensor], rows: Sequence[Row], rules: Rules) -> None:
    """Append one token to each row, from logits [n, V] of some rows after the others; marks the
    rows that end with it.

    Greedy is the argmax, as of `generate` on that row alone; only where the two best logits
    differ by less than rounding (1e-5 in float32) may it be the other one.
    """
    tokens: list[int] = []
    logprobs: list[float] = []
    for logits in parts:
        chosen, theirs = _chosen(logits.float(), rows[len(tokens) :][: len(logits)], rules)
        if not bool(torch.isfinite(theirs).all()):
            raise ModelError(not_finite(model))
        tokens += chosen.tolist()
        logprobs += theirs.tolist()
    # Not before all are there: memory that runs out on the way leaves every row as it was.
    for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
        row.ids.append(token)
        row.logprobs.append(logprob)
        _end(row, rules)


def _chosen(plain: Tensor, rows: Sequence[Row], rules: Rules) -> tuple[Tensor, Tensor]:
    """The next token of each row [n] from its logits [n, V], and its log-probability [n]."""
    logits = plain
    if rules.repetition_penalty != 1.0:
        logits = _penalised(plain, rows, rules.repetition_penalty)
    if rules.banned:
        banned = torch.tensor(rules.banned, device=plain.device)
        logits = logits.index_fill(1, banned, -torch.inf)
    chosen = logits.argmax(1)
    drawn = [index for index, row in enumerate(rows) if row.decoding.temperature > 0]
    most = max(1, _SORTED // logits.shape[1])
    for start in range(0, len(drawn), most):
        some = drawn[start : start + most]
        chosen[some] = _sample(logits[some], [rows[index] for index in some])
    every = plain.log_softmax(1)  # as in scoring
    return chosen, every.gather(1, chosen[:, None])[:, 0]


def _end(row: Row, rules: Rules) -> None:
    """Set the row's stop reason and text if its last token ended it."""
    if row.ids[-1] in rules.ending(row.decoding):
        row.stop_reason = "stop"
        row.text = _cut(_decode(row.ids[:-1], rules), row)
        return
    if any(row.decoding.stop) and _may_have_stopped(row, rules):
        text = _decode(row.ids, rules)
        if (short := _cut(text, row)) != text:
            row.stop_reason, row.text = "stop", short
            return
    if len(row.ids) >= row.decoding.max_new_tokens:
        row.stop_reason, row.text = "length", _decode(row.ids, rules)


def _may_have_stopped(row: Row, rules: Rules) -> bool:
    """Look for the stop strings in the last few tokens, which is cheaper than in all of them."""
    longest = max(len(stop.encode()) for stop in row.decoding.stop)
    tail = _decode(row.ids[-(longest + 8) :], rules)  # a token is at least one byte of the text
    return any(stop in tail for stop in row.decoding.stop if stop)


def _cut(text: str, row: Row) -> str:
    """The text before the first of its stop strings; within its thinking they do not count."""
    return cut_at(text, row.decoding.stop, row.decoding.thinking, row.item.prompt_text)


def _decode(ids: Sequence[int], rules: Rules) -> str:
    return str(rules.tokenizer.decode(ids, skip_special_tokens=True))


def _penalised(logits: Tensor, rows: Sequence[Row], penalty: float) -> Tensor:
    """The repetition penalty of Keskar et al. 2019 (arXiv:1909.05858), as in transformers."""
    for row in rows:
        if row.seen is None:
            row.seen = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
            row.seen[list(row.read)] = True
        elif row.ids:
            row.seen[row.ids[-1]] = True
    seen = torch.stack([row.seen for row in rows if row.seen is not None])
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def _sample(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Draw a token for each row [B] from logits [B, V], shaped by its temperature and top-p, with
    one uniform number each.

    By inverting the cumulative distribution of the sorted tokens, in float64, so that devices and
    batch shapes that differ by rounding draw the same token nearly always.
    """
    device = torch.device("cpu") if logits.device.type == "mps" else logits.device

    def column(numbers: Iterable[float]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.float64, device=device)[:, None]

    scaled = logits.to(device).double() / column(row.decoding.temperature for row in rows)
    scaled, order = scaled.sort(dim=1, descending=True, stable=True)
    cumulative = scaled.softmax(1).cumsum(1)
    last = torch.searchsorted(cumulative, column(row.decoding.top_p for row in rows))
    last.clamp_(max=cumulative.shape[1] - 1)
    drawn = column(row.draw() for row in rows) * cumulative.gather(1, last)
    places = torch.searchsorted(cumulative, drawn, right=True).minimum(last)
    return order.gather(1, places)[:, 0].to(logits.device)


_SORTED = 2**24
"""Logits that are sorted at a time."""


def _decoding(item: Prepared) -> Decoding:
    assert item.decoding is not None, "a generate request carries its decoding"
    return item.decoding


def _chance(item: Prepared) -> np.random.Generator:
    """Seeded by prompt, seed and repeat, not by arm: both arms draw the same uniform numbers."""
    seed = (item.prompt_hash, _decoding(item).seed, item.request.index)
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
