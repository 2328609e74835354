"""Log-likelihoods added up the way lm-eval's own model does it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import fsum


def added(logprobs: Sequence[float], window: int | None = None) -> float:
    """The sum of token log-probabilities (nats), in float32 as HFLM takes it of a float32 model.

    The last bit of such a sum over a text of 500 nats is 3e-5, enough to turn a printed digit of a
    perplexity; an exact sum is the better one, but not lm-eval's. Of a text longer than the
    model's `window` HFLM adds up each window's tokens by themselves. Without torch in this process
    no local model has answered, so that there is no HFLM to agree with, and the sum is exact.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return fsum(logprobs)
    size = window or len(logprobs) or 1
    parts = (logprobs[start : start + size] for start in range(0, len(logprobs), size))
    return sum((float(torch.tensor(part, dtype=torch.float32).sum()) for part in parts), 0.0)
