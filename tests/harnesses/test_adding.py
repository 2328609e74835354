"""Log-likelihoods are added up as lm-eval's own model adds them."""

from __future__ import annotations

import random
import sys
from math import fsum

import pytest
import torch

from evalkit.harnesses.lm_eval.adding import added


def test_a_long_sum_is_that_of_float32() -> None:
    generator = random.Random(4)
    values = torch.tensor([-generator.expovariate(0.4) for _ in range(700)])
    theirs = float(values.sum())  # what HFLM says of gathered log-probabilities
    assert added(values.tolist()) == theirs
    assert theirs != fsum(values.tolist())
    assert theirs == pytest.approx(fsum(values.tolist()), rel=1e-6)


def test_nothing_adds_up_to_zero() -> None:
    assert added(()) == 0.0


def test_windows_are_added_up_by_themselves() -> None:
    values = [-0.1 * number for number in range(1, 70)]
    parts = [torch.tensor(values[:50]).sum(), torch.tensor(values[50:]).sum()]
    assert added(values, 50) == float(parts[0]) + float(parts[1])
    assert added(values, 69) == added(values) == float(torch.tensor(values).sum())


def test_without_torch_the_sum_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    values = [-0.1] * 10
    assert added(values) == fsum(values)
