"""Adapters in their folders: whether each is one, belongs to its base and changes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import AdapterError, ModelError
from evalkit.models.hf.loading import quiet
from evalkit.models.hf.tokenizers import (
    chat_template_of,
    load_tokenizer,
    template_hash,
    tokenizer_hash,
)
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Check

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter folder that was looked into and found to be usable on its base."""

    arm: str
    folder: Path
    settings: Mapping[str, Any]
    digest: str

    @property
    def may_mix(self) -> bool:
        """Whether PEFT may run it beside other arms in one forward; the trial has the last word."""
        return self.settings.get("peft_type") == "LORA" and not self.settings.get("use_dora")

    @property
    def virtual_tokens(self) -> int:
        """Soft tokens that prompt learning puts in front; 0 for adapters of the weights."""
        return int(self.settings.get("num_virtual_tokens") or 0)


def open_adapter(arm: str, model: HFModel) -> Adapter:
    """Read an adapter's configuration; raises AdapterError where it is no usable adapter."""
    from evalkit.models.weights import adapter_hash

    assert model.adapter is not None
    folder = model.adapter.expanduser()
    if not folder.is_dir():
        raise AdapterError(f"{arm}: there is no adapter folder {folder}.")
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise AdapterError(
            f"{arm}: {folder} is no adapter: there is no adapter_config.json in it. "
            "For a full model, set model.path to the folder and leave model.adapter out."
        )
    if not (folder / WEIGHTS).is_file():
        pickled = [old.name for end in ("*.bin", "*.pt", "*.pth") for old in folder.glob(end)]
        raise AdapterError(
            f"{arm}: {folder} has no {WEIGHTS}."
            + (
                f" {pickled[0]} is a pickle, which can run code when opened, so it is not. Save "
                "the adapter again with save_pretrained (safe_serialization=True)."
                if pickled
                else " Was its training finished?"
            )
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{arm}: {file} is not valid JSON: {error}") from error
    if not isinstance(settings, dict) or "peft_type" not in settings:
        raise AdapterError(f"{arm}: {file} is not a PEFT configuration (it has no peft_type).")
    return Adapter(arm=arm, folder=folder, settings=settings, digest=adapter_hash(folder))


def check_adapter(
    adapter: Adapter, model: HFModel, base_hash: str, tokens: Tokens
) -> tuple[Check, ...]:
    """All that can be seen without the base's weights: checks, or an AdapterError."""
    if (bias := adapter.settings.get("bias") or "none") != "none":
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} trained biases too (bias: {bias}). PEFT "
            "writes them over the base's own, so the base could not be measured beside it. Merge "
            "the adapter into a full model and compare that."
        )
    _check_start(adapter)
    if adapter.settings.get("alora_invocation_tokens"):
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} is an activated LoRA, which acts from a "
            "certain token on. Such adapters cannot be evaluated here."
        )
    belongs = _check_record(adapter, model, base_hash)
    _check_values(adapter)
    return (belongs, *_check_tokens(adapter, tokens, trust_remote_code=model.trust_remote_code))


REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of LoRA's `init_lora_weights` that take away from the base's weights what the adapter
starts with. PEFT does so again whenever it loads such an adapter, or leaves it out."""


_CONVERT = (
    "Convert it to a plain LoRA (in PEFT: save_pretrained with "
    "path_initial_model_for_weight_conversion), or: "
)


def _check_start(adapter: Adapter) -> None:
    """Refuse adapters that stand on a base other than the one in its folder."""
    start = adapter.settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(REWRITING):
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} began as {start}, which takes away from "
            "the base's weights: PEFT does so again when it loads the adapter, or leaves it out, "
            "and the base could not be measured beside it. "
            + ("" if start.lower().startswith("loftq") else _CONVERT)
            + "Merge it into a full model and compare that."
        )
    for name in ("layer_replication", "kasa_config"):
        if adapter.settings.get(name):
            raise AdapterError(
                f"{adapter.arm}: the adapter {adapter.folder} changes the base itself ({name}), "
                "which could not be measured beside it. It can only be compared as a full model."
            )


def _check_record(adapter: Adapter, model: HFModel, base_hash: str) -> Check:
    """Was it trained on this base? By hash where our trainer left one, else by name."""
    from evalkit.models.weights import read_adapter_record

    name = "trained on this base"
    record = read_adapter_record(adapter.folder)
    trained_on = record.base_weights if record else ""
    if record and trained_on and trained_on != base_hash:
        told = (
            f"{adapter.arm}: the adapter {adapter.folder} was trained on other weights "
            f"({record.base or 'unnamed'}, {trained_on[:12]}…) than {model.path} "
            f"({base_hash[:12]}…)"
        )
        if not model.allow_other_base:
            raise AdapterError(
                f"{told}. Use the base it was trained on, or set model.allow_other_base: true if "
                "that is what you want to measure."
            )
        return Check(name=name, status="warning", message=f"{told}; allowed by allow_other_base")
    if trained_on:
        return Check(name=name, status="ok", message=f"the same weights ({base_hash[:12]})")
    named = str(adapter.settings.get("base_model_name_or_path") or "")
    if named and _last_part(named) != _last_part(model.path):
        said = f"{adapter.arm}: the adapter says it was trained on {named}, not on {model.path}"
        return Check(name=name, status="warning", message=f"{said}; make sure they are the same")
    said = f"by its name, {named}" if named else "not known: the adapter does not tell"
    return Check(name=name, status="ok" if named else "warning", message=said)


def _last_part(name: str) -> str:
    """The model's own name, also from where the hubs' libraries keep what they fetched."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    if "snapshots" in parts[:-1]:  # …/models--ORG--NAME/snapshots/COMMIT
        parts = parts[: parts.index("snapshots")]
    last = parts[-1].rpartition("--")[2] if parts else ""
    return last.replace("___", ".").lower()  # ModelScope's library writes a dot as ___


def _check_values(adapter: Adapter) -> None:
    """No NaN, and not nothing: a LoRA whose B matrices are all zero is the base itself."""
    from safetensors import SafetensorError, safe_open

    up_weights, moved, others = 0, False, 0
    try:
        with safe_open(str(adapter.folder / WEIGHTS), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a dict
                weight = file.get_tensor(name)
                if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                    raise ModelError(
                        f"{adapter.arm}: the adapter holds NaN or infinity (in {name}). Its "
                        "training diverged: lower the learning rate and train again."
                    )
                if "lora_B" in name or "lora_embedding_B" in name:
                    up_weights += 1
                    moved = moved or bool(weight.any())
                elif "lora_" not in name:
                    others += 1
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{adapter.arm}: {adapter.folder / WEIGHTS} is damaged: {error}"
        ) from error
    if up_weights and not moved and not others:
        raise AdapterError(_changes_nothing(adapter, "all its B matrices are zero"))


def _changes_nothing(adapter: Adapter, why: str) -> str:
    return (
        f"{adapter.arm}: the adapter {adapter.folder} changes nothing ({why}), so comparing it "
        "with its base would say nothing. Was it saved before training, or the wrong checkpoint?"
    )


def _check_tokens(adapter: Adapter, tokens: Tokens, *, trust_remote_code: bool) -> list[Check]:
    """Both arms must see the same tokens: the base's tokenizer serves all of them."""
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    if not any((adapter.folder / name).is_file() for name in names):
        return []
    with quiet():
        own = load_tokenizer(adapter.folder, trust_remote_code=trust_remote_code)
    added = sorted(set(own.get_vocab()) - set(tokens.tokenizer.get_vocab()))
    if added:
        shown = ", ".join(added[:3])
        raise AdapterError(
            f"{adapter.arm}: the adapter was trained with {len(added)} tokens that the base's "
            f"tokenizer does not have ({shown}{'…' if len(added) > 3 else ''}), so the two arms "
            "would not see the same tokens. Add the tokens to the base (tokenizer and "
            "embeddings) once, save it, and use that folder as model.path of both arms."
        )
    template = chat_template_of(own)
    return [
        _alike(
            "adapter's tokenizer",
            tokenizer_hash(own) == tokens.tokenizer_hash,
            f"{adapter.arm}: the adapter's tokenizer differs from the base's; "
            "the base's is used for all arms",
        ),
        _alike(
            "adapter's template",
            not template or template_hash(template) == tokens.template_hash,
            f"{adapter.arm}: the adapter's chat template differs from the one in use; to use it "
            f"for all arms set model.chat_template to a file with it ({adapter.folder})",
        ),
    ]


def _alike(name: str, same: bool, otherwise: str) -> Check:
    if same:
        return Check(name=name, status="ok", message="the one it was trained with")
    return Check(name=name, status="warning", message=otherwise)


def check_changes(adapter: Adapter, base: torch.Tensor, tuned: torch.Tensor) -> float:
    """The largest change of a logit on a probe; AdapterError if there is none at all."""
    if not bool(torch.isfinite(tuned).all()):
        raise ModelError(
            f"{adapter.arm}: with the adapter {adapter.folder} the model computes NaN or infinity."
        )
    change = float((tuned.float() - base.float()).abs().max())
    if change == 0.0:
        raise AdapterError(_changes_nothing(adapter, "its logits equal the base's to the bit"))
    return change


def check_base(
    adapters: Mapping[str, Adapter], before: Sequence[torch.Tensor], after: torch.Tensor
) -> None:
    """The base answers as it did before the adapters were attached; AdapterError if not.

    The same products of the same shapes: equal to the bit, unless PEFT wrote the base's weights.
    `before` are two readings, for some kernels on GPUs do not even repeat themselves.
    """
    first, second = before
    noise = float((second - first).abs().max())
    if float((after - first).abs().max()) > 10 * noise:
        named = " or ".join(f"{arm} ({one.folder})" for arm, one in adapters.items())
        raise AdapterError(
            f"Loading the adapter changes the base itself: {named}. The base could not be "
            "measured beside it. Merge the adapter into a full model and compare that."
        )
