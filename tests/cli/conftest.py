"""A command line with a home, a suite and two arms of its own: tiny models, or recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
def own_signals() -> Iterator[None]:
    """What the command line does to this process's signals, undone."""
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    for number, handler in kept:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture
def desk(
    own_signals: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bench:
    """A folder with a suite and no arms yet."""
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

    desk = Bench(tmp_path, run)
    write_suite(desk, "suites/" + SUITE)
    return desk


@pytest.fixture
def bench(desk: Bench, models: Path) -> Bench:
    """A base and an adapter on it, computed by the local engine."""
    desk.write(
        "base.yaml",
        f"name: base\nmodel:\n  kind: hf\n  path: {models / 'model'}\n  dtype: float32\n"
        f"  device: cpu\nsuites: [{SUITE}]\n",
    )
    desk.write("tuned.yaml", tuned_yaml(models / "model", models / "lora"))
    return desk


@pytest.fixture
def recorded(desk: Bench) -> Bench:
    """Two arms whose answers were made elsewhere: the base errs on the last, tuned on none."""
    for name, right in (("base", len(PLACES) - 1), ("tuned", len(PLACES))):
        rows = [
            {
                "id": f"c{n}",
                "choices": [-1.0 if (i == n) == (n < right) else -9.0 for i in range(6)],
            }
            for n in range(len(PLACES))
        ]
        desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        model = f"name: {name}\nmodel: {{kind: recorded, path: {name}.jsonl}}\n"
        desk.write(f"{name}.yaml", model + (f"suites: [{SUITE}]\n" if name == "base" else ""))
    return desk


def started(
    bench: Bench,
    *arguments: str,
    program: Sequence[str] = ("-m", "evalkit"),
    background: bool = False,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """evalkit in a process of its own, in the bench's folder.

    In the background, as a shell's `&` without job control leaves it, SIGINT is ignored. It is
    set either way: the tests themselves may have been started in the background.
    """
    wanted = signal.SIG_IGN if background else signal.SIG_DFL
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **options.pop("environment", {}),
    }
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=bench.folder,
        env=environment,
        preexec_fn=lambda: _as_a_shell_leaves(wanted),
        **options,
    )


def _as_a_shell_leaves(wanted: signal.Handlers) -> None:
    # The command line holds Ctrl-C back where it is ignored, and does so in this very process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGINT, wanted)


def write_suite(bench: Bench, folder: str, rows: int = len(PLACES)) -> None:
    """A suite of a few capitals, asked again in other words where more are wanted."""
    bench.write(
        f"{folder}/suite.yaml",
        "title: Capitals\nversion: 1\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
        "task: choice\nprompt: 'Capital of {country}?'\nscorers: [choice_accuracy]\n",
    )
    capitals = [capital for _, capital in PLACES]
    lines = [
        {"id": f"c{n}", "country": country, "choices": capitals, "answer": n % len(PLACES)}
        for n, country in enumerate(_countries(rows))
    ]
    bench.write(f"{folder}/samples.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _countries(rows: int) -> list[str]:
    names = [country for country, _ in PLACES]
    rounds = range(1 + rows // len(PLACES))
    return [f"{name}, {n}" if n else name for n in rounds for name in names][:rows]


def tuned_yaml(model: Path, adapter: Path) -> str:
    """A tuned arm on this base."""
    return (
        f"name: tuned\nmodel:\n  kind: hf\n  path: {model}\n  adapter: {adapter}\n"
        "  dtype: float32\n  device: cpu\n"
    )
