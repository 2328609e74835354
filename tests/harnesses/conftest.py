"""Tiny models for the suites of other harnesses: one of 64 positions, one of 512."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.hf.tiny_models import Tiny, make_adapter, make_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return _made(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def long_tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return _made(tmp_path_factory.mktemp("long"), length=512)


def _made(folder: Path, length: int | None = None) -> Tiny:
    model = folder / "model"
    make_model(model, "llama")
    if length is not None:  # its positions are rotary: no weight depends on their number
        _change(model / "config.json", "max_position_embeddings", length)
        _change(model / "tokenizer_config.json", "model_max_length", length)
    return Tiny(model, make_adapter(model, folder / "adapter"))


def _change(file: Path, key: str, value: int) -> None:
    told = json.loads(file.read_text())
    assert key in told
    file.write_text(json.dumps({**told, key: value}))
