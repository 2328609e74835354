"""LoRA adapters added in place, against float64 and against PEFT's own layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from evalkit.models.hf.adding import Adding, add_in_place, all_add_in_place, in_halves, rows_of
from evalkit.models.hf.engine import HFEngine
from tests.models.hf.tiny_models import Tiny, answers, open_arms, writing

WIDTH, OUT, RANK, ROWS = 96, 160, 4, 7


def in_four_bits(linear: torch.nn.Linear) -> Any:
    """The layer in NF4, multiplied in the dtype it has."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    dtype = linear.weight.dtype
    small = Linear4bit(WIDTH, OUT, bias=False, compute_dtype=dtype, quant_type="nf4")
    small.weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
    small.support_avx512bf16_for_cpu = False  # as `loading` has it for rows of broken blocks
    return small.to("cpu")


def lora_layer(
    base: torch.dtype,
    scales: Sequence[float] = (2.0,),
    adapter: torch.dtype = torch.float32,
    *,
    four_bits: bool = False,
) -> Any:
    """A PEFT model of one linear layer, with adapters "a", "b" … of these scales."""
    from peft import LoraConfig, LoraModel

    torch.manual_seed(0)
    linear = torch.nn.Linear(WIDTH, OUT, bias=False).to(base)
    model: Any = torch.nn.ModuleDict({"layer": in_four_bits(linear) if four_bits else linear})
    model.is_loaded_in_4bit = four_bits
    configs = {
        name: LoraConfig(r=RANK, lora_alpha=scale * RANK, target_modules=["layer"])
        for name, scale in zip("ab", scales, strict=False)
    }
    names = list(configs)
    tuner = LoraModel(model, configs, names[0])
    for name in names[1:]:
        tuner.inject_adapter(model, name)
    layer = model["layer"]
    for name in names:
        torch.nn.init.normal_(layer.lora_B[name].weight, std=0.3)
        layer.lora_A[name].to(adapter)
        layer.lora_B[name].to(adapter)
    layer.set_adapter(names[0])
    return model.eval()


def exact(layer: Any, x: Tensor, name: str) -> Tensor:
    """What the layer means: the base's product as it rounds it, and the adapter's in float64."""
    low = x.double() @ layer.lora_A[name].weight.double().T
    added = low @ layer.lora_B[name].weight.double().T * layer.scaling[name]
    whole: Tensor = layer.base_layer(x).double() + added
    return whole


DTYPES = pytest.mark.parametrize("base", [torch.float32, torch.bfloat16, torch.float16])
FOUR_BITS = pytest.mark.parametrize("four_bits", [False, True], ids=["whole", "four-bits"])


@DTYPES
@FOUR_BITS
def test_a_lora_layer_adds_what_peft_adds(base: torch.dtype, *, four_bits: bool) -> None:
    model = lora_layer(base, four_bits=four_bits)
    layer = model["layer"]
    x = torch.randn(2, ROWS, WIDTH).to(base)
    with torch.inference_mode():
        theirs = layer(x)
        add_in_place(model)
        assert isinstance(layer.forward, Adding)
        ours = layer(x)
        true = exact(layer, x, "a")
    assert ours.dtype == theirs.dtype == base
    # One rounding of the sum, as in PEFT, and no second one of the adapter's part.
    spacing = torch.finfo(base).eps * true.abs().clamp(min=torch.finfo(base).tiny)
    assert bool(((ours.double() - true).abs() <= 0.51 * spacing + 2e-5).all())
    assert float((ours.double() - true).abs().mean()) <= 1.01 * float(
        (theirs.double() - true).abs().mean() + 1e-7
    )


@DTYPES
@FOUR_BITS
def test_rows_of_several_adapters_each_get_their_own(base: torch.dtype, *, four_bits: bool) -> None:
    model = lora_layer(base, scales=(2.0, -0.5), four_bits=four_bits)
    layer = model["layer"]
    x = torch.randn(3, 1, WIDTH).to(base)
    add_in_place(model)
    with torch.inference_mode():
        mixed = layer(x, adapter_names=["b", "__base__", "a"])
        alone = [exact(layer, x[:1], "b"), layer.base_layer(x)[1:2], exact(layer, x[2:], "a")]
    for row, want in zip(mixed, alone, strict=True):
        torch.testing.assert_close(row.double(), want[0].double(), rtol=1e-2, atol=1e-5)
    assert torch.equal(mixed[1], alone[1][0])
    with torch.inference_mode(), rows_of(["b", "__base__", "a"]):
        assert torch.equal(layer(x), mixed)
    with torch.inference_mode():
        assert not torch.equal(layer(x), mixed), "told for that forward alone"


def test_what_is_unusual_is_left_to_peft() -> None:
    """An adapter of 16 bits on a base of 32 is added in PEFT's own way, and none at all too."""
    model = lora_layer(torch.float32, adapter=torch.bfloat16)
    layer = model["layer"]
    x = torch.randn(1, ROWS, WIDTH)
    with torch.inference_mode():
        theirs = layer(x)
        add_in_place(model)
        assert torch.equal(layer(x), theirs)
        layer.enable_adapters(False)
        assert torch.equal(layer(x), layer.base_layer(x))


def test_rows_are_told_only_where_every_layer_hears_it() -> None:
    model = lora_layer(torch.float32)
    assert not all_add_in_place(model)
    add_in_place(model)
    assert all_add_in_place(model)


def test_arms_of_plain_lora_are_decoded_so(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    answers(engine, [writing("The", arm=arm) for arm in ("base", "tuned")])
    assert isinstance(engine, HFEngine)
    assert engine._loaded is not None
    assert engine._loaded.together is not None
    assert engine._loaded.together.tells_rows


def test_two_halves_hold_a_number() -> None:
    numbers = torch.randn(10_000) * torch.logspace(-20, 20, 10_000)
    high, rest = in_halves(numbers)
    assert high.dtype == rest.dtype == torch.bfloat16
    error = (high.double() + rest.double() - numbers.double()).abs() / numbers.double().abs()
    assert float(error.max()) <= 2.0**-17
