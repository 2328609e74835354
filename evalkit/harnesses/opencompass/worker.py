"""The process in OpenCompass's environment, and the connection to it: loopback, one token, JSON."""

from __future__ import annotations

import atexit
import hmac
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from evalkit.data.places import data_root, is_offline
from evalkit.errors import SuiteError
from evalkit.home import home

Reply: TypeAlias = Callable[[Mapping[str, Any]], list[Any]]
"""A question that comes in the middle of the work, to its answers."""

DATA_VARIABLE = "COMPASS_DATA_CACHE"  # OpenCompass's own

_STARTED = 300.0  # seconds; a cold disk reads two gigabytes of libraries
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Warning)\b")
_NO_DATA = re.compile(
    r"FileNotFoundError|ConnectionError|OfflineMode|DatasetNotFound|offline|DataFilesNotFound"
    r"|No such file|Max retries|name resolution",
    re.IGNORECASE,
)
_INSIDE = Path(__file__).with_name("inside")
# -I: nothing of the user's environment reaches it, and so neither do our own modules.
_BOOT = """
import importlib.util, sys
from pathlib import Path
folder = Path(sys.argv[1])
found = importlib.util.spec_from_file_location(
    "evalkit_inside", folder / "__init__.py", submodule_search_locations=[str(folder)])
sys.modules["evalkit_inside"] = module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
from evalkit_inside.channel import connect
channel = connect()
from evalkit_inside.serving import start
start(channel)
"""


class Worker:
    """Started with its first command; one that died is started again with the next."""

    def __init__(
        self, interpreter: Path, variables: Mapping[str, str], inside: Path = _INSIDE
    ) -> None:
        """The Python of OpenCompass's environment, the variables that the process sees, and the
        folder of the modules that it runs."""
        self._interpreter = interpreter
        self._inside = inside
        self._variables = dict(variables)
        self._process: subprocess.Popen[str] | None = None
        self._connection: socket.socket | None = None
        self._lines: Any = None
        self._folder: Path | None = None

    def call(self, command: Mapping[str, Any], reply: Reply | None = None) -> Any:
        """What is done at a command; SuiteError where it fails.

        `reply` answers what the process asks before it is done.
        """
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        try:
            self._send(command)
            return self._until_done(reply)
        except SuiteError:
            raise
        except BaseException:  # it waits for an answer that nobody gives any more
            self.end()
            raise

    def end(self) -> None:
        """End the process at once, whatever it does."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process, which leaves nothing behind."""
        if self._connection is not None:
            self._lines.close()
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        if process is not None:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self) -> None:
        atexit.register(self.close)
        self._folder = Path(tempfile.mkdtemp(prefix="evalkit-opencompass-"))
        token = secrets.token_hex(32)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with self._log.open("w", encoding="utf-8") as log:
                self._process = subprocess.Popen(  # noqa: S603
                    [str(self._interpreter), "-I", "-c", _BOOT, str(self._inside)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    env=self._variables,
                    text=True,
                )
            assert self._process.stdin is not None
            try:
                # Not on its command line, which every user of the machine can read.
                self._process.stdin.write(json.dumps({"port": port, "token": token}) + "\n")
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # its log tells why
            self._connection, self._lines = self._accepted(server, token)
        self._until_done(None)

    def _accepted(self, server: socket.socket, token: str) -> tuple[socket.socket, Any]:
        """The connection of our own process; whoever else calls is turned away."""
        server.settimeout(0.2)
        end = time.monotonic() + _STARTED
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                raise self._broken("it ended before it was ready")
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            lines = connection.makefile("r", encoding="utf-8", newline="\n")
            if _knows(connection, lines, token):
                return connection, lines
            lines.close()
            connection.close()
        raise self._broken(f"it was not ready after {_STARTED:.0f} seconds")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._connection is not None
        try:
            self._connection.sendall((json.dumps(message) + "\n").encode("ascii"))
        except OSError:
            raise self._broken("it has ended") from None

    def _until_done(self, reply: Reply | None) -> Any:
        while True:
            message = self._receive()
            match message:
                case {"done": done}:
                    return done
                case {"failed": str(why), "refused": bool(refused)}:
                    raise SuiteError(why if refused else f"{_hint(why)} {self._kept()}")
                case {"questions": list()} if reply is not None:
                    self._send({"have": reply(message)})
                case _:
                    raise self._broken(f"it said what nobody asked: {str(message)[:80]}")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
            message = json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError) as error:
            raise self._broken(f"what it said cannot be read: {error}") from None
        if not isinstance(message, dict):
            raise self._broken("it ended in the middle of its work")
        return message

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / "log.txt"

    def _broken(self, what: str) -> SuiteError:
        """The error of a process that is of no more use, told by the last words of its log."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        said = last_words(self._log.read_text(encoding="utf-8", errors="replace"))
        message = f"The process of OpenCompass is of no use: {what}. {said} {self._kept()}"
        self.close()
        return SuiteError(message)

    def _kept(self) -> str:
        """Keep the log beyond this process, and say where it is."""
        kept = home() / "opencompass" / "last.log"
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._log, kept)
        except OSError:
            return ""
        return f"Its whole log: {kept}"


def _knows(connection: socket.socket, lines: Any, token: str) -> bool:
    """Whether the first line of a connection holds the token."""
    connection.settimeout(5.0)
    try:
        told = json.loads(lines.readline(1000))
        known = hmac.compare_digest(str(told["token"]).encode(), token.encode())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    connection.settimeout(None)
    return known


def last_words(log: str) -> str:
    """What a log ends with: the last exception of a traceback, else its last line."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _EXCEPTION.match(line)]
    said = (errors or lines or [""])[-1].strip()
    return f"It said: {said[:300].rstrip('.')}." if said else "It said nothing."


def _hint(why: str) -> str:
    """What failed in OpenCompass, and what can be done where its data is not there."""
    told = f"OpenCompass failed: {' '.join(why.split())[:400].rstrip('.')}."
    if not _NO_DATA.search(why):
        return told
    return (
        f"{told} Its data is not there. Unpack OpenCompass's data so that it is DIR/data/…, and "
        f"name DIR by opencompass.data, {DATA_VARIABLE} or --data-root; with a network OpenCompass "
        "fetches most of it by itself."
    )


def environment(data: Path | None) -> dict[str, str]:
    """What the process sees: no keys of ours, no accelerator, and where the data is."""
    kept = {key: one for key, one in os.environ.items() if not key.endswith("_API_KEY")}
    root = data or kept.get(DATA_VARIABLE) or data_root() or Path.cwd()
    kept |= {
        DATA_VARIABLE: str(Path(root).absolute()),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if is_offline():
        offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE",
                   "TRANSFORMERS_OFFLINE")  # fmt: skip
        kept |= dict.fromkeys(offline, "1")
    return kept
