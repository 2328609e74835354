"""Products arranged for the processor, against float64 and against PEFT's own layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from evalkit.models.hf import products
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.products import (
    Adding,
    add_in_place,
    all_add_in_place,
    in_halves,
    multiply,
    multiply_sooner,
    rows_of,
)
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


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (2, 3, WIDTH), (0, WIDTH)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_plain_product_is_that_of_float64(
    onednn: bool, shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_has_onednn", lambda: onednn)
    torch.manual_seed(0)
    x, weight, added = torch.randn(shape), torch.randn(OUT, WIDTH), torch.randn(OUT)
    wanted = x.double() @ weight.double().T + (added.double() if bias else 0.0)
    with torch.inference_mode():
        got = multiply(x, weight, added if bias else None)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-4)


def test_both_libraries_are_about_as_near_to_the_truth() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(200, 576), torch.randn(1536, 576)
    wanted = x.double() @ weight.double().T
    with torch.inference_mode():
        theirs = (torch.nn.functional.linear(x, weight).double() - wanted).pow(2).mean().sqrt()
        ours = (multiply(x, weight).double() - wanted).pow(2).mean().sqrt()
    assert 0 < ours < 2 * theirs


def test_numbers_that_do_not_stand_in_a_row_are_multiplied_as_well() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(WIDTH, ROWS).T, torch.randn(WIDTH, OUT).T
    with torch.inference_mode():
        torch.testing.assert_close(multiply(x, weight), x.contiguous() @ weight.T)
        every_other = multiply(torch.randn(ROWS, 2 * WIDTH)[:, ::2], weight[::2])
    assert every_other.shape == (ROWS, OUT // 2)


def test_plain_layers_are_given_it_where_they_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        asked.append(x.dtype)
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(products, "_by_onednn", noted)
    monkeypatch.setattr(products, "_has_onednn", lambda: True)
    for dtype in (torch.float32, torch.bfloat16):
        model: Any = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).to(dtype)
        model.get_output_embeddings = lambda: None
        multiply_sooner(model)
        with torch.inference_mode():
            model(torch.ones(1, 4, dtype=dtype))
            model(torch.ones(3, products.FEW, 4, dtype=dtype))  # many rows
        model(torch.ones(1, 4, dtype=dtype)).sum().backward()  # and may still be trained
    assert asked == [torch.float32]


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_a_pytorch_without_it_or_another_processor_keeps_its_own(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> Tensor:
        raise AttributeError("no such operator")

    if machine == "x86_64":
        monkeypatch.setattr(products, "_by_onednn", absent)
    monkeypatch.setattr("platform.machine", lambda: machine)
    products._has_onednn.cache_clear()
    try:
        assert not products._has_onednn()
    finally:
        products._has_onednn.cache_clear()


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
