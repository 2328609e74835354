"""From requests to token ids where a prompt and what follows it are read by different halves.

The rules are those of lm-eval's HFLM for such models: a continuation is encoded by itself, without
special tokens; a prompt gets those that the tokenizer writes in front and behind, and loses tokens
on the left where it is too long for the encoder, whatever follows; a text that is rolled through
is scored with its special tokens. As elsewhere none is doubled, and none is left out: HFLM doubles
one that a prompt ends with, and leaves those behind it out where it begins with one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

from evalkit.errors import ModelError
from evalkit.models.hf.texts import Encoded, Ids, Seen, Texts
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Seq2SeqTokens(Tokens):
    """The tokenizer of an encoder-decoder model; `prompt_ids` are what its encoder reads."""

    added_suffix: Ids
    """Special tokens the tokenizer itself writes behind every text (usually EOS)."""
    decoder_length: int | None
    """Tokens that the decoder has positions for; None: any number."""

    @classmethod
    def of(
        cls, tokens: Tokens, *, suffix: Ids, decoder_length: int | None, start: Ids, text: Ids
    ) -> Self:
        """The tokens of a causal model with what an encoder and a decoder need beyond."""
        own = {one.name: getattr(tokens, one.name) for one in fields(Tokens)}
        own |= {"decoder_start": start, "text_start": text}
        return cls(**own, added_suffix=suffix, decoder_length=decoder_length)

    @property
    def window(self) -> int:
        """Tokens that are scored at a time at most."""
        return min(self.max_length, self.decoder_length or self.max_length)

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """Token ids of the requests, in their order."""
        for one in requests:
            if one.kind == "whole":
                raise ModelError(
                    f"{one.suite} scores whole texts, prompt and all, but this is an "
                    "encoder-decoder model, which gives the words of a prompt no probabilities. "
                    "Leave this suite out for it."
                )
        return Tokens.encode(self, requests)

    def _continued(
        self, texts: Texts, ids: Mapping[str, Ids], tails: Mapping[str, Mapping[str, int]]
    ) -> Iterator[tuple[int, Encoded]]:
        alone = texts.encode(tail for mine in tails.values() for tail in mine)
        for context, mine in tails.items():
            prompt = self._marked(ids[context])
            cut = max(0, len(prompt) - self.max_length)
            seen = self._shown(context, prompt, cut)
            for tail, number in mine.items():
                yield number, Encoded(seen, alone.get(tail, ()), cut)

    def _marked(self, ids: Ids) -> Ids:
        prefix, suffix = self.added_prefix, self.added_suffix
        if ids[: len(prefix)] != prefix:
            ids = prefix + ids
        if suffix and ids[-len(suffix) :] != suffix:
            ids += suffix
        return ids or (self._empty_token(),)

    def _rolled(self, ids: Ids) -> tuple[Ids, Ids]:
        return (self._empty_token(),), self._marked(ids) if ids else ()

    def room(self, new: int) -> int:
        """All of the encoder's, unless the decoder has no positions for the new tokens."""
        read = len(self.text_start) + new - 1  # the last one is written, and not read again
        fits = self.decoder_length is None or read <= self.decoder_length
        return self.max_length if fits else 0

    def _shown(self, text: str, prompt: Ids, cut: int) -> Seen:
        seen = Tokens._shown(self, text, prompt, cut)
        suffix = self.added_suffix
        if cut or not suffix or prompt[-len(suffix) :] != suffix:
            return seen
        mark = str(self.tokenizer.decode(suffix))
        return seen if seen.text.endswith(mark) else seen._replace(text=seen.text + mark)
