"""suites list, show, new, check."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from evalkit.cli.options import examples, program

OwnFiles: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of your own tasks (lm_eval:NAME) or configs (opencompass:NAME)."),
]

app = typer.Typer(no_args_is_help=True, help="List, show, make and check suites.")


@app.command("list", epilog=examples("evalkit suites list", "evalkit suites list opencompass:mmlu"))
def list_suites(
    names: Annotated[
        str, typer.Argument(help="opencompass:TEXT lists OpenCompass's names with TEXT in them.")
    ] = "",
) -> None:
    """Every suite that can be named in a YAML file, and where it lies.

    lm-eval lists its own tasks: evalkit lm_eval ls tasks.
    """
    if names:
        _list_opencompass(names)
        return
    from evalkit.harnesses.native import find_suites, suite_folders
    from evalkit.harnesses.sets import find_sets
    from reports.listing import print_sets, print_suites

    print_suites(find_suites())
    print_sets(find_sets(suite_folders()))


def _list_opencompass(names: str) -> None:
    from evalkit.errors import UsageError
    from evalkit.harnesses.opencompass.names import PREFIX, names_with

    if not names.startswith(PREFIX):
        raise UsageError(f"{names!r}: leave it out, or write {PREFIX}TEXT.")
    for name in names_with(names.removeprefix(PREFIX)):
        typer.echo(PREFIX + name)


@app.command(epilog=examples("evalkit suites show style/rednote-en"))
def show(
    name: Annotated[str, typer.Argument(help="The suite's name.")],
    include_path: OwnFiles = None,
) -> None:
    """What a suite asks, how it is scored, and three of its prompts.

    The prompts are shown as a model gets them.
    """
    from evalkit.harnesses.scaffold import check_suite
    from reports.listing import print_suite

    print_suite(check_suite(name, include_path))


@app.command(epilog=examples("evalkit suites new my/faq faq.csv --prompt question --target answer"))
def new(
    name: Annotated[str, typer.Argument(help="family/name of the new suite.")],
    source: Annotated[Path, typer.Argument(help="A CSV or JSONL file with one sample a row.")],
    prompt: Annotated[
        str | None, typer.Option(help="Column that holds the question; guessed if left out.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column that holds the answer; guessed if left out.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="How answers are scored; chosen by the task if left out.")
    ] = None,
    task: Annotated[
        Literal["choice", "generate", "perplexity"] | None,
        typer.Option(help="What is asked of the model; guessed if left out."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where suites of your own live.")] = Path("suites"),
) -> None:
    """Make a suite from a table; the YAML it writes explains itself."""
    from evalkit.harnesses.scaffold import new_suite

    made = new_suite(source, folder, name, task=task, prompt=prompt, target=target, scorer=scorer)
    look = f"{program()} suites check {shlex.quote(str(made))}"
    typer.echo(f"Wrote {made}. Look at it with: {look}")


@app.command(epilog=examples("evalkit suites check my/faq"))
def check(
    name: Annotated[str, typer.Argument(help="A suite's name or folder.")],
    include_path: OwnFiles = None,
) -> None:
    """Validate a suite and show three of its prompts.

    It fails if the suite has a problem.
    """
    from evalkit.errors import ExitCode
    from evalkit.harnesses.scaffold import check_suite
    from reports.listing import print_suite

    report = check_suite(name, include_path)
    print_suite(report)
    if report.problems:
        raise typer.Exit(ExitCode.USAGE)
