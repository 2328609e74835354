"""Where weights go, and what is told if they do not fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.config import HFModel
from evalkit.errors import ModelError
from evalkit.models.hf import open_hf, trials
from evalkit.models.hf.loading import device_name, place
from evalkit.models.hf.memory import free_bytes, is_out_of_memory
from tests.models.hf.tiny_models import (
    Tiny,
    answers,
    config,
    likelihood,
    make_tokenizer,
    open_arms,
    writing,
)

FREE = {0: 3 * 2**30, 1: 5 * 2**30}


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have PyTorch see so many GPUs, with free memory of their own."""

    def seen(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (FREE[card], 2**34))

    return seen


@pytest.mark.parametrize(
    ("wanted", "count", "device", "spread", "free"),
    [
        ("auto", 1, "cuda:0", False, FREE[0]),
        ("auto", 2, "cuda", True, FREE[0] + FREE[1]),
        ("cuda", 2, "cuda:0", False, FREE[0]),
        ("cuda:1", 2, "cuda:1", False, FREE[1]),
    ],
)
def test_memory_is_that_of_the_gpus_the_weights_are_on(
    cards: Callable[[int], None], wanted: str, count: int, device: str, *, spread: bool, free: int
) -> None:
    cards(count)
    config = SimpleNamespace(dtype=torch.bfloat16)
    placed = place(HFModel(kind="hf", path="any", device=wanted), config)
    assert (str(placed.device), placed.spread) == (device, spread)
    assert free_bytes(placed.device) == free


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB, …)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_out_of_memory_is_known_by_type_or_words(error: Exception, *, is_so: bool) -> None:
    assert is_out_of_memory(error) == is_so


def test_a_folder_with_a_model_and_an_adapter_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    """transformers would put the adapter on weights that may hold it already."""
    models = tiny()
    folder = shutil.copytree(models.model, tmp_path / "merged")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(models.adapter / name, folder / name)
    with pytest.raises(ModelError, match="a whole model and an adapter"):
        open_hf({"base": config(folder)}, offline=True)


def test_a_pickle_is_not_opened_beside_safetensors_of_another_name(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    engine = open_hf({"base": config(folder)}, offline=True)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        answers(engine, [likelihood("The", " fox")])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (None, "damaged or incomplete"),
    ],
)
def test_weights_that_are_none_say_what_to_do(
    tiny: Callable[..., Tiny], tmp_path: Path, content: bytes | None, told: str
) -> None:
    folder = shutil.copytree(tiny().model, tmp_path / "model")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelError, match=f"{re.escape(str(file))}.*{told}"):
        open_hf({"base": config(folder)}, offline=True)


def test_tokens_that_were_added_without_resizing_the_model_are_no_crash(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().model, tmp_path / "model")
    known = json.loads((folder / "config.json").read_text())["vocab_size"]
    added = make_tokenizer()
    added.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    assert added.convert_tokens_to_ids("<|new|>") == known
    added.save_pretrained(folder)
    engine = open_hf({"base": config(folder)}, offline=True)
    requests = [likelihood("The", " fox"), likelihood("The <|new|>", " fox"), writing("<|new|>")]
    good, *bad = answers(engine, requests)
    assert good.logprobs
    for one in bad:
        assert (one.stop_reason, one.logprobs) == ("error", ())
        assert f"token {known} ('<|new|>')" in one.error
        assert "resize_token_embeddings" in one.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("CUDA driver"), r"first forward pass \(RuntimeError: CUDA driver\)"),
        (torch.OutOfMemoryError("full"), "left no memory for its first forward pass"),
    ],
)
@pytest.mark.parametrize("call", range(4))
def test_whatever_goes_wrong_in_the_first_forwards_is_explained(
    tiny: Callable[..., Tiny],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    told: str,
    call: int,
) -> None:
    """Twice before the adapter is attached, after it, and with it; the trial is recalled."""
    answers(open_arms(tiny()), [likelihood("The", " fox")])
    real, calls = trials.plain_logits, iter(range(9))

    def failing(*given: Any) -> torch.Tensor:
        if next(calls) == call:
            raise error
        return real(*given)

    monkeypatch.setattr(trials, "plain_logits", failing)
    with pytest.raises(ModelError, match=told):
        answers(open_arms(tiny()), [likelihood("The", " fox")])
    assert next(calls) == call + 1


def test_an_adapter_for_which_there_is_no_memory_is_not_called_unfit(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PeftModel, "from_pretrained", full)
    with pytest.raises(ModelError, match=r"no memory left for the adapter .* Use model\.quant"):
        answers(open_arms(tiny()), [likelihood("The", " fox", arm="tuned")])


@pytest.mark.parametrize("kind", ["bf16", "amx_tile"])
def test_a_processor_that_multiplies_16_bits_by_itself_is_another_device(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    names = {"bf16": "_is_avx512_bf16_supported", "amx_tile": "_is_amx_tile_supported"}
    told = set()
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, names[kind], lambda has=has: has)
        told.add(device_name(torch.device("cpu")))
    assert len(told) == 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_weights_that_do_not_fit_say_what_to_do(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    from transformers import AutoModelForCausalLM

    def full(*_: Any, **__: Any) -> None:
        raise error("out of memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(ModelError, match=r"does not fit on cpu\. Use model\.quantization"):
        answers(open_arms(tiny()), [likelihood("The", " fox")])


def test_a_peak_that_cannot_be_measured_for_want_of_memory_is_left_out(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = open_arms(tiny())
    assert engine.profile()["peak_flop_per_second"] > 0
    monkeypatch.setattr("evalkit.models.hf.estimate.peak", full)
    assert engine.profile() == {}
