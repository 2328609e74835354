"""dashboard, cache, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Reach, examples, reaching, spread

DASHBOARD_EXAMPLES = examples("evalkit dashboard runs/compare/base-vs-tuned-1a2b3c")
DOCTOR_EXAMPLES = examples("evalkit doctor")

cache = typer.Typer(no_args_is_help=True, help="What is kept in EVALKIT_HOME.")


def dashboard(
    path: Annotated[
        Path, typer.Argument(help="A comparison's folder, or the folder that holds the runs.")
    ] = Path("runs"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open the dashboard: read the verdict and the answers, vote."""
    from reports.dashboard.launch import launch

    holds_one = path.is_file() or (path / "comparison.json").is_file()
    root = _runs_root(path) if holds_one else path
    raise typer.Exit(
        launch(
            root,
            comparison=path if holds_one else None,
            host=host,
            port=port,
            open_browser=browser,
        )
    )


def _runs_root(path: Path) -> Path:
    """The runs folder a comparison lies in: runs/compare/NAME or runs/compare/NAME/file."""
    folder = path if path.is_dir() else path.parent
    return folder.parent.parent if folder.parent.name == "compare" else folder


@cache.command(epilog=examples("evalkit cache stats"))
def stats() -> None:
    """How much is stored, and where."""
    from evalkit.home import home
    from evalkit.store.completions import CompletionStore

    with CompletionStore(home() / "completions.sqlite") as store:
        size = store.size()
    models = sorted((home() / "models").glob("*")) if (home() / "models").is_dir() else []
    typer.echo(f"Folder       {home()}")
    typer.echo(f"Completions  {size.completions:,} in {size.bytes / 1e6:,.1f} MB")
    for model in models:
        if model.is_dir() and not model.name.startswith("."):
            used = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
            typer.echo(f"Model        {model.name}, {used / 1e6:,.0f} MB")


@cache.command(epilog=examples("evalkit cache clear --yes"))
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget all stored completions; finished runs and models stay."""
    from evalkit.home import home
    from evalkit.store.completions import CompletionStore

    with CompletionStore(home() / "completions.sqlite") as store:
        count = store.size().completions
        if not yes and not typer.confirm(f"Forget {count:,} completions in {store.path}?"):
            typer.echo("Nothing was forgotten.")
            return
        store.clear()
    typer.echo(f"Forgot {count:,} completions.")


@spread
def doctor(*, reach: Reach) -> None:
    """What this machine has and what it lacks.

    Versions, devices, folders and the hub, and the command that installs what is missing.
    """
    from evalkit.doctor import examine
    from evalkit.errors import ExitCode
    from reports.listing import print_findings

    with reaching(reach):
        findings = examine()
    print_findings(findings)
    if any(one.status == "failed" for one in findings):
        raise typer.Exit(ExitCode.INCOMPLETE)
