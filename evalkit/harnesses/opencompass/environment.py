"""OpenCompass's own environment: locked versions in a folder that is whole or not there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import RunError, SuiteError, UsageError
from evalkit.home import home
from evalkit.progress import Progress

NAME = "opencompass"
LOCK = Path(__file__).with_name("requirements.lock")
PYTHONS = ("3.11", "3.12")
_NOTE = "evalkit.json"
_STEPS = "steps"
_CHUNK = 8  # packages to a step: what a kill makes us install again
_FIRST = "torch"  # with what it needs, which depends on the build that the index has

# What pip says where no index can be reached, or has no such version.
_UNREACHED = re.compile(
    r"NewConnectionError|ConnectTimeout|ConnectionError|name resolution|ProxyError|SSLError"
    r"|No matching distribution|network is unreachable",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The environment as it was made; `stale` where another version of evalkit locked others."""

    folder: Path
    python: str
    versions: Mapping[str, str]
    stale: bool

    @property
    def version(self) -> str:
        """OpenCompass's own version."""
        return self.versions.get(NAME, "")

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    @property
    def configs(self) -> Path:
        """The folder of the configuration files that OpenCompass comes with."""
        found = sorted(self.folder.glob("lib/python*/site-packages/opencompass/configs"))
        return found[0] if found else self.folder / "no-configs"


def folder() -> Path:
    """Where the environment is, or would be: EVALKIT_HOME/envs/opencompass."""
    return home() / "envs" / NAME


def find() -> Installed | None:
    """The environment, if it is there and whole."""
    place = folder()
    try:
        told = json.loads((place / _NOTE).read_text(encoding="utf-8"))
        versions = {str(key): str(one) for key, one in told["versions"].items()}
        return Installed(
            folder=place,
            python=str(told["python"]),
            versions=versions,
            stale=told["lock"] != _digest(LOCK),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def required() -> Installed:
    """The environment; SuiteError says how it is made where it is not there."""
    found = find()
    if found is None:
        raise SuiteError(
            "OpenCompass is not installed, and suites named opencompass:… are its data sets. It "
            "gets an environment of its own by: evalkit harness install opencompass"
        )
    return found


def install(
    python: str | None, progress: Progress, *, again: bool = False, lock: Path = LOCK
) -> Installed:
    """Make the environment, or go on making it; what is there already is left as it is.

    `python` is the interpreter it is made from. It is built beside its place and put there when
    it is whole. Raises UsageError for an interpreter that does not do, RunError where pip fails.
    """
    found = find()
    if found is not None and not found.stale and not again:
        return found
    base = _interpreter(python)
    place = folder()
    part = place.with_name(f"{NAME}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.with_name(f"{NAME}.lock")):
        if again:
            shutil.rmtree(part, ignore_errors=True)
        _begin(part, base, lock, progress)
        _fill(part, lock, progress)
        _finish(part, base, lock, progress)
        _put(part, place)
    made = find()
    assert made is not None, "what was just made can be found"
    return made


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


class _Base(NamedTuple):
    """A Python to make an environment from."""

    path: str
    version: str


def _interpreter(given: str | None) -> _Base:
    path = given or sys.executable
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = _run([path, "-I", "-c", code])
    except OSError as error:
        raise UsageError(f"--python {path}: {error.strerror or error}.") from None
    version = said.stdout.strip()
    if said.returncode or version not in PYTHONS:
        what = f"is Python {version}" if version else "is no Python that runs"
        raise UsageError(
            f"--python {path} {what}; OpenCompass's locked versions need {' or '.join(PYTHONS)}. "
            "Name one: evalkit harness install opencompass --python python3.11"
        )
    return _Base(path, version)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time makes the environment; another is told, and does not wait."""
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                "Another process is installing OpenCompass just now. When it is done, "
                "`evalkit harness list` shows it."
            ) from None
        yield


def _begin(part: Path, base: _Base, lock: Path, progress: Progress) -> None:
    """An empty environment, or the one that an earlier start left for the same lock and Python."""
    mark = f"{_digest(lock)} {base.version}"
    started = part / "started"
    if started.is_file() and started.read_text(encoding="utf-8") == mark:
        progress.say("An earlier start left an unfinished environment: it goes on from there.")
        return
    shutil.rmtree(part, ignore_errors=True)
    made = _run([base.path, "-I", "-m", "venv", str(part)])
    if made.returncode:
        raise RunError(
            f"{base.path} cannot make an environment: {_last(made)}. On Debian and Ubuntu that "
            "needs the package python3-venv."
        )
    started.write_text(mark, encoding="utf-8")


def pins(lock: Path = LOCK) -> list[str]:
    """The locked packages, name==version, the first one first."""
    lines = (line.partition("#")[0].strip() for line in lock.read_text("utf-8").splitlines())
    found = [line for line in lines if line]
    return sorted(found, key=lambda one: not one.startswith(f"{_FIRST}=="))


def _fill(part: Path, lock: Path, progress: Progress) -> None:
    """Install step by step; a step that a kill broke off is done again from its beginning."""
    wanted = pins(lock)
    first = [one for one in wanted if one.startswith(f"{_FIRST}==")]
    rest = wanted[len(first) :]
    steps = [first] if first else []
    steps += [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
    notes = part / _STEPS
    notes.mkdir(exist_ok=True)
    done = [(notes / f"{number}.done").is_file() for number in range(len(steps))]
    finished = sum(len(step) for step, there in zip(steps, done, strict=True) if there)
    progress.start("packages of OpenCompass", len(wanted), finished, unit="packages")
    for number, (step, there) in enumerate(zip(steps, done, strict=True)):
        if there:
            continue
        begun = notes / f"{number}.begun"
        _pip(part, lock, step, alone=step != first, over=begun.exists(), begun=begun)
        (notes / f"{number}.done").touch()
        progress.advance("packages of OpenCompass", len(step), note=step[-1])


def _pip(
    part: Path, lock: Path, packages: Sequence[str], *, alone: bool, over: bool, begun: Path
) -> None:
    begun.touch()
    line = [str(part / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input",
            "--disable-pip-version-check", "--no-warn-script-location", "--quiet",
            *(["--no-deps"] if alone else ["--constraint", str(lock)]),
            *(["--ignore-installed"] if over else []), *packages]  # fmt: skip
    done = _run(line)
    if done.returncode:
        raise RunError(_pip_failed(packages, done))


def _pip_failed(packages: Sequence[str], done: subprocess.CompletedProcess[str]) -> str:
    said = done.stderr + done.stdout
    told = f"pip could not install {', '.join(packages)}: {_last(done)}"
    if "No space left" in said:
        return (
            f"{told}. Free some space, or set EVALKIT_HOME to a larger disk; the same command "
            "goes on from here."
        )
    if _UNREACHED.search(said):
        return (
            f"{told}. Either no package index can be reached, or it has no such version. Name a "
            "mirror by PIP_INDEX_URL or a proxy by HTTPS_PROXY; without a network bring the wheels "
            f"(`pip download -r {LOCK} --no-deps` on another machine), and name their folder by "
            "PIP_FIND_LINKS with PIP_NO_INDEX=1. The same command goes on from here."
        )
    return f"{told}. The same command goes on from here."


def _finish(part: Path, base: _Base, lock: Path, progress: Progress) -> None:
    """See that OpenCompass can be imported, and note what is there."""
    progress.say("Looking whether OpenCompass can be imported …")
    code = (
        "import importlib.metadata as m, json, sys\n"
        "import opencompass.datasets, opencompass.models, opencompass.tasks\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "sys.stdout.write('\\n' + json.dumps(found))"
    )
    done = _run([str(part / "bin" / "python"), "-I", "-c", code], cwd=part)
    if done.returncode:
        raise RunError(
            f"OpenCompass was installed and cannot be imported: {_last(done)}. Start anew with: "
            "evalkit harness install opencompass --again"
        )
    versions = json.loads(done.stdout.splitlines()[-1])
    note = {"lock": _digest(lock), "python": base.version, "versions": versions}
    (part / _NOTE).write_text(json.dumps(note, indent=1, sort_keys=True), encoding="utf-8")


def _put(part: Path, place: Path) -> None:
    """Put the whole environment in its place, an older one aside and away."""
    old = place.with_name(f"{NAME}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    part.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(place / _STEPS, ignore_errors=True)


def _run(line: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    kept = {key: one for key, one in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603
        line, capture_output=True, text=True, errors="replace", check=False, env=kept, cwd=cwd,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says most: the last error, else the last line at all."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines()]
    lines = [line for line in lines if line and not line.startswith("[notice]")]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"it ended with {done.returncode}"])[-1].rstrip(".")[:300]
