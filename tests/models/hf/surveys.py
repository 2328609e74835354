"""A tiny model's network as evalkit's trials leave it, without an engine around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from evalkit.models.hf import trials
from evalkit.models.hf.masks import layers_of
from evalkit.models.hf.network import Network
from tests.models.hf.tiny_models import LENGTH


def surveyed(folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    """The network of the model in a folder, with every shortcut that passes its trial."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    head = model.get_output_embeddings()
    plain = Network(model=model, head=head, device=torch.device("cpu"), layers=layers_of(model))
    with torch.inference_mode():
        return trials.survey(plain, LENGTH)[0]
