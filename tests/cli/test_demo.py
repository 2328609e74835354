"""`evalkit demo` on a tiny model: its verdict, its printed commands, its second run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("trl")
from evalkit.errors import ExitCode
from evalkit.gate.decide import MEANING
from tests.cli.conftest import SUITE, Bench, Said

_ENDING = re.compile(r"`evalkit compare` would end with exit code (\d+) \((.*)\)\.")


@pytest.fixture
def example(desk: Bench) -> Bench:
    """Recipes like those of examples/rednote, small enough for seconds; their base is elsewhere."""
    desk.write(
        "example/base.yaml",
        "name: base\nmodel: {kind: hf, path: someone/else, dtype: float32, device: cpu}\n"
        f"suites: [{SUITE}]\n",
    )
    for name, learned in (("qlora", ["notes"]), ("qlora-mixed", ["notes", "plain"])):
        data = "".join(f"  - {{path: {each}.jsonl, license: Apache-2.0}}\n" for each in learned)
        desk.write(
            f"example/{name}.yaml",
            f"name: {name}\nmodel: someone/else\nmethod: lora\ncompute_dtype: float32\n"
            f"data:\n{data}learning_rate: 0.01\nmax_steps: 2\nmax_length: 64\n",
        )
    for name in ("notes", "plain"):
        rows = [{"prompt": f"Say {n}.", "completion": f"{name} {n}!"} for n in range(12)]
        desk.write(f"example/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return desk


def _demo(bench: Bench, models: Path, *flags: str) -> Said:
    arguments = ("--model", str(models / "model"), "--folder", "example", "--offline")
    return bench.run("demo", *arguments, *flags)


def _told(said: Said) -> tuple[int, str]:
    found = _ENDING.search(said.out)
    assert found is not None, said.err
    return int(found[1]), found[2]


def _printed(said: Said) -> list[list[str]]:
    """The commands that the demo says it runs, as a shell takes them apart."""
    lines = re.findall(r"^\[\d\] (.*)$", said.out, re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


def test_the_demo_ends_well_and_tells_the_verdict(example: Bench, models: Path) -> None:
    said = _demo(example, models)
    assert said.code == 0, said.err
    code, meaning = _told(said)
    assert MEANING[ExitCode(code)] == meaning
    assert "qlora-model against base" in said.out
    assert _demo(example, models).out.count("nothing was computed") == 1


def test_the_commands_it_prints_do_what_it_did(example: Bench, models: Path) -> None:
    demo = _demo(example, models)
    train, compare = _printed(demo)
    again = example.run(*train)
    assert "nothing was computed" in again.out, again.err
    assert len(list((example.folder / "runs").glob("compare/*"))) == 1
    assert example.run(*compare).code == _told(demo)[0]
    assert len(list((example.folder / "runs").glob("compare/*"))) == 1
    (line,) = re.findall(r"^Compare +(.*)$", again.out, re.MULTILINE)
    assert example.run(*shlex.split(line)[1:]).code == _told(demo)[0]


def test_an_option_with_a_value_is_printed_with_it(example: Bench, models: Path) -> None:
    demo = _demo(example, models, "--data-root", str(models))
    for words in _printed(demo):
        assert words[words.index("--data-root") + 1] == str(models)
        assert "--offline" in words


def test_the_fixed_demo_compares_three_arms(example: Bench, models: Path) -> None:
    said = _demo(example, models, "--fixed")
    assert said.code == 0, said.err
    assert [words[0] for words in _printed(said)] == ["train", "train", "compare"]
    (file,) = (example.folder / "runs").glob("compare/*/comparison.json")
    arms = [one["tuned"]["name"] for one in json.loads(file.read_text())["comparisons"]]
    assert arms == ["qlora-model", "qlora-mixed-model"]


def test_without_its_files_the_demo_says_where_they_are(desk: Bench) -> None:
    said = desk.run("demo")
    assert said.code == 2
    assert "--folder" in said.err
    assert not (desk.folder / "runs").exists()
