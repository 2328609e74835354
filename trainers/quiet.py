"""Keeping what the libraries tell their developers off the user's terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = ("accelerate", "bitsandbytes", "datasets", "peft", "torch", "transformers", "trl")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No bars, notices or deprecations of the training libraries; our own errors still come.

    What matters of it (a NaN, a truncated row, a template that never ends a turn) is checked
    here and said in our words. Who debugs evalkit (`--verbose`) hears the libraries too.
    """
    if logging.getLogger("evalkit").isEnabledFor(logging.DEBUG):
        yield
        return
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [each.level for each in loggers]
    transformers_logging.disable_progress_bar()
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for name in LIBRARIES:
                warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
