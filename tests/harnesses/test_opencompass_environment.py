"""The environment of its own: built beside, resumed, put in place whole; from wheels made here."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from evalkit.doctor import harnesses
from evalkit.errors import RunError, SuiteError, UsageError
from evalkit.harnesses.opencompass import environment
from evalkit.harnesses.opencompass.environment import LOCK, PYTHONS, find, folder, install, pins
from evalkit.progress import Silent
from evalkit.records import Check

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

needs_python = pytest.mark.skipif(
    VERSION not in PYTHONS, reason=f"OpenCompass's environment is of Python {PYTHONS}"
)


class Heard(Silent):
    """Progress that remembers where it began and what was done."""

    def __init__(self) -> None:
        self.begun = 0
        self.steps: list[str] = []

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        self.begun = done

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        self.steps.append(note)


def make_wheel(
    shelf: Path, name: str, version: str = "1.0", needs: str = "", parts: Sequence[str] = ()
) -> str:
    """A wheel with one package and its modules; its pin."""
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}/__init__.py": f"version = {version!r}\n",
        **{f"{name}/{part}.py": "" for part in parts},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{path},sha256={digest.decode()},{len(text.encode())}\n")
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    shelf.mkdir(exist_ok=True)
    with zipfile.ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return f"{name}=={version}"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of wheels that lie on a shelf, which is all that pip may look at."""
    shelf = tmp_path / "shelf"
    lines = [make_wheel(shelf, f"evalkit_part{n}", needs="nowhere_to_be_had") for n in range(8)]
    lines.append(make_wheel(shelf, "opencompass", parts=("datasets", "models", "tasks")))
    file = tmp_path / "requirements.lock"
    file.write_text("# nine\n" + "".join(line + "\n" for line in lines))
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setattr(environment, "LOCK", file)
    return file


def opencompass_of(checks: list[Check]) -> Check:
    return next(one for one in checks if one.name == "opencompass")


@needs_python
def test_a_stop_in_the_middle_leaves_nothing_in_place_and_is_resumed(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = environment._pip
    calls: list[list[str]] = []

    def stopped(part: Path, told: Path, packages: list[str], **options: object) -> None:
        calls.append(list(packages))
        if len(calls) == 2:
            Path(str(options["begun"])).touch()  # a kill between pip's beginning and its end
            raise KeyboardInterrupt
        pip(part, told, packages, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(environment, "_pip", stopped)
    with pytest.raises(KeyboardInterrupt):
        install(None, Silent(), lock=lock)
    assert find() is None
    assert not folder().exists()
    assert "not installed" in opencompass_of(harnesses()).message

    heard = Heard()
    made = install(None, heard, lock=lock)
    assert heard.begun == 8
    assert calls[2] == calls[1] == ["opencompass==1.0"]  # the first step is not done again
    assert len(calls) == 3
    assert made.folder == folder()
    assert made.version == "1.0"
    said = subprocess.run(
        [made.interpreter, "-I", "-c", "import evalkit_part0 as one; print(one.version)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "1.0\n"
    beside = sorted(one.name for one in folder().parent.iterdir())
    assert beside == ["opencompass", "opencompass.lock"]

    before = made.folder.stat().st_mtime_ns
    assert install(None, Silent(), lock=lock) == made  # nothing to do
    assert made.folder.stat().st_mtime_ns == before


@pytest.mark.slow
@needs_python
def test_another_lock_makes_it_stale_and_a_failed_renewal_leaves_it_as_it_was(
    lock: Path, tmp_path: Path
) -> None:
    lock.write_text("opencompass==1.0\n")
    assert install(None, Silent(), lock=lock).version == "1.0"
    lock.write_text("opencompass==2.0\n")
    assert opencompass_of(harnesses()).status == "warning"
    with pytest.raises(RunError, match=r"pip could not install opencompass==2\.0: .*PIP_INDEX_URL"):
        install(None, Silent(), lock=lock)
    kept = find()
    assert kept is not None
    assert kept.version == "1.0"
    make_wheel(tmp_path / "shelf", "opencompass", "2.0", parts=("models", "tasks"))
    with pytest.raises(RunError, match=r"cannot be imported: .*opencompass\.datasets.* --again"):
        install(None, Silent(), lock=lock)
    assert find() == kept
    make_wheel(tmp_path / "shelf", "opencompass", "2.0", parts=("datasets", "models", "tasks"))
    renewed = install(None, Silent(), again=True, lock=lock)
    assert renewed.version == "2.0"
    assert not renewed.stale


@needs_python
def test_a_second_process_does_not_build_at_the_same_time(lock: Path) -> None:
    place = folder().with_name("opencompass.lock")
    place.parent.mkdir(parents=True)
    code = f"import fcntl, time; f = open({str(place)!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('held', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="Another process is installing OpenCompass"):
            install(None, Silent(), lock=lock)
    finally:
        holder.communicate("\n")


@pytest.mark.parametrize(("python", "why"), [("/no/such/python", "No such file"),
                                             ("/bin/true", "is no Python that runs")])  # fmt: skip
def test_an_interpreter_that_does_not_do_is_told(lock: Path, python: str, why: str) -> None:
    with pytest.raises(UsageError, match=rf"--python {python}.*{why}"):
        install(python, Silent(), lock=lock)


def test_a_python_of_another_version_is_refused(lock: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    with pytest.raises(UsageError, match=r"is Python 3\.9; .* need 3\.11 or 3\.12"):
        install(str(old), Silent(), lock=lock)


def test_what_is_not_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path))
    with pytest.raises(SuiteError, match="evalkit harness install opencompass"):
        environment.required()
    folder().mkdir(parents=True)
    for text in ("{", "[]", json.dumps({"lock": "", "python": "3.11"})):
        (folder() / "evalkit.json").write_text(text)
        assert find() is None


def test_the_lock_pins_every_package_and_torch_first() -> None:
    found = pins()
    assert found[0] == "torch==2.13.0"
    assert "opencompass==0.5.4" in found
    assert all(line.count("==") == 1 and " " not in line for line in found)
    names = [line.partition("==")[0].lower().replace("_", "-") for line in found]
    assert len(names) == len(set(names))
    assert LOCK.is_file()
