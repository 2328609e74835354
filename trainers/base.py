"""Opening the base model for training: tokenizer, weights (quantised or not), adapter."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.errors import MissingExtraError, ModelError, TrainingError
from evalkit.models.hf.configs import is_encoder_decoder
from evalkit.models.hf.tokenizers import (
    chat_template_of,
    generation_defaults,
    load_tokenizer,
    read_template,
)
from trainers.config import TrainConfig
from trainers.data.encode import Encoder

NEEDED = ("torch", "transformers", "accelerate", "peft", "trl", "datasets")


def require_packages(config: TrainConfig) -> None:
    """Raise MissingExtraError before any work if a package of `evalkit[train]` is missing."""
    needed = (*NEEDED, "bitsandbytes") if config.method == "qlora" else NEEDED
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError("Training", "train")


def require_causal(config: TrainConfig, folder: Path) -> None:
    """Raise TrainingError where the base is an encoder-decoder model.

    transformers would open the decoder of some of them by itself, and train that.
    """
    from evalkit.models.hf.loading import open_config

    opened = open_config(folder, trust_remote_code=config.trust_remote_code)
    if is_encoder_decoder(opened):
        raise TrainingError(
            f"{config.model} is an encoder-decoder model ({opened.model_type}). Only causal "
            "language models are trained here; train it with other tools, and compare it."
        )


def open_encoder(config: TrainConfig, folder: Path) -> Encoder:
    """The base's tokenizer with the template that training and evaluation will both use.

    Raises TrainingError when there is no chat template: nothing says how to ask; ModelError
    when the tokenizer or the template's file cannot be read.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    if not tokenizer.is_fast:
        raise TrainingError(
            f"{config.model} has a tokenizer without character offsets, which labelling the "
            "answers needs. Convert it to a tokenizer.json first."
        )
    if config.chat_template is not None:
        template: str | None = read_template(config.chat_template)
        tokenizer.chat_template = template  # saved with the adapter
    else:
        template = chat_template_of(tokenizer)
    if not template:
        raise TrainingError(
            f"{config.model} has no chat template (it is probably a raw base model), so nothing "
            "says how a question is asked. Set `chat_template` to a Jinja file, for instance the "
            "chat_template.jinja of the family's instruct model."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Encoder(
        tokenizer=tokenizer,
        template=template,
        stop_ids=_stop_ids(tokenizer, folder),
        max_length=config.max_length,
        system=config.system,
    )


def _stop_ids(tokenizer: Any, folder: Path) -> frozenset[int]:
    declared = generation_defaults(folder).get("eos_token_id")
    found = declared if isinstance(declared, list) else [declared]
    return frozenset(token for token in (*found, tokenizer.eos_token_id) if token is not None)


def open_model(config: TrainConfig, folder: Path) -> Any:
    """The base model, on the accelerator if there is one; NF4 for QLoRA.

    QLoRA: https://arxiv.org/abs/2305.14314 (NormalFloat4, quantised constants).
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = compute_dtype(config)
    quantization = None
    if config.method == "qlora":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=config.double_quantization,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            quantization_config=quantization,
            device_map={"": 0} if torch.cuda.is_available() else {"": "cpu"},
            trust_remote_code=config.trust_remote_code,
            local_files_only=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{config.model} cannot be opened for {config.method}: {error}") from error
    _keep_trainable(model)
    return model


def _keep_trainable(model: Any) -> None:
    """Keep bitsandbytes from repacking NF4 weights for inference when the model is evaluated.

    On a CPU with AVX512-BF16 the first evaluation repacks them, and the packed product has no
    gradient: training then goes on with most of its gradient missing, and nothing says so.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def compute_dtype(config: TrainConfig) -> Any:
    """The type activations are computed in: bfloat16 where the machine has it in hardware."""
    import torch

    if config.compute_dtype != "auto":
        return getattr(torch, config.compute_dtype)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def lora_config(config: TrainConfig) -> Any:
    """The adapter's shape, for peft."""
    from peft import LoraConfig, TaskType

    target = config.lora.target
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=target if isinstance(target, str) else list(target),
    )


def check_targets(config: TrainConfig, model: Any) -> None:
    """Raise TrainingError where a name in `lora.target` is no layer's.

    Where only some are, peft adapts those and passes over the rest in silence.
    """
    import torch
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    targets = config.lora.target
    if isinstance(targets, str):
        return
    layers = {path: module for path, module in model.named_modules() if _is_adaptable(module)}
    lost = [
        target
        for target in targets
        if not any(f".{path}".endswith(f".{target}") for path in layers)
    ]
    if lost:
        head = model.get_output_embeddings()
        linear = dict.fromkeys(
            path.rpartition(".")[2]
            for path, module in layers.items()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
        )
        raise TrainingError(
            f"`lora.target` names {', '.join(lost)}, and {config.model} has no such layer. Its "
            f"linear layers are {', '.join(linear)}; `all-linear` takes them all."
        )


def _is_adaptable(module: Any) -> bool:
    """Whether it is a layer with a matrix: no block of layers, and no norm."""
    weight = getattr(module, "weight", None)
    return not any(module.children()) and (weight is None or weight.dim() > 1)
