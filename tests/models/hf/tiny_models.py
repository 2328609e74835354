"""How the tiny models, adapters and requests of these tests are made."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.config import HFModel
from evalkit.models.base import Engine
from evalkit.models.hf import open_hf
from evalkit.records import Completion, Decoding, Prompt, Request

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
LENGTH = 64
GREEDY = Decoding(max_new_tokens=12)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris.",
    "今天天气很好，我们去公园散步吧。中国的首都是北京。答案：",
    "Hello 🙂 dear friends, once upon a time there was a small model 🎉.",
]
PIECES = [
    "The quick brown fox", " jumps", "over the lazy dog.", "\n", " ", "  ", "答案：", "北京",
    "今天天气很好，", "🙂", "👩‍👩‍👧", "é", " Paris", "What is", "?", "A", " B", "\t", "42", "。",
]  # fmt: skip


class Tiny(NamedTuple):
    """A model folder and the folder of an adapter on it."""

    model: Path
    adapter: Path


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        """Nothing."""

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Keep it."""
        self.messages.append(message)


def make_tokenizer(*, bos: bool = False, eos: bool = False, extra: Sequence[str] = ()) -> Any:
    """A byte-level BPE of 400 tokens that round-trips any text; `bos` writes <|bos|> in front,
    `eos` <|im_end|> behind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>", *extra]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=400 + len(extra),
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos or eos:
        backend.post_processor = processors.TemplateProcessing(
            single="<|bos|> " * bos + "$A" + " <|im_end|>" * eos,
            special_tokens=[("<|bos|>", 1), ("<|im_end|>", 3)],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
    )


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": LENGTH,
    "initializer_range": 0.3,
}
HEADLESS = {name: value for name, value in SIZES.items() if name != "head_dim"}
OLDER = {name: value for name, value in HEADLESS.items() if name != "num_key_value_heads"}
N_SIZES = {"n_layer": 2, "n_head": 4, "initializer_range": 0.3}
MIXED = {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"]}
GEMMA3 = {**SIZES, **MIXED, "query_pre_attn_scalar": 8}
CAPS = {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MIXER = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SIZES),
    # bitsandbytes packs weights in blocks of 64
    "wide": (
        "LlamaConfig",
        {**SIZES, "hidden_size": 64, "head_dim": 16, "intermediate_size": 128},
    ),
    "qwen2": ("Qwen2Config", HEADLESS),
    "qwen3": ("Qwen3Config", SIZES),
    "mistral": ("MistralConfig", {**SIZES, "sliding_window": 12}),
    "phi3": ("Phi3Config", {**HEADLESS, "original_max_position_embeddings": LENGTH}),
    # half of what the tests ask is beyond the original reach, where all frequencies change
    "phi3-long": (
        "Phi3Config",
        {
            **HEADLESS,
            "original_max_position_embeddings": 24,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0] * 4,
                "long_factor": [3.0, 5.0, 7.0, 9.0],
            },
        },
    ),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "window_size": 12,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": LENGTH,
            "initializer_range": 0.3,
        },
    ),
    "gemma2": ("Gemma2Config", {**SIZES, **CAPS, "sliding_window": 12}),
    "gemma3": ("Gemma3TextConfig", GEMMA3),
    # far more rows than its tokenizer has tokens
    "gemma3-262k": ("Gemma3TextConfig", {**GEMMA3, "hidden_size": 16, "vocab_size": 262_144}),
    "cohere2": ("Cohere2Config", {**SIZES, **MIXED}),
    "gpt_oss": ("GptOssConfig", {**SIZES, **MIXED, **LOCAL_EXPERTS}),
    "qwen3_moe": ("Qwen3MoeConfig", {**SIZES, **EXPERTS}),
    "mixtral": ("MixtralConfig", {**SIZES, **LOCAL_EXPERTS}),
    "gpt2": ("GPT2Config", {**N_SIZES, "n_embd": 32, "n_positions": LENGTH}),
    "gpt_neox": ("GPTNeoXConfig", OLDER),
    "opt": ("OPTConfig", {**OLDER, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "bloom": ("BloomConfig", {**N_SIZES, "hidden_size": 32, "seq_length": LENGTH}),
    "falcon": ("FalconConfig", {**OLDER, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-alibi": ("FalconConfig", {**OLDER, "new_decoder_architecture": False, "alibi": True}),
    "mpt": (
        "MptConfig",
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": LENGTH, **N_SIZES},
    ),
    "mamba": (
        "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.3},
    ),
    "falcon_h1": ("FalconH1Config", {**SIZES, **MIXER, "mamba_d_ssm": 64}),
    "lfm2": (
        "Lfm2Config",
        {**HEADLESS, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**SIZES, **EXPERTS, **LINEAR, "shared_expert_intermediate_size": 24},
    ),
}
ENCODED = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": LENGTH,
    "init_std": 0.3,
    "decoder_start_token_id": 3,
    "forced_eos_token_id": None,
}
T5 = {
    "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "n_positions": LENGTH,
    "decoder_start_token_id": 0,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
HALF = {**SIZES, **MIXED, **CAPS, "vocab_size": 400, "bos_token_id": 1}
ENCODER_DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5Config", T5),
    "t5-gated": ("T5Config", {**T5, **GATED}),
    "t5-wide": ("T5Config", {**T5, "d_model": 64, "d_kv": 16, "d_ff": 128}),
    "t5-shallow": ("T5Config", {**T5, "num_decoder_layers": 1}),
    "umt5": ("UMT5Config", {**T5, **GATED}),
    "longt5": ("LongT5Config", {**T5, "local_radius": 7}),
    "switch": (
        "SwitchTransformersConfig",
        {**T5, "num_decoder_layers": 2, "num_experts": 4, "expert_capacity": 64},
    ),
    "bart": ("BartConfig", ENCODED),
    "mbart": ("MBartConfig", ENCODED),
    "pegasus": ("PegasusConfig", {**ENCODED, "decoder_start_token_id": 0}),
    "marian": ("MarianConfig", {**ENCODED, "decoder_start_token_id": 0}),
    "m2m_100": ("M2M100Config", ENCODED),
    "led": (
        "LEDConfig",
        {
            **ENCODED,
            "attention_window": [8, 8],
            "max_encoder_position_embeddings": LENGTH,
            "max_decoder_position_embeddings": LENGTH // 2,
        },
    ),
    "t5gemma": ("T5GemmaConfig", {"encoder": HALF, "decoder": HALF}),
}
LORA_ON = {  # peft refuses the output projections of state-space layers
    "mamba": ["in_proj", "x_proj"],
    "falcon_h1": ["in_proj", "q_proj", "v_proj", "down_proj"],
}


def model_config(architecture: str, vocabulary: int) -> Any:
    """A two-layer configuration of the architecture, with lively random weights."""
    import transformers

    kind, fields = (ARCHITECTURES | ENCODER_DECODERS)[architecture]
    ids = {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
    return getattr(transformers, kind)(**{**ids, **fields})


def make_model(folder: Path, architecture: str, *, bos: bool = False) -> None:
    """Save a random model of this architecture with its tokenizer."""
    import torch

    paired = architecture in ENCODER_DECODERS
    tokenizer = make_tokenizer(bos=bos, eos=paired)
    tokenizer.model_max_length = LENGTH
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = model_config(architecture, len(tokenizer))
        model = auto_class(paired=paired).from_config(settings)
        with torch.no_grad():  # norms and biases are made 1 and 0, and could be lost unnoticed
            for weight in model.parameters():
                if weight.dim() == 1:
                    weight.add_(torch.randn_like(weight), alpha=0.1)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def auto_class(*, paired: bool) -> Any:
    """The class of transformers that opens causal models, or encoder-decoder models."""
    import transformers

    return transformers.AutoModelForSeq2SeqLM if paired else transformers.AutoModelForCausalLM


def open_whole(folder: Path, **options: Any) -> Any:
    """The model in a folder, by transformers alone."""
    from transformers import AutoConfig

    paired = bool(AutoConfig.from_pretrained(folder).is_encoder_decoder)
    return auto_class(paired=paired).from_pretrained(folder, **options)


def make_adapter(base: Path, folder: Path, *, strength: float = 0.3, **lora: Any) -> Path:
    """Save a random LoRA on all linear layers; `strength` 0 makes it change nothing."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base_model = open_whole(base, dtype=torch.float32)
        paired = base_model.config.is_encoder_decoder
        task = "SEQ_2_SEQ_LM" if paired else "CAUSAL_LM"
        model = get_peft_model(base_model, LoraConfig(task_type=task, **settings))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, strength) if strength else weight.zero_()
        model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def make_tuned(base: Path, folder: Path, settings: Any, *, strength: float = 0.1) -> Path:
    """Save any adapter of peft's, with noise on all that it would train."""
    import torch
    from peft import get_peft_model

    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base_model = open_whole(base, dtype=torch.float32)
        model = get_peft_model(base_model, settings)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight), alpha=strength)
        model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def config(folder: Path, adapter: Path | None = None, **fields: Any) -> HFModel:
    """A model section in float32 on the CPU."""
    given = {"dtype": "float32", "device": "cpu", **fields}
    return HFModel(kind="hf", path=str(folder), adapter=adapter, **given)


def open_arms(tiny: Tiny, **fields: Any) -> Engine:
    """An engine with the arms base and tuned."""
    return open_hf(
        {"base": config(tiny.model, **fields), "tuned": config(tiny.model, tiny.adapter, **fields)},
        offline=True,
    )


def likelihood(prompt: Prompt, continuation: str, arm: str = "base") -> Request:
    """A log-likelihood request."""
    return Request(
        arm=arm,
        suite="tiny",
        sample_id="0",
        kind="loglikelihood",
        prompt=prompt,
        continuation=continuation,
    )


def rolling(text: str, arm: str = "base") -> Request:
    """A rolling log-likelihood request."""
    return Request(
        arm=arm, suite="tiny", sample_id="0", kind="rolling", prompt="", continuation=text
    )


def writing(
    prompt: Prompt, decoding: Decoding = GREEDY, arm: str = "base", index: int = 0
) -> Request:
    """A request to generate."""
    return Request(
        arm=arm,
        suite="tiny",
        sample_id="0",
        kind="generate",
        prompt=prompt,
        decoding=decoding,
        index=index,
    )


def answers(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """The completions of the requests, in their order, by way of prepare and batches."""
    prepared = engine.prepare(requests)
    unique = list({item.key: item for item in prepared}.values())
    found: Mapping[str, Completion] = {
        completion.key: completion
        for batch in engine.batches(unique)
        for completion in engine.complete(batch)
    }
    return [found[item.key] for item in prepared]


def some_text(rng: random.Random, low: int, high: int) -> str:
    """A random text of Chinese, English, emoji and whitespace."""
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(low, high)))


def fuzzed_pairs(seed: int, count: int) -> list[tuple[str, str]]:
    """Contexts and continuations that lm-eval accepts too: several on one context, some alone."""
    rng = random.Random(seed)
    pairs = [("", " Paris"), ("", "北京🙂"), ("A ", "B"), ("答案：", "北京")]
    while len(pairs) < count:
        context = "The" + some_text(rng, 0, 30)  # some are over-length
        pairs += [
            (context, rng.choice(" ?A北🙂") + some_text(rng, 0, 4))
            for _ in range(rng.choice([1, 1, 2, 4]))
        ]
    return pairs
