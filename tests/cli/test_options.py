"""Options that are declared once reach every command that takes their group."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from evalkit.cli import evaluating, fetching, training
from evalkit.cli.options import Limit, Manner, Questions, Results, spread


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        (evaluating.run, [Questions, Results, Manner]),
        (evaluating.compare, [Questions, Results, Manner]),
        (training.train, [Manner]),
        (training.demo, [Manner]),
        (fetching.fetch, [Manner]),
    ],
)
def test_a_command_has_every_option_of_its_groups(
    command: Callable[..., None], groups: list[type[Manner]]
) -> None:
    taken = set(inspect.signature(command).parameters)
    assert {each.name for group in groups for each in fields(group)} <= taken


def test_a_group_is_filled_from_the_command_line() -> None:
    told: list[object] = []

    @spread
    def command(
        path: Annotated[Path, typer.Argument()], *, limit: Limit = 7, results: Results
    ) -> None:
        """Remember what it was told."""
        told.extend((path, limit, results))

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, ["here", "--profile", "-o", "there", "--fresh"])
    assert done.exit_code == 0, done.output
    wanted = Results(output=Path("there"), fresh=True, profile=True)
    assert told == [Path("here"), 7, wanted]


def test_groups_have_defaults_that_a_program_can_use() -> None:
    assert Results() == Results(output=Path("runs"), fresh=False, dry_run=False, as_json=False)
    assert Questions() == Questions(suites=None, limit=None, sets=None)
