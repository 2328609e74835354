"""The checkpoints of a training run as tuned arms: found, checked, and set on their base."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evalkit.cli.options import Manner, Questions, load_configs, working
from evalkit.errors import AdapterError, UsageError

if TYPE_CHECKING:
    from evalkit.config import HFModel, RunConfig

# trainers.callbacks.COMPLETE and trainers.artifacts' names, which transformers would come with.
WHOLE, ADAPTER, TUNED = "complete", "adapter", "tuned.yaml"
_LONGEST = 80  # characters of an arm's name
_NOT_TAKEN = ("kind", "path", "revision", "adapter")  # of tuned.yaml: the base's own, or ours


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What lies in a training run's folder: its adapters by step, and what they belong to.

    `halves` are the checkpoints that were not written whole.
    """

    folder: Path
    name: str
    base: str
    base_weights: str
    adapters: dict[int, Path]
    halves: tuple[str, ...]


def checkpoint_arms(
    base: RunConfig, base_file: Path, folder: Path, asked: Questions, manner: Manner
) -> list[RunConfig]:
    """One tuned arm on the base's model for every whole checkpoint of a training run, by step.

    Its settings are those of the run's tuned.yaml, where there is one. Raises UsageError where
    there is nothing to compare, AdapterError where the base is not what was trained.
    """
    from evalkit.config import HFModel

    run = read_training_run(folder)
    if not isinstance(base.model, HFModel):
        raise UsageError(
            f"{base_file}: checkpoints are adapters, which go on a local model (`kind: hf`), not "
            f"on one of `kind: {base.model.kind}`."
        )
    for name in run.halves if not manner.quiet else ():
        typer.echo(f"{name} in {folder} was not written whole and is left out.", err=True)
    model = _with_settings(base.model, base_file, run, asked)
    if not (base.model.allow_other_base or model.allow_other_base):
        _check_base(base.model, base_file, run, manner)
    return [
        base.model_copy(
            update={
                "name": _arm_name(run.name, step),
                "model": model.model_copy(update={"adapter": adapter.resolve()}),
            }
        )
        for step, adapter in run.adapters.items()
    ]


def _arm_name(run: str, step: int) -> str:
    """RUN-step-N: what `reports.steps` knows a checkpoint by."""
    end = f"-step-{step}"
    return run[: _LONGEST - len(end)] + end


def _with_settings(model: HFModel, base_file: Path, run: TrainingRun, asked: Questions) -> HFModel:
    """The base's model with what the run's tuned.yaml, if it got so far, says otherwise."""
    from evalkit.config import HFModel

    tuned = run.folder / TUNED
    if not tuned.is_file():
        return model
    # Without the choice of suites, which would write every default into the file's settings.
    said = load_configs([base_file, tuned], replace(asked, suites=None))[1].model
    if not isinstance(said, HFModel):
        return model
    own = said.model_fields_set - set(_NOT_TAKEN)
    return model.model_copy(update={key: getattr(said, key) for key in own})


def _check_base(model: HFModel, base_file: Path, run: TrainingRun, manner: Manner) -> None:
    """Checkpoints carry no record of their base, as the adapter of a finished run does."""
    from evalkit.models.weights import find_model, weights_hash

    with working(manner) as progress:
        folder = find_model(
            model.path, revision=model.revision, offline=manner.offline, progress=progress
        )
        found = weights_hash(folder)
    if found != run.base_weights:
        raise AdapterError(
            f"{base_file} names {model.path}, but {run.folder} was trained on {run.base}, whose "
            f"weights are others ({run.base_weights[:12]}…, not {found[:12]}…). Name that model, "
            "or set model.allow_other_base: true if that is what you want to measure."
        )


def read_training_run(folder: Path) -> TrainingRun:
    """What the folder of a training run holds; nothing in it is changed.

    Raises UsageError for a folder that is none, and for one without a whole checkpoint.
    """
    from trainers.folder import STATE

    _check_folder(folder)
    whole, halves = _checkpoints(folder)
    state = _read_json(folder / STATE)
    try:
        config, base_weights = dict(state["config"]), str(state["base_weights"])
        name, base = str(config["name"]), str(config["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{folder / STATE} is not what `evalkit train` writes: {error!r}"
        ) from None
    if not whole:
        raise _none_whole(folder, halves, config)
    return TrainingRun(
        folder=folder,
        name=name,
        base=base,
        base_weights=base_weights,
        adapters=dict(sorted({**_final(folder), **whole}.items())),
        halves=tuple(halves),
    )


def _check_folder(folder: Path) -> None:
    from evalkit.configfile.tree import near_files
    from trainers.folder import STATE

    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.{near_files(folder)}")
    if not (folder / STATE).is_file():
        above = (each for each in folder.absolute().parents if (each / STATE).is_file())
        run = next(above, None)
        hint = f"Did you mean {run}?" if run else "By default that is runs/train/NAME."
        raise UsageError(
            f"{folder} is not the folder of a training run: there is no {STATE} in it. {hint}"
        )


def _checkpoints(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """The whole ones by step, and the names of the others."""
    from trainers.folder import CHECKPOINTS

    whole, halves = dict[int, Path](), list[str]()
    for each in sorted((folder / CHECKPOINTS).glob("checkpoint-*")):
        step = each.name.removeprefix("checkpoint-")
        if (each / WHOLE).is_file() and step.isdecimal():
            whole[int(step)] = each
        else:
            halves.append(each.name)
    return whole, halves


def _none_whole(folder: Path, halves: list[str], config: dict[str, Any]) -> UsageError:
    from trainers.folder import MANIFEST

    if (folder / MANIFEST).is_file():
        return UsageError(
            f"{folder} holds no checkpoint: the run is finished, and kept its adapter alone. To "
            f"compare that, name {folder / TUNED} after the base. To have checkpoints, set "
            "`keep_checkpoints: true` in the recipe (and `save_every`) and train with --fresh."
        )
    every = config.get("save_every")
    when = f"every {every} steps" if every else "every quarter of the run, at least 10 steps apart"
    begun = f" ({', '.join(halves)} was begun)" if halves else ""
    return UsageError(
        f"{folder} holds no whole checkpoint yet{begun}. One is written {when}; a lower "
        "`save_every` in the recipe writes them sooner."
    )


def _final(folder: Path) -> dict[int, Path]:
    """The adapter of a finished run, by its step."""
    from trainers.folder import MANIFEST

    if not (folder / MANIFEST).is_file():
        return {}
    result = _read_json(folder / MANIFEST).get("result")
    steps = result.get("steps") if isinstance(result, dict) else None
    return {steps: folder / ADAPTER} if isinstance(steps, int) else {}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}
