"""OpenCompass's own command with its own Hugging Face model class: the oracle of every number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.harnesses.opencompass.environment import Installed

_START = "import runpy; runpy.run_module('opencompass.cli.main', run_name='__main__')"


class Theirs(NamedTuple):
    """What OpenCompass wrote of a data set: a row for each sample, and the evaluator's results."""

    rows: list[dict[str, Any]]
    results: dict[str, Any]


def older(model: Path, folder: Path) -> Path:
    """The same model for the transformers of OpenCompass's environment, a major version before."""
    shutil.copytree(model, folder)
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text())
    told |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    told |= {"model_input_names": ["input_ids", "attention_mask"]}  # it would add token types
    file.write_text(json.dumps(told))
    file = folder / "config.json"
    told = json.loads(file.read_text())
    if "rope_parameters" in told:
        told["rope_theta"] = told.pop("rope_parameters").get("rope_theta", 10000.0)
    file.write_text(json.dumps(told))
    return folder


def merged(model: Path, adapter: Path, folder: Path) -> Path:
    """A base with its adapter taken in, as one model."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def opencompass(installed: Installed, config: Path, folder: Path, data: Path) -> dict[str, Theirs]:
    """Run OpenCompass's command on a config file; what it wrote of each data set."""
    line = [str(installed.interpreter), "-I", "-c", _START, str(config), "--debug", "-w", "out"]
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        line,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
             "COMPASS_DATA_CACHE": str(data)},
    )  # fmt: skip
    try:
        return written(folder)
    except FileNotFoundError as error:
        raise AssertionError(done.stdout[-3000:] + done.stderr[-3000:]) from error


def written(folder: Path) -> dict[str, Theirs]:
    """What a run of OpenCompass's command wrote in its folder; FileNotFoundError."""
    found = sorted((folder / "out").glob("*/predictions/*/*.json"))
    if not found:
        raise FileNotFoundError(folder / "out")
    theirs = {}
    for file in found:
        rows = json.loads(file.read_text())
        result = file.parents[2] / "results" / file.parent.name / file.name
        ordered = [rows[str(place)] for place in range(len(rows))]
        theirs[file.stem] = Theirs(ordered, json.loads(result.read_text()))
    return theirs


def write_jsonl(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A custom data set."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file
