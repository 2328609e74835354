"""Every architecture gives transformers' own numbers, by a shortcut or by an honest fallback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import pytest

from evalkit.errors import ModelError
from evalkit.models.base import Engine
from evalkit.models.hf import open_hf
from tests.models.hf.oracle import (
    Oracle,
    check,
    oracle_of,
    scoring_requests,
    writing_requests,
)
from tests.models.hf.tiny_models import (
    Heard,
    Tiny,
    answers,
    config,
    likelihood,
    make_tokenizer,
)

FAST = [
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "phi3",
    "gemma2",
    "gemma3",
    "gemma3-262k",
    pytest.param("cohere2", marks=pytest.mark.slow),
    pytest.param("gpt_oss", marks=pytest.mark.slow),
    "qwen3_moe",
    "mixtral",
    "gpt2",
    "gpt_neox",
    "opt",
    pytest.param("falcon", marks=pytest.mark.slow),
]
"""Those that need no fallback."""

UNMIXED = ("opt", "qwen3_moe", "mixtral")
"""Whose layers flatten rows, or hold experts, so that PEFT cannot tell whose row is whose."""

PLACED = [
    "bloom",
    "falcon-alibi",
    pytest.param("mpt", marks=pytest.mark.slow),
    "gpt_neo",
    "phi3-long",
]
"""ALiBi and local windows measure by a token's place in the row; long RoPE by its longest row."""

RECURRENT = [
    "mamba",
    "falcon_h1",
    pytest.param("lfm2", marks=pytest.mark.slow),
    pytest.param("qwen3_next", marks=pytest.mark.slow),
]
"""A state that cannot be cut or branched like keys and values."""

PAIRED = [
    "t5",
    "t5-gated",
    pytest.param("t5-shallow", marks=pytest.mark.slow),
    pytest.param("umt5", marks=pytest.mark.slow),
    pytest.param("longt5", marks=pytest.mark.slow),
    pytest.param("switch", marks=pytest.mark.slow),
    "bart",
    pytest.param("mbart", marks=pytest.mark.slow),
    pytest.param("pegasus", marks=pytest.mark.slow),
    "marian",
    pytest.param("m2m_100", marks=pytest.mark.slow),
    pytest.param("led", marks=pytest.mark.slow),
    "t5gemma",
]
"""Prompts are read by an encoder, from both ends."""


class Opened(NamedTuple):
    """An engine with a base and a LoRA on it, what it said, and what transformers says of both."""

    engine: Engine
    said: Heard
    oracles: dict[str, Oracle]


@pytest.fixture(scope="module")
def opened(tiny: Callable[..., Tiny]) -> Callable[[str], Opened]:
    """The architecture's engine, opened once for all tests of it."""
    made: dict[str, Opened] = {}

    def get(architecture: str) -> Opened:
        if architecture not in made:
            made.clear()  # one at a time: a 262k vocabulary is 33 MB
            model, said = tiny(architecture), Heard()
            arms = {
                "base": config(model.model, batch_tokens=64),
                "tuned": config(model.model, model.adapter, batch_tokens=64),
            }
            oracles = {"base": oracle_of(*model[:1]), "tuned": oracle_of(*model)}
            made[architecture] = Opened(open_hf(arms, offline=True, progress=said), said, oracles)
        return made[architecture]

    return get


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT, *PAIRED])
def test_log_likelihoods_are_those_of_the_plain_forward(
    opened: Callable[[str], Opened], architecture: str
) -> None:
    engine, _, oracles = opened(architecture)
    check(engine, [*scoring_requests("base"), *scoring_requests("tuned")], oracles)


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT, *PAIRED])
def test_greedy_texts_are_those_of_generate(
    opened: Callable[[str], Opened], architecture: str
) -> None:
    engine, _, oracles = opened(architecture)
    requests = [r for arm, oracle in oracles.items() for r in writing_requests(arm, oracle)]
    check(engine, requests, oracles)


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT, *PAIRED])
def test_a_fallback_is_said_once(opened: Callable[[str], Opened], architecture: str) -> None:
    engine, said, _ = opened(architecture)
    answers(engine, [likelihood("The", " A"), likelihood("The", " A", "tuned")])
    notes = [message for message in said.messages if not message.startswith("Loading")]
    assert len(notes) == len(set(notes))
    if architecture in UNMIXED:
        assert notes == ["These adapters are decoded one after the other: they do not mix."]
    elif architecture in FAST:
        assert not notes
    else:
        assert len(notes) == 1, notes


def saved(folder: Path, model: Any) -> Engine:
    """An engine on a folder with this model in it, beside a tokenizer that fits."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return open_hf({"base": config(folder)}, offline=True)


def test_an_encoder_of_sounds_is_refused_by_what_it_is(tmp_path: Path) -> None:
    import torch
    import transformers as t
    from safetensors.torch import save_file

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 8}
    t.WhisperConfig(vocab_size=400, **sizes).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"encoder-decoder model .* text into text \(whisper\)"):
        open_hf({"base": config(tmp_path)}, offline=True)


def test_a_model_that_sees_the_tokens_to_come_is_refused(tmp_path: Path) -> None:
    import transformers as t

    settings = t.BertConfig(
        vocab_size=len(make_tokenizer()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    # transformers opens it as BertLMHeadModel, whose every token looks at the answer to come.
    with pytest.raises(ModelError, match="causal"):
        answers(saved(tmp_path, t.BertForMaskedLM(settings)), [likelihood("The", " A")])


def test_a_folder_that_lacks_weights_is_refused_with_their_names(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    from transformers import AutoModel

    headless = AutoModel.from_pretrained(tiny().model)
    # transformers fills in random numbers, other ones each time, and only logs it.
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        answers(saved(tmp_path, headless), [likelihood("The", " A")])


def test_half_an_encoder_decoder_is_refused_with_the_class_to_save_it_from(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    copytree(tiny("t5").model, tmp_path / "half")
    file = tmp_path / "half" / "model.safetensors"
    kept = {name: one for name, one in load_file(file).items() if not name.startswith("decoder.")}
    save_file(kept, file, metadata={"format": "pt"})
    engine = open_hf({"base": config(tmp_path / "half")}, offline=True)
    with pytest.raises(ModelError, match=r"(?s)decoder\.block.*AutoModelForSeq2SeqLM"):
        answers(engine, [likelihood("The", " A")])
