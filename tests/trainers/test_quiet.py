"""Libraries are silent, unless evalkit is debugged."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("transformers")
from trainers.quiet import quiet_libraries


def test_the_libraries_are_silent_while_training(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="trl"), quiet_libraries():
        assert not logging.getLogger("trl").isEnabledFor(logging.WARNING)


def test_who_debugs_evalkit_hears_the_libraries(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG, logger="evalkit"),
        caplog.at_level(logging.WARNING, logger="trl"),
        quiet_libraries(),
    ):
        assert logging.getLogger("trl").isEnabledFor(logging.WARNING)
