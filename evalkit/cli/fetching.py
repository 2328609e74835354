"""fetch: what runs need, brought here or listed for a machine that can bring it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import (
    IncludePath,
    Manner,
    Questions,
    Suites,
    examples,
    load_configs,
    spread,
    working,
)
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.data.needs import Need

FETCH_EXAMPLES = examples(
    "evalkit fetch HuggingFaceTB/SmolLM2-135M-Instruct",
    "evalkit fetch openai/gsm8k --data --config main --split test",
    "evalkit fetch base.yaml tuned.yaml --plan",
    "evalkit fetch base.yaml tuned.yaml --to evalkit-data",
    "evalkit fetch base.yaml tuned.yaml --suites lm_eval:hellaswag,forgetting --plan",
)


@spread
def fetch(
    what: Annotated[
        list[str],
        typer.Argument(help="Hub ids, modelscope:ORG/NAME, or the YAML files of a comparison."),
    ],
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only list what is needed, and the commands for it.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="A folder to fetch into as ORG/NAME: a data root to carry elsewhere."),
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="The ids are of data sets.")] = False,
    config: Annotated[str | None, typer.Option(help="A data set's configuration.")] = None,
    split: Annotated[
        str | None, typer.Option(help="A data set's splits, parted by comma; all without.")
    ] = None,
    files: Annotated[
        str | None, typer.Option(help="A pattern of a data set's files, instead of splits.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; the hub's default without.")
    ] = None,
    suites: Suites = None,
    table: Annotated[
        Path | None, typer.Option(help="The table that the run will ask with its own --data.")
    ] = None,
    include_path: IncludePath = None,
    manner: Manner,
) -> None:
    """Get models and data sets, or say where they already are."""
    from evalkit.needs import fetch_need

    if not data and (config or split or files):
        raise UsageError("--config, --split and --files are of data sets: add --data.")
    with working(manner) as progress:
        paths = [Path(one) for one in what if one.endswith((".yaml", ".yml"))]
        if paths:
            if len(paths) < len(what) or data or revision:
                raise UsageError(
                    "fetch takes ids, or the YAML files of a comparison, which say themselves "
                    "what they need: not both, and files without --data and --revision."
                )
            asking = Questions(suites=suites, data=table, include_path=include_path)
            needs = _needs_of(paths, asking)
        elif suites or table or include_path:
            raise UsageError(
                "--suites, --table and --include-path are of a run: name the YAML files of its "
                "models."
            )
        else:
            asked = partial(_need, revision=revision, config=config, split=split, files=files)
            needs = [asked(one, data=data) for one in what]
        if plan:
            _tell_plan(needs, to, offline=manner.offline)
            return
        for need in needs:
            folder = fetch_need(need, to, offline=manner.offline, progress=progress)
            typer.echo(str(folder))


def _needs_of(files: Sequence[Path], asking: Questions) -> list[Need]:
    """What the run of these files needs, with the options that it will be given."""
    from evalkit.needs import needs_of

    return needs_of(load_configs(files, asking))


def _need(
    text: str,
    *,
    data: bool,
    revision: str | None,
    config: str | None,
    split: str | None,
    files: str | None,
) -> Need:
    """What an id on the command line asks for."""
    from evalkit.data.needs import Need
    from evalkit.data.places import parse_name

    name = parse_name(text)
    if name is None:
        raise UsageError(
            f"{text!r} is no hub id (like openai/gsm8k or modelscope:ORG/NAME) and no YAML file."
        )
    return Need(
        kind="dataset" if data else "model",
        name=name,
        revision=revision,
        config=config,
        splits=tuple(part.strip() for part in (split or "").split(",") if part.strip()),
        files=files,
    )


def _tell_plan(needs: Sequence[Need], to: Path | None, *, offline: bool) -> None:
    """What is needed, which of it is here, how large the rest is, and how it is fetched."""
    from evalkit.data.needs import BUNDLE
    from evalkit.needs import standing

    found = [standing(need, offline=offline) for need in needs]
    for one in found:
        if one.folder is not None:
            state = f"here ({one.folder})"
        elif one.size is not None:
            state = f"missing, {one.size / 1e6:,.1f} MB"
        else:
            state = f"missing, size not known ({one.unknown})"
        typer.echo(f"{one.need}: {state}")
    missing = [one.need for one in found if one.folder is None]
    if not missing:
        typer.echo("Nothing has to be fetched.")
        return
    bundle = str(to or BUNDLE)
    typer.echo("\nOn a machine that reaches the hub:")
    for need in missing:
        typer.echo(f"  {need.command(bundle)}")
    typer.echo(f"Then bring the folder here and name it: --data-root {shlex.quote(bundle)}")
