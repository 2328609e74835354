"""Options that several commands share, and what they open."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from evalkit.config import RunConfig
    from evalkit.progress import Progress

Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the file (a.b=1).",
    ),
]
Suites: TypeAlias = Annotated[
    str | None, typer.Option(help="Suites to run, separated by commas, instead of the file's.")
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="A seeded random subset of N samples per suite, the same per arm."),
]
Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Folder for results.")]
Formats: TypeAlias = Annotated[
    str,
    typer.Option("--format", help="html, markdown, json, csv, junit; several are parted by comma."),
]
GateFile: TypeAlias = Annotated[
    Path | None, typer.Option("--gate", help="A YAML file with the keys of a gate.")
]
Fresh: TypeAlias = Annotated[
    bool,
    typer.Option("--fresh/--resume", help="Compute all anew, or go on from what is stored."),
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the plan (samples, tokens, time) and run nothing; a model that is not on this "
        "machine is fetched for it.",
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Machine-readable result on stdout; progress on stderr.")
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also what the libraries say.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="The result alone.")]


def examples(*commands: str) -> str:
    """The end of a command's help, one example a line; \\b keeps them from being re-wrapped."""
    lines = "".join(f"\n  {command}" for command in commands)
    return f"{'Example' if len(commands) == 1 else 'Examples'}:\n\n\b{lines}"


def program() -> str:
    """How this program is called from here: by name if that finds it, else by its path."""
    if shutil.which("evalkit") == str(Path(sys.argv[0]).absolute()):
        return "evalkit"
    beside = Path(sys.argv[0])
    return shlex.quote(os.path.relpath(beside)) if beside.name == "evalkit" else "evalkit"


@contextmanager
def working(*, verbose: bool, quiet: bool, offline: bool = False) -> Iterator[Progress]:
    """Progress on stderr while work goes on; the libraries below are hushed unless asked for."""
    from reports.terminal import RichProgress

    if not verbose:
        hush_libraries()
    ours = logging.getLogger("evalkit")
    before = ours.level
    ours.setLevel(logging.DEBUG if verbose else before)  # whoever hushes a library asks it
    try:
        with _offline_libraries(offline), RichProgress(quiet=quiet) as progress:
            yield progress
    finally:
        ours.setLevel(before)


@contextmanager
def _offline_libraries(offline: bool) -> Iterator[None]:
    """Tell the libraries below, which look into the environment, to keep off the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if offline else ()
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def hush_libraries() -> None:
    """Silence libraries' progress bars and warnings: ours say what a user needs to know."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    warnings.simplefilter("ignore")
    for name in ("transformers", "peft", "bitsandbytes", "trl", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_configs(
    files: Sequence[Path], sets: Sequence[str] | None, suites: str | None, limit: int | None
) -> list[RunConfig]:
    """The arms of a command, base first, with the command line's own wishes applied."""
    from evalkit.configfile import apply_overrides, load_arms

    overrides = list(sets or [])
    if limit is not None:
        overrides.append(f"limit={limit}")
    configs = load_arms(files, overrides)
    if suites is None:
        return configs
    names = [name.strip() for name in suites.split(",") if name.strip()]
    narrowed = [apply_overrides(one, [f"suites={names!r}"]) for one in configs]
    return [_without(one, set(configs[0].suites) - set(names)) for one in narrowed]


def _without(config: RunConfig, left_out: Set[str]) -> RunConfig:
    """Without the gates of suites that --suites left out; a misspelt one stays, to be told."""
    kept = {name: one for name, one in config.gate.suites.items() if name not in left_out}
    return config.model_copy(update={"gate": config.gate.model_copy(update={"suites": kept})})
