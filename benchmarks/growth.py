"""How planning and the store grow with the number of requests: docs/results/growth.json and .md.

    python -m benchmarks.growth [--largest N]

Each size is a process of its own, whose peak memory the kernel counts. `benchmarks.instant` says
what is measured, and what stands in for the model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
MOST_SECONDS, MOST_BYTES = 60.0, 4 * 2**30
"""Of planning a million requests: more fails, and the exit code is 1."""
PACKAGES = ("tokenizers", "transformers", "torch")
RESULT = Path("docs/results/growth.json")
PAGE = RESULT.with_suffix(".md")

TEXT = """\
# How planning grows

Written by `python -m benchmarks.growth`, which also writes `growth.json`.

Two arms on one base are asked multiple-choice questions: four choices each, five worked examples
that all prompts share, then about 25 tokens of question of its own, in random words. The tokenizer
is SmolLM2's. No model answers: the engine is the local one, but its answers are made up at once,
and the second arm only stands for an adapter. So this is what everything around the forward passes
costs. *Plan* is records, tokens and keys of both arms; *cut* lays them into batches and estimates
the work; *put*, *known* and *get* store an answer to every request, ask which are there, and read
them all. Memory is the process's peak, of which Python, torch and the tokenizer are what the
smallest size shows. Planning and cutting a million requests must take less than 60 s and 4 GiB.
"""


def alone(requests: int) -> dict[str, Any]:
    """Measure one size in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--one", str(requests)]
    ended = machine.run_to_end(command, {})
    if ended.exit_code:
        sys.exit(f"{' '.join(command)} ended with {ended.exit_code}")
    row: dict[str, Any] = json.loads(ended.output)
    return {**row, "peak_bytes": ended.peak_bytes}


def page(result: Mapping[str, Any]) -> str:
    """The page, from what growth.json holds."""
    names = ("plan", "cut", "put", "known", "get")
    lines = [
        TEXT,
        "| requests | tokens | " + " | ".join(f"{name}, s" for name in names)
        + " | plan + cut, µs per request | peak after cut | peak | store |",
        "|---:|---:|" + "---:|" * (len(names) + 4),
    ]  # fmt: skip
    for row in result["sizes"]:
        seconds = " | ".join(f"{row[f'{name}_seconds']:.2f}" for name in names)
        each = (row["plan_seconds"] + row["cut_seconds"]) / row["requests"] * 1e6
        sizes = (row["plan_peak_bytes"], row["peak_bytes"], row["store_bytes"])
        memory = " | ".join(f"{size / 2**30:.2f} GiB" for size in sizes)
        lines.append(
            f"| {row['requests']:,} | {row['tokens']:,} | {seconds} | {each:.0f} | {memory} |"
        )
    where = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    memory = f"{where['memory_bytes'] / 2**30:.0f} GiB"
    place = f"{where['system']}, {where['cores']} cores ({where['processor']}), {memory}"
    lines += ["", f"- {place}", f"- {packages}", ""]
    return "\n".join(lines)


def measured(sizes: Sequence[int]) -> dict[str, Any]:
    """All sizes, and where they were measured."""
    return {
        "sizes": [alone(size) for size in sizes],
        "machine": {
            "system": machine.system(),
            "processor": machine.processor(),
            "cores": machine.cores(),
            "memory_bytes": machine.memory(),
            "packages": machine.versions(PACKAGES),
        },
    }


def missed(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sizes whose plan takes more than a million requests may."""
    return [
        f"planning {row['requests']:,} requests took {seconds:.0f} s and "
        f"{row['plan_peak_bytes'] / 2**30:.1f} GiB"
        for row in sizes
        if (seconds := row["plan_seconds"] + row["cut_seconds"]) > MOST_SECONDS
        or row["plan_peak_bytes"] > MOST_BYTES
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1], metavar="N")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        from benchmarks.instant import measure

        print(json.dumps(asdict(measure(options.one))))
        return
    result = measured([size for size in SIZES if size <= options.largest])
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
    if short := missed(result["sizes"]):
        sys.exit("\n".join(short))


if __name__ == "__main__":
    main()
