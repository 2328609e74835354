"""Endpoints are asked over real HTTP: a server on this machine that misbehaves in every way."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import OpenAIModel
from evalkit.errors import ModelError
from evalkit.models.openai import OpenAIEngine, open_openai
from evalkit.progress import Progress, Silent
from evalkit.records import Completion, Decoding, Message, Prompt, Request, RequestKind
from evalkit.store.completions import CompletionStore

KEY = "sk-secret-key-1234567890"
Answer = tuple[int, dict[str, str], Any]
HI = (Message(role="user", content="Hi"),)
Behaviour = Callable[[str, dict[str, Any], int], Answer]


class Server(ThreadingHTTPServer):
    """Counts what it is asked, and answers as the test tells it to."""

    daemon_threads = True

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.asked: list[tuple[str, dict[str, Any], dict[str, str], float]] = []
        self.inside = 0
        self.most_inside = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.asked)
            headers = {key.lower(): value for key, value in self.headers.items()}
            self.server.asked.append((self.path, body, headers, time.monotonic()))
            self.server.inside += 1
            self.server.most_inside = max(self.server.most_inside, self.server.inside)
        status, extra, answer = self.server.behave(self.path, body, number)
        with self.server.lock:
            self.server.inside -= 1
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | extra).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client did not wait

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class Ear(Silent):
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, message: str) -> None:
        self.heard.append(message)


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Server]]:
    servers: list[Server] = []

    def start(behave: Behaviour) -> Server:
        server = Server(behave)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("evalkit.models.endpoint._FIRST_DELAY", 0.01)


@pytest.fixture
def engine() -> Iterator[Callable[..., OpenAIEngine]]:
    """Opens engines on a server and closes them after the test."""
    opened: list[OpenAIEngine] = []

    def start(url: str, *, progress: Progress | None = None, **options: Any) -> OpenAIEngine:
        settings = {"concurrency": 4, "max_retries": 3, "timeout": 5.0} | options
        model = OpenAIModel.model_validate(
            {"kind": "openai", "model": "tiny", "base_url": url, **settings}
        )
        opened.append(open_openai({"base": model}, progress=progress))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
        each.close()


def ask(
    number: int = 0,
    prompt: Prompt = HI,
    kind: RequestKind = "generate",
    continuation: str = "",
    decoding: Decoding | None = None,
    suite: str = "chat/answers",
) -> Request:
    return Request(
        arm="base", suite=suite, sample_id=f"s{number}", kind=kind, prompt=prompt,
        continuation=continuation, decoding=decoding or Decoding(max_new_tokens=8), index=number,
    )  # fmt: skip


def answers(engine: OpenAIEngine, requests: Sequence[Request]) -> list[Completion]:
    prepared = engine.prepare(requests)
    done = {one.key: one for batch in engine.batches(prepared) for one in engine.complete(batch)}
    return [done[one.key] for one in prepared]


def chat(text: str | None = "Hello.", reason: str = "stop") -> Answer:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return 200, {}, {
        "id": "x", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }  # fmt: skip


def refuse(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"message": message, "type": "error", "code": code}}


def tokens(text: str) -> list[str]:
    """A toy tokenizer: words with the space before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def completions(_path: str, body: dict[str, Any], _number: int) -> Answer:
    """A server of plain texts that echoes; a token's log-probability is minus its length."""
    prompt = tokens(body["prompt"])
    made = [" word"] * body["max_tokens"]
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "text": "".join(made)}
    if body.get("echo"):
        choice["text"] = body["prompt"] + choice["text"]
        scores = [None, *(-float(len(token)) for token in [*prompt, *made][1:])]
        tops = [None, *({"best": -4.0, token: -float(len(token))} for token in prompt[1:]), {}]
        choice["logprobs"] = {
            "tokens": [*prompt, *made], "token_logprobs": scores, "top_logprobs": tops,
            "text_offset": [0] * len(scores),
        }  # fmt: skip
    usage = {"prompt_tokens": len(prompt), "completion_tokens": len(made), "total_tokens": 0}
    return 200, {}, {
        "id": "x", "object": "text_completion", "created": 1, "model": "tiny",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def test_turns_go_to_the_chat_and_the_answer_comes_back(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: chat("Hello. END and more"))
    prompt = (Message(role="system", content="Be brief."), Message(role="user", content="你好"))
    decoding = Decoding(max_new_tokens=8, stop=(" END",))
    (done,) = answers(engine(server.url), [ask(prompt=prompt, decoding=decoding)])
    assert (done.text, done.stop_reason, done.error) == ("Hello.", "stop", "")
    assert (done.tokens_in, done.tokens_out) == (5, 2)
    path, body, headers, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "你好"},
        ],
        "max_tokens": 8,
        "temperature": 0.0,
        "stop": [" END"],
    }
    assert headers["authorization"] == f"Bearer {KEY}"


def test_of_an_endpoint_that_decodes_as_asked_nothing_is_warned(serve: Any, engine: Any) -> None:
    opened = engine(serve(lambda *_: chat()).url)
    answers(opened, [ask()])
    assert opened.checks("base") == ()


def test_a_text_goes_to_completions_and_sampling_is_passed_on(serve: Any, engine: Any) -> None:
    server = serve(completions)
    decoding = Decoding(max_new_tokens=2, temperature=0.7, top_p=0.9, seed=5)
    (done,) = answers(engine(server.url), [ask(prompt="Once upon", decoding=decoding)])
    assert (done.text, done.stop_reason, done.prompt_text) == (" word word", "length", "Once upon")
    assert server.asked[0][0] == "/v1/completions"
    sent = server.asked[0][1]
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.7, 0.9, 5)


def test_each_repeat_is_asked_with_a_seed_of_its_own(serve: Any, engine: Any) -> None:
    server = serve(completions)
    for seed in (0, 1):  # neighbours, whose answers must not be each other's
        decoding = Decoding(max_new_tokens=2, temperature=0.7, seed=seed)
        requests = [replace(ask(prompt="Once", decoding=decoding), index=n) for n in range(5)]
        keys = {one.key for one in engine(server.url).prepare(requests)}
        answers(engine(server.url), requests)
        assert len(keys) == 5
    sent = [body["seed"] for _, body, _, _ in server.asked]
    assert len(set(sent)) == 10
    assert {0, 1} < set(sent), "one answer alone is drawn with the run's own seed"
    assert all(0 <= one < 2**31 for one in sent)


def test_choices_are_scored_on_their_own_tokens(serve: Any, engine: Any) -> None:
    server = serve(completions)
    requests = [
        ask(number, prompt="Q: What barks? ", kind="loglikelihood", continuation=choice)
        for number, choice in enumerate(["a dog", "cat"])
    ]
    dog, cat = answers(engine(server.url), requests)
    assert dog.logprobs == (-2.0, -4.0)  # " a", " dog"
    assert cat.logprobs == (-4.0,)
    assert (dog.is_greedy, cat.is_greedy) == (True, True)
    assert dog.stop_reason == "scored"
    lengths = [body for _, body, _, _ in server.asked if not body.get("echo")]
    assert [body["prompt"] for body in lengths] == ["Q: What barks?"]


def test_a_whole_text_is_scored_from_its_second_token_in_one_call(serve: Any, engine: Any) -> None:
    server = serve(completions)
    asked = ask(prompt="", kind="whole", continuation="Q: a dog")
    (done,) = answers(engine(server.url), [asked])
    assert done.logprobs == (-2.0, -4.0)  # " a", " dog"
    ((_, body, _, _),) = server.asked
    assert (body["prompt"], body["echo"]) == ("Q: a dog", True)


def test_a_server_without_scores_is_told_before_anything_else_is_asked(
    serve: Any, engine: Any
) -> None:
    def deaf(path: str, body: dict[str, Any], number: int) -> Answer:
        return completions(path, {**body, "echo": False}, number)

    server = serve(deaf)
    requests = [ask(number) for number in range(20)]
    requests.append(
        ask(prompt="Q:", kind="loglikelihood", continuation=" x", suite="knowledge/everyday-en")
    )
    opened = engine(server.url, concurrency=1)
    with pytest.raises(ModelError, match=r"choice suites need.* concerns: knowledge/everyday-en\."):
        answers(opened, requests)
    assert {path for path, *_ in server.asked} == {"/v1/completions"}
    assert len(server.asked) == 2


def test_what_no_endpoint_can_do_is_told_before_anything_is_asked(serve: Any, engine: Any) -> None:
    server = serve(completions)
    opened = engine(server.url)
    with pytest.raises(ModelError, match=r"after chat turns.*chat/answers"):
        opened.prepare([ask(kind="loglikelihood", continuation="x")])
    with pytest.raises(ModelError, match=r"perplexities cannot be had.*chat/answers"):
        opened.prepare([ask(kind="rolling", prompt="", continuation="x")])
    assert server.asked == []


def test_an_empty_prompt_cannot_be_scored(serve: Any, engine: Any) -> None:
    server = serve(completions)
    done = answers(engine(server.url), [ask(prompt=" ", kind="loglikelihood", continuation="x")])
    assert "the prompt is empty" in done[0].error


def test_never_more_requests_at_once_than_allowed(serve: Any, engine: Any) -> None:
    def slow(*_: object) -> Answer:
        time.sleep(0.03)
        return chat()

    server = serve(slow)
    opened = engine(server.url, concurrency=3)
    prepared = opened.prepare([ask(number) for number in range(30)])
    batches = opened.batches(prepared)
    assert [len(batch) for batch in batches] == [12, 12, 6]
    assert all(not one.error for batch in batches for one in opened.complete(batch))
    assert server.most_inside == 3


def test_a_429_is_asked_again_after_the_time_it_names(serve: Any, engine: Any) -> None:
    server = serve(
        lambda _p, _b, number: refuse(429, "slow down", Retry_After="0.4") if not number else chat()
    )
    opened = engine(server.url)
    (done,) = answers(opened, [ask()])
    assert done.text == "Hello."
    first, second = (asked[3] for asked in server.asked)
    assert second - first >= 0.4
    assert opened.measures("base")["retries"] == 1


def test_a_429_makes_the_others_wait_too(serve: Any, engine: Any) -> None:
    server = serve(
        lambda _p, _b, number: refuse(429, "slow down", Retry_After="0.4") if not number else chat()
    )
    answers(engine(server.url, concurrency=1), [ask(number) for number in range(4)])
    assert server.asked[1][3] - server.asked[0][3] >= 0.4


def test_a_retry_after_may_be_a_date(serve: Any, engine: Any) -> None:
    server = serve(
        lambda _p, _b, number: (
            refuse(429, "slow", Retry_After=formatdate(time.time() + 2, usegmt=True))
            if not number
            else chat()
        )
    )
    answers(engine(server.url), [ask()])
    assert server.asked[1][3] - server.asked[0][3] >= 0.9


def test_a_wait_of_hours_is_a_refusal_not_a_pause(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: refuse(429, "daily limit", Retry_After="72000"))
    with pytest.raises(ModelError, match="asks to wait 72,000 s"):
        answers(engine(server.url), [ask()])


def test_server_errors_are_asked_again_with_growing_pauses(serve: Any, engine: Any) -> None:
    server = serve(lambda _p, _b, number: refuse(503, "busy") if number < 3 else chat())
    opened = engine(server.url)
    assert answers(opened, [ask()])[0].text == "Hello."
    assert opened.measures("base") == {
        "requests": 4.0, "retries": 3.0, "tokens_in": 5.0, "tokens_out": 2.0,
    }  # fmt: skip


def test_one_request_that_never_succeeds_leaves_the_others_alone(serve: Any, engine: Any) -> None:
    def behave(_path: str, body: dict[str, Any], _number: int) -> Answer:
        return refuse(500, "crash") if body["messages"][0]["content"] == "bad" else chat()

    requests = [ask(number) for number in range(4)]
    requests.append(ask(9, prompt=(Message(role="user", content="bad"),)))
    server = serve(behave)
    done = answers(engine(server.url), requests)
    assert [one.error for one in done[:4]] == [""] * 4
    assert done[4].stop_reason == "error"
    assert done[4].error == f"{server.url}: 500: crash (asked 4 times)"


def test_an_endpoint_that_answers_nothing_is_given_up(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: refuse(500, "crash"))
    opened = engine(server.url, concurrency=2)
    with pytest.raises(ModelError, match=r"None of 8 requests was answered\. .*500: crash"):
        answers(opened, [ask(number) for number in range(100)])
    assert len(server.asked) == 8 * 4


def test_a_refusal_in_the_middle_keeps_what_was_answered(serve: Any, engine: Any) -> None:
    server = serve(lambda _p, _b, number: chat() if number < 3 else refuse(401, "revoked"))
    opened = engine(server.url, concurrency=1)
    batches = opened.batches(opened.prepare([ask(number) for number in range(8)]))
    first = opened.complete(batches[0])
    assert [bool(next(first).error) for _ in range(4)] == [False, False, False, True]
    with pytest.raises(ModelError, match="refuses the key"):
        next(first)
    with pytest.raises(ModelError, match="refuses the key"):
        next(opened.complete(batches[1]))
    assert len(server.asked) == 4


def test_a_quota_used_up_in_the_last_batch_ends_the_run_and_not_its_gate(
    serve: Any, engine: Any
) -> None:
    server = serve(
        lambda _p, _b, n: chat() if n < 3 else refuse(429, "exceeded", "insufficient_quota")
    )
    with pytest.raises(ModelError, match="the quota of this key is used up"):
        answers(engine(server.url), [ask(number) for number in range(6)])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refuse(401, f"Incorrect API key provided: {KEY}"), r"refuses the key in \$OPENAI_API_KEY"),
        (refuse(403, "not yours"), r"403: not yours"),
        (refuse(404, "The model `tiny` does not exist"), "has no model 'tiny'"),
        (refuse(429, "You exceeded", "insufficient_quota"), "the quota of this key is used up"),
    ],
)
def test_what_no_repeat_can_cure_ends_the_run_at_once(
    serve: Any, engine: Any, answer: Answer, message: str
) -> None:
    server = serve(lambda *_: answer)
    with pytest.raises(ModelError, match=message) as caught:
        answers(engine(server.url, concurrency=1), [ask(number) for number in range(20)])
    assert len(server.asked) == 1
    assert KEY not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_request_the_server_calls_wrong_is_not_repeated(serve: Any, engine: Any) -> None:
    server = serve(lambda _p, _b, n: refuse(400, "context too long") if not n else chat())
    done = answers(engine(server.url, concurrency=1), [ask(number) for number in range(2)])
    assert [one.error for one in done] == [f"{server.url}: 400: context too long", ""]
    assert len(server.asked) == 2


def test_a_server_that_is_not_there_is_told_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    model = OpenAIModel(kind="openai", model="tiny", base_url=url)
    opened = open_openai({"base": model})
    try:
        with pytest.raises(ModelError, match=r"Cannot reach .* Is the server running there\?"):
            answers(opened, [ask(number) for number in range(20)])
    finally:
        opened.close()


def test_an_answer_that_does_not_come_is_asked_again(serve: Any, engine: Any) -> None:
    def sleepy(_path: str, _body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.6 if not number else 0)
        return chat()

    server = serve(sleepy)
    assert answers(engine(server.url, timeout=0.2), [ask()])[0].text == "Hello."
    assert len(server.asked) == 2


def test_without_repeats_a_slow_answer_is_an_error(serve: Any, engine: Any) -> None:
    def slow(*_: object) -> Answer:
        time.sleep(0.5)
        return chat()

    server = serve(slow)
    done = answers(engine(server.url, timeout=0.2, max_retries=0), [ask()])
    assert done[0].error == f"{server.url}: no answer within 0.2 s (asked once)"


BROKEN: list[tuple[Answer, str]] = [
    ((200, {}, b'{"choices": ['), "not an answer of this protocol"),
    ((200, {"Content-Type": "text/html"}, b"<html>hello</html>"), "not an answer of this protocol"),
    ((200, {}, b"[]"), "not an answer of this protocol"),
    ((200, {}, {"choices": []}), "not an answer of this protocol: IndexError while"),
    ((200, {}, {"choices": [{"index": 0}]}), "not an answer of this protocol"),
    ((200, {}, {"choices": 3}), "not an answer of this protocol"),
    ((200, {}, {"choices": [{"message": {"content": 3}}]}), "not an answer of this protocol"),
    ((502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"), "502: <h1>Bad gateway</h1>"),
]


@pytest.mark.parametrize(("answer", "message"), BROKEN)
def test_a_broken_answer_is_asked_again_and_then_an_error_of_its_sample(
    serve: Any, engine: Any, answer: Answer, message: str
) -> None:
    server = serve(lambda *_: answer)
    (done,) = answers(engine(server.url, max_retries=1), [ask()])
    assert message in done.error
    assert done.stop_reason == "error"
    assert len(server.asked) == 2


def test_a_withheld_answer_is_missing_not_empty(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: chat("", "content_filter"))
    assert "content filter" in answers(engine(server.url), [ask()])[0].error


def test_models_that_know_the_limit_by_another_name_get_it(serve: Any, engine: Any) -> None:
    def modern(_path: str, body: dict[str, Any], _number: int) -> Answer:
        if "max_tokens" in body:
            return refuse(400, "Use 'max_completion_tokens' instead of 'max_tokens'.")
        return chat()

    server = serve(modern)
    opened = engine(server.url, max_retries=0)
    done = answers(opened, [ask(number) for number in range(8)])
    assert [one.error for one in done] == [""] * 8
    assert server.asked[-1][1]["max_completion_tokens"] == 8
    assert opened.measures("base")["retries"] == 0


def reasoning(_path: str, body: dict[str, Any], _number: int) -> Answer:
    """Refuses one parameter at a time, as OpenAI's reasoning models do."""
    if "max_tokens" in body:
        name, said = "parameter", "'max_tokens' is not supported; use 'max_completion_tokens'."
    elif "temperature" in body:
        name, said = "value", "'temperature' does not support 0.0 with this model."
    else:
        return chat()
    return refuse(400, f"Unsupported {name}: {said}", f"unsupported_{name}")


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(temperature=0.7, top_p=0.9)])
def test_models_that_take_no_temperature_are_asked_without_and_it_is_told_once(
    serve: Any, engine: Any, decoding: Decoding
) -> None:
    server, ear = serve(reasoning), Ear()
    opened = engine(server.url, max_retries=0, progress=ear)
    done = answers(opened, [ask(number, decoding=decoding) for number in range(8)])
    assert [one.error for one in done] == [""] * 8
    assert not {"max_tokens", "temperature", "top_p"} & set(server.asked[-1][1])
    assert len(ear.heard) == 1
    assert "greedy decoding could not be asked for" in ear.heard[0]
    assert opened.measures("base")["retries"] == 0
    (check,) = opened.checks("base")
    assert (check.name, check.status) == ("decoding as asked", "warning")
    assert f"base: {server.url} takes no temperature for 'tiny'" in check.message


def test_a_server_that_is_never_content_is_not_asked_for_ever(serve: Any, engine: Any) -> None:
    server = serve(
        lambda *_: refuse(400, "'temperature' is not supported, nor are 'max_completion_tokens'")
    )
    (done,) = answers(engine(server.url), [ask()])
    assert "is not supported" in done.error
    assert len(server.asked) == 3


def test_a_temperature_out_of_range_is_the_users_to_mend(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: refuse(400, "temperature must be at most 2"))
    (done,) = answers(engine(server.url), [ask(decoding=Decoding(temperature=5.0))])
    assert done.error == f"{server.url}: 400: temperature must be at most 2"
    assert len(server.asked) == 1


def test_choices_are_scored_where_no_temperature_is_taken(serve: Any, engine: Any) -> None:
    def strict(path: str, body: dict[str, Any], number: int) -> Answer:
        if "temperature" in body:
            return refuse(400, "Unsupported parameter: temperature")
        return completions(path, body, number)

    server = serve(strict)
    request = ask(prompt="Q: What barks? ", kind="loglikelihood", continuation="a dog")
    opened = engine(server.url, max_retries=0)
    assert answers(opened, [request])[0].logprobs == (-2.0, -4.0)
    assert opened.checks("base") == (), "no text was sampled"


def test_the_rate_is_kept(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: chat())
    started = time.monotonic()  # not the first arrival, which a busy machine may delay
    answers(engine(server.url, requests_per_minute=600), [ask(number) for number in range(6)])
    assert server.asked[-1][3] - started >= 5 * 0.1


def test_half_a_character_in_an_answer_can_be_stored(
    serve: Any, engine: Any, tmp_path: Path
) -> None:
    """Servers that cut a text by UTF-16 units leave the first half of an emoji."""
    status, headers, body = chat("cut \ud83d here")
    body["choices"][0]["logprobs"] = {"content": [
        {"token": "\ud83d", "logprob": -0.5, "top_logprobs": [
            {"token": "\ude42", "logprob": -1.0},
        ]},
    ]}  # fmt: skip
    server = serve(lambda *_: (status, headers, body))
    decoding = Decoding(max_new_tokens=8, alternatives=2)
    (done,) = answers(engine(server.url), [ask(decoding=decoding)])
    assert done.text == "cut ? here"
    assert done.alternatives == ({"?": -0.5},)
    with CompletionStore(tmp_path / "store.sqlite") as store:
        store.put([done])
        assert store.get([done.key])[done.key].text == done.text


def test_half_a_character_in_an_error_can_be_stored(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: refuse(400, "no \ud83d here"))
    (done,) = answers(engine(server.url), [ask()])
    assert "no ? here" in done.error


def test_usage_and_cost_are_counted(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: chat())
    opened = engine(server.url, price_in=2.0, price_out=10.0)
    answers(opened, [ask(number) for number in range(10)])
    measured = opened.measures("base")
    assert (measured["tokens_in"], measured["tokens_out"]) == (50.0, 20.0)
    assert measured["cost"] == pytest.approx(50 * 2e-6 + 20 * 10e-6)


def test_without_prices_there_is_no_cost_rather_than_none_to_pay(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: chat())
    assert "cost" not in engine(server.url).measures("base")
    assert engine(server.url, price_out=10.0).measures("base")["cost"] == 0.0


def test_each_arm_is_counted_by_itself(serve: Any) -> None:
    server = serve(lambda *_: chat())
    model = OpenAIModel(kind="openai", model="tiny", base_url=server.url, price_out=1e6)
    opened = open_openai({"base": model, "tuned": model.model_copy(update={"model": "other"})})
    requests = [ask(number) for number in range(3)]
    answers(opened, [*requests, replace(requests[0], arm="tuned")])
    opened.close()
    spent = [(m["requests"], m["cost"]) for m in map(opened.measures, ("base", "tuned"))]
    assert spent == [(3.0, 6.0), (1.0, 2.0)]


def test_the_key_is_in_no_fingerprint_and_no_key_of_the_store(
    monkeypatch: pytest.MonkeyPatch, serve: Any, engine: Any
) -> None:
    server = serve(lambda *_: chat())
    first = engine(server.url)
    before = first.prepare([ask()])[0]
    assert KEY not in repr(first.fingerprints("base"))
    assert KEY not in repr(before)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-0987654321")
    assert engine(server.url).prepare([ask()])[0].key == before.key


def test_everything_that_determines_an_answer_is_in_its_key(serve: Any, engine: Any) -> None:
    opened = engine("http://127.0.0.1:1/v1")
    requests = [
        ask(),
        ask(prompt="Hi"),
        ask(prompt="Hi", kind="loglikelihood", continuation="x"),
        ask(prompt="Hi", kind="loglikelihood", continuation="y"),
        ask(decoding=Decoding(max_new_tokens=9)),
        ask(1),
    ]
    keys = [one.key for one in opened.prepare(requests)]
    keys += [one.key for one in engine("http://127.0.0.1:2/v1").prepare(requests[:1])]
    keys += [one.key for one in engine("http://127.0.0.1:1/v1", model="x").prepare(requests[:1])]
    assert len(set(keys)) == len(keys) == 8
    assert opened.prepare(requests[:1])[0].key == keys[0]


def refused(**options: Any) -> str:
    offline = options.pop("offline", False)
    model = OpenAIModel(kind="openai", model="tiny", **options)
    with pytest.raises(ModelError) as caught:
        open_openai({"base": model}, offline=offline)
    return str(caught.value)


def test_offline_only_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "this run is offline" in refused(offline=True)
    assert "this run is offline" in refused(offline=True, base_url="http://127.0.0.1.evil.org/v1")
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        model = OpenAIModel(kind="openai", model="tiny", base_url=f"http://{host}/v1")
        open_openai({"base": model}, offline=True).close()


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Set the environment variable MY_KEY" in refused(api_key_env="MY_KEY")
    local = OpenAIModel(
        kind="openai", model="tiny", base_url="http://localhost:1/v1", api_key_env="MY_KEY"
    )
    open_openai({"base": local}).close()


def test_an_address_that_is_none_or_holds_a_password_is_refused() -> None:
    assert "is no http:// or https:// address" in refused(base_url="localhost:8000")
    said = refused(base_url="https://me:hunter2@example.org/v1")
    assert "must hold no user, password" in said
    assert "hunter2" not in said


def test_the_first_trouble_is_told_once(serve: Any, engine: Any) -> None:
    server = serve(lambda _p, _b, number: refuse(500, "crash") if number < 6 else chat())
    ear = Ear()
    answers(engine(server.url, max_retries=9, progress=ear), [ask(number) for number in range(6)])
    assert ear.heard == [f"base: {server.url}: 500: crash; asking again, with growing pauses."]


TAGS = ("<think>", "</think>")


def thought(thinking: str, text: str | None, reason: str = "stop") -> Answer:
    status, headers, body = chat(text, reason)
    body["choices"][0]["message"]["reasoning_content"] = thinking
    return status, headers, body


def test_thinking_that_a_server_gives_apart_comes_back_in_its_tags(serve: Any, engine: Any) -> None:
    server = serve(lambda *_: thought("3 + 4", "7"))
    asked = ask(decoding=Decoding(max_new_tokens=8, thinking=TAGS))
    (done,) = answers(engine(server.url), [asked])
    assert done.text == "<think>\n3 + 4\n</think>\n7"
    (plain,) = answers(engine(server.url), [ask()])
    assert plain.text == "7"
    cut = serve(lambda *_: thought("3 + 4 is", None, "length"))
    (done,) = answers(engine(cut.url), [asked])
    assert (done.text, done.stop_reason) == ("<think>3 + 4 is", "length")


def test_a_server_that_stops_within_the_thinking_is_asked_again_without_the_stop(
    serve: Any, engine: Any
) -> None:
    def behave(_path: str, body: dict[str, Any], _number: int) -> Answer:
        whole = "<think>a\n\nb</think>\n\nyes\n\nno"
        return chat(whole.partition("\n\n")[0] if "stop" in body else whole)

    server = serve(behave)
    decoding = Decoding(max_new_tokens=8, stop=("\n\n",), thinking=TAGS)
    opened = engine(server.url)
    (done,) = answers(opened, [ask(decoding=decoding)])
    assert done.text == "<think>a\n\nb</think>\n\nyes"
    assert [body.get("stop") for _, body, *_ in server.asked] == [["\n\n"], None]
    measured = opened.measures("base")
    assert (measured["tokens_in"], measured["tokens_out"]) == (10.0, 4.0), "both are paid for"
    unthinking = serve(lambda *_: chat("yes\n\nno"))
    answers(engine(unthinking.url), [ask(decoding=decoding)])
    assert len(unthinking.asked) == 1


def test_tags_change_the_key_wherever_they_may_change_the_text(serve: Any, engine: Any) -> None:
    opened = engine(serve(completions).url)
    plain, tagged = Decoding(), Decoding(thinking=TAGS)
    stops = Decoding(stop=("x",)), Decoding(stop=("x",), thinking=TAGS)

    def keys(prompt: Prompt) -> list[str]:
        asked = [ask(prompt=prompt, decoding=one) for one in (plain, tagged, *stops)]
        return [one.key for one in opened.prepare(asked)]

    of_text, of_chat = keys("Q: 3 + 4?"), keys((Message(role="user", content="3 + 4?"),))
    assert of_text[0] == of_text[1], "a plain text comes back as it was written"
    assert len(set(of_text)) == 3
    assert len(set(of_chat)) == 4


def test_a_greedy_answer_depends_on_no_seed(serve: Any, engine: Any) -> None:
    opened = engine(serve(completions).url)
    greedy, drawn = Decoding(), Decoding(temperature=0.7)
    asked = [ask(decoding=replace(one, seed=seed)) for one in (greedy, drawn) for seed in (1, 2)]
    asked += [ask(decoding=replace(one, top_p=0.5, seed=1)) for one in (greedy, drawn)]
    keys = [one.key for one in opened.prepare(asked)]
    assert keys[0] == keys[1] == keys[4]
    assert len({keys[2], keys[3], keys[5]}) == 3


SCHEMA = '{"type": "object"}'
# That of `ask()` before decodings had a schema and alternatives.
KEY_BEFORE = "6ae321257a684d9f770b8a3d3616937c2f4a2afd14049b611c7d30fa90371027"


def test_a_schema_and_alternatives_are_asked_of_a_chat(serve: Any, engine: Any) -> None:
    def told(*_: object) -> Answer:
        status, headers, body = chat("4 or so")
        likely = [{"token": "4", "logprob": -0.1}, {"token": "3", "logprob": -2.5},
                  {"token": "1", "logprob": -9.5}]  # fmt: skip
        tokens = [
            {"token": "4", "logprob": -0.1, "top_logprobs": likely},
            {"token": " or so", "logprob": -0.3, "top_logprobs": []},
        ]
        body["choices"][0]["logprobs"] = {"content": tokens}
        return status, headers, body

    server = serve(told)
    decoding = Decoding(max_new_tokens=8, schema=SCHEMA, alternatives=3)
    (done,) = answers(engine(server.url), [ask(decoding=decoding)])
    sent = server.asked[0][1]
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 3)
    # What is less likely than one in ten thousand is not kept.
    assert done.alternatives == ({"4": -0.1, "3": -2.5}, {" or so": -0.3})
    assert list(done.alternatives[0]) == ["4", "3"]


@pytest.mark.parametrize("status", [400, 422])
def test_what_an_endpoint_does_not_know_is_left_out_and_said_once(
    serve: Any, engine: Any, status: int
) -> None:
    def picky(_path: str, body: dict[str, Any], _number: int) -> Answer:
        for name in ("response_format", "logprobs"):
            if name in body:
                return refuse(status, f"{name}: unknown parameter")
        return chat()

    server, ear = serve(picky), Ear()
    decoding = Decoding(max_new_tokens=8, schema=SCHEMA, alternatives=3)
    opened = engine(server.url, progress=ear)
    done = answers(opened, [ask(number, decoding=decoding) for number in range(12)])
    assert all(one.text == "Hello." and one.alternatives == () for one in done)
    assert [one.split(url := f"base: {server.url} ")[-1][:20] for one in ear.heard] == [
        "takes no JSON schema", "does not tell the pr",
    ]  # fmt: skip
    assert url
    assert not any("response_format" in body for _, body, *_ in server.asked[-8:])


def test_the_keys_of_answers_without_them_stay_what_they_were(engine: Any) -> None:
    (plain,) = engine("http://127.0.0.1:9/v1").prepare([ask()])
    assert plain.key == KEY_BEFORE
    others = [Decoding(max_new_tokens=8, schema=SCHEMA), Decoding(max_new_tokens=8, alternatives=2)]
    asked = [ask(decoding=one) for one in others]
    keys = {one.key for one in engine("http://127.0.0.1:9/v1").prepare(asked)}
    assert len(keys | {plain.key}) == 3


def test_each_answer_is_given_as_it_comes(serve: Any, engine: Any) -> None:
    """Whoever stores the first ones loses them no more, though the others never come."""
    release = threading.Event()

    def held(_path: str, body: dict[str, Any], _number: int) -> Answer:
        if body["messages"][0]["content"] == "slow":
            release.wait(5)
        return chat()

    server = serve(held)
    opened = engine(server.url, concurrency=4)
    slow = (Message(role="user", content="slow"),)
    prepared = opened.prepare([ask(0, prompt=slow), ask(1), ask(2), ask(3)])
    (batch,) = opened.batches(prepared)
    coming = opened.complete(batch)
    first = {next(coming).key for _ in range(3)}
    assert first == {one.key for one in prepared[1:]}
    assert not release.is_set()
    release.set()
    assert next(coming).key == prepared[0].key
    assert list(coming) == []


def test_answers_that_nobody_waits_for_are_given_up(serve: Any, engine: Any) -> None:
    def slow(*_: object) -> Answer:
        time.sleep(0.2)
        return chat()

    server = serve(slow)
    opened = engine(server.url, concurrency=2)
    (batch,) = opened.batches(opened.prepare([ask(number) for number in range(8)]))
    coming = opened.complete(batch)
    next(coming)
    coming.close()
    (done,) = answers(opened, [ask(99)])
    assert done.text == "Hello."
    assert len(server.asked) < 8
