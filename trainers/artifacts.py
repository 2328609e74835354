"""What a finished run leaves: the adapter, how it came about, and the file to compare it with."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from evalkit import __version__
from evalkit.errors import TrainingError
from evalkit.models.hf.tokenizers import template_hash, tokenizer_hash
from evalkit.models.weights import AdapterRecord, adapter_hash, write_adapter_record
from evalkit.store.runs import write_text
from trainers.config import TrainConfig
from trainers.data.encode import Encoder
from trainers.folder import MANIFEST, base_name

ADAPTER = "adapter"
TUNED = "tuned.yaml"
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets")


def save_adapter(
    model: Any, encoder: Encoder, config: TrainConfig, base_weights: str, folder: Path
) -> Path:
    """Write the adapter, its tokenizer and its record, and move them into place in one step.

    Raises TrainingError when training changed nothing.
    """
    _refuse_unchanged(model)
    arriving, adapter = folder / f".{ADAPTER}", folder / ADAPTER
    shutil.rmtree(arriving, ignore_errors=True)
    for settings in model.peft_config.values():
        settings.revision = config.revision
        # A set in memory: written sorted, equal runs leave equal files.
        settings.target_modules = sorted(settings.target_modules)
    model.save_pretrained(arriving)
    _name_base(arriving / "adapter_config.json", config)
    (arriving / "README.md").unlink(missing_ok=True)  # peft's unfilled form
    encoder.tokenizer.save_pretrained(arriving)
    record = AdapterRecord(
        base=base_name(config),
        revision=config.revision,
        base_weights=base_weights,
        tokenizer=tokenizer_hash(encoder.tokenizer),
        template=template_hash(encoder.template),
        versions=versions(),
        config=portable(config),
    )
    write_adapter_record(arriving, record)
    shutil.rmtree(adapter, ignore_errors=True)
    arriving.replace(adapter)
    return adapter


def _name_base(file: Path, config: TrainConfig) -> None:
    """Write the base's name over its folder on this machine.

    Only now: to save, peft looks the base up by it, and would ask the hub for a bare name.
    """
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base_name(config)
    file.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def _refuse_unchanged(model: Any) -> None:
    """LoRA begins as exact zeros in B: zeros at the end mean that no step was taken."""
    changed = [
        bool(weight.detach().abs().max() > 0)
        for name, weight in model.named_parameters()
        if "lora_B" in name
    ]
    if not any(changed):
        raise TrainingError(
            "Training changed nothing: the adapter is all zeros. Raise `learning_rate` or the "
            "number of steps."
        )


def portable(config: TrainConfig) -> dict[str, Any]:
    """The configuration without this machine's folders."""
    said = config.model_dump(mode="json", exclude={"output"})
    said["model"] = base_name(config)
    for file, row in zip(config.data, said["data"], strict=True):
        row["path"] = file.path.name
    if config.chat_template is not None:
        said["chat_template"] = config.chat_template.name
    return said


def write_tuned(config: TrainConfig, folder: Path) -> Path:
    """The tuned arm, ready for `evalkit compare`: it says only what differs from the base."""
    path = config.model
    local = Path(path).expanduser()
    if local.is_dir():  # beside the file that names it, so that the folders can move together
        path = os.path.relpath(local.resolve(), folder.resolve())
        path = path if path.startswith(".") else f"./{path}"
    model: dict[str, Any] = {"kind": "hf", "path": path}
    if config.revision is not None:
        model["revision"] = config.revision
    model["adapter"] = ADAPTER
    if config.trust_remote_code:
        model["trust_remote_code"] = True
    if config.chat_template is not None:
        model["chat_template"] = f"{ADAPTER}/chat_template.jinja"
    text = yaml.safe_dump(
        {"name": config.name, "model": model}, sort_keys=False, allow_unicode=True
    )
    write_text(folder / TUNED, text)
    return folder / TUNED


def write_manifest(
    folder: Path, config: TrainConfig, base_weights: str, facts: Mapping[str, Any]
) -> None:
    """The last file of a run: where it is, everything else is."""
    manifest = {
        "schema_version": 1,
        "name": config.name,
        "config": portable(config),
        "fingerprints": {
            "base_weights": base_weights,
            "adapter": adapter_hash(folder / ADAPTER),
        },
        "versions": versions(),
        **facts,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Ours, and those of every package that takes part in the numbers."""
    found = {"evalkit": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def as_row(record: Any) -> dict[str, Any]:
    """A record as JSON writes it, paths as text."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(record).items()
    }
