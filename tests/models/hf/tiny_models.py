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


def make_tokenizer(*, bos: bool = False, extra: Sequence[str] = ()) -> Any:
    """A byte-level BPE of 400 tokens that round-trips any text; `bos` writes <|bos|> in front."""
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
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
    )


def model_config(architecture: str, vocabulary: int) -> Any:
    """A two-layer configuration of the architecture, with lively random weights."""
    import transformers as t

    ids = {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
    modern = {
        **ids,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": LENGTH,
        "initializer_range": 0.3,
    }
    match architecture:
        case "llama":
            return t.LlamaConfig(**modern)
        case "wide":  # bitsandbytes packs weights in blocks of 64
            return t.LlamaConfig(
                **{**modern, "hidden_size": 64, "head_dim": 16, "intermediate_size": 128}
            )
        case "mistral":
            return t.MistralConfig(**modern, sliding_window=12)
        case "gemma2":
            return t.Gemma2Config(**modern, sliding_window=12, final_logit_softcapping=3.0)
        case "gpt2":
            return t.GPT2Config(
                **ids, n_embd=32, n_layer=2, n_head=4, n_positions=LENGTH, initializer_range=0.3
            )
        case "bloom":
            return t.BloomConfig(
                **ids, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3, seq_length=LENGTH
            )
        case _:
            raise AssertionError(architecture)


def make_model(folder: Path, architecture: str, *, bos: bool = False) -> None:
    """Save a random model of this architecture with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = make_tokenizer(bos=bos)
    tokenizer.model_max_length = LENGTH
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(model_config(architecture, len(tokenizer)))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def make_adapter(base: Path, folder: Path, *, strength: float = 0.3, **lora: Any) -> Path:
    """Save a random LoRA on all linear layers; `strength` 0 makes it change nothing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base_model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model = get_peft_model(base_model, LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, strength) if strength else weight.zero_()
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
