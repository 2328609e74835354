"""What a model's files and configuration say of the cost of a token."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evalkit.models.hf.estimate import _asked_experts, shape_of, weights_bytes
from evalkit.models.hf.loading import Placement
from tests.models.hf.tiny_models import Tiny

BFLOAT16 = Placement(
    device=torch.device("cpu"), dtype=torch.bfloat16, quantization="none", spread=False
)


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model and its configuration, as transformers has them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    return model, AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize("architecture", ["llama", "qwen3_moe", "mixtral", "gpt_oss"])
def test_a_token_meets_all_weights_but_those_of_experts_it_is_not_sent_to(
    tiny: Callable[..., Tiny], architecture: str
) -> None:
    folder = tiny(architecture).model
    model, config = loaded(folder)
    shape = shape_of(folder, config)
    assert shape.weights == sum(one.numel() for one in model.parameters())
    layers = {name: one.numel() for name, one in model.named_parameters() if ".layers." in name}
    there: int = getattr(config, "num_local_experts", 0) or getattr(config, "num_experts", 1)
    asked: int = getattr(config, "num_experts_per_tok", 1)
    met = sum(n * asked / there if ".experts." in name else n for name, n in layers.items())
    norm = model.model.norm.weight.numel()
    assert shape.body == pytest.approx(met + norm)
    assert (asked < there) == (architecture != "llama")


@pytest.mark.parametrize(
    ("there", "asked", "share"), [(8, 2, 0.25), (8, [1, 3], 0.25), ([8, 8], 4, 0.5), (0, 2, 1)]
)
def test_experts_may_be_counted_layer_by_layer(there: Any, asked: Any, share: float) -> None:
    config = SimpleNamespace(num_experts=there, num_experts_per_tok=asked)
    assert _asked_experts(config) == share


def test_only_the_files_that_are_loaded_count(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    """Many a model lies in the hub twice, in its makers' format too."""
    folder = shutil.copytree(tiny().model, tmp_path / "model")
    _, config = loaded(folder)
    before = shape_of(folder, config)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert shape_of(folder, config) == before


@pytest.mark.parametrize(
    ("stored", "kind", "held"),
    [
        ({"quant_method": "gptq", "bits": 4}, torch.int32, 8),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4}}},
            },
            torch.int32,
            8,
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, torch.uint8, 2),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, torch.int8, 1),
    ],
)
def test_weights_that_lie_packed_in_whole_numbers_are_counted(
    tmp_path: Path, stored: dict[str, Any], kind: torch.dtype, held: int
) -> None:
    from safetensors.torch import save_file

    packed, scales = torch.ones((64, 32), dtype=kind), torch.ones(64, dtype=torch.float16)
    save_file({"layer.qweight": packed, "layer.scales": scales}, tmp_path / "model.safetensors")
    config = SimpleNamespace(vocab_size=2, hidden_size=4, quantization_config=stored)
    shape = shape_of(tmp_path, config)
    assert shape.weights == 64 * 32 * held + 64
    assert weights_bytes(shape, BFLOAT16) == 64 * 32 * kind.itemsize + 64 * 2
