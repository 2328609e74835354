"""Every architecture gives transformers' own numbers, by a shortcut or by an honest fallback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from evalkit.errors import ModelError
from evalkit.models.base import Engine
from evalkit.models.hf import open_hf
from tests.models.hf.oracle import Oracle, check, scoring_requests, writing_requests
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
            oracles = {"base": Oracle(*model[:1]), "tuned": Oracle(*model)}
            made[architecture] = Opened(open_hf(arms, offline=True, progress=said), said, oracles)
        return made[architecture]

    return get


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT])
def test_log_likelihoods_are_those_of_the_plain_forward(
    opened: Callable[[str], Opened], architecture: str
) -> None:
    engine, _, oracles = opened(architecture)
    check(engine, [*scoring_requests("base"), *scoring_requests("tuned")], oracles)


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT])
def test_greedy_texts_are_those_of_generate(
    opened: Callable[[str], Opened], architecture: str
) -> None:
    engine, _, oracles = opened(architecture)
    requests = [r for arm, oracle in oracles.items() for r in writing_requests(arm, oracle)]
    check(engine, requests, oracles)


@pytest.mark.parametrize("architecture", [*FAST, *PLACED, *RECURRENT])
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


def encoder_decoder(kind: str, vocabulary: int) -> Any:
    import transformers as t

    ids = {"vocab_size": vocabulary, "pad_token_id": 0, "eos_token_id": 3}
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
        return t.T5ForConditionalGeneration(t.T5Config(**ids, **sizes, decoder_start_token_id=0))
    layers = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 32}
    sizes = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return t.BartForConditionalGeneration(t.BartConfig(**ids, **layers, **sizes, **heads))


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder_is_refused_by_that_name(tmp_path: Path, kind: str) -> None:
    # transformers opens BART's folder as a causal model too, and computes nonsense with half of it.
    model = encoder_decoder(kind, len(make_tokenizer()))
    with pytest.raises(ModelError, match="encoder-decoder") as refused:
        answers(saved(tmp_path, model), [likelihood("The", " A")])
    assert len(str(refused.value)) < 500, "not the list of all classes that transformers knows"


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
