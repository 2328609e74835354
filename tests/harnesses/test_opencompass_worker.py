"""The process and its connection: a real one, whose work is played by a few lines."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import SuiteError
from evalkit.harnesses.opencompass import worker as module
from evalkit.harnesses.opencompass.worker import Worker, environment, last_words

CHANNEL = Path(module.__file__).with_name("inside") / "channel.py"

SERVING = """
import os, sys

def start(channel):
    channel.send({"done": {"version": "0"}})
    while (told := channel.receive()) is not None:
        match told["do"]:
            case "ask":
                channel.send({"done": [told["text"], os.getpid()]})
            case "score":
                have = channel.ask({"questions": told["texts"], "first": 0})
                channel.send({"done": have})
            case "fail":
                channel.send({"failed": told["why"], "refused": told["refused"]})
            case "die":
                print("Traceback (most recent call last):", file=sys.stderr)
                raise ValueError("the evaluator crashed")
            case "vanish":
                os._exit(0)
            case "babble":
                channel.send({"nobody": "asked"})
            case "tell":
                channel.send({"done": dict(os.environ)})
"""


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "channel.py").write_text(CHANNEL.read_text())
    (folder / "serving.py").write_text(SERVING)
    return folder


def opened(inside: Path) -> Worker:
    return Worker(Path(sys.executable), environment(None), inside)


def test_commands_and_answers_go_over_the_connection_whatever_is_in_a_text(inside: Path) -> None:
    worker = opened(inside)
    text = "北京\u2028🙂\n\x00 end"
    (back, first) = worker.call({"do": "ask", "text": text})
    assert back == text
    assert worker.call({"do": "ask", "text": ""})[1] == first  # one process for all commands

    def reply(message: Mapping[str, Any]) -> list[Any]:
        return [len(one) for one in message["questions"]]

    assert worker.call({"do": "score", "texts": ["a", "bcd"]}, reply) == [1, 3]
    worker.close()


def test_a_failure_is_told_and_the_process_goes_on(inside: Path) -> None:
    worker = opened(inside)
    with pytest.raises(SuiteError, match=r"^no inferencer of this kind$"):
        worker.call({"do": "fail", "why": "no inferencer of this kind", "refused": True})
    with pytest.raises(SuiteError, match=r"OpenCompass failed: KeyError: 'x'\. Its whole log: "):
        worker.call({"do": "fail", "why": "KeyError: 'x'", "refused": False})
    assert worker.call({"do": "ask", "text": "still here"})[0] == "still here"
    worker.close()


def test_missing_data_is_told_with_what_to_do(inside: Path) -> None:
    worker = opened(inside)
    why = "FileNotFoundError: [Errno 2] No such file or directory: './data/cmmlu/dev/x.csv'"
    with pytest.raises(SuiteError, match=r"Unpack OpenCompass's data .* opencompass\.data"):
        worker.call({"do": "fail", "why": why, "refused": False})
    worker.close()


def test_a_process_that_crashes_is_told_by_its_last_words_and_started_again(
    inside: Path, tmp_path: Path
) -> None:
    worker = opened(inside)
    with pytest.raises(SuiteError, match=r"ValueError: the evaluator crashed\. Its whole log"):
        worker.call({"do": "die"})
    kept = (tmp_path / "home" / "opencompass" / "last.log").read_text()
    assert "Traceback" in kept
    assert worker.call({"do": "ask", "text": "again"})[0] == "again"
    worker.close()


def test_a_process_that_ends_with_0_in_the_middle_of_its_work_has_failed(inside: Path) -> None:
    worker = opened(inside)
    with pytest.raises(SuiteError, match=r"ended in the middle of its work\. It said nothing"):
        worker.call({"do": "vanish"})


def test_what_nobody_asked_is_no_answer(inside: Path) -> None:
    worker = opened(inside)
    with pytest.raises(SuiteError, match="it said what nobody asked"):
        worker.call({"do": "babble"})


def test_a_reply_that_fails_ends_the_process_which_would_wait_for_ever(inside: Path) -> None:
    worker = opened(inside)

    def reply(_: Mapping[str, Any]) -> list[Any]:
        raise RuntimeError("no answers")

    with pytest.raises(RuntimeError, match="no answers"):
        worker.call({"do": "score", "texts": ["a"]}, reply)
    assert worker.call({"do": "ask", "text": "new"})[0] == "new"
    worker.close()


def test_an_interpreter_that_cannot_start_it_is_told(inside: Path) -> None:
    (inside / "channel.py").write_text("import no_such_module_at_all\n")
    with pytest.raises(SuiteError, match=r"before it was ready.*No module named"):
        opened(inside).call({"do": "ask", "text": ""})


def test_whoever_calls_without_the_token_is_turned_away(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is known to everybody on the machine as soon as it is open."""
    turned_away: list[bytes] = []
    create = socket.create_server

    def watched(address: tuple[str, int], **options: Any) -> socket.socket:
        server = create(address, **options)
        place = server.getsockname()

        def intrude() -> None:
            with socket.create_connection(place) as stranger:
                stranger.sendall(json.dumps({"token": "guessed"}).encode() + b"\n")
                turned_away.append(stranger.recv(100))

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join(0.05)
        return server

    monkeypatch.setattr(socket, "create_server", watched)
    worker = opened(inside)
    assert worker.call({"do": "ask", "text": "mine"})[0] == "mine"
    assert turned_away == [b""]
    worker.close()


def test_the_process_sees_no_keys_no_accelerator_and_where_the_data_is(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("COMPASS_DATA_CACHE", raising=False)
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path))
    worker = opened(inside)
    seen = worker.call({"do": "tell"})
    assert "OPENAI_API_KEY" not in seen
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["COMPASS_DATA_CACHE"] == str(tmp_path)
    assert seen["HF_DATASETS_OFFLINE"] == "1"
    assert environment(Path("/own"))["COMPASS_DATA_CACHE"] == "/own"
    worker.close()


def test_last_words_are_the_last_exception() -> None:
    log = "Traceback …\n  File x\nValueError: first\nwhile …\nKeyError: 'second'\n  0%| | 0/3\n"
    assert last_words(log) == "It said: KeyError: 'second'."
    assert last_words("  0%| | 0/3\n") == "It said: 0%| | 0/3."
    assert last_words("") == "It said nothing."
