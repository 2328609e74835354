"""Start the scripted judge in a process of its own, tell it how to behave, and ask back."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.config import ModelJudge

SERVER = Path(__file__).with_name("server.py")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class JudgeServer:
    """A running one; `address` is http://127.0.0.1:port."""

    address: str

    @property
    def url(self) -> str:
        """What a model's base_url is set to."""
        return f"{self.address}/v1"

    def script(self, **told: Any) -> None:
        """Forget all calls and behave as told: the fields of server.Script."""
        self._ask("/script", told)

    def let_go(self) -> None:
        """Answer the calls that were held, and all others."""
        self._ask("/open", {})

    def calls(self) -> dict[str, Any]:
        """How often each question was `asked` and `answered`, how many calls were open at once,
        and the last bodies."""
        told: dict[str, Any] = self._ask("/calls")
        return told

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, data, headers)
        with _DIRECT.open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def judge(self, name: str = "scripted", *, model: str = "judge", **options: Any) -> ModelJudge:
        """A judge's configuration on this server; `options` of its model, or of the judge."""
        own = {key: options.pop(key) for key in ("structured", "reasoning", "max_new_tokens")
               if key in options}  # fmt: skip
        settings = {"concurrency": 8, "max_retries": 3, "timeout": 5.0} | options
        told = {"kind": "openai", "model": model, "base_url": self.url, **settings}
        return ModelJudge.model_validate({"name": name, "model": told, **own})


@contextmanager
def serving(**script: Any) -> Iterator[JudgeServer]:
    """A server for the length of the block, with the fields of server.Script."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--script", json.dumps(script)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the scripted judge did not start"
        yield JudgeServer(address)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
