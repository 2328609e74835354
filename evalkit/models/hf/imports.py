"""Bring the heavy libraries in without what of them nobody uses here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def for_weights(*, adapters: bool, quantized: bool) -> None:
    """Import what runs a model, and PEFT where adapters need it: nothing of it is needed to find
    stored answers.

    PEFT brings bitsandbytes, which compiles functions that only a quantised model calls.
    """
    with uncompiled():
        import transformers.modeling_utils  # noqa: F401

        if adapters and not quantized:
            import peft  # noqa: F401


@contextmanager
def uncompiled() -> Iterator[None]:
    """Leave functions as they are that are decorated for, or against, PyTorch's compiler.

    Either decorator alone loads that compiler, for seconds, and nothing is compiled here.
    """
    compiled, exempt = torch.compile, torch.compiler.disable
    torch.compile = torch.compiler.disable = _as_it_is
    try:
        yield
    finally:
        torch.compile, torch.compiler.disable = compiled, exempt


def _as_it_is(*functions: Any, model: Any = None, fn: Any = None, **_: Any) -> Any:
    """What was to be compiled (the first of these that is given), or else a decorator."""
    given = (one for one in (*functions[:1], model, fn) if one is not None)
    return next(given, _as_it_is)
