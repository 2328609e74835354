"""The base's weights: which dtype, device and attention they get, and how they are brought in."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.config import HFModel
from evalkit.errors import MissingExtraError, ModelError
from evalkit.models.hf.configs import is_encoder_decoder, text_part
from evalkit.models.hf.memory import is_out_of_memory
from evalkit.models.hf.products import multiply_sooner

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


SMALLER = "Use model.quantization: nf4, a smaller dtype, or another device."
"""What to do where memory is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a base will be loaded; answers' keys name the device, dtype and quantization."""

    device: torch.device
    """A GPU by its number, unless the weights are spread over all."""
    dtype: torch.dtype
    quantization: str
    quantiser: str = ""
    """The library's or method's name where weights are quantised, by us or as they are stored."""
    spread: bool
    """Over several GPUs, as accelerate sees fit."""

    @property
    def dtype_name(self) -> str:
        """float32, bfloat16 or float16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def kept_in(self) -> torch.dtype:
        """What keys and values of texts in the making are reckoned with: on a CPU float32, in which
        texts of 16 bits look back there (`attention.may_step`)."""
        return torch.float32 if self.device.type == "cpu" else self.dtype


def open_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """The transformers configuration of a model folder."""
    from transformers import AutoConfig

    if (folder / "adapter_config.json").is_file():  # transformers would put it on the weights
        raise ModelError(
            f"{folder} holds a whole model and an adapter (adapter_config.json): which of them is "
            "meant cannot be known. Give each a folder of its own: model.path for the model and, "
            "where it is to be applied, model.adapter for the adapter."
        )
    try:
        config = AutoConfig.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"The model in {folder} runs code of its own. Read that code, and if you trust "
                "it set model.trust_remote_code: true."
            ) from error
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if is_encoder_decoder(config) and not _gives_text(config):
        raise ModelError(
            f"{folder} is an encoder-decoder model that does not turn text into text "
            f"({config.model_type}). Record its answers and use model.kind: recorded."
        )
    sparse = getattr(config, "attention_type", "") == "block_sparse"  # BigBird's
    if is_encoder_decoder(config) and sparse:
        raise ModelError(
            f"{folder} looks at a part of long texts only (attention_type: block_sparse), and "
            "transformers gives that up for good with the first short one: numbers would depend on "
            "what was asked before. Set attention_type: original_full in its config.json."
        )
    return config


def _gives_text(config: Any) -> bool:
    """Whether an encoder-decoder model turns text into text, by its kind; loads nothing of it."""
    from transformers.models.auto import modeling_auto

    known = config.model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return known or "AutoModelForSeq2SeqLM" in (getattr(config, "auto_map", None) or {})


def place(model: HFModel, config: Any) -> Placement:
    """Resolve `auto` for this machine."""
    device = _device(model.device)
    spread = model.device == "auto" and device.type == "cuda" and torch.cuda.device_count() > 1
    if str(device) == "cuda" and not spread:
        device = torch.device("cuda", torch.cuda.current_device())
    return Placement(
        device=device,
        dtype=_dtype(model.dtype, config, device),
        quantization=model.quantization,
        quantiser=_quantiser(model, config),
        spread=spread,
    )


def _quantiser(model: HFModel, config: Any) -> str:
    if model.quantization != "none":
        return "bitsandbytes"
    method = stored_quantization(config).get("quant_method") or ""
    return str(getattr(method, "value", method))


def stored_quantization(config: Any) -> Mapping[str, Any]:
    """How a model's weights were quantised before they were stored; empty if they were not."""
    told = getattr(config, "quantization_config", None) or {}
    return told if isinstance(told, dict) else dict(told.to_dict())


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelError(
            f"model.device is {wanted!r}; use auto, cpu, cuda, cuda:0 … or mps."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"model.device is {wanted!r}, but PyTorch sees no GPU on this machine.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"model.device is {wanted!r}, but there are only {torch.cuda.device_count()} GPUs."
        )
    return device


def device_name(device: torch.device) -> str:
    """What the device calls itself, or its kind: another one rounds, and may fail, otherwise."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told = [device.type, torch.backends.cpu.get_cpu_capability()]
    # Products of 16 bits are other instructions where a processor has them.
    told += ["BF16"] if torch.cpu._is_avx512_bf16_supported() else []
    told += ["AMX"] if torch.cpu._is_amx_tile_supported() else []
    return " ".join(told)


def _dtype(wanted: str, config: Any, device: torch.device) -> torch.dtype:
    """`auto`: what the weights are stored in, where the device computes in it natively.

    A CPU without 16-bit instructions emulates them several times slower than float32; and the
    rounding of bfloat16 (up to 0.4 nats per answer) is not worth having where nothing is saved.
    """
    if wanted != "auto":
        return DTYPES[wanted]
    inner = text_part(config)
    stored = getattr(config, "dtype", None) or getattr(inner, "dtype", None) or torch.float32
    if isinstance(stored, str):
        stored = DTYPES.get(stored, torch.float32)
    if stored not in DTYPES.values():
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    assert isinstance(stored, torch.dtype)
    if device.type != "cpu" or stored == torch.float32:
        return stored
    native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if stored == torch.bfloat16 and native else torch.float32


def auto_class(config: Any) -> Any:
    """The class of transformers that opens language models of this kind."""
    import transformers

    if is_encoder_decoder(config):
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def _attention(config: Any) -> str:
    """SDPA where the architecture has it; keys know which, by configuration and version."""
    try:
        architecture = auto_class(config)._model_mapping[type(config)]
    except KeyError:
        return ""
    return "sdpa" if getattr(architecture, "_supports_sdpa", False) else "eager"


def load_base(folder: Path, model: HFModel, config: Any, placement: Placement) -> Any:
    """The base model, in evaluation mode on its device.

    Raises ModelError for anything that is not a language model or does not load.
    """
    _settle(placement.device)
    options: dict[str, Any] = {"dtype": placement.dtype, "local_files_only": True}
    options["use_safetensors"] = True  # a pickle would be preferred to files of unusual names
    if attention := _attention(config):
        options["attn_implementation"] = attention
    if placement.quantization != "none":
        options["quantization_config"] = _quantization(placement)
    options["device_map"] = "auto" if placement.spread else {"": placement.device}
    with quiet():
        try:
            loaded, told = auto_class(config).from_pretrained(
                str(folder),
                config=config,
                trust_remote_code=model.trust_remote_code,
                output_loading_info=True,
                **options,
            )
        except Exception as error:
            if is_out_of_memory(error):
                told = f"in {placement.dtype_name} does not fit on {placement.device}"
                raise ModelError(f"{model.path} {told}. {SMALLER}") from error
            raise ModelError(f"{model.path} cannot be loaded: {_first_lines(error)}") from error
    if missing := sorted(told["missing_keys"]):
        raise ModelError(
            f"{model.path} lacks {len(missing)} weights of a language model (the first is "
            f"{missing[0]}); they would be random numbers. Was it saved from another class? Save "
            f"it from {auto_class(config).__name__}."
        )
    multiply_sooner(loaded)
    _multiply_as_told(loaded, placement.dtype)
    return loaded.eval()


def _settle(device: torch.device) -> None:
    """Have PyTorch multiply as the dtype says, and take the attention that suits rows whose lengths
    change in every forward."""
    if device.type == "cpu":
        # Grouped heads share their keys: transformers' own switch against copying them for each.
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")
    if device.type == "cuda":
        # Some images have cuBLAS round float32 to 19 bits, by an environment variable.
        torch.set_float32_matmul_precision("highest")
        # cuDNN's is preferred on some cards, and makes a plan for each new shape: one a step here.
        torch.backends.cuda.enable_cudnn_sdp(False)


def _multiply_as_told(model: Any, dtype: torch.dtype) -> None:
    """Have layers of four bits multiply in `dtype` on every CPU.

    Where a CPU has avx512_bf16, bitsandbytes rounds their inputs to bfloat16 whatever the dtype, so
    that float32 would mean something else there; and it fails on rows of broken blocks.
    """
    for layer in model.modules():
        if getattr(layer, "support_avx512bf16_for_cpu", False):
            whole = layer.in_features % _NF4_BLOCK == 0
            layer.support_avx512bf16_for_cpu = dtype == torch.bfloat16 and whole


_NF4_BLOCK = 64
"""Weights of a row that share one scale."""


def _quantization(placement: Placement) -> Any:
    """The quantisation our trainer uses: NF4 with double quantisation, or LLM.int8."""
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("model.quantization", "hf") from error
    if placement.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=placement.dtype,
    )


def _first_lines(error: Exception, lines: int = 6) -> str:
    return "\n".join(str(error).strip().splitlines()[:lines]) or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own bars and chatter off the terminal; ours says what matters.

    Whoever sets evalkit's logger to DEBUG, as `--verbose` does, wants to hear them.
    """
    import logging as standard

    from transformers.utils import logging

    if standard.getLogger("evalkit").isEnabledFor(standard.DEBUG):
        yield
        return
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Warns, when imported, of an optional kernel that nobody asked for.
    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
