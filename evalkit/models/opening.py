"""Open the models of several arms; arms on one base share one load of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import assert_never

from evalkit.config import HFModel, ModelConfig, OpenAIModel, RecordedModel, RunConfig
from evalkit.models.base import Engine
from evalkit.progress import Progress


def open_models(
    configs: Sequence[RunConfig], *, offline: bool, progress: Progress
) -> tuple[Engine, ...]:
    """One engine for all recorded arms, one for all endpoints, one for each base model.

    Raises ModelError where a model cannot be found and MissingExtraError where its packages are
    not installed; nothing is loaded into memory yet.
    """
    models = {config.name: config.model for config in configs}
    return open_each(models, offline=offline, progress=progress)


def open_each(
    models: Mapping[str, ModelConfig], *, offline: bool, progress: Progress
) -> tuple[Engine, ...]:
    """The engines of models by name, as of `open_models`."""
    local: dict[tuple[object, ...], dict[str, HFModel]] = defaultdict(dict)
    endpoints: dict[str, OpenAIModel] = {}
    recordings: dict[str, RecordedModel] = {}
    for name, one in models.items():
        match one:
            case HFModel() as model:
                local[_base(model)][name] = model
            case OpenAIModel() as model:
                endpoints[name] = model
            case RecordedModel() as model:
                recordings[name] = model
            case _:
                assert_never(one)
    engines: list[Engine] = []
    if local:
        from evalkit.models.hf import open_hf

        engines += [open_hf(arms, offline=offline, progress=progress) for arms in local.values()]
    if endpoints:
        from evalkit.models.openai import open_openai

        engines.append(open_openai(endpoints, offline=offline, progress=progress))
    if recordings:
        from evalkit.models.recorded import open_recorded

        engines.append(open_recorded(recordings))
    return tuple(engines)


def _base(model: HFModel) -> tuple[object, ...]:
    from evalkit.models.hf import base_identity

    return base_identity(model)
