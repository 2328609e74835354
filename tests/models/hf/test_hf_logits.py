"""Logits that are read some rows at a time are those of one product, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from evalkit.models.hf import logits, products
from evalkit.models.hf.logits import Finish, Logits

WIDTH, VOCABULARY = 8, 5_000  # more words than one piece has
CPU = torch.device("cpu")


class _Model:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)

    def modules(self) -> list[torch.nn.Module]:
        return [self.head]

    def get_output_embeddings(self) -> torch.nn.Linear:
        return self.head


@pytest.fixture
def head() -> Any:
    """An output head that computes piece by piece, and remembers no gradients."""
    model = _Model()
    products.multiply_sooner(model)
    return model.head


def plain(head: Any, hidden: Tensor) -> Tensor:
    return torch.nn.functional.linear(hidden, head.weight.to(hidden.dtype))


def test_logits_that_pass_stand_in_one_place(head: Any) -> None:
    with torch.inference_mode():
        first, second, third = torch.randn(6, WIDTH), torch.randn(6, WIDTH), torch.randn(2, WIDTH)
        before = products.passing(head, first)
        torch.testing.assert_close(before, plain(head, first))
        after = products.passing(head, second)
        torch.testing.assert_close(after, plain(head, second))
        assert after.data_ptr() == before.data_ptr()
        torch.testing.assert_close(products.passing(head, third), plain(head, third))
        torch.testing.assert_close(after[2:], plain(head, second)[2:])


def test_a_larger_chunk_and_another_dtype_get_their_own_room(head: Any) -> None:
    with torch.inference_mode():
        for rows, dtype in ((2, torch.float32), (5, torch.float32), (5, torch.bfloat16)):
            head.weight.data = head.weight.data.to(dtype)
            hidden = torch.randn(rows, WIDTH, dtype=dtype)
            passed = products.passing(head, hidden)
            assert (passed.dtype, passed.shape) == (dtype, (rows, VOCABULARY))
            torch.testing.assert_close(passed, plain(head, hidden))


def test_what_may_need_gradients_is_not_overwritten(head: Any) -> None:
    hidden = torch.randn(3, WIDTH)
    passed = products.passing(head, hidden)
    assert passed.requires_grad
    with torch.inference_mode():
        products.passing(head, torch.randn(3, WIDTH))
    torch.testing.assert_close(passed, plain(head, hidden))


@pytest.mark.parametrize("finish", [Finish(), Finish(scale=0.25, cap=3.0)])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_parts_and_the_whole_are_the_same_logits(
    head: Any, finish: Finish, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "PART_NUMBERS", rows * VOCABULARY)
    hidden = torch.randn(11, WIDTH)
    with torch.inference_mode():
        wanted = finish(plain(head, hidden))
        made = Logits(chunks=torch.split(hidden, 4), device=CPU, head=head, finish=finish)
        parts = [part.clone() for part in made.parts()]
        assert {len(part) for part in parts} <= {rows, 4 % rows, 3 % rows, 4, 3}
        assert max(len(part) for part in parts) == min(rows, 4)
        torch.testing.assert_close(torch.cat(parts), wanted)
        torch.testing.assert_close(made.whole(), wanted)
        ready = Logits(chunks=[wanted], device=CPU, finish=finish)  # finished by the model itself
        torch.testing.assert_close(torch.cat(list(ready.parts())), wanted)
        assert ready.whole() is wanted
