"""What examples/gate and examples/ci promise: exit codes, commands and files, by running them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from evalkit.cli import app
from examples.gate.make_answers import make
from reports.write import FILES
from tests.cli.conftest import Bench

EXAMPLES = Path(__file__).parents[2] / "examples"
GATE, CI = EXAMPLES / "gate", EXAMPLES / "ci"


@pytest.mark.parametrize(("arm", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3)])
def test_the_three_comparisons_exit_with_their_verdicts(desk: Bench, arm: str, code: int) -> None:
    done = desk.run("compare", str(GATE / "base.yaml"), str(GATE / f"{arm}.yaml"), "--quiet")
    assert done.code == code, done.err
    assert f"Verdict    {arm.upper()}  2 suites and 1 slice" in done.out
    (folder,) = Path("runs/compare").iterdir()
    assert desk.run("gate", str(folder)).code == code
    assert desk.run("gate", str(folder), "--set", "on_inconclusive=fail").code == min(code, 1)


def test_the_answers_are_those_that_the_script_makes(tmp_path: Path) -> None:
    make(tmp_path)
    committed = sorted((GATE / "answers").iterdir())
    assert [file.name for file in committed] == sorted(file.name for file in tmp_path.iterdir())
    for file in committed:
        assert (tmp_path / file.name).read_text() == file.read_text()


def _scripts(found: object) -> Iterator[str]:
    """Every shell script of a pipeline: `run` of GitHub's, `script` of GitLab's."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "run":
                yield value
            elif key == "script":
                yield "\n".join(value)
            else:
                yield from _scripts(value)
    elif isinstance(found, list):
        for one in found:
            yield from _scripts(one)


def _pipeline(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def _commands(text: str) -> list[list[str]]:
    lines = re.findall(r"^[\s$-]*evalkit (.+?)(?: \|\| .*| +#.*)?$", text, re.M)
    return [shlex.split(line) for line in lines]


PIPELINES = ["github.yml", "gitlab.yml"]
PAGES = [CI / name for name in PIPELINES] + [GATE / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_of_ours_with_options_that_exist(page: Path) -> None:
    commands = _commands(page.read_text(encoding="utf-8"))
    assert len(commands) >= 2
    ours = typer.main.get_command(app)
    assert isinstance(ours, TyperGroup)
    for name, *arguments in commands:
        ours.commands[name].make_context(name, arguments)  # raises where it cannot be parsed


def _published(name: str) -> set[str]:
    return set(re.findall(r"runs/compare/\*/[\w.]+", (CI / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize(("arm", "code"), [("pass", 0), ("inconclusive", 3)])
def test_a_pipeline_ends_like_the_gate_and_publishes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arm: str, code: int
) -> None:
    """The scripts themselves, in bash, over examples/gate; pip and the comment are left out."""
    shutil.copytree(GATE / "answers", tmp_path / "answers")
    for file, source in (("base.yaml", "base.yaml"), ("tuned.yaml", f"{arm}.yaml")):
        shutil.copy(GATE / source, tmp_path / file)
    program = tmp_path / "bin" / "evalkit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m evalkit "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUN_URL", "https://ci.example/run/7")
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example/run/7")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    codes = []
    for script in _scripts(_pipeline(name)):
        if "evalkit compare" in script or "evalkit report" in script:
            kept = "\n".join(line for line in script.splitlines() if "pip install" not in line)
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", kept], cwd=tmp_path, check=False
            )
            codes.append(done.returncode)
    assert codes[0] == code
    assert not any(codes[1:])
    for pattern in _published(name):
        assert len(list(tmp_path.glob(pattern))) == 1, pattern
    (comment,) = tmp_path.glob("runs/compare/*/report.md")
    assert ("](<https://ci.example/run/7" in comment.read_text()) == (
        "got worse" in comment.read_text()
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_publishes_files_that_its_formats_write(name: str) -> None:
    formats = {
        one
        for command in _commands((CI / name).read_text(encoding="utf-8"))
        for place, word in enumerate(command)
        if word == "--format"
        for one in command[place + 1].split(",")
    }
    written = {FILES[one] for one in formats}
    assert {Path(one).name for one in _published(name)} == written


def test_githubs_pipeline_gives_no_rights_to_code_of_the_branch() -> None:
    found = _pipeline("github.yml")
    assert found["permissions"] == {}
    triggers = found[True]  # YAML 1.1 reads `on` as a truth value
    assert list(triggers) == ["pull_request"]
    gate, comment = found["jobs"]["gate"], found["jobs"]["comment"]
    assert gate["permissions"] == {"contents": "read"}
    assert comment["permissions"] == {"pull-requests": "write"}
    used = [step.get("uses", "") for step in comment["steps"]]
    assert not any(one.startswith("actions/checkout") for one in used)
    assert "secrets." not in (CI / "github.yml").read_text()
    # Expressions are pasted into a script before the shell reads it: they must come as variables.
    assert not [script for script in _scripts(found) if "${{" in script]


def test_gitlabs_token_is_in_a_job_without_code_of_the_branch() -> None:
    found = _pipeline("gitlab.yml")
    assert found["note"]["variables"]["GIT_STRATEGY"] == "none"
    assert "TOKEN" not in str(found["gate"])
