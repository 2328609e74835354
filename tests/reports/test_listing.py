"""What the commands about suites print, on real suites."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

import suites
from evalkit.harnesses.native import find_suites
from evalkit.harnesses.scaffold import check_suite
from reports.terminal import print_suite, print_suites

SHIPPED = Path(str(suites.__file__)).parent


def _console() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=80, highlight=False, markup=False), stream


def test_suites_are_listed_with_the_folder_that_won(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "chat" / "answers", tmp_path / "chat" / "answers")
    console, stream = _console()
    print_suites(find_suites([tmp_path, SHIPPED]), console=console)
    text = " ".join(stream.getvalue().split())
    assert "knowledge/everyday-zh choice zh" in text
    assert "math/gsm8k generate en recipe" in text
    assert "Recipes ask data sets: " in text
    assert "openai/gsm8k" in text
    # A terminal breaks a long path where it likes.
    assert f"{tmp_path}/chat/answersisused" in text.replace(" ", "")
    assert "is hidden by it" in text


def test_no_suites_at_all_is_said(tmp_path: Path) -> None:
    console, stream = _console()
    print_suites(find_suites([tmp_path]), console=console)
    assert "evalkit suites new" in stream.getvalue()


def test_a_suite_is_shown_with_its_gate_and_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    console, stream = _console()
    print_suite(check_suite("chat/answers"), console=console)
    text = stream.getvalue()
    assert "answered may be worse by at most 0.050" in text
    assert "Prompt 3, as a model gets it" in text
    assert "no problem was found" in text
