"""A judge for the example: it speaks /v1/chat/completions and judges by counting marks of style.

No model is behind it, so that the example runs in seconds, anywhere, and says the same every time:

    python examples/judged/server.py [--port 8642]

By the rubric of rednote's style an answer wins by emoji and hashtags, whatever it says; by others,
by how much it says. Where it cannot tell two apart it names the one that it was shown first, as
many a model does. evalkit finds both out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8642
# Each text is shown between tags such as <answer-1-0123456789ab> and </answer-1-0123456789ab>.
SHOWN = re.compile(
    r"<(question|answer)(?:-([12]))?(?:-turn-\d+)?-([0-9a-f]{12})>\n(.*?)\n</\1[^>]*-\3>", re.DOTALL
)
EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")
REFUSAL = re.compile(r"\b(?:can't|cannot|unable to) help|无法协助")
CHINESE = re.compile("[\u4e00-\u9fff]")


def style(answer: str) -> int:
    """How many of four marks of a note an answer wears: all of them dress, none of them content."""
    emoji = len(EMOJI.findall(answer))
    lines = [line for line in answer.splitlines() if line.strip()]
    return sum(
        (
            emoji >= 2,
            emoji >= 4,
            any(EMOJI.match(line) for line in lines),
            re.search(r"#\w", answer) is not None,
        )
    )


def sense(question: str, answer: str) -> int:
    """How much an answer says: its different words (in Chinese, characters) in the language of the
    question; nothing where it refuses, or says the question back."""
    if REFUSAL.search(answer) or answer.strip() == question.strip():
        return 0
    if bool(CHINESE.search(question)) != bool(CHINESE.search(answer)):
        return 0
    words = CHINESE.findall(answer) or re.findall(r"\w+", answer.lower())
    return len(set(words))


def compared(question: str, first: str, second: str, *, by_style: bool) -> tuple[str, str]:
    """The verdict on the first answer, and why."""
    if by_style:
        one, other, what = style(first), style(second), "marks of a note"
    else:
        one, other, what = sense(question, first), sense(question, second), "words of its own"
    why = f"Answer 1 has {one} {what}, answer 2 has {other}."
    if one == other:
        return "better", f"{why} Answer 1 reads a little more smoothly."
    much = "much_" if abs(one - other) >= 3 else ""
    return much + ("better" if one > other else "worse"), why


def reply(messages: list[dict[str, str]]) -> str:
    """The verdict (or, of one answer, the rating) on what was asked, as JSON."""
    asked = next(turn["content"] for turn in messages if turn["role"] == "user")
    shown = [(kind, text) for kind, _, _, text in SHOWN.findall(asked)]
    question = "\n".join(text for kind, text in shown if kind == "question")
    answers = [text for kind, text in shown if kind == "answer"]
    by_style = re.search(r"rednote|xiaohongshu|小红书", asked[:1500], re.IGNORECASE) is not None
    if len(answers) == 2:
        verdict, why = compared(question, *answers, by_style=by_style)
        return json.dumps({"rationale": why, "verdict": verdict})
    marks = style(answers[0])
    why = f"It has {marks} of four marks of a note."
    return json.dumps({"rationale": why, "rating": 1 + marks})


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A chat completion; whatever cannot be read is told as the protocol tells it."""
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = reply(body["messages"])
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            self.send(400, {"error": {"message": f"not a question to a judge: {error!r}"}})
            return
        asked = sum(len(turn["content"]) for turn in body["messages"]) // 4
        usage = {"prompt_tokens": asked, "completion_tokens": len(text) // 4}
        message = {"role": "assistant", "content": text}
        told: dict[str, Any] = {
            "id": "example",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", "rules"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }
        self.send(200, told)

    def send(self, status: int, told: dict[str, Any]) -> None:
        """One JSON answer."""
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is the comparison's."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A judge for the example, without a model.")
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args()
    try:
        listening = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    except OSError as error:
        sys.exit(f"Port {options.port} cannot be had ({error.strerror}): give another with --port.")
    with listening as server:
        sys.stdout.write(f"Judging at http://127.0.0.1:{server.server_address[1]}/v1\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
