"""How far a LoRA adapter in bfloat16 is from float32: by PEFT's own layers, and added in place.

    python -m benchmarks.rounding ADAPTER DATA

ADAPTER is a LoRA adapter of SmolLM2-135M-Instruct (`evalkit train examples/rednote/qlora.yaml`),
DATA the folder of CMMLU. Both read the same texts of several kinds (Chinese questions, notes,
documents), on a base in bfloat16; the same model whole in float32 says what is true. Printed are
the differences of the tokens' log-probabilities in nats, and how often another token is likeliest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.engine import works
from benchmarks.products import MODEL, PACKAGES

NOTES = Path("examples/rednote/data/notes.jsonl")
QUESTIONS, NOTES_READ, DOCUMENTS = 10, 60, 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapter", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    import torch

    from evalkit.models.weights import find_model

    torch.set_num_threads(2)
    folder = find_model(MODEL, offline=True)
    kinds = {
        "float32": _model(folder, options.adapter, torch.float32, ours=False),
        "PEFT": _model(folder, options.adapter, torch.bfloat16, ours=False),
        "added in place": _model(folder, options.adapter, torch.bfloat16, ours=True),
    }
    found: dict[str, list[Any]] = {name: [] for name in kinds}
    with torch.inference_mode():
        for ids in _texts(folder, options.data):
            for name, model in kinds.items():
                found[name].append(_read(model, ids))
    true, likeliest = (torch.cat(parts) for parts in zip(*found.pop("float32"), strict=True))
    print(f"{machine.processor()}, {machine.versions(PACKAGES)}: {len(true)} tokens")
    for name, parts in found.items():
        said, first = (torch.cat(part) for part in zip(*parts, strict=True))
        error = said - true
        print(
            f"{name}: root of the mean square {error.square().mean().sqrt():.4f} nats, "
            f"median {error.abs().median():.4f}, mean {error.mean():+.4f}, "
            f"largest {error.abs().max():.2f}; another token is likeliest at "
            f"{int((first != likeliest).sum())}"
        )


def _model(folder: Path, adapter: Path, dtype: Any, *, ours: bool) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from evalkit.models.hf.adding import add_in_place

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    if ours:
        add_in_place(model)
    return model


def _texts(folder: Path, data: Path) -> Iterator[Any]:
    """Token ids [1, T] of each text."""
    import torch

    tokenizer = works.Tokenizer(folder)
    notes = [json.loads(line) for line in NOTES.read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] for row in works.letters(QUESTIONS, data).rows]
    texts += [f"{note['prompt']}\n\n{note['completion']}" for note in notes[:NOTES_READ]]
    texts += [row["text"] for row in works.rolling(DOCUMENTS, tokenizer).rows]
    for text in texts:
        yield torch.tensor([tokenizer.ids(text)])


def _read(model: Any, ids: Any) -> tuple[Any, Any]:
    """Log-probabilities [T - 1] of a text's tokens after the first, and the likeliest ones."""
    logits = model(input_ids=ids).logits[0, :-1].float()
    said = logits.log_softmax(-1).gather(1, ids[0, 1:, None]).flatten()
    return said, logits.argmax(-1)


if __name__ == "__main__":
    main()
