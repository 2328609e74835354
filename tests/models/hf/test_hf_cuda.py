"""The engine on a GPU: the CPU's numbers, quantised weights, and memory that runs out.

Needs no more than torch, transformers, peft and, for the quantised test, bitsandbytes:

    pytest tests/models/hf/test_hf_cuda.py
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

from evalkit.models.hf import memory  # noqa: E402
from tests.models.hf.tiny_models import (  # noqa: E402
    Tiny,
    answers,
    fuzzed_pairs,
    likelihood,
    open_arms,
    rolling,
    some_text,
    writing,
)

TinyModels = Callable[..., Tiny]
ARMS = ("base", "tuned")


@pytest.fixture(autouse=True)
def exact_products() -> None:
    """TF32 keeps ten bits of a float32 product; equality is tested without it."""
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral", "gemma2", "bloom"])
def test_log_likelihoods_are_the_cpus(tiny: TinyModels, architecture: str) -> None:
    requests = [
        likelihood(context, continuation, arm)
        for context, continuation in fuzzed_pairs(5, 40)
        for arm in ARMS
    ] + [rolling("今天天气很好 " + some_text(random.Random(6), 40, 80), arm) for arm in ARMS]
    models = tiny(architecture)
    here = answers(open_arms(models, device="cpu"), requests)
    there = answers(open_arms(models, device="cuda"), requests)
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
        assert theirs.error == ours.error


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_greedy_texts_are_the_cpus(tiny: TinyModels, architecture: str) -> None:
    rng = random.Random(7)
    requests = [writing("The" + some_text(rng, 1, 12), arm=arm) for _ in range(20) for arm in ARMS]
    models = tiny(architecture)
    here = answers(open_arms(models, device="cpu"), requests)
    there = answers(open_arms(models, device="cuda"), requests)
    assert [one.token_ids for one in there] == [one.token_ids for one in here]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_weights_answer_and_differ(tiny: TinyModels, quantization: str) -> None:
    pytest.importorskip("bitsandbytes")
    requests = [likelihood("The quick brown", " fox", arm) for arm in ARMS]
    models = tiny("llama")
    plain = answers(open_arms(models, device="cuda", dtype="bfloat16"), requests)
    small = answers(
        open_arms(models, device="cuda", dtype="bfloat16", quantization=quantization), requests
    )
    assert small[0].logprobs != small[1].logprobs
    assert small[0].logprobs != plain[0].logprobs
    assert small[0].loglikelihood == pytest.approx(plain[0].loglikelihood, rel=0.5)


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator is held to a few megabytes more than the products' own workspace, which stays
    with it, so that the real error comes from the driver."""
    requests = [likelihood(f"Question {n} of the day", " Paris", "base") for n in range(4096)]
    models = tiny("llama")
    expected = answers(open_arms(models, device="cuda"), requests)
    halved: list[int] = []
    release = memory.release

    def counted() -> None:
        halved.append(1)
        release()

    monkeypatch.setattr(memory, "release", counted)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    try:
        found = answers(open_arms(models, device="cuda", batch_tokens=1 << 20), requests)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert halved
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


def test_what_a_run_took_is_told(tiny: TinyModels) -> None:
    engine = open_arms(tiny("llama"), device="cuda")
    batches = engine.batches(engine.prepare([writing("The quick", arm=arm) for arm in ARMS]))
    assert 0 < (engine.outline(batches).seconds or 0) < 60
    for batch in batches:
        list(engine.complete(batch))
    assert engine.measures("base")["peak_memory_bytes"] > 0
    assert engine.fingerprints("base")["device"] == torch.cuda.get_device_name()
