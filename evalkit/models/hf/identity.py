"""Who answers: what the arms of one base share, each one's fingerprints, the key of an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from evalkit.config import HFModel
from evalkit.errors import UsageError
from evalkit.models.base import Prepared
from evalkit.models.hf.adapters import Adapter
from evalkit.models.hf.generation import Rules
from evalkit.models.hf.loading import Placement
from evalkit.models.hf.tokens import Encoded, Tokens, ids_hash, read_template
from evalkit.records import Request

ENGINE_VERSION = "hf-1"
"""Part of every key: raise it when a change of this package may change a number."""


def check_same_view(configs: Mapping[str, HFModel]) -> None:
    """Arms that would cut or render prompts differently would not see the same tokens."""
    for name in ("chat_template", "max_length"):
        given = [getattr(config, name) for config in configs.values()]
        values = {_content(value): str(value) for value in given}
        if len(values) > 1:
            raise UsageError(
                f"model.{name} must be the same for all arms, so that they see the same tokens; "
                f"here it is {' and '.join(sorted(values.values()))}."
            )


def _content(value: object) -> str:
    """A template is what its file says, wherever the file lies."""
    return read_template(value) if isinstance(value, Path) else str(value)


def fingerprints(
    adapter: Adapter | None, placement: Placement, tokens: Tokens, *, weights: str, config: str
) -> dict[str, str]:
    """Hashes and names of all that determines an arm's answers, but for the request itself.

    `weights` and `config` are the base folder's `weights_hash` and `config_hash`.
    """
    packages = ["torch", "transformers"]
    packages += ["peft"] if adapter else []
    packages += ["bitsandbytes"] if placement.quantization != "none" else []
    return {
        "engine": ENGINE_VERSION,
        "weights": weights,
        "config": config,
        "adapter": adapter.digest if adapter else "",
        "tokenizer": tokens.tokenizer_hash,
        "template": tokens.template_hash,
        "dtype": placement.dtype_name,
        "quantization": placement.quantization,
        "attention": placement.attention,
        "device": placement.device.type,
        "max_length": str(tokens.max_length),
        "packages": " ".join(f"{name}=={_version(name)}" for name in packages),
    }


def key_head(identity: Mapping[str, str]) -> str:
    """What the keys of all answers of an arm have in common: its fingerprints."""
    # Template and tokenizer reach the answer through the ids (and the ids' text) alone; they
    # stay in, so that a key never depends on how faithfully ids can be decoded.
    return json.dumps(identity, sort_keys=True)


def keyed(request: Request, encoded: Encoded, head: str, rules: Rules) -> Prepared:
    """The request in tokens, with the key of its answer."""
    return Prepared(
        key=_key(request, encoded, head, rules),
        request=request,
        prompt_ids=encoded.prompt_ids,
        continuation_ids=encoded.continuation_ids,
        prompt_text=encoded.prompt_text,
        prompt_hash=ids_hash(encoded.prompt_ids),
        truncated=encoded.truncated,
        decoding=request.decoding if request.kind == "generate" else None,
    )


def _key(request: Request, encoded: Encoded, head: str, rules: Rules) -> str:
    material: list[object] = [head, request.kind, encoded.prompt_ids, encoded.continuation_ids]
    if request.kind == "generate":
        decoding = request.decoding
        assert decoding is not None, "a generate request carries its decoding"
        material += [decoding.max_new_tokens, decoding.stop, sorted(rules.stop_ids)]
        material += [rules.repetition_penalty]
        if decoding.temperature > 0:  # a greedy text depends on no seed
            material += [decoding.temperature, decoding.top_p, decoding.seed, request.index]
    text = json.dumps(material, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
