"""`pip install .` alone compares, decides and reports: no extra's package is needed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SUITE, Bench, Said

EXTRAS = ("torch", "transformers", "accelerate", "bitsandbytes", "gguf", "huggingface_hub",
          "peft", "safetensors", "tokenizers", "datasets", "trl", "lm_eval",
          "streamlit")  # fmt: skip
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {EXTRAS!r} else super().find_spec(name, path, target)

sys.meta_path = [Without if one is PathFinder else one for one in sys.meta_path]
sys.argv = ["evalkit", *sys.argv[1:]]
from evalkit.cli import main
main()
"""


@pytest.fixture
def plain(recorded: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench of recorded arms, where none of the extras is installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def run(*arguments: str) -> Said:
        command = [sys.executable, "-c", WITHOUT, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    return recorded._replace(run=run)


def test_it_compares_decides_and_reports(plain: Bench) -> None:
    said = plain.run("compare", "base.yaml", "tuned.yaml", "--set", "gate.margin=0.9", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["verdict"] == "pass"
    (folder,) = (plain.folder / "runs" / "compare").iterdir()
    strict = plain.run("gate", str(folder), "--set", "margin=0.01", "--set", "policy=superiority")
    assert strict.code == 3, strict.err
    said = plain.run("report", str(folder), "--format", "html,markdown,json,csv,junit")
    assert said.code == 0, said.err
    assert {Path(file).suffix for file in said.out.split()} == {
        ".html", ".md", ".json", ".csv", ".xml",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("hf", ["run", "hf.yaml"]),
        ("train", ["train", "train.yaml"]),
        ("dashboard", ["dashboard"]),
        ("lm-eval", ["lm_eval", "ls", "tasks"]),
    ],
)
def test_what_needs_an_extra_says_which(plain: Bench, extra: str, command: list[str]) -> None:
    (plain.folder / "runs").mkdir()
    plain.write("notes.jsonl", '{"prompt": "Hi", "completion": "Hello"}\n')
    plain.write("train.yaml", "name: x\nmodel: a/b\ndata: [{path: notes.jsonl}]\n")
    plain.write("hf.yaml", f"name: x\nmodel: {{kind: hf, path: a/b}}\nsuites: [{SUITE}]\n")
    said = plain.run(*command)
    assert said.code == 2, said.err
    assert f"evalkit-compare[{extra}]" in said.err
    assert "Traceback" not in said.err


def test_the_doctor_tells_what_is_missing(plain: Bench) -> None:
    said = plain.run("doctor")
    assert said.code == 0, said.err
    for extra in ("hf", "train", "lm-eval", "dashboard"):
        assert f"evalkit-compare[{extra}]" in said.out
