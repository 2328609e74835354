"""Tiny random models with a real byte-level tokenizer, made once; no network, no downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.models.hf.tiny_models import LORA_ON, SMOLLM2, Tiny, make_adapter, make_model

REAL_HOME = os.environ.get("EVALKIT_HOME")


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What evalkit remembers of these models stays with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALKIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """Folders of tiny models by architecture, with a LoRA beside each; made on demand, once."""
    made: dict[tuple[str, bool], Tiny] = {}

    def get(architecture: str = "llama", *, bos: bool = False) -> Tiny:
        key = (architecture, bos)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{architecture}-{bos}")
            make_model(folder / "model", architecture, bos=bos)
            targets = LORA_ON.get(architecture, "all-linear")
            make_adapter(folder / "model", folder / "lora", target_modules=targets)
            made[key] = Tiny(folder / "model", folder / "lora")
        return made[key]

    return get


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """SmolLM2 from the model cache, with a random adapter; skips where it is not there."""
    from evalkit.errors import ModelError
    from evalkit.models.weights import find_model

    with pytest.MonkeyPatch.context() as patch:
        if REAL_HOME is None:
            patch.delenv("EVALKIT_HOME", raising=False)
        else:
            patch.setenv("EVALKIT_HOME", REAL_HOME)
        try:
            folder = find_model(SMOLLM2, offline=True)
        except ModelError as error:
            pytest.skip(f"{SMOLLM2} is not in the model cache: {error}")
    adapter = tmp_path_factory.mktemp("smollm2") / "lora"
    make_adapter(folder, adapter, strength=0.02)
    return Tiny(folder, adapter)


@pytest.fixture
def said() -> Any:
    """A progress that remembers what it was told."""
    from tests.models.hf.tiny_models import Heard

    return Heard()
