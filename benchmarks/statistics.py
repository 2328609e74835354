"""How long the statistics take: docs/results/statistics.json and .md.

    python -m benchmarks.statistics [--largest N]

Twenty suites of 100,000 paired samples, and one suite of each kind as the samples grow. Each is a
process of its own, whose peak memory the kernel counts. `benchmarks.paired` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine

SAMPLES = 100_000
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PACKAGES = ("numpy", "scipy")
RESULT = Path("docs/results/statistics.json")
PAGE = RESULT.with_suffix(".md")

TEXT = """\
# How long the statistics take

Written by `python -m benchmarks.statistics`, which also writes `statistics.json`.

Made-up scores of two arms, as records in memory, one suite after the other. *Join* pairs the
results of the arms by sample; *deltas* is what `compare` asks of a suite: every interval and test
of every metric, and of the gated one for every slice. *Estimates* is the part of it that starts
from paired scores. Seconds are of processor time; one core is used. Making the records is not
counted in seconds, but in memory.
"""


def alone(samples: int, kinds: str) -> dict[str, Any]:
    """Measure in a process of its own: `kinds` is twenty (suites) or each (kind once)."""
    command = [sys.executable, "-m", "benchmarks.statistics", "--one", str(samples), kinds]
    ended = machine.run_to_end(command, {})
    if ended.exit_code:
        sys.exit(f"{' '.join(command)} ended with {ended.exit_code}")
    return {"samples": samples, "rows": json.loads(ended.output), "peak_bytes": ended.peak_bytes}


def page(result: Mapping[str, Any]) -> str:
    """The page, from what statistics.json holds."""
    where = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    memory = f"{where['memory_bytes'] / 2**30:.0f} GiB"
    place = f"{where['system']}, {where['cores']} cores ({where['processor']}), {memory}"
    return "\n".join(
        [TEXT, *_twenty(result["twenty"]), "", *_growth(result["sizes"]), "", f"- {place}",
         f"- {packages}", ""]
    )  # fmt: skip


def _twenty(found: Mapping[str, Any]) -> list[str]:
    kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in found["rows"]:
        kinds[row["name"]].append(row)
    lines = [
        f"## {len(found['rows'])} suites of {found['samples']:,} samples",
        "",
        "| suites | scores | join, s | deltas, s | of these estimates, s |",
        "|---:|---|---:|---:|---:|",
    ]
    for name, rows in (*kinds.items(), ("together", found["rows"])):
        seconds = (f"{sum(row[part] for row in rows):.2f}" for part in _PARTS)
        lines.append(f"| {len(rows)} | {name} | " + " | ".join(seconds) + " |")
    total = sum(row["join"] + row["deltas"] for row in found["rows"])
    peak = found["peak_bytes"] / 2**30
    return [*lines, "", f"Join and deltas: {total:.1f} s. Peak memory: {peak:.2f} GiB."]


_PARTS = ("join", "deltas", "estimates")


def _growth(sizes: list[Mapping[str, Any]]) -> list[str]:
    heads = " | ".join(f"{one['samples']:,}" for one in sizes)
    lines = [
        "## One suite of each kind, as the samples grow",
        "",
        "Seconds for join and deltas; for BLEU and chrF, for the estimate from their statistics.",
        "",
        f"| scores | {heads} |",
        "|---|" + "---:|" * len(sizes),
    ]
    for rows in zip(*(one["rows"] for one in sizes), strict=True):
        seconds = (row["join"] + row["deltas"] or row["estimates"] for row in rows)
        cells = " | ".join(f"{each:.2f}" for each in seconds)
        lines.append(f"| {rows[0]['name']} | {cells} |")
    peaks = " | ".join(f"{one['peak_bytes'] / 2**30:.2f} GiB" for one in sizes)
    return [*lines, f"| peak memory | {peaks} |"]


def measured(largest: int) -> dict[str, Any]:
    """Everything, and where it was measured."""
    return {
        "twenty": alone(SAMPLES, "twenty"),
        "sizes": [alone(size, "each") for size in SIZES if size <= largest],
        "machine": {
            "system": machine.system(),
            "processor": machine.processor(),
            "cores": machine.cores(),
            "memory_bytes": machine.memory(),
            "packages": machine.versions(PACKAGES),
        },
    }


def _one(samples: int, kinds: str) -> None:
    from benchmarks.paired import TWENTY, corpora, measure

    if kinds == "twenty":
        found = measure(samples, TWENTY)
    else:
        found = [*measure(samples, dict.fromkeys(TWENTY, 1)), *corpora(samples)]
    print(json.dumps([asdict(row) for row in found]))


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1], metavar="N")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        _one(int(options.one[0]), options.one[1])
        return
    result = measured(options.largest)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
