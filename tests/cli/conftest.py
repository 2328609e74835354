"""A command line with a home, a suite and two tiny models of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.models.hf.tiny_models import make_adapter, make_model

SUITE = "my/capitals"
PLACES = [
    ("France", "Paris"),
    ("Japan", "Tokyo"),
    ("Peru", "Lima"),
    ("Kenya", "Nairobi"),
    ("Norway", "Oslo"),
    ("Cuba", "Havana"),
]


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Bench(NamedTuple):
    """A folder with base.yaml, tuned.yaml, the models behind them and a suite."""

    folder: Path
    run: Callable[..., Said]

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and an adapter of it, made once."""
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "model", "llama")
    make_adapter(folder / "model", folder / "lora")
    return folder


@pytest.fixture
def bench(
    tmp_path: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bench:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        from evalkit.cli import main

        monkeypatch.setattr(sys, "argv", ["evalkit", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    bench = Bench(tmp_path, run)
    write_suite(bench, "suites/" + SUITE)
    bench.write(
        "base.yaml",
        f"name: base\nmodel:\n  kind: hf\n  path: {models / 'model'}\n  dtype: float32\n"
        f"  device: cpu\nsuites: [{SUITE}]\n",
    )
    bench.write("tuned.yaml", tuned_yaml(models / "model", models / "lora"))
    return bench


def write_suite(bench: Bench, folder: str, rows: int = len(PLACES)) -> None:
    """A suite of a few capitals; none at all makes it empty."""
    bench.write(
        f"{folder}/suite.yaml",
        "title: Capitals\nversion: 1\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
        "task: choice\nprompt: 'Capital of {country}?'\nscorers: [choice_accuracy]\n",
    )
    capitals = [capital for _, capital in PLACES]
    lines = [
        {"id": f"c{n}", "country": country, "choices": capitals, "answer": n}
        for n, (country, _) in enumerate(PLACES[:rows])
    ]
    bench.write(f"{folder}/samples.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def tuned_yaml(model: Path, adapter: Path) -> str:
    """A tuned arm on this base."""
    return (
        f"name: tuned\nmodel:\n  kind: hf\n  path: {model}\n  adapter: {adapter}\n"
        "  dtype: float32\n  device: cpu\n"
    )
