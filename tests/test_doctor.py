"""The doctor: what is missing is told with the command that installs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from evalkit.doctor import examine
from evalkit.records import Check


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Check]]:
    """Examine a machine on which these packages are not installed."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
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
