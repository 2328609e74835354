"""Attention to a shared start, taken apart and joined again, is plain attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from evalkit.models.hf import attention, trials
from evalkit.models.hf.masks import layers_of
from evalkit.models.hf.network import Network
from tests.models.hf.tiny_models import LENGTH, Tiny


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
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
    own=st.integers(1, 9),
    start=st.integers(1, 70),
    scale=st.floats(0.05, 2.0),
)
def test_the_parts_joined_are_the_whole(
    rows: int, groups: int, own: int, start: int, scale: float
) -> None:
    query, keys = heads(rows, 2 * groups, own, 8), heads(rows, 2, own, 8)
    values = heads(rows, 2, own, 8) * 2
    first_keys, first_values = heads(1, 2, start, 8), heads(1, 2, start, 8) - 1
    inside = torch.tril(torch.ones(own, own, dtype=torch.bool)).expand(rows, 1, own, own)
    seen = torch.cat([torch.ones(rows, 1, own, start, dtype=torch.bool), inside], 3)
    attention.lend(first_keys, first_values)
    got, _ = attention._attention(None, query, keys, values, seen, scaling=scale)
    all_keys = torch.cat([first_keys.expand(rows, -1, -1, -1), keys], 2)
    all_values = torch.cat([first_values.expand(rows, -1, -1, -1), values], 2)
    wanted = plain(query, all_keys, all_values, seen, scale)
    assert got.shape == (rows, own, 2 * groups, 8)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_start_is_lent_for_one_layer_only() -> None:
    query, keys, values = heads(1, 2, 3, 8), heads(1, 2, 3, 8), heads(1, 2, 3, 8)
    seen = torch.tril(torch.ones(3, 3, dtype=torch.bool))[None, None]
    alone, _ = attention._attention(torch.nn.Module(), query, keys, values, seen)
    attention.lend(heads(1, 2, 5, 8), heads(1, 2, 5, 8))
    wide = torch.cat([torch.ones(1, 1, 3, 5, dtype=torch.bool), seen], 3)
    with_start, _ = attention._attention(torch.nn.Module(), query, keys, values, wide)
    after, _ = attention._attention(torch.nn.Module(), query, keys, values, seen)
    assert not torch.allclose(alone, with_start)
    assert torch.equal(alone, after)


@pytest.mark.parametrize("name", ["softcap", "position_bias", "s_aux"])
def test_what_it_does_not_know_is_refused(name: str) -> None:
    attention.lend(heads(1, 1, 2, 8), heads(1, 1, 2, 8))
    one = heads(1, 1, 1, 8)
    seen = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="nothing but a mask"):
        attention._attention(None, one, one, one, seen, **{name: 30.0})


def surveyed(tiny: Callable[..., Tiny], architecture: str) -> Network:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny(architecture).model).eval()
    head = model.get_output_embeddings()
    plain = Network(model=model, head=head, device=torch.device("cpu"), layers=layers_of(model))
    with torch.inference_mode():
        return trials.survey(plain, LENGTH)[0]


@pytest.mark.parametrize(
    ("architecture", "splits"),
    [("llama", True), ("qwen3", True), ("opt", True), ("mistral", False), ("gemma2", False)],
)
def test_windows_and_caps_keep_their_own_attention(
    tiny: Callable[..., Tiny], architecture: str, splits: bool
) -> None:
    assert surveyed(tiny, architecture).splits is splits


def test_the_model_has_its_own_attention_back_after_an_error(tiny: Callable[..., Tiny]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny().model).eval()
    with pytest.raises(RuntimeError, match="broken"):
        break_off_within(model)
    assert model.config._attn_implementation == "sdpa"
    assert attention._START.get() is None


def break_off_within(model: Any) -> None:
    with attention.split(model):
        assert model.config._attn_implementation == attention.NAME
        attention.lend(heads(1, 2, 5, 8), heads(1, 2, 5, 8))
        raise RuntimeError("broken")
