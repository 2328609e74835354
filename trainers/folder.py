"""A training run's folder: whose it is, how far it came, and starting over."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError, StoreError, TrainingError
from evalkit.models.weights import config_hash
from evalkit.store.runs import write_text
from trainers.config import TrainConfig

STATE = "train.json"
MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"

# Where a run is written, and what of it is kept, says nothing of what it computes.
_NO_MATTER = ("output", "keep_checkpoints")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def run_state(config: TrainConfig, base: Path, base_weights: str) -> dict[str, Any]:
    """All that determines the result; a run may only be continued under an equal one.

    Files, and a base in a folder, count by name and content, not by where they lie. Raises
    TrainingError for one that cannot be read, ModelError for the base's config.json.
    """
    said = config.model_dump(mode="json", exclude=set(_NO_MATTER))
    said["model"] = base_name(config)
    for file, row in zip(config.data, said["data"], strict=True):
        row.update(_file_state(file.path, "training data"))
    if config.chat_template is not None:
        said["chat_template"] = _file_state(config.chat_template, "chat template")
    try:
        settings = config_hash(base, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ModelError(f"{base / 'config.json'} cannot be read: {error}") from error
    return {"config": said, "base_weights": base_weights, "base_config": settings}


def base_name(config: TrainConfig) -> str:
    """The base as it is known anywhere: its hub id, or the name of its folder alone."""
    folder = Path(config.model).expanduser()
    return folder.resolve().name if folder.is_dir() else config.model


def _file_state(file: Path, what: str) -> dict[str, str]:
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(f"Cannot read the {what} {file}: {error.strerror or error}.") from error
    return {"path": file.name, "sha256": digest}


@contextmanager
def claimed(folder: Path, state: Mapping[str, Any], *, fresh: bool) -> Iterator[None]:
    """Make the folder this run's own, or refuse what is not its to continue or delete.

    Raises TrainingError for another run's folder, one of another configuration, or one in which
    a training is going on; StoreError where the folder cannot be used.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / STATE).is_file():
            foreign = sorted(each.name for each in folder.iterdir() if each.name != ".lock")
            if foreign:
                raise TrainingError(
                    f"{folder} holds files that no training run made ({', '.join(foreign[:3])}). "
                    "Give another `output` or `name`."
                )
        with (folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"A training is already running in {folder}.") from None
            if fresh:
                _empty(folder)
            _agree(folder, state)
            yield


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.name == ".lock":
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _agree(folder: Path, state: Mapping[str, Any]) -> None:
    file = folder / STATE
    if not file.is_file():
        write_text(file, json.dumps(state, indent=2, ensure_ascii=False) + "\n")
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{file} is damaged. Start over with --fresh.") from error
    if known != state:
        changed = ", ".join(_changed(known, dict(state))) or "its format"
        raise TrainingError(
            f"{folder} holds a run of another configuration (changed: {changed}). Start over with "
            "--fresh, which deletes it, or give this run another `name`."
        )


def _changed(known: Any, now: Any, at: str = "") -> list[str]:
    """Dotted names of the values in which two states differ."""
    if isinstance(known, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*known, *now))
        return [
            name
            for key in keys
            for name in _changed(known.get(key), now.get(key), f"{at}.{key}" if at else key)
        ]
    if isinstance(known, list) and isinstance(now, list) and len(known) == len(now):
        pairs = zip(known, now, strict=True)
        return [n for i, (a, b) in enumerate(pairs) for n in _changed(a, b, f"{at}.{i}")]
    return [] if known == now else [at.removeprefix("config.")]


def last_checkpoint(folder: Path, marker: str) -> Path | None:
    """The newest checkpoint that was written whole; half-written ones are deleted."""
    whole: dict[int, Path] = {}
    for each in (folder / CHECKPOINTS).glob("checkpoint-*"):
        step = each.name.removeprefix("checkpoint-")
        if (each / marker).is_file() and step.isdecimal():
            whole[int(step)] = each
        else:
            shutil.rmtree(each)
    return whole[max(whole)] if whole else None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the disk can do to a run into an error that names the place and the way out.

    Raises StoreError for a full disk and a folder that is not ours to use, TrainingError for
    whatever else the system refuses: a file of the base that cannot be read, for one.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"Cannot write to {error.filename or folder}: the disk is full. What was complete "
                "is kept: free some space and run the same command again to go on."
            ) from error
        if error.errno in _CLOSED and _concerns(error, folder):
            raise StoreError(
                f"Cannot write to {folder}: {error}. What was complete is kept: make the folder "
                "yours to read and write and run the same command again, or give another `output`."
            ) from error
        raise TrainingError(
            f"The training in {folder} was stopped by the system: {error}. What was complete is "
            "kept: when the cause is gone, run the same command again to go on."
        ) from error


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether the trouble is in the folder, or above it where it should be made."""
    if not isinstance(error.filename, str):
        return False
    troubled, ours = Path(error.filename).absolute(), folder.absolute()
    return troubled.is_relative_to(ours) or ours.is_relative_to(troubled)
