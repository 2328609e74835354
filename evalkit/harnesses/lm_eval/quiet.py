"""lm-eval's own talk (progress bars, warnings, the tasks' prints), kept off the terminal."""

from __future__ import annotations

import io
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing that lm-eval says is seen, unless evalkit itself was asked to be verbose."""
    if logging.getLogger("evalkit").level == logging.DEBUG:
        yield
        return
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),
            redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


@contextmanager
def seeded() -> Iterator[None]:
    """The global random streams as lm-eval sets them; some tasks shuffle their choices by them."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(1234)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
