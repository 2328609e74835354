"""`evalkit train` from the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

pytest.importorskip("trl")
from evalkit.cli.training import train


def test_the_compare_command_can_be_pasted_whatever_the_folders_are_called(
    tiny_model: Path,
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "my recipes" / "lora.yaml"
    recipe.parent.mkdir()
    (recipe.parent / "base.yaml").touch()
    recipe.write_text(
        f"name: tiny\nmodel: {tiny_model}\nmethod: lora\ncompute_dtype: float32\n"
        f"data: [{{path: {notes}}}]\nmax_steps: 2\noutput: {tmp_path}/it's here\n"
    )
    train(recipe, quiet=True)
    said = capsys.readouterr().out.splitlines()
    (command,) = [line.removeprefix("Compare") for line in said if line.startswith("Compare")]
    assert shlex.split(command)[1:] == ["compare", "my recipes/base.yaml", "it's here/tuned.yaml"]
