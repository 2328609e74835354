"""Who answers: what the arms of one base share, each one's fingerprints, the key of an answer."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.config import HFModel
from evalkit.errors import UsageError
from evalkit.models.base import Prepared
from evalkit.models.hf.adapters import Adapter
from evalkit.models.hf.generation import Rules
from evalkit.models.hf.loading import Placement, device_name
from evalkit.models.hf.texts import Encoded
from evalkit.models.hf.tokenizers import read_template
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Request

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

ENGINE_VERSION = "hf-9"
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


QUANTISERS = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("gptqmodel", "auto-gptq"),
    "awq": ("gptqmodel", "autoawq"),
    "fp8": ("triton", "kernels"),
}
"""The packages that multiply weights of a `quant_method`; of others it is one of the same name."""


def fingerprints(
    adapter: Adapter | None, placement: Placement, tokens: Tokens, *, weights: str, config: str
) -> dict[str, str]:
    """Hashes and names of all that determines an arm's answers, but for the request itself.

    `weights` and `config` are the base folder's `weights_hash` and `config_hash`.
    """
    # Which attention the layers get follows from these versions and the configuration.
    packages = ["torch", "transformers"]
    packages += ["peft"] if adapter else []
    if placement.quantiser:
        packages += QUANTISERS.get(placement.quantiser, (placement.quantiser,))
    told = {
        "engine": ENGINE_VERSION,
        "weights": weights,
        "config": config,
        "adapter": adapter.digest if adapter else "",
        "tokenizer": tokens.tokenizer_hash,
        "template": tokens.template_hash,
        "dtype": placement.dtype_name,
        "quantization": placement.quantization,
        "device": device_name(placement.device),
        "max_length": str(tokens.max_length),
        "packages": " ".join(f"{name}=={_version(name)}" for name in packages),
    }
    if tokens.decoder_start:  # of which a part is in generation_config.json
        told["decoder_start"] = f"{tokens.decoder_start} {tokens.text_start}"
    return told


def key_stem(identity: Mapping[str, str]) -> Hash:
    """What the keys of all answers of an arm have in common: a hash that has read the stem."""
    # A template reaches the answer through the ids alone. So does the tokenizer, but it writes
    # the text, too: a key never depends on how faithfully ids can be decoded.
    told = {name: value for name, value in identity.items() if name not in _IN_THE_IDS}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode())


_IN_THE_IDS = ("template", "max_length")


def keyed(
    request: Request, encoded: Encoded, stem: Hash, rules: Rules, max_length: int
) -> Prepared:
    """The request in tokens, with the key of its answer."""
    prompt, continuation, truncated = encoded
    key = stem.copy()
    # Digests and numbers of one width each: no border is lost between the parts.
    key.update(prompt.digest.encode())
    key.update(array("q", (len(continuation), *continuation)).tobytes())
    key.update(_manner(request, rules, max_length))
    return Prepared(
        key=key.hexdigest(),
        request=request,
        prompt_ids=prompt.ids,
        continuation_ids=continuation,
        prompt_text=prompt.text,
        prompt_hash=prompt.hash,
        truncated=truncated,
        decoding=request.decoding if request.kind == "generate" else None,
    )


def _manner(request: Request, rules: Rules, max_length: int) -> bytes:
    """What else decides an answer: the kind, where a long text is cut, how one is generated."""
    if request.kind == "rolling":
        return f"rolling {max_length}".encode()
    if request.kind != "generate":
        return request.kind.encode()
    decoding = request.decoding
    assert decoding is not None, "a generate request carries its decoding"
    material: list[object] = [request.kind, decoding.max_new_tokens, decoding.stop]
    if decoding.stop and decoding.thinking:  # which says where stop strings count
        material.append(decoding.thinking)
    material += [sorted(rules.ending(decoding)), rules.repetition_penalty]
    if rules.banned:
        material.append({"banned": rules.banned})
    if decoding.temperature > 0:  # a greedy text depends on no seed
        material += [decoding.temperature, decoding.top_p, decoding.seed, request.index]
    return json.dumps(material, ensure_ascii=True).encode()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
