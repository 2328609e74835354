"""The connection to the main process: lines of JSON over loopback, after a token."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


class Channel:
    """Both ends take turns: one message is one line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8", newline="\n")

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; ASCII, so that nothing in a text can end the line."""
        self._connection.sendall((json.dumps(message) + "\n").encode("ascii"))

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end has left."""
        line = self._lines.readline()
        return dict(json.loads(line)) if line.endswith("\n") else None

    def ask(self, message: dict[str, Any]) -> Any:
        """Send a question in the middle of the work; its answer is in `have`."""
        self.send(message)
        answer = self.receive()
        if answer is None:
            raise ConnectionError("evalkit has left")
        return answer["have"]


def connect() -> Channel:
    """Call the process that started this one, which told port and token on standard input."""
    told = json.loads(sys.stdin.readline())
    connection = socket.create_connection(("127.0.0.1", told["port"]))
    channel = Channel(connection)
    channel.send({"token": told["token"]})
    return channel
