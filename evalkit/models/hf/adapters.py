"""One base, any number of adapters: whether each belongs to it, and switching between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import AdapterError, ModelError
from evalkit.models.hf.loading import quiet
from evalkit.models.hf.products import add_in_place
from evalkit.models.hf.tokenizers import (
    chat_template_of,
    load_tokenizer,
    template_hash,
    tokenizer_hash,
)
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Check

WEIGHTS = "adapter_model.safetensors"
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")


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
    if adapter.settings.get("alora_invocation_tokens"):
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} is an activated LoRA, which acts from a "
            "certain token on. Such adapters cannot be evaluated here."
        )
    belongs = _check_record(adapter, model, base_hash)
    _check_values(adapter)
    return (belongs, *_check_tokens(adapter, tokens, trust_remote_code=model.trust_remote_code))


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
    return name.rstrip("/").rpartition("/")[2].lower()


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


class Arms:
    """The loaded base with its adapters: gives, for a while, the model as one arm has it."""

    def __init__(self, base: Any, adapters: Mapping[str, Adapter]) -> None:
        """Attach the adapters; raises AdapterError where one does not fit the base."""
        self.base = base
        self._layers: Any = None  # one PeftModel holds all adapters that change weights
        self._layer_names: dict[str, str] = {}
        self._using: str | None = ""  # nothing is known of the state PEFT leaves behind
        self._prompts: dict[str, Any] = {}  # each soft prompt wraps the base on its own
        weights = _embedding_shapes(base)
        _check_kinds(adapters)
        for number, (arm, adapter) in enumerate(adapters.items()):
            _check_embeddings(adapter, weights)
            with quiet():
                try:
                    self._attach(arm, adapter, f"arm{number}")
                except AdapterError:
                    raise
                except Exception as error:
                    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                    raise AdapterError(
                        f"{arm}: the adapter {adapter.folder} does not fit this base: "
                        + "; ".join(lines[:3])
                    ) from error

    def _attach(self, arm: str, adapter: Adapter, name: str) -> None:
        from peft import PeftModel

        place = {
            "adapter_name": name,
            "is_trainable": False,
            # Left to itself, PEFT reads the file to the first GPU, wherever the base is.
            "torch_device": str(self.base.get_input_embeddings().weight.device),
        }
        if adapter.virtual_tokens:
            self._prompts[arm] = PeftModel.from_pretrained(
                self.base, str(adapter.folder), **place
            ).eval()
            return
        if self._layers is None:
            self._layers = PeftModel.from_pretrained(self.base, str(adapter.folder), **place)
        else:
            self._layers.load_adapter(str(adapter.folder), **place)
        self._layers.eval()
        self._layer_names[arm] = name
        _check_all_arrived(self._layers, adapter, name)
        add_in_place(self._layers)

    def model(self, arm: str) -> Any:
        """What to call for this arm while it is in use."""
        if arm in self._prompts:
            return self._prompts[arm]
        return self._layers if arm in self._layer_names else self.base

    def use(self, arm: str | None) -> None:
        """Make the base behave as this arm until the next call; None is the base itself.

        A state, not a context: a text in the making would otherwise hold the context open while
        its caller computes something else.
        """
        name = self._layer_names.get(arm) if arm is not None else None
        if self._layers is None or name == self._using:
            return
        if name is None:
            self._layers.base_model.disable_adapter_layers()
        else:
            self._layers.base_model.enable_adapter_layers()
            self._layers.set_adapter(name, inference_mode=True)
        self._using = name

    def use_all(self) -> Any:
        """Make ready for a forward whose rows name their adapters themselves; the model for it."""
        if self._layers is not None and self._using is None:
            self._layers.base_model.enable_adapter_layers()
        self._using = ""
        return self._layers

    def name(self, arm: str) -> str:
        """What PEFT calls the arm's adapter in a forward of several arms."""
        return self._layer_names.get(arm, "__base__")

    def is_soft(self, arm: str) -> bool:
        """Whether the arm is a soft prompt, which stands before every text."""
        return arm in self._prompts

    def head(self) -> Any:
        """The module that turns hidden states into logits, as the adapters left it."""
        return self.base.get_output_embeddings()


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


def _check_kinds(adapters: Mapping[str, Adapter]) -> None:
    """PEFT holds adapters of the weights of one kind at a time; soft prompts stand outside."""
    kinds: dict[str, str] = {}
    for arm, adapter in adapters.items():
        if not adapter.virtual_tokens:
            kinds.setdefault(str(adapter.settings["peft_type"]), arm)
    if len(kinds) > 1:
        named = " and ".join(f"{arm} ({kind})" for kind, arm in kinds.items())
        raise AdapterError(
            f"{named} are adapters of different kinds, which PEFT cannot hold over one base. "
            "Compare them one after the other: the base's answers are stored and cost nothing."
        )


def _embedding_shapes(base: Any) -> dict[str, int]:
    return {
        "input": int(base.get_input_embeddings().weight.shape[0]),
        "output": int(head.weight.shape[0]) if (head := base.get_output_embeddings()) else 0,
    }


def _check_embeddings(adapter: Adapter, rows: Mapping[str, int]) -> None:
    """Refuse embeddings that were resized, or that would be written over the base's own."""
    from safetensors import safe_open

    kept = set(adapter.settings.get("modules_to_save") or [])
    with safe_open(str(adapter.folder / WEIGHTS), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  not a dict
            module = name.split(".")[-2] if name.count(".") else ""
            if module not in EMBEDDINGS or not name.endswith(".weight"):
                continue
            shape = file.get_slice(name).get_shape()
            if shape[0] not in rows.values():
                raise AdapterError(
                    f"{adapter.arm}: the adapter {adapter.folder} resized the vocabulary to "
                    f"{shape[0]} tokens; the base has {rows['input']}. Add the tokens to the "
                    "base once, save it, and use that folder as model.path of both arms."
                )
            if module not in kept:
                raise AdapterError(
                    f"{adapter.arm}: the adapter {adapter.folder} carries whole embeddings "
                    f"({name}) outside modules_to_save; loading them would change the base too. "
                    "Merge the adapter into a full model and compare that."
                )


def _check_all_arrived(model: Any, adapter: Adapter, name: str) -> None:
    """PEFT ignores weights for layers the base does not have; here they are an error."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    arrived = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    with safe_open(str(adapter.folder / WEIGHTS), framework="pt") as file:
        given = set(file.keys())
    if lost := sorted(given - arrived):
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} does not fit this base: it has weights "
            f"for {len(lost)} places the base lacks (the first is {lost[0]})."
        )
    if absent := sorted(arrived - given):
        raise AdapterError(
            f"{adapter.arm}: the adapter {adapter.folder} does not fit this base: it lacks "
            f"{len(absent)} weights its configuration promises (the first is {absent[0]})."
        )
