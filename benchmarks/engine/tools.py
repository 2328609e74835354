"""The two tools as whole processes: what they are started with, and what they leave behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engine.answers import Answers, of_evalkit, of_harness
from benchmarks.engine.rows import DType
from benchmarks.engine.tasks import suite_name, write_suite, write_task
from benchmarks.engine.works import Work
from benchmarks.machine import Ended, run_to_end

BASE = "base"
SHORT = 2_048
TUNED = ("tuned", "tuned2", "tuned3", "tuned4")


class RunFailed(Exception):  # noqa: N818  it is what happened
    """A command that did not end well; its message ends with what the command said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is measured: a base, how it is held, and where."""

    folder: Path
    dtype: DType
    device: str
    quantization: str = "none"
    quantized: Path | None = None
    """The same weights already quantised: the only form in which lm-eval takes NF4."""

    def max_length(self, work: Work) -> int:
        """The longest input; told to both tools, so that neither cuts a text otherwise.

        Only documents need all of it: lm-eval's search for a batch size on a GPU would reckon
        with texts of that length where none is half as long.
        """
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        full = int(config["max_position_embeddings"])
        return full if work.task == "perplexity" else min(full, SHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One comparison by evalkit; `home` keeps its store for a comparison that follows."""

    ended: Ended
    home: Path
    output: Path

    def answers(self, arm: str) -> Answers:
        """What an arm answered."""
        return of_evalkit(self._run(arm))

    def measures(self, arm: str = BASE) -> dict[str, float]:
        """What the engine measured of itself, both arms together."""
        manifest = json.loads((self._run(arm) / "manifest.json").read_text(encoding="utf-8"))
        return dict(manifest.get("measures", {}))

    def _run(self, arm: str) -> Path:
        return next(self.output.glob(f"{arm}-*/manifest.json")).parent


@dataclass(slots=True, kw_only=True)
class Tools:
    """Starts both tools in one folder, with the same number of threads and no network."""

    work: Path
    threads: int
    _count: int = field(default=0)

    def compare(
        self,
        model: Model,
        work: Work,
        adapters: Sequence[Path],
        *,
        home: Path | None = None,
        profile: bool = False,
    ) -> Compared:
        """`evalkit compare` of the base and one tuned arm for each adapter.

        Without a `home` the completion store starts empty.
        """
        place = self.place(f"evalkit-{work.key}-{model.dtype}")
        home = home or self.fresh_home(place)
        suite = write_suite(self.work / "suites", work)
        files = [_arm(place, BASE, model, work)]
        files += [
            _arm(place, name, model, work, adapter)
            for name, adapter in zip(TUNED, adapters, strict=False)
        ]
        output = place / "runs"
        command = ["compare", *map(str, files), "--suites", suite, "--output", str(output)]
        command += ["--offline", "--quiet", *(["--profile"] if profile else [])]
        ended = self.evalkit(command, home, place / "log.txt", allowed=frozenset({0, 1, 3}))
        return Compared(ended=ended, home=home, output=output)

    def run_alone(self, model: Model, work: Work) -> Ended:
        """`evalkit run` of one model, with an empty store."""
        place = self.place(f"evalkit-{work.key}")
        write_suite(self.work / "suites", work)
        file = _arm(place, BASE, model, work)
        command = ["run", str(file), "--output", str(place / "runs"), "--offline", "--quiet"]
        return self.evalkit(command, self.fresh_home(place), place / "log.txt")

    def evalkit(
        self,
        command: list[str],
        home: Path,
        log: Path,
        *,
        allowed: frozenset[int] = frozenset({0}),
    ) -> Ended:
        """An evalkit command to its end; RunFailed where it ends in another way than allowed."""
        env = self._env() | {"EVALKIT_HOME": str(home)}
        (self.work / "suites").mkdir(exist_ok=True)
        env["EVALKIT_SUITES"] = str(self.work / "suites")
        ended = run_to_end([sys.executable, "-m", "evalkit", *command], env, log)
        return _checked(f"evalkit {command[0]}", ended, allowed)

    def harness(
        self, model: Model, work: Work, batch: str, adapter: Path | None = None
    ) -> tuple[Ended, Answers]:
        """lm-eval's own command line over one arm."""
        place = self.place(f"lm_eval-{work.key}-{model.dtype}")
        task = self.task(work)
        args = harness_args(model, work) | ({"peft": str(adapter)} if adapter else {})
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args"]
        command += [",".join(f"{key}={value}" for key, value in args.items())]
        command += ["--tasks", task, "--include_path", str(self.work / "tasks")]
        command += ["--batch_size", batch, "--device", model.device]
        command += ["--output_path", str(place / "out"), "--log_samples"]
        ended = run_to_end(command, self._env(), place / "log.txt")
        _checked("lm-eval", ended, frozenset({0}))
        return ended, of_harness(place / "out", work)

    def task(self, work: Work) -> str:
        """lm-eval's name of the work, which is written for it."""
        return write_task(self.work / "tasks", work)

    def module(self, name: str, arguments: Sequence[str]) -> str:
        """A module of this package in a process of its own, for torch stays out of this one."""
        place = self.place(name)
        command = [sys.executable, "-m", f"benchmarks.engine.{name}", *arguments]
        ended = run_to_end(command, self._env(), place / "log.txt")
        return _checked(name, ended, frozenset({0})).output

    def fresh_home(self, place: Path) -> Path:
        """An empty home that only knows the downloaded models."""
        from evalkit.home import home

        empty = place / "home"
        empty.mkdir(parents=True)
        if (home() / "models").is_dir():
            (empty / "models").symlink_to((home() / "models").resolve())
        return empty

    def place(self, name: str) -> Path:
        """An empty folder for one command."""
        self._count += 1
        place = self.work / "runs" / f"{self._count:03}-{name}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def _env(self) -> dict[str, str]:
        return {
            "OMP_NUM_THREADS": str(self.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(self.work / "datasets"),
        }


def harness_args(model: Model, work: Work) -> dict[str, str]:
    """lm-eval's model arguments that say the same as our YAML."""
    return {
        "pretrained": str(model.quantized or model.folder),
        "dtype": model.dtype,
        "max_length": str(model.max_length(work)),
    }


def knows_profile() -> bool:
    """Whether this evalkit can measure the matrix-product peak beside a comparison."""
    command = [sys.executable, "-m", "evalkit", "compare", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return "--profile" in told.stdout


def _arm(folder: Path, name: str, model: Model, work: Work, adapter: Path | None = None) -> Path:
    told: dict[str, Any] = {
        "kind": "hf",
        "path": str(model.folder),
        "dtype": model.dtype,
        "quantization": model.quantization,
        "device": model.device,
        "max_length": model.max_length(work),
    }
    content: dict[str, Any] = {"name": name, "model": told}
    if adapter is not None:
        told["adapter"] = str(adapter)
    else:
        content |= {"suites": [suite_name(work)], "chat": "never", "decoding": {"temperature": 0.0}}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def _checked(name: str, ended: Ended, allowed: frozenset[int]) -> Ended:
    if ended.exit_code not in allowed:
        said = ended.output.strip().splitlines()[-15:] or ["it said nothing"]
        raise RunFailed("\n".join([f"{name} ended with {ended.exit_code}: {said[-1]}", *said]))
    return ended
