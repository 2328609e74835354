"""LoRA adapters added in place, against float64 and against PEFT's own layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from evalkit.models.hf.adding import Adding, add_in_place, all_add_in_place, rows_of
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


def allowed(layer: Any, x: Tensor, name: str) -> Tensor:
    """How far from `exact` a layer may be, by rounding alone.

    The sum is rounded once. In bfloat16 what it adds has been rounded three times before, once in
    either weight and once between them: each by at most half an eps of the sum of what its terms
    are without their signs.
    """
    eps = torch.finfo(x.dtype).eps
    once: Tensor = 0.51 * eps * exact(layer, x, name).abs()
    if x.dtype != torch.bfloat16:
        return once + 2e-5
    low = x.double().abs() @ layer.lora_A[name].weight.double().abs().T
    terms: Tensor = low @ layer.lora_B[name].weight.double().abs().T * abs(layer.scaling[name])
    return once + 3.1 * eps / 2 * terms


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
    off = (ours - true).abs()
    assert bool((off <= allowed(layer, x, "a")).all())
    if base != torch.bfloat16:  # the sum is rounded once, as in PEFT
        assert float(off.mean()) <= 1.01 * float((theirs - true).abs().mean()) + 1e-7


@FOUR_BITS
def test_an_adapters_rounding_is_little_beside_that_of_its_layer(*, four_bits: bool) -> None:
    """It adds a fifth to what the layer gives, as adapters of some training do."""
    model = lora_layer(torch.bfloat16, scales=(0.2,), four_bits=four_bits)
    layer = model["layer"]
    x = torch.randn(400, WIDTH).bfloat16()
    with torch.inference_mode():
        theirs = layer(x)
        add_in_place(model)
        ours, true = layer(x), exact(layer, x, "a")
        share = (true - layer.base_layer(x)).norm() / true.norm()
    assert 0.1 < float(share) < 0.3
    assert float((ours - true).norm()) <= 1.05 * float((theirs - true).norm())


@DTYPES
@FOUR_BITS
def test_rows_of_several_adapters_each_get_their_own(base: torch.dtype, *, four_bits: bool) -> None:
    model = lora_layer(base, scales=(2.0, -0.5), four_bits=four_bits)
    layer = model["layer"]
    x = torch.randn(3, 1, WIDTH).to(base)
    add_in_place(model)
    with torch.inference_mode():
        mixed = layer(x, adapter_names=["b", "__base__", "a"])
        for row, name in ((0, "b"), (2, "a")):
            off = (mixed[row] - exact(layer, x[row], name)).abs()
            assert bool((off <= allowed(layer, x[row], name)).all())
        assert torch.equal(mixed[1], layer.base_layer(x)[1])
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
