"""Time the main job step by step, as a user runs it, and write docs/results/demo.md.

    python -m benchmarks.demo [--fixed]

Every step is a process of its own; seconds are wall time, memory is the process's peak resident
set as the kernel counts it. Nothing is reused but the downloaded model: the runs go to a fresh
folder and the completion store starts empty.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

EXAMPLE = Path("examples/rednote")
RESULT = Path("docs/results/demo.md")
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command as the README has it, what it cost and how it ended."""

    shown: str
    seconds: float
    peak_bytes: int
    exit_code: int
    output: str


def measure(command: list[str], home: Path, shown: str) -> Step:
    """Run a command to its end; the kernel's own count gives the peak memory."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "EVALKIT_HOME": str(home)},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Step(
        shown=shown,
        seconds=time.perf_counter() - started,
        peak_bytes=usage.ru_maxrss * 1024,
        exit_code=process.returncode,
        output=output,
    )


def run_demo(home: Path, work: Path, *, fixed: bool) -> tuple[list[Step], list[Path]]:
    """Fetch, train, compare, compare again; stops at the first step that gives no result."""
    recipes = ["qlora.yaml", "qlora-mixed.yaml"] if fixed else ["qlora.yaml"]
    steps, tuned = [measure(["fetch", BASE], home, f"evalkit fetch {BASE}")], []
    for recipe in recipes:
        folder = work / "train" / Path(recipe).stem
        command = ["train", str(EXAMPLE / recipe), "--fresh", "--set", f"output={folder}"]
        steps.append(_expect(measure(command, home, f"evalkit train {EXAMPLE / recipe}"), {0}))
        tuned.append(str(folder / "tuned.yaml"))
    command = ["compare", str(EXAMPLE / "base.yaml"), *tuned, "--output", str(work / "runs")]
    shown = f"evalkit compare {EXAMPLE / 'base.yaml'}" + " …/tuned.yaml" * len(tuned)
    steps.append(_expect(measure(command, home, shown), {0, 1, 3}))
    steps.append(measure(command, home, "the same again: every answer is stored"))
    return steps, sorted((work / "runs" / "compare").iterdir())


def _expect(step: Step, allowed: set[int]) -> Step:
    if step.exit_code not in allowed:
        sys.exit(f"{step.shown} ended with {step.exit_code}:\n{step.output}")
    return step


def page(steps: list[Step], verdict: str) -> str:
    """The page: the verdict as printed, then what it cost, where."""
    lines = [
        "# The demo, as it came out",
        "",
        "Written by `python -m benchmarks.demo`. On another processor the last digits differ:",
        "it rounds differently.",
        "",
        verdict.strip(),
        "",
        "## What it cost",
        "",
        "| step | seconds | peak memory | exit code |",
        "|---|---:|---:|---:|",
    ]
    lines.extend(
        f"| `{step.shown}` | {step.seconds:.0f} | {step.peak_bytes / 2**30:.1f} GiB "
        f"| {step.exit_code} |"
        for step in steps
    )
    return "\n".join([*lines, "", "## Where", "", *_machine(), ""])


def _machine() -> list[str]:
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return [f"- {system}, {cores} cores, {memory:.0f} GiB, no GPU", f"- {versions}"]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixed", action="store_true", help="also the mixed recipe")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    from evalkit.home import home

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        empty = work / "home"
        empty.mkdir()
        if (home() / "models").is_dir():  # downloads are not what is timed
            (empty / "models").symlink_to(home() / "models")
        steps, comparisons = run_demo(empty, work, fixed=options.fixed)
        report = measure(["report", str(comparisons[-1]), "--format", "markdown"], empty, "report")
        verdict = Path(report.output.strip().splitlines()[-1]).read_text(encoding="utf-8")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(steps, verdict), encoding="utf-8")
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
