"""Time the main job step by step, as a user runs it, and write docs/results/demo.md.

    python -m benchmarks.demo [--keep FOLDER]

Every step is a process of its own; seconds are wall time, memory is the process's peak resident
set as the kernel counts it. Nothing is reused but the downloaded model: the runs go to a fresh
folder and the completion store starts empty. The second comparison finds the answers of the
first in the store, as `make demo-fixed` after `make demo` does.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import cores, memory, processor, run_to_end, system, versions

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A verdict and the steps that led to it."""

    title: str
    steps: list[Step]
    verdict: str


def measure(command: list[str], home: Path, shown: str, allowed: frozenset[int]) -> Step:
    """Run an evalkit command to its end, with a home of its own."""
    ended = run_to_end([sys.executable, "-m", "evalkit", *command], {"EVALKIT_HOME": str(home)})
    step = Step(
        shown=shown,
        seconds=ended.seconds,
        peak_bytes=ended.peak_bytes,
        exit_code=ended.exit_code,
        output=ended.output,
    )
    if step.exit_code not in allowed:
        sys.exit(f"{step.shown} ended with {step.exit_code}:\n{step.output}")
    return step


def fetched(home: Path) -> Step:
    """Where the model is; downloads are not what is timed."""
    return measure(["fetch", BASE], home, f"evalkit fetch {BASE}", frozenset({0}))


def trained(recipe: str, home: Path, work: Path) -> tuple[Step, Path]:
    """Train a recipe of the example; gives its tuned.yaml."""
    folder = work / "train" / Path(recipe).stem
    command = ["train", str(EXAMPLE / recipe), "--fresh", "--set", f"output={folder}"]
    step = measure(command, home, f"evalkit train {EXAMPLE / recipe}", frozenset({0}))
    return step, folder / "tuned.yaml"


def compared(tuned: list[Path], home: Path, work: Path, shown: str = "") -> tuple[Step, str]:
    """Compare with the base; gives the verdict as Markdown."""
    files = [str(EXAMPLE / "base.yaml"), *map(str, tuned)]
    command = ["compare", *files, "--output", str(work), "--format", "markdown,html"]
    shown = shown or f"evalkit compare {files[0]}" + " …/tuned.yaml" * len(tuned)
    step = measure(command, home, shown, frozenset({0, 1, 3}))
    folders = (work / "compare").iterdir()
    newest = max(folders, key=lambda folder: (folder / "report.md").stat().st_mtime_ns)
    return step, (newest / "report.md").read_text(encoding="utf-8")


def run_demo(home: Path, work: Path) -> list[Part]:
    """Both recipes: the verdict on the first, then on the first and its cure."""
    fetch = fetched(home)
    train, notes = trained("qlora.yaml", home, work)
    compare, verdict = compared([notes], home, work)
    again, _ = compared([notes], home, work, "the same again: every answer is stored")
    mix, mixed = trained("qlora-mixed.yaml", home, work)
    three, verdicts = compared([notes, mixed], home, work)
    return [
        Part(title="`make demo`", steps=[fetch, train, compare, again], verdict=verdict),
        Part(title="`make demo-fixed`, after it", steps=[mix, three], verdict=verdicts),
    ]


def page(parts: list[Part]) -> str:
    """The page: each verdict as written for a pull request, then what it cost, where."""
    lines = [
        "# The demo, as it came out",
        "",
        "Written by `make bench`. On another processor the last digits differ: it rounds",
        "differently. Not timed: downloads, and converting the model once it has arrived.",
    ]
    for part in parts:
        # The report that its links lead to is not kept.
        verdict = re.sub(r"\[([^]\n]+)\]\(<report\.html#[^>]*>\)", r"\1", part.verdict.strip())
        lines += ["", f"# {part.title}", "", verdict, "", *_costs(part.steps)]
    return "\n".join([*lines, "", "# Where", "", *_machine(), ""])


def _costs(steps: list[Step]) -> list[str]:
    rows = [
        f"| `{step.shown}` | {step.seconds:.0f} | {step.peak_bytes / 2**30:.1f} GiB "
        f"| {step.exit_code} |"
        for step in steps
    ]
    return ["| step | seconds | peak memory | exit code |", "|---|---:|---:|---:|", *rows]


def _machine() -> list[str]:
    found = ", ".join(f"{name} {version}" for name, version in versions(PACKAGES).items())
    return [
        f"- {system()}, {cores()} cores ({processor()}), {memory() / 2**30:.0f} GiB, no GPU",
        f"- {found}",
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="leave the runs in this folder")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    from evalkit.home import home

    kept = options.keep
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as place:
        work = Path(place).resolve()
        empty = work / "home"
        empty.mkdir(parents=True)
        if (home() / "models").is_dir():  # downloads are not what is timed
            (empty / "models").symlink_to((home() / "models").resolve())
        parts = run_demo(empty, work)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page(parts), encoding="utf-8")
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
