"""power: what a gate can decide, before any model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import Json, Questions, Reach, examples, load_configs, reaching, spread
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.noise import Pilot

POWER_EXAMPLES = examples(
    "evalkit power base.yaml",
    "evalkit power base.yaml --pilot runs/compare/base-vs-tuned-1a2b3c --set gate.margin=0.03",
    "evalkit power base.yaml --sequential",
)


@spread
def power(
    file: Annotated[Path, typer.Argument(help="The base's YAML file, with the gate.")],
    *,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Earlier results that show the noise: a comparison, or the run of one arm."
        ),
    ] = None,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential", help="What can be decided where suites are looked at after each block."
        ),
    ] = False,
    asked: Questions,
    as_json: Json = False,
    reach: Reach,
) -> None:
    """Say which margins the suites can decide; no model is loaded."""
    from evalkit.gate.decide import check_gate
    from evalkit.planning import open_suites
    from evalkit.power import power_of
    from reports.machine import power_json
    from reports.terminal import print_power

    config = load_configs([file], asked)[0]
    with reaching(reach):
        allowed = asked.allow_code_execution
        suites = open_suites(config, allow_code_execution=allowed, scored=False)
    check_gate([suite.info for suite in suites], config.gate)
    known = read_pilot(pilot) if pilot else None
    rows = power_of(
        suites, config.gate, known, completions=config.decoding.repeats, sequential=sequential
    )
    if as_json:
        typer.echo(power_json(rows, config.gate))
    else:
        print_power(rows, config.gate)


def read_pilot(path: Path) -> Pilot:
    """The comparison, or the run of one arm, that lies at `path`; UsageError for anything else."""
    from evalkit.noise import Pilot
    from evalkit.store.runs import COMPARISON, MANIFEST, read_comparisons, read_run

    if path.is_file() or (path / COMPARISON).is_file():
        return Pilot(comparisons=read_comparisons(path))
    if (path / MANIFEST).is_file():
        return Pilot(run=read_run(path))
    what = "holds neither a comparison nor a finished run" if path.is_dir() else "does not exist"
    raise UsageError(
        f"--pilot: {path} {what}. Name the folder of a comparison (runs/compare/…) or of a run, "
        "or make one with `evalkit compare base.yaml tuned.yaml --limit 50`."
    )
