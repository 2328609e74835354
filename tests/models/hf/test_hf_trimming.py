"""The last layer's feed-forward network sees only what is read, and the logits are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from evalkit.models.hf import caches, trials
from evalkit.models.hf.lanes import Span, lay
from evalkit.models.hf.network import Network, read_trunk
from evalkit.models.hf.scoring import score_lanes
from evalkit.models.hf.trimming import last_feed_forward, only_at
from tests.models.hf.surveys import surveyed
from tests.models.hf.tiny_models import Tiny


def logits(network: Network, ids: Tensor, columns: list[int]) -> tuple[Tensor, int]:
    """Logits at some columns of the only row, and for how many tokens the last network gave."""
    met: list[int] = []
    hook = last_feed_forward(network.model).register_forward_hook(
        lambda _, __, out: met.append(out.flatten(0, -2).shape[0])
    )
    at = torch.tensor(columns)
    with torch.inference_mode():
        logits, _ = network.logits_at(ids, torch.zeros_like(at), at, use_cache=False)
        got = logits.whole()
    hook.remove()
    return got, met[0]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox"])
def test_only_what_is_read_is_computed(tiny: Callable[..., Tiny], architecture: str) -> None:
    network = surveyed(tiny(architecture).model)
    assert network.trimmed is not None
    ids = torch.arange(5, 35)[None]
    trimmed, few = logits(network, ids, [3, 29])
    plain, all_of_them = logits(replace(network, trimmed=None), ids, [3, 29])
    assert (few, all_of_them) == (2, 30)
    torch.testing.assert_close(trimmed, plain, rtol=1e-5, atol=1e-5)


def test_where_nearly_all_is_read_nothing_is_trimmed(tiny: Callable[..., Tiny]) -> None:
    network = surveyed(tiny("llama").model)
    _, met = logits(network, torch.arange(5, 15)[None], list(range(5)))
    assert met == 10


def test_a_model_without_such_a_network_is_computed_whole() -> None:
    assert last_feed_forward(torch.nn.Linear(2, 2)) is None
    layers = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    assert last_feed_forward(torch.nn.ModuleDict({"layers": layers})) is None


def test_the_hooks_are_taken_away_after_an_error() -> None:
    network, zero = torch.nn.Linear(2, 2), torch.zeros(1, dtype=torch.long)
    with pytest.raises(RuntimeError, match="broken"), only_at(network, zero, zero):
        raise RuntimeError("broken")
    assert network(torch.ones(1, 3, 2)).shape == (1, 3, 2)


def test_it_is_trimmed_behind_a_start_and_with_other_texts_in_the_row(
    tiny: Callable[..., Tiny],
) -> None:
    network = surveyed(tiny("llama").model)
    assert network.chains
    start = tuple(range(5, 17))
    texts = [tuple(range(20, 40)), tuple(range(30, 43)), tuple(range(41, 60))]
    spans = [Span(start + text, (7,)) for text in texts]
    lanes = [lay([span], len(start)) for span in spans]
    met: list[int] = []
    hook = network.trimmed.register_forward_hook(
        lambda _, __, out: met.append(out.flatten(0, -2).shape[0])
    )
    with torch.inference_mode():
        trunks = caches.Trunks()
        read_trunk(network, trunks, start, 64)
        scored = score_lanes(network, lanes, len(start), trunks.nearest(start)[1])
        hook.remove()
        for span, one in zip(spans, scored, strict=True):
            plain = trials.plain_logits(replace(network, trimmed=None), span.prompt)[-1]
            assert one.logprobs[0] == pytest.approx(float(plain.log_softmax(0)[7]), abs=1e-5)
    assert met == [1, len(texts)]
