"""The other way round: lm-eval asks, and evalkit's engine answers as its model `evalkit`.

lm-eval is imported by `model.py` alone, which lm-eval itself loads when it is asked for the model.
"""

from __future__ import annotations

NAME = "evalkit"
"""What lm-eval calls the model: `--model evalkit`."""


def register() -> None:
    """Make the model known to lm-eval in this process; more than once is harmless.

    lm-eval 0.4.13 looks for no plugins, so its own command does not know the model by itself.
    """
    import lm_eval.models  # noqa: F401  (its own models first: an empty registry would stay empty)
    from lm_eval.api.registry import model_registry

    if NAME not in model_registry:
        model_registry.register(NAME, target=f"{__name__}.model:EvalkitLM")
