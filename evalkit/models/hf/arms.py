"""The loaded base with its adapters on it: attaching each, and switching between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.errors import AdapterError, ModelError
from evalkit.models.hf.adapters import WEIGHTS, Adapter
from evalkit.models.hf.adding import add_in_place
from evalkit.models.hf.loading import SMALLER, quiet
from evalkit.models.hf.memory import is_out_of_memory

EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")


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
                    if is_out_of_memory(error):
                        raise ModelError(
                            f"{arm}: there is no memory left for the adapter {adapter.folder} "
                            f"beside its base. {SMALLER}"
                        ) from error
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
