"""The doctor: what is missing is told with the command that installs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from evalkit.doctor import examine
from evalkit.records import Check
from evalkit.scorers.code.sandbox import Walls


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Check]]:
    """Examine a machine on which these packages are not installed."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("EVALKIT_DATA", raising=False)
    real = importlib.util.find_spec

    def findings(*names: str) -> dict[str, Check]:
        def find(name: str) -> ModuleSpec | None:
            return None if name in names else real(name)

        monkeypatch.setattr(importlib.util, "find_spec", find)
        return {one.name: one for one in examine()}

    return findings


def test_a_missing_package_is_a_warning_with_the_command(
    hidden: Callable[..., dict[str, Check]],
) -> None:
    found = hidden("torch", "streamlit")
    assert found["[hf]"].status == "warning"
    assert found["[hf]"].message.startswith("torch not installed: ")
    assert "pip install 'evalkit-compare[hf]'" in found["[hf]"].message
    assert "pip install '.[hf]' in a checkout" in found["[hf]"].message
    assert found["[dashboard]"].status == "warning"
    assert found["evalkit"].status == found["python"].status == "ok"
    assert not any(name.startswith(("cuda", "devices")) for name in found)


def test_what_is_there_is_told_with_its_version(hidden: Callable[..., dict[str, Check]]) -> None:
    pytest.importorskip("streamlit")
    found = hidden("torch")["[dashboard]"]
    assert found.status == "ok"
    assert found.message.startswith("streamlit 1.")


def test_a_home_that_cannot_be_written_is_a_failure(
    hidden: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "file" / "home"))
    found = hidden("torch")["EVALKIT_HOME"]
    assert found.status == "failed"
    assert "set EVALKIT_HOME to a folder that can be written" in found.message


def test_the_data_root_is_counted_and_what_cannot_be_read_in_it_is_named(
    hidden: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "not set" in hidden("torch")["EVALKIT_DATA"].message
    root = tmp_path / "data"
    for name in ("org/model/config.json", "org/quiz/test.jsonl", "org/empty/notes.txt"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("{}")
    monkeypatch.setenv("EVALKIT_DATA", str(root))
    found = hidden("torch")["EVALKIT_DATA"]
    assert found.status == "warning"
    assert found.message.startswith(f"{root}: 1 models, 1 data sets; {root / 'org/empty'} holds no")
    monkeypatch.setenv("EVALKIT_DATA", str(root / "absent"))
    assert hidden("torch")["EVALKIT_DATA"].status == "failed"


@pytest.mark.parametrize(
    ("granted", "status", "said"),
    [
        (Walls(True, True), "ok", "namespaces and a seccomp filter (generated code)"),
        (
            Walls(False, True, "unshare: no"),
            "warning",
            "namespaces (unshare: no): generated code has no network, but can read your files",
        ),
        (Walls(False, False, "prctl: no"), "warning", "none (prctl: no): suites that run"),
    ],
)
def test_the_sandbox_that_this_machine_grants_is_told(
    hidden: Callable[..., dict[str, Check]],
    monkeypatch: pytest.MonkeyPatch,
    granted: Walls,
    status: str,
    said: str,
) -> None:
    monkeypatch.setattr("evalkit.doctor.walls", lambda: granted)
    found = hidden("torch")["sandbox"]
    assert found.status == status
    assert said in found.message


def test_the_hub_is_asked_unless_offline(
    hidden: Callable[..., dict[str, Check]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.data.servers import serving

    away = hidden("torch")["hub"]
    assert away.status == "warning"
    assert "http://127.0.0.1:9 cannot be reached (" in away.message
    with serving(tmp_path) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert hidden("torch")["hub"].message == f"{server.url} answers 404"
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        server.sent.clear()
        assert hidden("torch")["hub"].message.endswith("not asked: this is offline")
        assert server.sent == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.example")
    assert hidden("torch")["hub"].status == "failed"
