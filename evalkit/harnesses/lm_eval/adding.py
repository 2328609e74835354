"""Log-likelihoods added up the way lm-eval's own model does it."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum


def added(logprobs: Sequence[float]) -> float:
    """The sum of token log-probabilities (nats), in float32 as lm-eval's HFLM takes it.

    The last bit of such a sum over a text of 500 nats is 3e-5, enough to turn a printed digit of a
    perplexity; an exact sum is the better one, but not lm-eval's. It is taken where torch is not
    installed, so that no local model can have answered.
    """
    try:
        import torch
    except ImportError:
        return fsum(logprobs)
    return float(torch.tensor(logprobs, dtype=torch.float32).sum())
