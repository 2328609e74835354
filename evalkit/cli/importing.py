"""import: what other tools logged becomes a run, which is compared and gated like any other."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from evalkit.cli.options import Json, Manner, Output, Quiet, examples, program, working

if TYPE_CHECKING:
    from evalkit.imports.base import Imported
    from evalkit.progress import Progress

app = typer.Typer(no_args_is_help=True, help="Make runs of what other tools logged.")

Name: TypeAlias = Annotated[
    str, typer.Option("--name", help="The run's name; default: the model's in the log.")
]
Lower: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--lower-is-better",
        help="A metric of which less is better; may be given again. Logs do not say which.",
    ),
]


@app.command(
    "lm_eval",
    epilog=examples(
        "evalkit import lm_eval out/base --name base",
        "evalkit import lm_eval out/tuned --name tuned",
        "evalkit gate runs/base-1a2b3c4d5e runs/tuned-4d5e6f7a8b",
    ),
)
def lm_eval(
    path: Annotated[
        Path,
        typer.Argument(
            help="lm-eval's --output_path, written with --log_samples; or results_*.json."
        ),
    ],
    name: Name = "",
    output: Output = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Samples that lm-eval logged."""
    from evalkit.imports.lm_eval import read_lm_eval

    _import(lambda progress: [read_lm_eval(path, progress)], name, output, as_json, quiet)


@app.command(
    "inspect",
    epilog=examples(
        "evalkit import inspect logs/base.eval --name base",
        "evalkit import inspect logs/base_arc.eval logs/base_gsm8k.json --name base",
    ),
)
def inspect(
    paths: Annotated[
        list[Path], typer.Argument(help="Logs of one model: .eval or .json, each of another task.")
    ],
    lower: Lower = None,
    name: Name = "",
    output: Output = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Logs of inspect_ai."""
    from evalkit.imports.directions import directed
    from evalkit.imports.inspect_ai import read_inspect

    _import(
        lambda progress: directed([read_inspect(paths, progress)], lower or ()),
        name,
        output,
        as_json,
        quiet,
    )


@app.command("opencompass", epilog=examples("evalkit import opencompass outputs/default"))
def opencompass(
    path: Annotated[
        Path, typer.Argument(help="OpenCompass's --work-dir, or one of the time stamps in it.")
    ],
    lower: Lower = None,
    name: Name = "",
    output: Output = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A work folder of OpenCompass; a run for each model in it."""
    from evalkit.imports.directions import directed
    from evalkit.imports.opencompass import read_opencompass

    _import(
        lambda progress: directed(read_opencompass(path, progress), lower or ()),
        name,
        output,
        as_json,
        quiet,
        listed=True,
    )


@app.command("promptfoo", epilog=examples("evalkit import promptfoo results.json"))
def promptfoo(
    path: Annotated[Path, typer.Argument(help="What `promptfoo eval -o results.json` wrote.")],
    lower: Lower = None,
    name: Name = "",
    output: Output = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A result file of promptfoo; a run for each provider in it."""
    from evalkit.imports.directions import directed
    from evalkit.imports.promptfoo import read_promptfoo

    _import(
        lambda progress: directed(read_promptfoo(path, progress), lower or ()),
        name,
        output,
        as_json,
        quiet,
        listed=True,
    )


@app.command(
    "alpaca_eval",
    epilog=examples(
        "evalkit import alpaca_eval results/my-model/annotations.json",
        "evalkit import alpaca_eval alpaca-7b.jsonl.gz claude-2.jsonl.gz -o runs",
    ),
)
def alpaca_eval(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Annotations of models judged against one baseline: annotations.json, or JSONL, "
            "gzipped or not."
        ),
    ],
    output: Output = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judgements that AlpacaEval recorded; a comparison of each model with the baseline."""
    from evalkit.imports.alpaca_eval import read_alpaca_eval
    from evalkit.judging.logs import keep_log
    from reports.leaderboard import leaderboard_json, print_leaderboard

    with working(Manner(quiet=quiet)) as progress:
        found = keep_log(read_alpaca_eval(paths, progress), output)
    if as_json:
        typer.echo(leaderboard_json(found.comparisons, str(found.folder)))
        return
    print_leaderboard(found.comparisons)
    folder = shlex.quote(str(found.folder))
    typer.echo(f"Comparison {found.folder}")
    typer.echo(f"Report     {program()} report {folder}")
    typer.echo(f"Dashboard  {program()} dashboard {folder}")


def _import(
    read: Callable[[Progress], Sequence[Imported]],
    name: str,
    output: Path,
    as_json: bool,
    quiet: bool,
    *,
    listed: bool = False,
) -> None:
    """Read a log, write a run folder for each model in it, and say what came of it.

    `listed`: a log of this tool may hold several models, so that the JSON is a list of runs.
    """
    from evalkit.imports.base import keep, slug
    from reports.machine import run_json, runs_json
    from reports.terminal import print_run

    with working(Manner(quiet=quiet)) as progress:
        found = read(progress)
        several = len(found) > 1
        runs = [
            keep(one, f"{name}-{slug(one.model)}" if name and several else name, output)
            for one in found
        ]
    if as_json:
        typer.echo(runs_json(runs) if listed else run_json(runs[0]))
        return
    for run in runs:
        print_run(run)
        for note in run.manifest.notes:
            typer.echo(f"Note       {note}")
