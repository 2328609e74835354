"""One OpenAI-compatible endpoint: its client, its pace, its retries, its errors in words."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import openai

from evalkit.config import OpenAIModel
from evalkit.errors import ModelError
from evalkit.jsonl import without_half_pairs
from evalkit.progress import Progress

T = TypeVar("T")

DEFAULT_URL = "https://api.openai.com/v1"
_FIRST_DELAY = 0.5  # seconds before the first repeat; doubles from there
_LONGEST_DELAY = 60.0
_LONGEST_WISH = 600.0  # a Retry-After above this is no pause but a refusal
_UNANSWERED_TRIES = 3  # of a server that has never been there
_OF_SCHEMAS = re.compile(r"response_?format|json_?schema|structured.?output", re.IGNORECASE)
_OF_ALTERNATIVES = re.compile(r"logprobs|log.?probabilit", re.IGNORECASE)
_KEY = re.compile(r"\b(?:sk|pk|key)-[\w*.-]{4,}")


class Refused(Exception):  # noqa: N818  (control flow, turned into a ModelError by the engine)
    """The endpoint will answer no request of this arm: a wrong key, model, quota or address."""


class Failed(Exception):  # noqa: N818
    """This one request has no answer; `exhausted` where repeating it did not help."""

    def __init__(self, message: str, *, exhausted: bool = False) -> None:
        super().__init__(message)
        self.exhausted = exhausted


class Malformed(Exception):  # noqa: N818
    """An answer that is not what the protocol promises; asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Which parameters an endpoint knows; all of the protocol's, until it refuses one."""

    limit: str = "max_tokens"
    temperature: bool = True
    schema: bool = True
    alternatives: bool = True


@dataclass(slots=True)
class Usage:
    """What was spent so far, repeats included."""

    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True)
class Pace:
    """Spaces requests evenly, and makes all wait when the endpoint asks one to."""

    interval: float
    next: float = 0.0

    async def turn(self) -> None:
        """Wait for this request's turn."""
        now = time.monotonic()
        slot = max(now, self.next)
        self.next = slot + self.interval if self.interval else self.next
        if slot > now:
            await asyncio.sleep(slot - now)

    def pause(self, seconds: float) -> None:
        """Nobody's turn comes before that many seconds have passed."""
        self.next = max(self.next, time.monotonic() + seconds)


@dataclass(slots=True)
class Endpoint:
    """Where one arm is asked; open the client inside the event loop that will use it."""

    arm: str
    config: OpenAIModel
    url: str
    key: str
    progress: Progress
    usage: Usage = field(default_factory=Usage)
    dialect: Dialect = Dialect()
    refused: str = ""
    """Why nothing more is asked here; '' as long as it is."""
    _client: openai.AsyncOpenAI | None = None
    _slots: asyncio.Semaphore | None = None
    _pace: Pace | None = None
    _answered: bool = False
    _told: bool = False

    @property
    def cost(self) -> float | None:
        """In the currency of the configured prices; None where there are none."""
        if not (self.config.price_in or self.config.price_out):
            return None
        spent = self.usage
        millions = spent.tokens_in * self.config.price_in + spent.tokens_out * self.config.price_out
        return millions / 1e6

    def client(self) -> openai.AsyncOpenAI:
        """The client; we repeat requests ourselves, to keep to the pace and to count them."""
        if self._client is None:
            # A proxy from the environment is not meant for this very machine.
            web = openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(self.url))
            self._client = openai.AsyncOpenAI(
                api_key=self.key,
                base_url=self.url,
                timeout=self.config.timeout,
                max_retries=0,
                http_client=web,
            )
            self._slots = asyncio.Semaphore(self.config.concurrency)
            per_minute = self.config.requests_per_minute
            self._pace = Pace(60.0 / per_minute if per_minute else 0.0)
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(self, send: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """Send a request until it is answered; raises Refused or Failed where it is not."""
        try:
            return await self._repeated(send)
        except Refused as error:
            self.refused = str(error)
            raise

    async def _repeated(self, send: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        client = self.client()
        for attempt in range(self.config.max_retries + 1):
            if attempt:
                self.usage.retries += 1
            try:
                answer = await self._once(client, send)
            except openai.APIStatusError as error:
                reason, wish = self._refusal(error)
            except (TimeoutError, openai.APITimeoutError):
                reason, wish = f"no answer within {self.config.timeout:g} s", 0.0
            except openai.APIConnectionError as error:
                reason, wish = self._unreachable(error, attempt), 0.0
            except (Malformed, ValueError, openai.APIResponseValidationError) as error:
                reason, wish = f"not an answer of this protocol: {self.clean(str(error))}", 0.0
            else:
                self._answered = True
                return answer
            if attempt < self.config.max_retries:
                await self._wait(attempt, wish, reason)
        tries = self.config.max_retries + 1
        times = "once" if tries == 1 else f"{tries} times"
        raise Failed(f"{self.url}: {reason} (asked {times})", exhausted=True)

    async def _once(
        self, client: openai.AsyncOpenAI, send: Callable[[openai.AsyncOpenAI], Awaitable[T]]
    ) -> T:
        assert self._slots is not None
        assert self._pace is not None
        async with self._slots:
            while True:
                await self._pace.turn()
                if self.refused:  # by the time this request's turn came
                    raise Refused(self.refused)
                self.usage.requests += 1
                spoken = self.dialect
                try:
                    # The client's own timeout starts anew with every byte that trickles in.
                    async with asyncio.timeout(self.config.timeout):
                        return await send(client)
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if not self._learns(error, spoken):
                        raise

    def _learns(self, error: openai.APIStatusError, spoken: Dialect) -> bool:
        """Whether to ask again in other words, which are then used for all requests.

        Requests in flight are refused together and then each asks again. None does so for ever:
        what a request had already left out or renamed cannot be the reason twice.
        """
        if spoken.limit == "max_tokens" and "max_completion_tokens" in _message(error):
            # OpenAI's newer models know the limit by this name only.
            self.dialect = replace(self.dialect, limit="max_completion_tokens")
            return True
        model = repr(self.config.model)
        if spoken.temperature and _refuses_temperature(error):
            self._leave_out(
                replace(self.dialect, temperature=False),
                f"takes no temperature for {model}, so greedy decoding could not be asked for, nor "
                "any other: the server samples the texts by its own default, and another run may "
                "get others.",
            )
            return True
        if spoken.schema and _names(error, _OF_SCHEMAS):
            self._leave_out(
                replace(self.dialect, schema=False),
                f"takes no JSON schema for {model}: it is asked without one, and its answers are "
                "read as they come.",
            )
            return True
        if spoken.alternatives and _names(error, _OF_ALTERNATIVES):
            self._leave_out(
                replace(self.dialect, alternatives=False),
                f"does not tell the probabilities of tokens for {model}: it is asked without them.",
            )
            return True
        return False

    def _leave_out(self, dialect: Dialect, told: str) -> None:
        if dialect != self.dialect:
            self.progress.say(f"{self.arm}: {self.url} {told}")
        self.dialect = dialect

    async def _wait(self, attempt: int, wish: float, reason: str) -> None:
        """Double each time, and never all at once: waiting requests must not come back as one."""
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        if wish:
            assert self._pace is not None
            self._pace.pause(wish)
        self._tell_once(f"{self.arm}: {self.url}: {reason}; asking again, with growing pauses.")
        await asyncio.sleep(max(delay, wish))

    def _refusal(self, error: openai.APIStatusError) -> tuple[str, float]:
        """What may be asked again, and when; everything else is raised."""
        said = f"{error.status_code}: {self.clean(_message(error))}"
        match error.status_code:
            case 401 | 403:
                raise Refused(
                    f"{self.url} refuses the key in ${self.config.api_key_env} ({said}). "
                    "Set that variable to a key which may use this model."
                )
            case 404:
                raise Refused(
                    f"{self.url} has no model {self.config.model!r}, or is not the address of an "
                    f"OpenAI-compatible API ({said}). Check `model` and `base_url`."
                )
            case 429 if error.code == "insufficient_quota":
                raise Refused(f"{self.url}: the quota of this key is used up ({said}).")
            case status if status in (408, 409, 429) or status >= 500:
                wish = retry_after(error.response.headers)
                if wish > _LONGEST_WISH:
                    raise Refused(
                        f"{self.url} asks to wait {wish:,.0f} s ({said}). Try again then."
                    )
                return said, wish
            case _:
                raise Failed(f"{self.url}: {said}")

    def _unreachable(self, error: openai.APIConnectionError, attempt: int) -> str:
        cause = self.clean(str(error.__cause__ or error)) or type(error.__cause__).__name__
        if not self._answered and attempt + 1 >= _UNANSWERED_TRIES:
            raise Refused(f"Cannot reach {self.url} ({cause}). Is the server running there?")
        return f"cannot be reached ({cause})"

    def clean(self, text: str) -> str:
        """A line of the server's words; a key, even one it shortened, is in no message or log."""
        text = without_half_pairs(text)
        if len(self.key) > 3:
            text = text.replace(self.key, "…")
        return " ".join(_KEY.sub("…", text).split())[:300]

    def _tell_once(self, message: str) -> None:
        if not self._told:
            self.progress.say(message)
        self._told = True


def open_endpoint(arm: str, config: OpenAIModel, *, offline: bool, progress: Progress) -> Endpoint:
    """Check address and key, ask nothing yet; raises ModelError where one is missing."""
    url = config.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    parts = urlsplit(url)
    shown = urlunsplit((parts.scheme, parts.hostname or "", parts.path, "", ""))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"{arm}: base_url {shown!r} is no http:// or https:// address.")
    if parts.username or parts.password or parts.query:
        raise ModelError(
            f"{arm}: base_url {shown!r} must hold no user, password or query. Put the key into "
            f"the environment variable {config.api_key_env}."
        )
    if offline and not is_loopback(url):
        raise ModelError(f"{arm}: {url} is not on this machine, and this run is offline.")
    key = os.environ.get(config.api_key_env, "").strip()
    if not key and not is_loopback(url):
        raise ModelError(
            f"{arm}: {url} needs a key. Set the environment variable {config.api_key_env}."
        )
    # A server on this machine seldom wants one, but the client insists on sending something.
    return Endpoint(arm, config, url.rstrip("/"), key or "none", progress)


def is_loopback(url: str) -> bool:
    """Whether an address is on this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds the server asks to wait: Retry-After as a number or a date; 0 where it says none."""
    text = headers.get("retry-after-ms", "")
    if text.replace(".", "", 1).isdigit():
        return float(text) / 1000
    text = headers.get("retry-after", "").strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)
    date = email.utils.parsedate_tz(text)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0


def _names(error: openai.APIStatusError, parameter: re.Pattern[str]) -> bool:
    """Whether the server's words, or the parameter it blames, are about this one."""
    return parameter.search(f"{_message(error)} {error.param or ''}") is not None


def _refuses_temperature(error: openai.APIStatusError) -> bool:
    """Whether the parameter as such is refused, as by reasoning models, and not a value of it."""
    said = _message(error).lower()
    return "temperature" in said and any(
        word in said for word in ("unsupported", "not support", "not permitted", "deprecated")
    )


def _message(error: openai.APIStatusError) -> str:
    """The server's own words, without the client's repetition of the whole body."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message") if isinstance(inner, dict) else inner
        if said:
            return str(said)
    return str(body or error.message)
