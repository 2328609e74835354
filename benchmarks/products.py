"""What is arranged for a CPU against what it replaces, in turn in one process: products, attention
of single tokens, and whole texts.

    python -m benchmarks.products ADAPTER [--repeat 3]

ADAPTER is a LoRA adapter of SmolLM2-135M-Instruct (`evalkit train examples/rednote/qlora.yaml`).
Prints seconds of what is replaced over seconds of what replaces it, of medians, with two threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks import machine
from benchmarks.engine import works
from benchmarks.engine.rows import BOTH, DType

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGES = ("torch", "transformers", "peft")
LAYERS = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
"""Rows and columns of the weights of one of SmolLM2's thirty blocks."""
ROWS = (8, 32, 60, 100, 200, 400, 800, 1600)
HEADS = ((9, 3, 64), (32, 8, 128), (14, 2, 64), (12, 12, 64))
"""Heads, those that share keys counted once, and their width: SmolLM2, Llama 3, Qwen2, GPT-2."""
TEXTS = ((100, 80), (30, 150), (8, 600), (1, 1500))
"""Texts in the making, and the tokens behind them."""

Run = Callable[[bool], None]
"""Does the work once, as it is arranged or as it would be without."""


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
    kinds: dict[str, Callable[[], Run]] = {}
    for rows in ROWS:
        kinds[f"oneDNN, {rows} rows, float32"] = partial(_by_library, rows)
        for dtype in BOTH:
            title = f"weights in order, {rows} rows, {dtype}"
            kinds[title] = partial(_in_order, rows, dtype)
    for heads in HEADS:
        for texts in TEXTS:
            title = f"attention, heads {heads}, {texts[0]} texts of {texts[1]} tokens"
            kinds[title] = partial(_attention, heads, texts)
    for title, made in kinds.items():
        print(f"{title}: {_in_turn(made(), 2 * options.repeat):.2f}", flush=True)
    for dtype in BOTH:
        for name, without in _without().items():
            ratio = _in_turn(_texts(options.adapter, dtype, without), options.repeat)
            print(f"100 texts of base and tuned, {dtype}, {name}: {ratio:.2f}", flush=True)


def _in_turn(run: Run, repeats: int) -> float:
    """Seconds without over seconds with what is measured; the first of each is not counted."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(repeats + 1):
        for arranged in (True, False) if repeat % 2 else (False, True):
            started = time.perf_counter()
            run(arranged)
            seconds[arranged].append(time.perf_counter() - started)
    return median(seconds[False][1:]) / median(seconds[True][1:])


def _by_library(rows: int) -> Run:
    """All plain layers of the thirty blocks, one after the other: by oneDNN or MKL."""
    import torch

    from evalkit.models.hf import products

    weights, inputs = _blocks(rows, torch.float32)

    def run(arranged: bool) -> None:
        product = products._by_onednn if arranged else torch.nn.functional.linear
        with torch.inference_mode():
            for weight in weights:
                product(inputs[weight.shape[1]], weight)

    return run


def _in_order(rows: int, dtype: DType) -> Run:
    """The same by oneDNN, its weights in its order or as they are."""
    import torch

    from evalkit.models.hf import products

    weights, inputs = _blocks(rows, getattr(torch, dtype))
    both = {True: [products._packed(weight) for weight in weights], False: weights}
    widths = [weight.shape[1] for weight in weights]

    def run(arranged: bool) -> None:
        with torch.inference_mode():
            for width, weight in zip(widths, both[arranged], strict=True):
                products._by_onednn(inputs[width], weight)

    return run


def _blocks(rows: int, dtype: Any) -> tuple[list[Any], dict[int, Any]]:
    """Weights of all blocks, and inputs of their widths."""
    import torch

    weights = [torch.randn(shape).to(dtype) for _ in range(30) for shape in LAYERS]
    return weights, {width: torch.randn(rows, width).to(dtype) for width in (576, 1536)}


def _attention(heads: tuple[int, int, int], texts: tuple[int, int]) -> Run:
    """One token of each text in several layers: by products of all heads, or SDPA's operator."""
    import torch

    from evalkit.models.hf import attention

    (asking, shared, width), (rows, tokens) = heads, texts
    # More than a cache of the processor holds, and room behind every text as at a desk.
    layers = max(2, min(10, int(4e9 / (rows * shared * tokens * 1.3 * width * 8))))
    room = (2, layers, rows, shared, int(1.3 * tokens), width)
    keys, values = torch.randn(room)[..., :tokens, :]
    query = torch.randn(rows, asking, 1, width)
    ends = torch.randint(tokens // 2, tokens, (rows,))
    seen = (torch.arange(tokens) <= ends[:, None])[:, None, None]

    def run(arranged: bool) -> None:
        with torch.inference_mode():
            for key, value in zip(keys, values, strict=True):
                if arranged:
                    attention._step_attention(None, query, key, value, seen)
                else:
                    torch.nn.functional.scaled_dot_product_attention(
                        query, key, value, attn_mask=seen, enable_gqa=True
                    )

    return run


def _without() -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """For texts: what is arranged, and within what it is not."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    from evalkit.models.hf import attention, products

    wide = "benchmark_wide"
    AttentionInterface.register(wide, attention._wide_attention)
    AttentionMaskInterface.register(wide, sdpa_mask)
    return {
        "oneDNN": lambda: patch.object(products, "_has_onednn", lambda _: False),
        "weights in order": lambda: patch.object(products, "PACKED_SHARE", 0.0),
        "attention": lambda: patch.object(attention, "STEP", wide),
    }


def _texts(
    adapter: Path, dtype: DType, without: Callable[[], AbstractContextManager[object]]
) -> Run:
    """Texts of both arms, by two engines, each of which has loaded as it computes."""
    from evalkit.config import HFModel
    from evalkit.models.hf import open_hf
    from evalkit.models.weights import find_model
    from evalkit.records import Decoding, Request

    folder = str(find_model(MODEL, offline=True))
    base = HFModel(kind="hf", path=folder, dtype=dtype, device="cpu")
    arms = {"base": base, "tuned": base.model_copy(update={"adapter": adapter})}
    engines = {arranged: open_hf(arms, offline=True) for arranged in (True, False)}
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

    def run(arranged: bool) -> None:
        engine = engines[arranged]
        with nullcontext() if arranged else without():
            for batch in engine.batches(engine.prepare(asked)):
                list(engine.complete(batch))

    return run


if __name__ == "__main__":
    main()
