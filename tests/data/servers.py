"""Enough of the hub's and of ModelScope's HTTP interface to serve one folder each, by name."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

COMMIT = "c0ffee" + "0" * 34


class Served(ThreadingHTTPServer):
    """Folders by `models/org/name` or `datasets/org/name`; remembers what it sent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sent: list[str] = []
        self.ranges: list[str] = []
        self.spoils: set[str] = set()
        """Files that arrive with a byte changed, at their true size."""
        self.breaks: set[str] = set()
        """Files of which only the first half arrives."""
        self.token = ""
        self.elsewhere = ""
        """Another server that ModelScope's files are sent from."""
        self.resets: set[str] = set()
        """Files of which the connection is reset after the first half."""
        self.secrets: list[str] = []
        """What came as Authorization and Cookie."""
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(root: Path) -> Iterator[Served]:
    """The folders below `root`, on a port of this machine."""
    with Served(root) as server:
        threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True).start()
        yield server
        server.shutdown()


class Handler(BaseHTTPRequestHandler):
    """Both hosts on one port: ModelScope's paths begin with /api/v1/."""

    server: Served

    def do_GET(self) -> None:
        url = urlparse(self.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        try:
            if parts[:2] == ["api", "v1"]:
                self.modelscope(parts[2:], asked)
            elif parts[0] == "api":
                self.hub_api(parts[1:])
            else:
                self.hub_file(parts)
        except FileNotFoundError:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815  the name http.server looks for

    def hub_api(self, parts: list[str]) -> None:
        if len(parts) < 3:
            raise FileNotFoundError(*parts)
        kind, org, name, *rest = parts
        files = listed(self.server.root / kind / org / name)
        if rest[:1] == ["tree"]:
            self.reply_json(
                [
                    {"type": "file", "path": path, "size": file.stat().st_size, "oid": "0" * 40}
                    for path, file in files
                ]
            )
            return
        siblings: list[dict[str, Any]] = []
        for path, file in files:
            one: dict[str, Any] = {"rfilename": path, "size": file.stat().st_size}
            if file.suffix in (".parquet", ".safetensors"):
                one["lfs"] = {"size": one["size"], "sha256": sha256(file), "pointerSize": 134}
            siblings.append(one)
        self.reply_json({"id": f"{org}/{name}", "sha": COMMIT, "siblings": siblings})

    def hub_file(self, parts: list[str]) -> None:
        kind = "datasets" if parts[0] == "datasets" else "models"
        org, name, _, commit, *path = parts[1:] if kind == "datasets" else parts
        assert commit == COMMIT
        file = self.server.root / kind / org / name / "/".join(path)
        etag = hashlib.sha1(file.read_bytes()).hexdigest()
        self.reply_file("/".join(path), file, {"X-Repo-Commit": COMMIT, "ETag": etag})

    def modelscope(self, parts: list[str], asked: dict[str, str]) -> None:
        self.server.secrets += [self.headers[one] or "" for one in ("Authorization", "Cookie")]
        kind, org, name, *rest = parts
        folder = self.server.root / kind / org / name
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.send_error(403)
        elif asked.get("Revision") not in ("master", "v2"):
            self.send_error(404)
        elif rest == ["repo"] and self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif rest == ["repo"]:
            self.reply_file(asked["FilePath"], folder / asked["FilePath"], {})
        else:
            entries: list[dict[str, Any]] = [{"Path": "sub", "Type": "tree", "Size": 0}]
            for path, file in listed(folder):
                size = file.stat().st_size
                digest = sha256(file)
                entries.append({"Path": path, "Type": "blob", "Size": size, "Sha256": digest})
            page, size = int(asked.get("PageNumber", 1)), int(asked.get("PageSize", 10**6))
            assert (kind == "datasets") == ("PageNumber" in asked)
            told = entries[(page - 1) * size : page * size]
            self.reply_json({"Code": 200, "Data": {"Files": told}})

    def reply_file(self, name: str, file: Path, headers: dict[str, str]) -> None:
        body = file.read_bytes()
        if name in self.server.spoils:
            body = body[:-1] + bytes([body[-1] ^ 1])
        start = 0
        if given := self.headers.get("Range"):
            self.server.ranges.append(given)
            start = int(given.removeprefix("bytes=").partition("-")[0])
        if name in self.server.breaks:
            body = body[: len(body) // 2]
        if name in self.server.resets:
            self.reset(body)
            return
        self.reply(body[start:], headers, status=206 if start else 200)

    def reset(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        # With nothing to wait for, closing sends a reset instead of an end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def reply_json(self, value: object) -> None:
        self.reply(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.server.sent.append(self.path)
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


def listed(folder: Path) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
