"""What `--model_args` says: one arm of a file, or a model by lm-eval's own names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from evalkit.config import HFModel, RunConfig
from evalkit.configfile import load_arms, load_config
from evalkit.errors import UsageError
from evalkit.harnesses.rows import near

_THEIRS = {"pretrained": "path", "peft": "adapter"}
_OURS = tuple(name for name in HFModel.model_fields if name not in ("kind", "path", "adapter"))
_KNOWN = ("config", "base", *_THEIRS, *_OURS, "model")  # the last: what the output is called
_INSTEAD = {
    "load_in_4bit": "quantization=nf4",
    "load_in_8bit": "quantization=int8",
    "max_batch_size": "batch_tokens=N",
    "path": "pretrained=…",
    "adapter": "peft=…",
}


class Arm(NamedTuple):
    """The one model that answers, and what it is called."""

    name: str
    model: HFModel


class _ArmFile(RunConfig):
    """A run's file of which the model alone is read, so that it need not name suites."""

    suites: tuple[str, ...] = ()


def read_arm(given: Mapping[str, Any]) -> Arm:
    """The arm that model_args describe; raises UsageError for what makes no sense in them."""
    unknown = [name for name in given if name not in _KNOWN]
    if unknown:
        name = unknown[0]
        hint = f" Write {_INSTEAD[name]}." if name in _INSTEAD else near(name, _KNOWN)
        hint = hint or f" It takes {', '.join(_KNOWN)}."
        raise UsageError(f"--model_args: the model evalkit has no {name!r}.{hint}")
    settings = {name: given[name] for name in _OURS if name in given}
    if "config" in given:
        return _of_file(given, settings)
    if "pretrained" not in given or "base" in given:
        raise UsageError(
            "--model_args: name the model, by config=FILE (an evalkit YAML file) or by "
            "pretrained=FOLDER_OR_HUB_ID; base=FILE goes with config."
        )
    if "peft" in given:
        settings["adapter"] = _adapter(str(given["peft"]))
    told = {"kind": "hf", "path": str(given["pretrained"]), **settings}
    return Arm(str(given.get("peft", given["pretrained"])), _checked(told))


def _of_file(given: Mapping[str, Any], settings: Mapping[str, Any]) -> Arm:
    """The file's model; what else it says is for evalkit's own commands."""
    both = [name for name in _THEIRS if name in given]
    if both:
        raise UsageError(f"--model_args: config=FILE names the model, so leave out {both[0]}.")
    file = Path(str(given["config"]))
    config: RunConfig
    if "base" in given:
        config = load_arms([Path(str(given["base"])), file])[-1]
    else:
        config = load_config(file, _ArmFile)
    if not isinstance(config.model, HFModel):
        raise UsageError(
            f"{file}: model.kind: {config.model.kind!r} has no log-likelihoods of its own to give "
            "to lm-eval; kind: hf has. For a server, use lm-eval's own local-completions."
        )
    return Arm(config.name, _checked({**config.model.model_dump(), **settings}))


def _adapter(path: str) -> str:
    if not Path(path).expanduser().is_dir():
        raise UsageError(
            f"--model_args: peft: {path} is no folder. evalkit takes adapters from folders; "
            f"bring it here with: hf download {path} --local-dir FOLDER"
        )
    return path


def _checked(told: Mapping[str, Any]) -> HFModel:
    try:
        return HFModel.model_validate(told)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise UsageError(f"--model_args: {wrong}.") from None
