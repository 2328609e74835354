"""Products arranged for the processor, against float64 and against PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from evalkit.models.hf import loaded, products
from evalkit.models.hf.products import keep_in_order, multiply, multiply_sooner
from tests.models.hf.tiny_models import Tiny, answers, open_arms, writing

WIDTH, OUT, ROWS = 96, 160, 7

ONEDNN = pytest.mark.skipif(
    not (products._has_onednn(torch.float32) and products._has_onednn(torch.bfloat16)),
    reason="this PyTorch or this processor has no oneDNN for both dtypes",
)


def is_kept(layer: Any) -> bool:
    """Whether its weights stand in oneDNN's order, too."""
    return layer.forward.orders[0]._kept is not None


def arranged(layer: Any, dtype: torch.dtype) -> Any:
    """A model of one layer, arranged."""
    model: Any = torch.nn.Sequential(layer, torch.nn.Identity()).to(dtype)
    model.get_output_embeddings = lambda: None
    multiply_sooner(model)
    return model


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (2, 3, WIDTH), (0, WIDTH)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_plain_product_is_that_of_float64(
    onednn: bool, shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_has_onednn", lambda _: onednn)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_layers_are_given_it_where_they_gain(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        asked.append(x.shape[0])
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(products, "_by_onednn", noted)
    monkeypatch.setattr(products, "_has_onednn", lambda _: True)
    model = arranged(torch.nn.Linear(4, 4), dtype)
    with torch.inference_mode():
        model(torch.ones(1, 4, dtype=dtype))
        model(torch.ones(3, products.FEW, 4, dtype=dtype))  # many rows
    model(torch.ones(1, 4, dtype=dtype)).sum().backward()  # and may still be trained
    assert asked == ([1] if dtype == torch.float32 else [1, 3])


@ONEDNN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_weights_in_another_order_give_the_same_numbers(dtype: torch.dtype, *, bias: bool) -> None:
    torch.manual_seed(0)
    layer: Any = torch.nn.Linear(WIDTH, OUT, bias=bias)
    model = arranged(layer, dtype)
    keep_in_order(model)
    x = torch.randn(5, WIDTH).to(dtype)
    with torch.inference_mode():
        given = [model(x) for _ in range(products.OFTEN + 1)]
    assert is_kept(layer)
    for one in given:
        torch.testing.assert_close(one, given[0])
    torch.testing.assert_close(given[0], torch.nn.functional.linear(x, layer.weight, layer.bias))


@ONEDNN
@pytest.mark.parametrize("free", [4 * OUT * WIDTH * 4 - 1, 4 * OUT * WIDTH * 4])
def test_only_weights_that_fit_twice_are_kept_in_it(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "free_bytes", lambda _: free)
    layer: Any = torch.nn.Linear(WIDTH, OUT, bias=False)
    model = arranged(layer, torch.float32)
    keep_in_order(model)
    with torch.inference_mode():
        for _ in range(products.OFTEN):
            assert not is_kept(layer)
            model(torch.randn(5, WIDTH))
    assert is_kept(layer) is (free == 4 * OUT * WIDTH * 4)


@ONEDNN
def test_a_product_of_many_rows_counts_as_several_of_few() -> None:
    layer: Any = torch.nn.Linear(WIDTH, OUT, bias=False)
    model = arranged(layer, torch.bfloat16)
    keep_in_order(model)
    with torch.inference_mode():
        model(torch.randn(2, products.FEW * (products.OFTEN - 2) // 2, WIDTH).bfloat16())
        model(torch.randn(1, WIDTH).bfloat16())
        assert not is_kept(layer)
        model(torch.randn(1, WIDTH).bfloat16())
    assert is_kept(layer)


@ONEDNN
def test_weights_that_may_still_be_written_to_are_not_kept_in_it(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a layer computes while adapters are attached and tried is computed by its weights."""
    monkeypatch.setattr(products, "OFTEN", 1)
    kept: list[Tensor] = []
    assert products._has_onednn(torch.float32)  # tried once, with weights of its own
    order = products._packed

    def noted(weight: Tensor) -> Tensor:
        kept.append(weight)
        return order(weight)

    monkeypatch.setattr(products, "_packed", noted)

    def late(model: Any) -> None:
        assert not kept
        keep_in_order(model)

    monkeypatch.setattr(loaded, "keep_in_order", late)
    answers(open_arms(tiny()), [writing("The", arm=arm) for arm in ("base", "tuned")])
    assert kept


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
        assert not products._has_onednn(torch.float32)
    finally:
        products._has_onednn.cache_clear()
