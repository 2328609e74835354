"""Where weights go, and what is told if they do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.config import HFModel
from evalkit.errors import ModelError
from evalkit.models.hf import open_hf
from evalkit.models.hf.loading import place
from evalkit.models.hf.memory import free_bytes, is_out_of_memory
from tests.models.hf.tiny_models import Tiny, answers, config, likelihood, open_arms

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
