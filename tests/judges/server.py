"""A judge behind /v1/chat/completions, in a process of its own, that does what a script tells it.

It judges by what the answers hold ("quality 7" in a text, or else by plain rules), with a position
and a length bias of a known size, and misbehaves wherever the script has a fault for it. What it
says is a function of what it is asked. `serving.py` starts it and speaks to it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import re
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

KNOWN = Path(__file__).parents[2] / "evalkit" / "judges" / "known"
BLOCK = re.compile(
    r"<(answer|question)(?:-([12]))?(?:-turn-(\d+))?-([0-9a-f]{12})>\n(.*?)\n</\1(?:-\2)?(?:-turn-\3)?-\4>",
    re.DOTALL,
)
QUALITY = re.compile(r"quality (\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong at some calls: those whose last turn holds `match`, of them a `share` by the
    hash of what is asked, each of them so many `times` (-1: always)."""

    kind: str
    match: str = ""
    share: float = 1.0
    times: int = 1
    status: int = 500
    message: str = "something went wrong"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    text: str = ""
    reason: str = "stop"


@dataclass(frozen=True, kw_only=True)
class Script:
    """How the judge judges, and where it fails.

    `first` and `longer` are shares of the pairs in which it takes the answer shown first, or the
    longer one, whatever they hold. `closed` answers no call after that many until it is let go.
    """

    first: float = 0.0
    longer: float = 0.0
    seed: int = 0
    latency: float = 0.0
    schema: bool = True
    logprobs: bool = True
    usage: bool = True
    rationale: str = "The first keeps to the question, the second less so. 好的 🙂"
    closed: int | None = None
    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, told: dict[str, Any]) -> Script:
        return cls(**told | {"faults": tuple(Fault(**one) for one in told.get("faults", ()))})


class Asked(NamedTuple):
    """A question as the judge reads it."""

    question: str
    answers: tuple[str, ...]


class Judge:
    """The state of one server: its script, and what it was asked."""

    def __init__(self) -> None:
        self.restart(Script())

    def restart(self, script: Script) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faulted: Counter[tuple[str, int]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.inside = self.most_inside = 0
        self.open = asyncio.Event()

    def fault(self, name: str, said: str) -> Fault | None:
        for number, fault in enumerate(self.script.faults):
            hit = fault.match in said and chance(name, "fault", number) < fault.share
            if hit and (fault.times < 0 or self.faulted[name, number] < fault.times):
                self.faulted[name, number] += 1
                return fault
        return None

    def verdict(self, asked: Asked) -> str:
        """The level said of the first answer."""
        first, second = asked.answers
        seed = self.script.seed
        if chance(first, second, "first", seed) < self.script.first:
            return "better"
        if chance(*sorted(asked.answers), "longer", seed) < self.script.longer and len(
            first
        ) != len(second):
            return "better" if len(first) > len(second) else "worse"
        one, other = quality(first, asked.question), quality(second, asked.question)
        if one == other:
            return "tie"
        much = "much_" if abs(one - other) > 3 else ""
        return much + ("better" if one > other else "worse")


def chance(*parts: object) -> float:
    """A number in [0, 1) that is a function of its parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def quality(answer: str, question: str) -> float:
    """The quality a text claims, else by rules that find every known-answer probe's winner."""
    told = QUALITY.search(answer)
    if told:
        return float(told.group(1))
    return -10.0 if answer.strip() in bad_probes() else float(len(set(answer.split())) > 0)


@lru_cache
def bad_probes() -> frozenset[str]:
    lines = [line for file in KNOWN.glob("*.jsonl") for line in file.read_text("utf-8").split("\n")]
    return frozenset(json.loads(line)["bad"].strip() for line in lines if line)


def read(messages: list[dict[str, str]]) -> Asked:
    """The question and the answers between their tags, turns put together."""
    user = next(turn["content"] for turn in messages if turn["role"] == "user")
    questions: list[str] = []
    answers: dict[str, list[str]] = {}
    for kind, which, _, _, text in BLOCK.findall(user):
        if kind == "question":
            questions.append(text)
        else:
            answers.setdefault(which, []).append(text)
    return Asked("\n".join(questions), tuple("\n".join(texts) for texts in answers.values()))


app = FastAPI()
judge = Judge()


@app.post("/script")
async def script(told: dict[str, Any]) -> dict[str, bool]:
    judge.restart(Script.of(told))
    return {"ok": True}


@app.post("/open")
async def let_go() -> dict[str, bool]:
    """Let calls that were held go on, and take others again."""
    judge.open.set()
    return {"ok": True}


@app.get("/calls")
async def calls() -> dict[str, Any]:
    return {
        "asked": dict(judge.asked),
        "answered": dict(judge.answered),
        "most_inside": judge.most_inside,
        "bodies": judge.bodies[-20:],
    }


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    messages = body["messages"]
    name = hashlib.sha256(json.dumps([body["model"], messages]).encode()).hexdigest()[:16]
    judge.asked[name] += 1
    judge.bodies.append(body)
    del judge.bodies[:-20]
    judge.inside += 1
    judge.most_inside = max(judge.most_inside, judge.inside)
    try:
        return await respond(name, body, messages)
    finally:
        judge.inside -= 1


async def respond(name: str, body: dict[str, Any], messages: list[dict[str, str]]) -> Response:
    await asyncio.sleep(judge.script.latency)
    if refusal := refused(body):
        return refusal
    closed = judge.script.closed
    if closed is not None and sum(judge.answered.values()) >= closed:
        await judge.open.wait()
    fault = judge.fault(name, messages[-1]["content"])
    if fault is not None and fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
    elif fault is not None and (broken := misbehave(fault)):
        return broken
    judge.answered[name] += 1
    text, reason = wording(fault, read(messages), body)
    data = json.dumps(envelope(body, text, reason)).encode()
    if fault is not None and fault.kind == "trickle":
        return StreamingResponse(trickle(data, fault.seconds), media_type="application/json")
    return Response(data, media_type="application/json")


def refused(body: dict[str, Any]) -> Response | None:
    """A parameter that this server does not know."""
    if "response_format" in body and not judge.script.schema:
        return error(400, "response_format of type json_schema is not supported by this model")
    if "logprobs" in body and not judge.script.logprobs:
        return error(400, "logprobs are not supported")
    return None


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    told = {"error": {"message": message, "type": "error", "code": None}}
    return JSONResponse(told, status_code=status, headers=headers)


def misbehave(fault: Fault) -> Response | None:
    """What is no answer at all."""
    match fault.kind:
        case "status":
            return error(fault.status, fault.message, fault.headers)
        case "drop":
            return StreamingResponse(dropped(), headers={"Content-Length": "5000"})
        case "broken":  # a body that ends in the middle of its JSON
            return Response(
                b'{"choices": [{"message": {"role": "assis', media_type="application/json"
            )
        case _:
            return None


async def dropped() -> AsyncIterator[bytes]:
    yield b'{"choices": ['
    raise ConnectionAbortedError("dropped on purpose")


async def trickle(data: bytes, seconds: float) -> AsyncIterator[bytes]:
    pieces = max(1, round(seconds / 0.05))
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0.05)


def wording(fault: Fault | None, asked: Asked, body: dict[str, Any]) -> tuple[str, str]:
    """The reply and why it ended."""
    last = body["messages"][-1]["content"]
    text = verdict_json(asked, last)
    match fault.kind if fault else "":
        case "cut":
            return text[: text.rindex(":") + 1], "length"
        case "fields":
            return json.dumps({"winner": "somebody", "points": 7}), "stop"
        case "refuse":
            return "I'm sorry, but I can't help with comparing these texts.", "stop"
        case "filter":
            return "", "content_filter"
        case "say":
            assert fault is not None
            return fault.text, fault.reason
        case "fence":
            return f"Sure!\n```json\n{text}\n```", "stop"
        case _:
            return text, "stop"


def verdict_json(asked: Asked, last: str) -> str:
    told: dict[str, Any] = {"rationale": judge.script.rationale}
    if len(asked.answers) == 2:
        told["verdict"] = judge.verdict(asked)
    elif items := re.findall(r"^item_(\d+):", last, re.MULTILINE):
        good = quality(asked.answers[0], asked.question)
        told |= {f"item_{item}": "yes" if int(item) <= good else "no" for item in items}
    else:
        told["rating"] = rating(asked)
    return json.dumps(told, ensure_ascii=False)


def rating(asked: Asked) -> int:
    good = quality(asked.answers[0], asked.question)
    return max(1, min(5, round(good) if QUALITY.search(asked.answers[0]) else 3 + round(good)))


def envelope(body: dict[str, Any], text: str, reason: str) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": reason,
    }
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [*told(pieces(text))]}
    answer: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
    }
    if judge.script.usage:
        asked = sum(len(turn["content"].encode()) for turn in body["messages"]) // 4
        answer["usage"] = {
            "prompt_tokens": asked,
            "completion_tokens": len(text) // 4,
            "total_tokens": asked + len(text) // 4,
        }
    return answer


def pieces(text: str) -> list[str]:
    """A toy tokenizer: words with the space before them, and digits and marks by themselves."""
    return re.findall(r"\s*[^\W\d]+|\s*\d|\s*[^\w\s]|\s+", text)


def told(tokens: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Certain of every token but a rating, of which a quarter goes to the next lower one."""
    for token in tokens:
        if re.fullmatch(r"\s*[2-5]", token):
            lower = token[:-1] + str(int(token[-1]) - 1)
            yield place(token, {token: 0.75, lower: 0.25})
        else:
            yield place(token, {token: 0.999999, " unlikely": 0.000001})


def place(token: str, shares: dict[str, float]) -> dict[str, Any]:
    tops = [
        {"token": one, "logprob": math.log(share), "bytes": None} for one, share in shares.items()
    ]
    return {"token": token, "logprob": math.log(shares[token]), "bytes": None, "top_logprobs": tops}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", default="{}", help="the script, as JSON")
    options = parser.parse_args()
    judge.restart(Script.of(json.loads(options.script)))
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
