"""The three things an OpenAI-compatible endpoint is asked, and how its answers are read."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import openai
from openai.types import Completion as TextAnswer
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import ChoiceLogprobs

from evalkit.jsonl import without_half_pairs
from evalkit.models.endpoint import Endpoint, Failed, Malformed
from evalkit.records import Prompt, Request, StopReason
from evalkit.thinking import cut_at, joined, split

Lengths = dict[tuple[str, str], "asyncio.Task[int]"]
"""Tokens of a context by (arm, context), each asked for once."""


WITHHELD = "withheld the answer (content filter)"
"""In the error of a completion whose text the endpoint did not want to show."""
_UNLIKELY = math.log(1e-4)  # what is less likely is left out: an answer has hundreds of tokens


class NoScores(Exception):  # noqa: N818  (control flow, turned into words by the engine)
    """The endpoint does not give log-probabilities of a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one request brought back."""

    text: str = ""
    stop_reason: StopReason = "scored"
    logprobs: tuple[float, ...] = ()
    is_greedy: bool | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    alternatives: tuple[Mapping[str, float], ...] = ()


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """Turns as the protocol writes them."""
    assert not isinstance(prompt, str)
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever is missing or of another type in an answer makes it malformed.

    The client does not validate what it was sent: a field may hold anything, or not be there.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Malformed(f"{type(error).__name__} while reading it") from None


async def chatted(endpoint: Endpoint, request: Request) -> Said:
    """The answer to chat turns."""
    return await _past_thinking(_chat, endpoint, request)


async def _chat(endpoint: Endpoint, request: Request, stops: Sequence[str]) -> Said:
    async def send(client: openai.AsyncOpenAI) -> Said:
        options = _sampling(endpoint, request, stops) | _structure(endpoint, request)
        options[endpoint.dialect.limit] = options.pop("max_tokens")
        turns: Any = messages(request.prompt)
        answer: object = await client.chat.completions.create(
            model=endpoint.config.model, messages=turns, **options
        )
        with _reading():
            if not isinstance(answer, ChatCompletion):
                raise Malformed("no chat completion")
            choice = answer.choices[0]
            text = _with_thinking(request, choice.message, choice.finish_reason)
            said = _generated(endpoint, request, text, choice.finish_reason, answer)
            return replace(said, alternatives=_alternatives(choice.logprobs))

    return await endpoint.ask(send)


def _structure(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """What only a chat can be asked: to follow a schema, and to tell what else it thought of."""
    assert request.decoding is not None
    decoding, options = request.decoding, dict[str, Any]()
    if decoding.schema and endpoint.dialect.schema:
        schema = {"name": "answer", "schema": json.loads(decoding.schema), "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    if decoding.alternatives and endpoint.dialect.alternatives:
        options |= {"logprobs": True, "top_logprobs": decoding.alternatives}
    return options


def _alternatives(told: ChoiceLogprobs | None) -> tuple[Mapping[str, float], ...]:
    """Per token: its own log-probability, then those of others that were likely enough."""
    found = []
    for one in (told and told.content) or ():
        own = without_half_pairs(one.token)
        others = {
            token: round(float(other.logprob), 4)
            for other in one.top_logprobs or ()
            if other.logprob >= _UNLIKELY and (token := without_half_pairs(other.token)) != own
        }
        found.append({own: round(float(one.logprob), 4), **others})
    return tuple(found)


async def written(endpoint: Endpoint, request: Request) -> Said:
    """The continuation of a plain text."""
    return await _past_thinking(_write, endpoint, request)


async def _write(endpoint: Endpoint, request: Request, stops: Sequence[str]) -> Said:
    async def send(client: openai.AsyncOpenAI) -> Said:
        answer: object = await client.completions.create(
            model=endpoint.config.model,
            prompt=_text(request),
            **_sampling(endpoint, request, stops),
        )
        with _reading():
            if not isinstance(answer, TextAnswer):
                raise Malformed("no completion")
            choice = answer.choices[0]
            return _generated(endpoint, request, choice.text, choice.finish_reason, answer)

    return await endpoint.ask(send)


async def _past_thinking(
    ask: Callable[[Endpoint, Request, Sequence[str]], Awaitable[Said]],
    endpoint: Endpoint,
    request: Request,
) -> Said:
    """The answer; asked again where a stop string, which a server looks for everywhere, ended the
    thinking before it."""
    assert request.decoding is not None
    decoding = request.decoding
    said = await ask(endpoint, request, decoding.stop)
    thoughts = split(said.text, decoding.thinking, _plain_prompt(request))
    if thoughts.answer_at is not None or said.stop_reason != "stop" or not decoding.stop:
        return said
    endpoint.usage.tokens_in += said.tokens_in  # what is thrown away is paid for, too
    endpoint.usage.tokens_out += said.tokens_out
    return await ask(endpoint, request, ())


def _plain_prompt(request: Request) -> str:
    return request.prompt if isinstance(request.prompt, str) else ""


def _with_thinking(request: Request, message: ChatCompletionMessage, reason: str | None) -> str:
    """The text of an answer, behind the thinking that some servers give apart from it."""
    assert request.decoding is not None
    answer: Any = message.content or message.refusal or ""
    told = [getattr(message, name, None) for name in ("reasoning_content", "reasoning")]
    thinking = next((one for one in told if isinstance(one, str) and one), "")
    if not isinstance(answer, str):
        raise Malformed("no text in it")
    ended = reason == "stop" and not request.decoding.stop
    return joined(thinking, answer, request.decoding.thinking, ended=ended)


async def scored(endpoint: Endpoint, request: Request, lengths: Lengths) -> Said:
    """The log-probabilities of a continuation, or of all tokens of a whole text but the first.

    As in lm-eval, the context ends before its trailing whitespace, the whole is encoded as one
    text, and what lies behind as many tokens as the context alone has is the continuation.
    """
    prompt = _text(request)
    context, whole = prompt.rstrip(), prompt + request.continuation
    if request.kind != "whole" and not context:
        raise Failed("an endpoint does not score the first token of a text: the prompt is empty")
    before = 1 if request.kind == "whole" else await _length(endpoint, context, lengths)

    async def send(client: openai.AsyncOpenAI) -> Said:
        answer: object = await client.completions.create(
            model=endpoint.config.model, prompt=whole, max_tokens=1, echo=True, logprobs=1,
            **_greedy(endpoint),
        )  # fmt: skip
        with _reading():
            return _read_scores(answer, whole, before)

    return await endpoint.ask(send)


async def _length(endpoint: Endpoint, context: str, lengths: Lengths) -> int:
    """How many tokens the endpoint makes of a context; its choices share one question."""

    async def send(client: openai.AsyncOpenAI) -> int:
        answer: object = await client.completions.create(
            model=endpoint.config.model, prompt=context, max_tokens=1, **_greedy(endpoint)
        )
        with _reading():
            if not isinstance(answer, TextAnswer):
                raise Malformed("no completion")
            if answer.usage is None:
                raise NoScores
            endpoint.usage.tokens_in += answer.usage.prompt_tokens
            endpoint.usage.tokens_out += answer.usage.completion_tokens
            return answer.usage.prompt_tokens

    key = (endpoint.arm, context)
    if key not in lengths:
        lengths[key] = asyncio.create_task(endpoint.ask(send))
    return await lengths[key]


def _read_scores(answer: object, whole: str, before: int) -> Said:
    if not isinstance(answer, TextAnswer):
        raise Malformed("no completion")
    choice, usage = answer.choices[0], answer.usage
    scores = choice.logprobs.token_logprobs if choice.logprobs else None
    if usage is None or not scores or not choice.text.startswith(whole):
        raise NoScores
    end = usage.prompt_tokens
    if not before < end <= len(scores):
        raise Failed(f"the continuation has no tokens of its own ({end} in all, {before} before)")
    own: Sequence[float | None] = scores[before:end]
    if any(score is None for score in own):
        raise Failed("the endpoint left a token of the continuation without its log-probability")
    tops = choice.logprobs.top_logprobs if choice.logprobs else None
    greedy = None
    if tops and len(tops) >= end:
        pairs = zip(own, tops[before:end], strict=True)
        greedy = all(bool(top) and (score or 0.0) >= max(top.values()) for score, top in pairs)
    return Said(
        logprobs=tuple(float(score) for score in own if score is not None),
        is_greedy=greedy,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
    )


def _generated(
    endpoint: Endpoint,
    request: Request,
    text: object,
    reason: str | None,
    answer: ChatCompletion | TextAnswer,
) -> Said:
    """A generated text, cut at its stop strings where the server did not."""
    if not isinstance(text, str):
        raise Malformed("no text in it")
    text = without_half_pairs(text)  # a server may cut a text in the middle of a character
    if reason == "content_filter":
        raise Failed(f"{endpoint.url} {WITHHELD}")
    assert request.decoding is not None
    decoding = request.decoding
    short = cut_at(text, decoding.stop, decoding.thinking, _plain_prompt(request))
    length = reason == "length" and short == text
    usage = answer.usage
    return Said(
        text=short,
        stop_reason="length" if length else "stop",
        tokens_in=usage.prompt_tokens if usage else 0,
        tokens_out=usage.completion_tokens if usage else 0,
    )


def _greedy(endpoint: Endpoint) -> dict[str, Any]:
    """A temperature of 0, where one may be asked for."""
    return {"temperature": 0.0} if endpoint.dialect.temperature else {}


def _sampling(endpoint: Endpoint, request: Request, stops: Sequence[str]) -> dict[str, Any]:
    """Decoding as parameters; what greedy decoding does not need is not sent, as some refuse it."""
    assert request.decoding is not None
    decoding = request.decoding
    options: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, **_greedy(endpoint)}
    if decoding.temperature > 0:
        options["seed"] = _seed(decoding.seed, request.index)
        if endpoint.dialect.temperature:  # whoever takes no temperature takes no top_p either
            options |= {"temperature": decoding.temperature, "top_p": decoding.top_p}
    if stops:
        options["stop"] = list(stops)
    return options


def _seed(seed: int, repeat: int) -> int:
    """The run's own seed for a sample's first answer, and one that is far from it for each more.

    Not seed + repeat: runs with neighbouring seeds would then share their answers.
    """
    if repeat == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # some servers take 31 bits


def _text(request: Request) -> str:
    assert isinstance(request.prompt, str)
    return request.prompt
