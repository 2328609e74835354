"""Any OpenAI-compatible endpoint: OpenAI, vLLM, SGLang, lmdeploy, `evalkit serve` and others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from evalkit.config import OpenAIModel
from evalkit.errors import ModelError
from evalkit.models.base import Batch, Outline, Prepared
from evalkit.models.endpoint import Endpoint, Failed, Refused, open_endpoint
from evalkit.models.protocol import NoScores, Said, chatted, messages, scored, written
from evalkit.progress import Progress, Silent
from evalkit.records import Check, Completion, Decoding, Request

VERSION = "openai/1"
_BATCH = 4  # requests in a batch for every one in flight: progress and storing happen often


def open_openai(
    arms: Mapping[str, OpenAIModel], *, offline: bool = False, progress: Progress | None = None
) -> OpenAIEngine:
    """Check the endpoints' addresses and keys; nothing is asked before `complete`.

    Raises ModelError for a missing key, a wrong address, or a remote one when `offline`.
    """
    tell = progress or Silent()
    return OpenAIEngine(
        {
            name: open_endpoint(name, model, offline=offline, progress=tell)
            for name, model in arms.items()
        }
    )


_Finished: TypeAlias = "asyncio.Queue[asyncio.Task[Completion]]"


class OpenAIEngine:
    """Asks endpoints for several arms, a bounded number of requests at a time for each."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.arms = tuple(endpoints)
        self._endpoints = dict(endpoints)
        self._to_score: dict[str, dict[str, None]] = {name: {} for name in endpoints}
        self._writers: set[str] = set()
        self._exhausted: dict[str, str] = {}
        self._lengths: dict[tuple[str, str], asyncio.Task[int]] = {}
        self._runner: asyncio.Runner | None = None

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """The address and the model's name: all that can be known of somebody else's model."""
        endpoint = self._endpoints[arm]
        return {"engine": VERSION, "endpoint": endpoint.url, "model": endpoint.config.model}

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """Whether the texts were decoded as asked; of the model itself an endpoint tells nothing.

        Known once a request was refused: where all answers were stored before, it is not.
        """
        endpoint = self._endpoints[arm]
        if endpoint.dialect.temperature or arm not in self._writers:
            return ()
        told = (
            f"{arm}: {endpoint.url} takes no temperature for {endpoint.config.model!r}, so its "
            "texts were sampled by the server's own default and not as `decoding` says; another "
            "run may get others"
        )
        return (Check(name="decoding as asked", status="warning", message=told),)

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Key the requests; raises ModelError for those that no endpoint can answer."""
        _refuse(
            [request for request in requests if request.kind == "rolling"],
            "An endpoint does not score the first token of a text, so perplexities cannot be had",
            "Leave these suites out.",
        )
        _refuse(
            [
                request
                for request in requests
                if request.kind == "loglikelihood" and not isinstance(request.prompt, str)
            ],
            "An endpoint cannot score choices after chat turns: it alone knows its template",
            "Set `chat: never`, or leave these suites out.",
        )
        for request in requests:
            if request.kind != "generate":
                self._to_score[request.arm][request.suite] = None
            else:
                self._writers.add(request.arm)
        return [self._prepared(request) for request in requests]

    def _prepared(self, request: Request) -> Prepared:
        endpoint = self._endpoints[request.arm]
        text = isinstance(request.prompt, str)
        prompt: Any = request.prompt if text else messages(request.prompt)
        decoding = _manner(request.decoding, chat=not text) if request.decoding else None
        repeat = request.index if request.kind == "generate" else 0
        parts = (VERSION, endpoint.url, endpoint.config.model, request.kind, prompt,
                 request.continuation, decoding or None, repeat)  # fmt: skip
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return Prepared(
            key=key,
            request=request,
            prompt_text=str(request.prompt) if text else "",
            decoding=request.decoding,
        )

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        """A few requests for each one in flight.

        Those to be scored come first: whether an endpoint can do that at all is known at once.
        """
        size = _BATCH * max(each.config.concurrency for each in self._endpoints.values())
        scored = [one for one in prepared if one.request.kind != "generate"]
        others = [one for one in prepared if one.request.kind == "generate"]
        return [
            Batch.of(part[start : start + size])
            for part in (scored, others)
            for start in range(0, len(part), size)
        ]

    def outline(self, batches: Sequence[Batch], /) -> Outline:
        """Calls alone: tokens are the server's, and the time depends on who else asks it."""
        calls = sum(map(len, batches))
        return Outline(arms=self.arms, requests=calls, packets=calls)

    def profile(self) -> Mapping[str, float]:
        """Nothing of the server's can be measured from here."""
        return {}

    def complete(self, batch: Batch) -> Iterator[Completion]:
        """Answer a batch, each as it comes; a request without an answer is a completion with its
        error.

        Raises ModelError when an endpoint answers nothing any more, but not before the answers
        of this batch are given back.
        """
        arms = list(dict.fromkeys(one.request.arm for one in batch))
        self._check_refused(arms)
        if self._runner is None:
            self._runner = asyncio.Runner()
        yield from self._as_they_come(self._runner, list(batch))
        self._give_up_silent(list(batch))
        # Now, and not with the next batch: this may be the last, and the run would seem complete.
        self._check_refused(arms)

    def _as_they_come(
        self, runner: asyncio.Runner, batch: Sequence[Prepared]
    ) -> Iterator[Completion]:
        """The answers, given to whoever stores them while the others are still on their way."""
        finished: _Finished = asyncio.Queue()
        waiting = runner.run(self._begin(batch, finished))
        try:
            while waiting:
                task = runner.run(finished.get())
                waiting.remove(task)
                yield task.result()
        finally:
            # An interrupt, or nobody wants the rest; closing the engine has ended it already.
            if waiting and self._runner is runner:
                runner.run(_cancelled(waiting))

    async def _begin(
        self, batch: Sequence[Prepared], finished: _Finished
    ) -> set[asyncio.Task[Completion]]:
        tasks = {asyncio.create_task(self._answer(one)) for one in batch}
        for task in tasks:
            task.add_done_callback(finished.put_nowait)
        return tasks

    async def _answer(self, one: Prepared) -> Completion:
        endpoint = self._endpoints[one.request.arm]
        started = time.perf_counter()
        try:
            said = await self._said(endpoint, one.request)
        except Refused as error:
            return Completion(key=one.key, stop_reason="error", error=str(error))
        except Failed as error:
            if error.exhausted:
                self._exhausted[one.key] = str(error)
            return Completion(key=one.key, stop_reason="error", error=str(error))
        endpoint.usage.tokens_in += said.tokens_in
        endpoint.usage.tokens_out += said.tokens_out
        return Completion(
            key=one.key,
            text=said.text,
            stop_reason=said.stop_reason,
            logprobs=said.logprobs,
            is_greedy=said.is_greedy,
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            alternatives=said.alternatives,
            prompt_text=one.prompt_text,
            seconds=time.perf_counter() - started,
        )

    async def _said(self, endpoint: Endpoint, request: Request) -> Said:
        if request.kind == "generate":
            ask = written if isinstance(request.prompt, str) else chatted
            return await ask(endpoint, request)
        try:
            return await scored(endpoint, request, self._lengths)
        except NoScores:
            suites = ", ".join(self._to_score[request.arm])
            endpoint.refused = (
                f"{endpoint.url} does not give the log-likelihoods of a prompt (`echo` with "
                f"`logprobs` on /completions), which choice suites need. This concerns: {suites}. "
                "Leave them out, or serve the model with one that does, such as vLLM."
            )
            raise Refused(endpoint.refused) from None

    def _check_refused(self, arms: Sequence[str]) -> None:
        for arm in arms:
            if self._endpoints[arm].refused:
                raise ModelError(f"{arm}: {self._endpoints[arm].refused}")

    def _give_up_silent(self, batch: Sequence[Prepared]) -> None:
        """Nothing more is asked of an endpoint that left every request of a batch unanswered."""
        for arm, endpoint in self._endpoints.items():
            mine = [one for one in batch if one.request.arm == arm]
            silent = len(mine) >= endpoint.config.concurrency and all(
                one.key in self._exhausted for one in mine
            )
            if silent and not endpoint.refused:
                endpoint.refused = (
                    f"None of {len(mine)} requests was answered. {self._exhausted[mine[0].key]} "
                    "What was answered before is stored; run the same command to go on."
                )

    def measures(self, arm: str, /) -> Mapping[str, float]:
        """Requests, repeats, tokens and, where prices are known, cost of this arm so far."""
        spent, cost = self._endpoints[arm].usage, self._endpoints[arm].cost
        measured = {
            "requests": float(spent.requests),
            "retries": float(spent.retries),
            "tokens_in": float(spent.tokens_in),
            "tokens_out": float(spent.tokens_out),
        }
        return measured if cost is None else {**measured, "cost": cost}

    def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for endpoint in self._endpoints.values():
                runner.run(endpoint.close())
            self._lengths.clear()
            runner.close()


async def _cancelled(waiting: set[asyncio.Task[Completion]]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _manner(decoding: Decoding, *, chat: bool) -> dict[str, Any]:
    """What of the decoding decides an answer, or what is kept of it.

    The tags around thinking do: a chat's answer is kept with the thinking that a server gives
    apart between them, and they say where stop strings count. Its texts an endpoint ends by its
    own rules.
    """
    if decoding.temperature == 0:  # neither is sent then
        decoding = replace(decoding, seed=Decoding().seed, top_p=Decoding().top_p)
    told = asdict(decoding)
    # The keys of answers without these stay as they were.
    idle = [name for name in ("schema", "alternatives") if not told[name]]
    if not (decoding.thinking and (chat or decoding.stop)):
        idle.append("thinking")
    return {name: value for name, value in told.items() if name not in {*idle, "end_of_turn"}}


def _refuse(requests: Sequence[Request], why: str, advice: str) -> None:
    if requests:
        suites = ", ".join(dict.fromkeys(request.suite for request in requests))
        raise ModelError(f"{why}. This concerns: {suites}. {advice}")
