"""A scripted judge in a process of its own, for all tests of a session, and a store for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.store.completions import CompletionStore
from tests.judges.serving import JudgeServer, serving


@pytest.fixture(scope="session")
def judge_process() -> Iterator[JudgeServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(judge_process: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> JudgeServer:
    """The scripted judge, which has forgotten everything and judges fairly."""
    monkeypatch.setattr("evalkit.models.endpoint._FIRST_DELAY", 0.02)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    judge_process.script()
    return judge_process


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CompletionStore]:
    with CompletionStore(tmp_path / "completions.sqlite") as opened:
        yield opened
