"""Reading what users write: YAML into checked configuration, every mistake reported at once."""

from __future__ import annotations

from evalkit.configfile.load import apply_overrides, load_arms, load_config

__all__ = ["apply_overrides", "load_arms", "load_config"]
