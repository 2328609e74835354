"""Attention of texts in one row to themselves and to a shared start is plain attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from evalkit.models.hf import attention
from evalkit.models.hf.network import next_logits
from tests.models.hf.surveys import surveyed
from tests.models.hf.tiny_models import Tiny


def heads(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def plain(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float) -> Tensor:
    """What the definition says, in float64."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    scores = (query.double() @ keys.double().transpose(2, 3) * scale).masked_fill(~seen, -torch.inf)
    return (scores.softmax(3) @ values.double()).transpose(1, 2)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    groups=st.integers(1, 3),
    start=st.integers(0, 70),
    trees=st.lists(st.booleans(), min_size=4, max_size=4),
    scale=st.floats(0.05, 2.0),
)
def test_the_parts_joined_are_the_whole(
    sizes: list[int], groups: int, start: int, trees: list[bool], scale: float
) -> None:
    ends = list(accumulate(sizes))
    parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    total = ends[-1]
    query, keys = heads(1, 2 * groups, total, 8), heads(1, 2, total, 8)
    values = heads(1, 2, total, 8) * 2
    first_keys, first_values = heads(1, 2, start, 8), heads(1, 2, start, 8) - 1
    seen = torch.zeros(total, start + total, dtype=torch.bool)
    seen[:, :start] = True
    pieces = []
    for part, tree in zip(parts, trees, strict=False):
        inside = torch.tril(torch.ones(part.stop - part.start, part.stop - part.start)).bool()
        if tree:  # tokens that are not on one path: each sees the first and itself
            inside = torch.eye(len(inside)).bool()
            inside[:, 0] = True
        seen[part, start + part.start : start + part.stop] = inside
        added = torch.zeros(inside.shape).masked_fill(~inside, -torch.inf)
        pieces.append(attention.Piece(part, added if tree else None))
    if start:
        attention.lend(first_keys, first_values)
    got = attend(query, keys, values, pieces, scaling=scale)
    wanted = plain(
        query, torch.cat([first_keys, keys], 2), torch.cat([first_values, values], 2), seen, scale
    )
    assert got.shape == (1, total, 2 * groups, 8)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    pieces: Sequence[attention.Piece],
    **kwargs: Any,
) -> Tensor:
    attention._PIECES.set(pieces)
    try:
        mask = kwargs.pop("attention_mask", None)
        return attention._attention(None, query, keys, values, mask, **kwargs)[0]
    finally:
        attention._PIECES.set(())


def test_a_start_is_lent_for_one_layer_only() -> None:
    query, keys, values = heads(1, 2, 3, 8), heads(1, 2, 3, 8), heads(1, 2, 3, 8)
    one = [attention.Piece(slice(0, 3), None)]
    alone = attend(query, keys, values, one)
    attention.lend(heads(1, 2, 5, 8), heads(1, 2, 5, 8))
    with_start = attend(query, keys, values, one)
    after = attend(query, keys, values, one)
    assert not torch.allclose(alone, with_start)
    assert torch.equal(alone, after)


@pytest.mark.parametrize("name", ["softcap", "position_bias", "s_aux"])
def test_what_it_does_not_know_is_refused(name: str) -> None:
    one = heads(1, 1, 1, 8)
    with pytest.raises(ValueError, match="nothing but a mask"):
        attend(one, one, one, [attention.Piece(slice(0, 1), None)], **{name: 30.0})


def test_a_mask_that_the_model_has_changed_is_refused() -> None:
    one = heads(1, 1, 2, 8)
    narrowed = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="narrows its mask"):
        attend(one, one, one, [attention.Piece(slice(0, 2), None)], attention_mask=narrowed)


@pytest.mark.parametrize(
    ("architecture", "chains"),
    [("llama", True), ("qwen3", True), ("opt", True), ("mistral", False), ("gemma2", False)],
)
def test_windows_and_caps_keep_their_own_attention(
    tiny: Callable[..., Tiny], architecture: str, chains: bool
) -> None:
    assert surveyed(tiny(architecture).model).chains is chains


def test_the_model_has_its_own_attention_back_after_an_error(tiny: Callable[..., Tiny]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny().model).eval()
    with pytest.raises(RuntimeError, match="broken"):
        break_off_within(model)
    assert model.config._attn_implementation == "sdpa"
    assert attention._START.get() is None
    assert attention._PIECES.get() == ()


@pytest.mark.parametrize("made", [False, True], ids=["seen", "added"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("groups", [1, 3])
def test_single_tokens_lose_nothing_but_the_rounding_of_their_output(
    groups: int, dtype: torch.dtype, *, made: bool
) -> None:
    query = heads(4, 2 * groups, 1, 8).to(dtype)
    keys, values = (heads(5, 2, n, 8)[:4, :, :30].to(dtype).float() for n in (30, 31))
    seen = (torch.arange(30) < torch.tensor([[30], [7], [1], [19]]))[:, None, None]
    module: Any = SimpleNamespace(num_key_value_groups=groups, is_causal=True)
    mask = torch.zeros(4, 1, 1, 30, dtype=dtype).masked_fill_(~seen, -1e9) if made else seen
    found, _ = attention._step_attention(module, query, keys, values, mask, scaling=0.7)
    wanted = plain(query, keys, values, seen, 0.7)
    assert found.dtype == dtype
    # As far as a number of so many bits may be from what it stands for.
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double(), wanted, rtol=rounding, atol=1e-6)


def test_single_tokens_are_scaled_by_their_width_unless_told() -> None:
    query, keys, values = heads(2, 4, 1, 16), heads(2, 2, 5, 16), heads(2, 2, 5, 16) + 1
    seen = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    found, _ = attention._step_attention(None, query, keys, values, seen)
    torch.testing.assert_close(found, plain(query, keys, values, seen, 0.25).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_texts_in_the_making_are_kept_in_float32_on_a_cpu(
    tiny: Callable[..., Tiny], dtype: torch.dtype
) -> None:
    network = surveyed(tiny().model, dtype)
    desk = network.desk(network.model.config.num_hidden_layers, seats=2, tokens=8)
    with torch.inference_mode():
        logits = next_logits(network, desk, [0, 0], [5, 9]).whole()
        alone = network.model(torch.tensor([[5], [9]])).logits[:, 0]
    assert desk.wide
    assert {layer.keys.dtype for layer in desk.cache.layers} == {torch.float32}
    torch.testing.assert_close(logits.float(), alone.float(), rtol=0.02, atol=0.02)
    assert network.model.config._attn_implementation == "sdpa"


def break_off_within(model: Any) -> None:
    with attention.chained(model, [attention.Piece(slice(0, 1), None)]):
        assert model.config._attn_implementation == attention.CHAIN
        attention.lend(heads(1, 2, 5, 8), heads(1, 2, 5, 8))
        raise RuntimeError("broken")
