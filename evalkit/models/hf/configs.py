"""What a model's transformers configuration tells, whatever kind of model it is."""

from __future__ import annotations

from typing import Any


def is_encoder_decoder(config: Any) -> bool:
    """Whether an encoder reads the prompts and a decoder writes what follows."""
    return bool(getattr(config, "is_encoder_decoder", False))


def text_part(config: Any) -> Any:
    """The part that tells of the layers which texts are written with: the decoder's, or that of a
    model which reads pictures, too."""
    if is_encoder_decoder(config):
        return config.get_text_config(decoder=True)
    return getattr(config, "text_config", None) or config
