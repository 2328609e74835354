"""What is asked and answered: samples, requests, completions, scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
RequestKind: TypeAlias = Literal["loglikelihood", "rolling", "whole", "generate"]
StopReason: TypeAlias = Literal["stop", "length", "scored", "error", "thinking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Prompt: TypeAlias = str | tuple[Message, ...]
"""What a model is asked: plain text, or turns that its chat template renders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How text is generated; temperature 0 is greedy.

    `end_of_turn`: a token that ends a turn in the chat template ends the text, too, also where
    the model's own files do not name it among the tokens that end a text. `thinking` are the tags
    around what a reasoning model writes first; stop strings count behind it only. Two that only
    the chats of endpoints know, each left out where one does not: `schema`, the text of a JSON
    schema that the answer must follow, and `alternatives`, how many of the tokens that could have
    stood at each place are told.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    end_of_turn: bool = True
    thinking: tuple[str, ...] = ()
    schema: str = ""
    alternatives: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question of a suite, with all that scoring it needs.

    `choices` are the continuations whose log-likelihoods are compared and `answer` the index of
    the right one; `targets` are acceptable answers of a generated text. `fields` holds the
    sample's whole row as the suite's author wrote it (constraints, required facts …). `lead` counts
    the characters of the text asked (the plain prompt, or a chat's last turn) that come before the
    question itself, worked examples above all; None where that is not known.
    """

    id: str
    suite: str
    prompt: Prompt
    targets: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int | None = None
    cluster: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    lead: int | None = None

    @property
    def asked(self) -> str:
        """The text asked: the plain prompt, or the last turn of a chat."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1].content

    @property
    def then(self) -> tuple[str, ...]:
        """The user's later turns, each asked after the model's own answer to the one before."""
        turns = self.fields.get("then")
        return tuple(map(str, turns)) if isinstance(turns, list) else ()

    @property
    def slice_names(self) -> tuple[str, ...]:
        """The slices it is in, as they are written: "topic=history"."""
        return tuple(f"{key}={value}" for key, value in sorted(self.slices.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing asked of one arm: score a continuation, score a whole text, or generate.

    `index` tells a sample's requests apart (which choice, which repeat). `rolling` scores
    `continuation` from its first token, `whole` all but the first of the tokens that the tokenizer
    makes of it, nothing put in front; `prompt` is empty then.
    """

    arm: str
    suite: str
    sample_id: str
    kind: RequestKind
    prompt: Prompt
    continuation: str = ""
    decoding: Decoding | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model said to one request.

    `logprobs` are natural logarithms, one per scored or generated token (empty where the
    model does not tell); `prompt_text` is the prompt as the model saw it, `prompt_hash` a hash
    of its token ids and `prompt_start` the first of them (empty where unknown); `truncated`
    counts prompt tokens cut from the left. `thinking` is what a reasoning model wrote before the
    answer, which alone is `text`; a stop reason of "thinking" says that it was cut off in there.
    `alternatives` hold for each generated token, where that was asked for and is told, the
    natural log-probabilities of what could have stood there: the token itself first, then the
    others of one in ten thousand or more, the likeliest first.
    """

    key: str
    text: str = ""
    thinking: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    is_greedy: bool | None = None
    stop_reason: StopReason = "scored"
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: int = 0
    prompt_text: str = ""
    prompt_hash: str = ""
    prompt_start: tuple[int, ...] = ()
    seconds: float = 0.0
    error: str = ""
    alternatives: tuple[Mapping[str, float], ...] = ()

    @property
    def loglikelihood(self) -> float:
        """Sum of the token log-probabilities, in nats."""
        return float(sum(self.logprobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one scorer says of one completion; `value` is None when it could not be scored.

    `stats` are the sample's sufficient statistics where the metric is an aggregate over the
    corpus (total negative log-likelihood and token count for perplexity, for instance). `values`
    are those of its several completions, of which `value` is the mean; empty where there is one.
    """

    sample_id: str
    scorer: str
    value: float | None
    reason: str = ""
    stats: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
