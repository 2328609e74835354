"""Weights that the benchmark needs and nobody ships; a process of its own, for it loads torch.

python -m benchmarks.engine.weights scale ADAPTER FACTOR OUTPUT
python -m benchmarks.engine.weights llama SIZE TOKENIZER OUTPUT [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

# hidden size, intermediate size, layers, heads, heads of keys and values
LLAMAS = {
    "tiny": (64, 128, 2, 4, 2),
    "1b": (2048, 8192, 16, 32, 8),
    "7b": (4096, 11008, 32, 32, 32),
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MAX_LENGTH = 2048


def scaled(adapter: Path, factor: float, output: Path) -> None:
    """The adapter with its lora_B multiplied: another adapter of the same cost."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, output, dirs_exist_ok=True)
    file = output / "adapter_model.safetensors"
    weights = load_file(str(file))
    found = [name for name in weights if "lora_B" in name]
    assert found, f"{adapter} has no lora_B"
    weights |= {name: weights[name] * factor for name in found}
    file.unlink()
    save_file(weights, str(file), metadata={"format": "pt"})


def llama(size: str, tokenizer: Path, output: Path, device: str) -> None:
    """A Llama of random weights with SmolLM2's tokenizer: model, adapter and quantised copy.

    They lie in `output`/model, /adapter and /nf4; the tiny one has no quantised copy.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    hidden, inner, layers, heads, kv_heads = LLAMAS[size]
    shared = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))
    config = LlamaConfig(
        vocab_size=shared["vocab_size"],
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=shared["bos_token_id"],
        eos_token_id=shared["eos_token_id"],
        tie_word_embeddings=False,
    )
    dtype = torch.float32 if size == "tiny" else torch.bfloat16
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    _save(model, tokenizer, output / "model")
    _random_adapter(model, output / "adapter")
    del model
    if size != "tiny":
        _quantise(output / "model", tokenizer, output / "nf4", device)


def _save(model: Any, tokenizer: Path, output: Path) -> None:
    model.save_pretrained(output)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, output / name)


def _random_adapter(model: Any, output: Path) -> None:
    """A LoRA on every linear layer; lora_B is small but not zero, so that it changes answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    tuned.save_pretrained(output)
    tuned.unload()


def _quantise(folder: Path, tokenizer: Path, output: Path, device: str) -> None:
    """The same NF4 as evalkit makes when it loads, written down for lm-eval."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=config, device_map=device
    )
    _save(model, tokenizer, output)


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scale = commands.add_parser("scale")
    scale.add_argument("adapter", type=Path)
    scale.add_argument("factor", type=float)
    scale.add_argument("output", type=Path)
    make = commands.add_parser("llama")
    make.add_argument("size", choices=sorted(LLAMAS))
    make.add_argument("tokenizer", type=Path)
    make.add_argument("output", type=Path)
    make.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.command == "scale":
        scaled(options.adapter, options.factor, options.output)
    else:
        llama(options.size, options.tokenizer, options.output, options.device)


if __name__ == "__main__":
    main()
