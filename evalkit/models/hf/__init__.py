"""The local engine: one base model, any number of adapters on it, every answer with its key."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from evalkit.config import HFModel
from evalkit.errors import MissingExtraError
from evalkit.models.base import Engine
from evalkit.progress import Progress, Silent


def base_identity(config: HFModel) -> tuple[object, ...]:
    """What arms must have in common to live over one copy of the weights."""
    return (
        config.path,
        config.revision,
        config.dtype,
        config.quantization,
        config.device,
        config.trust_remote_code,
    )


def open_hf(
    arms: Mapping[str, HFModel],
    *,
    offline: bool = False,
    progress: Progress = Silent(),  # noqa: B008  stateless
) -> Engine:
    """Open the arms of one base: its tokenizer now, its weights when first asked to complete.

    The arms must share one `base_identity`. Raises ModelError or AdapterError for whatever can
    be seen to be wrong before the weights are loaded.
    """
    assert arms, "open_hf needs at least one arm"
    assert len({base_identity(config) for config in arms.values()}) == 1, (
        "the arms of one engine share one base; group them by base_identity first"
    )
    if any(find_spec(name) is None for name in ("torch", "transformers", "peft", "accelerate")):
        raise MissingExtraError("A local model (kind: hf)", "hf")
    from evalkit.models.hf.imports import uncompiled

    with uncompiled():
        from evalkit.models.hf.engine import HFEngine

    return HFEngine.open(arms, offline=offline, progress=progress)
