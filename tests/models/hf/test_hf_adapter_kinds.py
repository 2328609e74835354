"""Every kind of adapter gives peft's own numbers, and leaves those of its base alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import AdapterError
from evalkit.models.hf import loading, open_hf
from tests.models.hf.oracle import CLOSE, check, oracle_of, scoring_requests, writing_requests
from tests.models.hf.tiny_models import LENGTH, Heard, Tiny, config, make_adapter, make_tuned

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*past_key_values.*:FutureWarning",  # peft calls what transformers renamed
    "ignore:Careful, disabling adapter layers with bias:UserWarning",
)

ATTENTION = {
    "llama": ["q_proj", "v_proj"],
    "gpt2": ["c_attn"],
    "t5": ["q", "v"],
    "bart": ["q_proj", "v_proj"],
}
PLACES = {  # where IA3 scales: keys and values, and inside the feed-forward
    "llama": (["k_proj", "v_proj", "down_proj"], ["down_proj"]),
    "gpt2": (["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
    "t5": (["k", "v", "wo"], ["wo"]),
    "bart": (["k_proj", "v_proj", "fc2"], ["fc2"]),
}
HEADS = {"llama": "lm_head", "gpt2": "wte", "t5": "lm_head", "bart": "lm_head"}
TASKS = {"t5": "SEQ_2_SEQ_LM", "bart": "SEQ_2_SEQ_LM"}
SOFT = ("prompt tuning", "prefix tuning", "p-tuning")


LORA: dict[str, dict[str, Any]] = {  # what each kind of LoRA sets beyond rank and alpha
    "lora": {},
    "rslora": {"use_rslora": True},
    "lora with bias": {"lora_bias": True},
    "trained biases": {"bias": "all"},
    "dora": {"use_dora": True},
}


def settings(kind: str, architecture: str) -> Any:
    """The peft configuration of an adapter of this kind."""
    import peft

    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **LORA.get(kind, {})}
    attention = ATTENTION[architecture]
    scaled, forward = PLACES[architecture]
    soft: dict[str, Any] = {
        "task_type": TASKS.get(architecture, "CAUSAL_LM"),
        "num_virtual_tokens": 5,
    }
    match kind:
        case "saved head":
            return peft.LoraConfig(**lora, modules_to_save=[HEADS[architecture]])
        case "attention only":
            return peft.LoraConfig(**{**lora, "target_modules": attention})
        case "last layer only":
            only = {"target_modules": attention, "layers_to_transform": [1]}
            return peft.LoraConfig(**{**lora, **only})
        case "loha":
            return peft.LoHaConfig(r=4, alpha=8, target_modules=attention)
        case "ia3":
            return peft.IA3Config(target_modules=scaled, feedforward_modules=forward)
        case "prompt tuning":
            return peft.PromptTuningConfig(**soft)
        case "prefix tuning":
            return peft.PrefixTuningConfig(**soft)
        case "p-tuning":
            return peft.PromptEncoderConfig(**soft, encoder_hidden_size=16)
        case _:
            assert kind in LORA
            return peft.LoraConfig(**lora)


def compare(
    model: Path,
    adapters: Mapping[str, Path],
    said: Heard,
    *,
    oracle: Mapping[str, Any] | None = None,
    near: float = CLOSE,
    **fields: Any,
) -> list[str]:
    """Check a base and its adapters, in one engine, against peft; the notes it gave."""
    small = {"batch_tokens": 64, **fields}
    arms = {"base": config(model, **small)}
    arms |= {arm: config(model, folder, **small) for arm, folder in adapters.items()}
    given = oracle or {}
    oracles = {"base": oracle_of(model, **given)}
    oracles |= {arm: oracle_of(model, folder, **given) for arm, folder in adapters.items()}
    room = LENGTH - max(one.virtual for one in oracles.values())
    for one in oracles.values():
        one.room = room
    engine = open_hf(arms, offline=True, progress=said)
    requests = [r for arm in arms for r in scoring_requests(arm)]
    requests += [r for arm in arms for r in writing_requests(arm, oracles[arm])]
    check(engine, requests, oracles, near=near)
    return [message for message in said.messages if not message.startswith("Loading")]


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("llama", "lora"),
        ("llama", "rslora"),
        ("llama", "lora with bias"),
        ("llama", "saved head"),
        ("llama", "dora"),
        ("llama", "attention only"),
        ("llama", "last layer only"),
        ("llama", "loha"),
        ("llama", "ia3"),
        ("llama", "prompt tuning"),
        ("llama", "prefix tuning"),
        ("llama", "p-tuning"),
        ("gpt2", "dora"),
        ("gpt2", "saved head"),
        ("gpt2", "ia3"),
        ("gpt2", "prefix tuning"),
        ("t5", "dora"),
        ("t5", "saved head"),
        ("t5", "loha"),
        ("t5", "ia3"),
        ("t5", "prompt tuning"),
        ("t5", "prefix tuning"),
        ("t5", "p-tuning"),
        ("bart", "dora"),
        ("bart", "saved head"),
        ("bart", "ia3"),
        ("bart", "prompt tuning"),
        ("bart", "prefix tuning"),
    ],
)
def test_an_adapter_of_any_kind_beside_its_base(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard, architecture: str, kind: str
) -> None:
    model = tiny(architecture).model
    adapter = make_tuned(model, tmp_path / "adapter", settings(kind, architecture))
    notes = compare(model, {"tuned": adapter}, said)
    assert len(notes) == len(set(notes))
    about_it = [note for note in notes if "tuned" in note]
    assert len(about_it) <= 1
    if kind in SOFT:
        assert len(about_it) == 1, "a soft prompt takes no shortcut, and that is said"


def test_trained_biases_are_refused(tiny: Callable[..., Tiny], tmp_path: Path, said: Heard) -> None:
    # peft writes them over the base's own, and switching the adapter off does not bring those back.
    model = tiny("gpt2").model
    adapter = make_tuned(model, tmp_path / "adapter", settings("trained biases", "gpt2"))
    with pytest.raises(AdapterError, match="bias"):
        compare(model, {"tuned": adapter}, said)


def test_two_loras_of_different_ranks_and_their_base(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    model = tiny()
    wide = make_adapter(model.model, tmp_path / "wide", r=7, lora_alpha=3, strength=0.5)
    assert not compare(model.model, {"tuned": model.adapter, "wide": wide}, said)


@pytest.mark.parametrize("architecture", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_adapters_of_all_kinds_beside_one_another(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard, architecture: str
) -> None:
    model = tiny(architecture).model
    kinds = ("dora", "saved head", "last layer only", "prompt tuning", "prefix tuning")
    adapters = {
        kind.replace(" ", "-"): make_tuned(model, tmp_path / kind, settings(kind, architecture))
        for kind in kinds
    }
    compare(model, adapters, said)


@pytest.mark.parametrize("architecture", ["wide", "t5-wide"])
def test_a_lora_on_a_base_in_nf4(tiny: Callable[..., Tiny], said: Heard, architecture: str) -> None:
    import torch
    from transformers import BitsAndBytesConfig

    pytest.importorskip("bitsandbytes")
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = tiny(architecture)
    compare(
        model.model,
        {"tuned": model.adapter},
        said,
        oracle={"quantization_config": quantised},
        near=1e-3,  # kernels for one row and for many round differently
        quantization="nf4",
    )


@pytest.mark.parametrize(
    ("dtype", "width", "rounds"),
    [("float32", 128, False), ("bfloat16", 128, True), ("bfloat16", 96, False)],
)
def test_four_bits_are_multiplied_in_bfloat16_only_where_told(
    dtype: str, width: int, rounds: bool
) -> None:
    import torch

    class Layer(torch.nn.Module):
        """What bitsandbytes' layer tells of itself on a CPU with avx512_bf16."""

        support_avx512bf16_for_cpu = True
        in_features = width

    layer: Any = Layer()
    model = torch.nn.Sequential(layer, torch.nn.Linear(2, 2))
    loading._multiply_as_told(model, getattr(torch, dtype))
    assert layer.support_avx512bf16_for_cpu is rounds
