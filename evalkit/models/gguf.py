"""Turning a GGUF file into a folder transformers loads; run as a process of its own.

`python -m evalkit.models.gguf FILE FOLDER`: the memory goes back when it ends, and what the
libraries write to the terminal on the way stays out of the user's.
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights (bfloat16, as on the hub) and its tokenizer to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without dequantize=True save_pretrained refuses. Dequantised in float32 and rounded once:
    # a weight of five bits or fewer loses next to nothing in bfloat16.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
