"""harness install, list: harnesses that live in an environment of their own."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evalkit.cli.options import Manner, examples, spread, working

app = typer.Typer(no_args_is_help=True, help="Harnesses with an environment of their own.")


@app.command(
    epilog=examples(
        "evalkit harness install opencompass",
        "evalkit harness install opencompass --python /usr/bin/python3.11",
    )
)
@spread
def install(
    name: Annotated[Literal["opencompass"], typer.Argument(help="The harness.")],
    *,
    python: Annotated[
        str | None,
        typer.Option(help="The Python to make it from; this one without. 3.11 or 3.12."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make it anew, whole or not.")] = False,
    manner: Manner,
) -> None:
    """Make a harness's environment, with locked versions, in EVALKIT_HOME/envs.

    It is there when it is whole. A command that was stopped goes on where it was.
    """
    from evalkit.harnesses.opencompass import environment

    with working(manner) as progress:
        made = environment.install(python, progress, again=again)
    typer.echo(f"{name} {made.version} in {made.folder}")


@app.command("list", epilog=examples("evalkit harness list"))
def list_harnesses() -> None:
    """Which harnesses are there, in which versions, and where."""
    from evalkit.doctor import harnesses
    from reports.listing import print_findings

    print_findings(harnesses())
