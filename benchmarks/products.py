"""Plain layers in float32 by oneDNN against MKL, in turn in one process: products, and texts.

    python -m benchmarks.products ADAPTER [--repeat 3]

ADAPTER is a LoRA adapter of SmolLM2-135M-Instruct (`evalkit train examples/rednote/qlora.yaml`).
Prints seconds by MKL over seconds by oneDNN, of medians, with two threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

from benchmarks import machine
from benchmarks.engine import works

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGES = ("torch", "transformers", "peft")
LAYERS = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
"""Rows and columns of the weights of one of SmolLM2's thirty blocks."""
ROWS = (32, 100, 200, 400, 800)

Run = Callable[[bool], None]
"""Does the work once, by oneDNN or not."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(2)
    print(f"{machine.processor()}, {machine.cores()} cores, {machine.versions(PACKAGES)}")
    for rows in ROWS:
        ratio = _in_turn(_products(rows), 2 * options.repeat)
        print(f"products of {rows} rows: {ratio:.2f}", flush=True)
    ratio = _in_turn(_texts(options.adapter), options.repeat)
    print(f"100 texts of base and tuned: {ratio:.2f}")


def _in_turn(run: Run, repeats: int) -> float:
    """Seconds without oneDNN over seconds with it; the first of each is not counted."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(repeats + 1):
        for onednn in (True, False) if repeat % 2 else (False, True):
            started = time.perf_counter()
            run(onednn)
            seconds[onednn].append(time.perf_counter() - started)
    return median(seconds[False][1:]) / median(seconds[True][1:])


def _products(rows: int) -> Run:
    """All plain layers of the thirty blocks, one after the other."""
    import torch

    from evalkit.models.hf import products

    weights = [torch.randn(shape) for _ in range(30) for shape in LAYERS]
    inputs = {width: torch.randn(rows, width) for width in (576, 1536)}

    def run(onednn: bool) -> None:
        product = products._by_onednn if onednn else torch.nn.functional.linear
        with torch.inference_mode():
            for weight in weights:
                product(inputs[weight.shape[1]], weight)

    return run


def _texts(adapter: Path) -> Run:
    """Texts of both arms, by two engines, each of which has loaded with its own products."""
    from evalkit.config import HFModel
    from evalkit.models.hf import open_hf, products
    from evalkit.models.weights import find_model
    from evalkit.records import Decoding, Request

    base = HFModel(
        kind="hf", path=str(find_model(MODEL, offline=True)), dtype="float32", device="cpu"
    )
    arms = {"base": base, "tuned": base.model_copy(update={"adapter": adapter})}
    engines = {onednn: open_hf(arms, offline=True) for onednn in (True, False)}
    work = works.generation(100, 64)
    asked = [
        Request(
            arm=arm,
            suite=work.key,
            sample_id=row["id"],
            kind="generate",
            prompt=row["text"],
            decoding=Decoding(max_new_tokens=work.new_tokens, stop=work.stop),
        )
        for arm in arms
        for row in work.rows
    ]

    def run(onednn: bool) -> None:
        engine = engines[onednn]
        with patch.object(products, "_has_onednn", lambda _: onednn):
            for batch in engine.batches(engine.prepare(asked)):
                list(engine.complete(batch))

    return run


if __name__ == "__main__":
    main()
