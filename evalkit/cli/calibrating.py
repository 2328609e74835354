"""gate calibrate: how often the gate is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evalkit.cli.options import Json, Manner, Quiet, examples, working
from evalkit.errors import ExitCode

CALIBRATE = "gate calibrate"
CALIBRATE_EXAMPLES = examples(
    "evalkit gate calibrate --quick",
    "evalkit gate calibrate --run runs/base-1a2b3c",
)


class TwoWords(TyperGroup):
    """Commands, one of which has a name of two words: `gate` takes paths, `gate calibrate` none.

    A comparison in a folder of that name is still reached as ./calibrate.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with."""
        if " ".join(args[:2]) == CALIBRATE:
            args = [CALIBRATE, *args[2:]]
        return super().resolve_command(ctx, args)


def calibrate(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer kinds and sizes, fewer simulations.")
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(
            help="How much worse is still acceptable; if left out 0.05, or the run's own."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The chance of an error that is promised.")] = 0.05,
    run: Annotated[
        Path | None,
        typer.Option(
            help="A run's folder: that model against itself, half of its answers to each sample "
            "against the others, instead of made-up data."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how often the gate is wrong.

    The gate decides on made-up comparisons whose truth is known: no difference, or one as large as
    the margin. It ends with 1 if it errs more often than alpha by more than chance explains.
    """
    from evalkit.gate.calibration import calibrate_made_up, calibrate_run
    from evalkit.store.runs import read_run
    from reports.calibration import calibration_json, print_calibration

    with working(Manner(quiet=quiet)) as progress:
        if run is None:
            found = calibrate_made_up(
                margin=0.05 if margin is None else margin,
                alpha=alpha,
                quick=quick,
                progress=progress,
            )
        else:
            found = calibrate_run(
                read_run(run), margin=margin, alpha=alpha, quick=quick, progress=progress
            )
    if as_json:
        typer.echo(calibration_json(found))
    else:
        print_calibration(found)
    raise typer.Exit(ExitCode.FAIL if found.excesses else ExitCode.PASS)
