"""data: what lies in a data root, and putting published data sets there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Reach, examples, reaching, spread

app = typer.Typer(no_args_is_help=True, help="Data sets on this machine.")


@app.command(epilog=examples("evalkit data show openai/gsm8k --data-root evalkit-data"))
@spread
def show(
    name: Annotated[str, typer.Argument(help="A data set's id, or a folder.")], *, reach: Reach
) -> None:
    """Say which configurations and splits a data set has, and where its files are."""
    from evalkit.data.find import find_data_set

    with reaching(reach):
        found = find_data_set(name)
    typer.echo(f"Folder  {found.folder}")
    for config in found.layout:
        for split, files in found.splits(config).items():
            here = sum(file.is_file() for file in files)
            typer.echo(f"{config}  {split}  {here} of {len(files)} files here")


@app.command(epilog=examples("evalkit data convert agieval AGIEval/data/v1 --to evalkit-data"))
def convert(
    kind: Annotated[str, typer.Argument(help="gsm8k, cmmlu or agieval.")],
    source: Annotated[Path, typer.Argument(help="The folder its authors publish.")],
    to: Annotated[Path, typer.Option(help="The data root to write into.")] = Path("evalkit-data"),
) -> None:
    """Put a published data set into a data root, as the hub's copy has it."""
    from evalkit.data.convert import convert as convert_data

    for made in convert_data(kind, source, to):
        typer.echo(f"{made.file}  {made.rows:,} rows")
