"""train and demo."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evalkit.cli.options import (
    Fresh,
    Manner,
    Questions,
    Results,
    Sets,
    examples,
    load_configs,
    program,
    spread,
    working,
)
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from trainers.sft import TrainResult

TRAIN_EXAMPLES = examples("evalkit train examples/rednote/qlora.yaml --set epochs=2")
DEMO_EXAMPLES = examples(
    "evalkit demo",
    "evalkit demo --fixed",
    "evalkit demo --model ./my-model",
)


@spread
def train(
    file: Annotated[Path, typer.Argument(help="The recipe's YAML file.")],
    *,
    sets: Sets = None,
    fresh: Fresh = False,
    manner: Manner,
) -> None:
    """Train an adapter, ready to be compared with its base.

    Writes it with a data card, a loss curve and a tuned.yaml for `evalkit compare`.
    """
    _train(file, sets or (), manner, fresh=fresh)


def _train(file: Path, sets: Sequence[str], manner: Manner, *, fresh: bool) -> None:
    from evalkit.configfile import load_config
    from trainers.config import TrainConfig
    from trainers.sft import train as train_adapter

    recipe = load_config(file, TrainConfig, sets)
    with working(manner) as progress:
        result = train_adapter(recipe, progress=progress, fresh=fresh, offline=manner.offline)
    typer.echo(f"Loss       {_losses(result)}")
    typer.echo(f"Adapter    {_from_here(result.adapter)}")
    typer.echo(f"Data card  {_from_here(result.folder / 'data_card.md')}")
    beside = file.parent / "base.yaml"
    base = beside if beside.is_file() else Path("BASE.yaml")
    # base.yaml names the model that the recipe names; with another, it needs the same change.
    changed = any(text.partition("=")[0].strip() == "model" for text in sets)
    same = [f"model.path={recipe.model}"] if changed else []
    typer.echo(f"Compare    {_command('compare', [base, result.tuned], same)}")


@spread
def demo(
    *,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Train the mixed recipe too and compare all three arms.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Another base model: a hub id or a folder.")
    ] = "HuggingFaceTB/SmolLM2-135M-Instruct",
    folder: Annotated[Path, typer.Option(help="Where the example's files are.")] = Path(
        "examples/rednote"
    ),
    fresh: Fresh = False,
    manner: Manner,
) -> None:
    """Train on the shipped notes, compare, explain the verdict.

    It succeeds whatever the verdict is.
    """
    from evalkit.cli.evaluating import compare_arms
    from evalkit.gate.decide import MEANING

    if not (folder / "base.yaml").is_file():
        raise UsageError(
            f"There is no {folder / 'base.yaml'}. The example is not in the installed package: run "
            "this in a checkout of the repository, or name the folder with --folder."
        )
    flags = _flags({"fresh": fresh, **asdict(manner)})
    recipes = ["qlora.yaml", "qlora-mixed.yaml"] if fixed else ["qlora.yaml"]
    tuned = []
    for number, name in enumerate(recipes, start=1):
        sets = _on_another_base(folder / name, model)
        command = _command("train", [folder / name], sets, flags)
        typer.secho(f"\n[{number}] {command}", bold=True)
        _train(folder / name, sets, manner, fresh=fresh)
        tuned.append(_tuned_yaml(folder / name, sets))
    files, sets = [folder / "base.yaml", *tuned], _of_another_base(folder / "base.yaml", model)
    typer.secho(f"\n[{len(recipes) + 1}] {_command('compare', files, sets, flags)}", bold=True)
    configs = load_configs(files, Questions(sets=sets))
    code = compare_arms(configs, Results(fresh=fresh), manner)
    typer.echo(f"\n`evalkit compare` would end with exit code {code.value} ({MEANING[code]}).")


def _flags(given: Mapping[str, Any]) -> list[str]:
    """Options as they were given: switches by their name, others with their value."""
    flags = []
    for name, value in given.items():
        if value:
            flags.append(f"--{name.replace('_', '-')}")
            flags += [] if value is True else [str(value)]
    return flags


def _command(
    name: str, files: Sequence[Path], sets: Sequence[str] = (), flags: Sequence[str] = ()
) -> str:
    """A command as a shell takes it from the current folder, with all it was given."""
    overrides = [word for text in sets for word in ("--set", text)]
    words = [name, *(str(_from_here(file)) for file in files), *overrides, *flags]
    return f"{program()} {shlex.join(words)}"


def _from_here(path: Path) -> Path:
    """Relative where it lies below the current folder, else as it was given."""
    here, full = Path.cwd(), path.absolute()
    return full.relative_to(here) if full.is_relative_to(here) else path


def _losses(result: TrainResult) -> str:
    """Loss on the training rows and, before and after, on the rows held out."""
    shown = f"{result.loss:.3f} on {result.train_rows} rows, {result.steps} steps"
    if result.eval_loss is not None and result.eval_loss_before is not None:
        shown += (
            f"; held out ({result.held_out_rows} rows): "
            f"{result.eval_loss_before:.3f} before, {result.eval_loss:.3f} after"
        )
    return shown + (" (finished before; nothing was computed)" if result.reused else "")


def _on_another_base(recipe: Path, model: str) -> list[str]:
    """What to set for another base: its path, and a name, so that each base has its own folder."""
    from evalkit.configfile import load_config
    from trainers.config import TrainConfig

    written = load_config(recipe, TrainConfig)
    if model == written.model:
        return []
    mark = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(model).name).strip("-.") or "model"
    return [f"model={model}", f"name={written.name}-{mark}"]


def _of_another_base(base: Path, model: str) -> list[str]:
    """What to set in the arms for another base; nothing where base.yaml names this one."""
    from evalkit.config import RunConfig
    from evalkit.configfile import load_config

    written = load_config(base, RunConfig).model_dump()["model"]
    return [] if written.get("path") == model else [f"model.path={model}"]


def _tuned_yaml(recipe: Path, sets: list[str]) -> Path:
    from evalkit.configfile import load_config
    from trainers.config import TrainConfig

    return load_config(recipe, TrainConfig, sets).folder / "tuned.yaml"
