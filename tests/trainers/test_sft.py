"""Training itself, on a tiny random model: what it leaves, resuming, refusing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

pytest.importorskip("trl")
pytest.importorskip("bitsandbytes")
from evalkit.config import RunConfig
from evalkit.configfile import load_arms
from evalkit.errors import ExitCode, StoreError, TrainingError
from evalkit.models.weights import read_adapter_record, weights_hash
from tests.models.hf.tiny_models import make_model
from trainers.callbacks import read_metrics
from trainers.config import DataFile, Lora, TrainConfig
from trainers.quiet import quiet_libraries
from trainers.sft import train


def config(model: Path, notes: Path, output: Path, **changes: Any) -> TrainConfig:
    given: dict[str, Any] = {
        "name": "tiny",
        "model": str(model),
        "method": "lora",
        "data": (DataFile(path=notes, license="Apache-2.0"),),
        "output": output,
        "max_steps": 6,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "compute_dtype": "float32",
        "lora": Lora(r=4, alpha=8, dropout=0.1),
        "save_every": 2,
    }
    return TrainConfig(**{**given, **changes})


class Told:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.done, self.total, self.notes, self.said = 0, 0, list[str](), ""

    def start(self, part: str, total: int, done: int = 0, unit: str = "") -> None:
        self.done, self.total = done, total

    def advance(self, part: str, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.notes.append(note)

    def say(self, message: str) -> None:
        self.said += message + "\n"


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Told]:
    """One QLoRA run that the tests below look at from all sides."""
    folder = tmp_path_factory.mktemp("trained")
    notes = folder / "notes.jsonl"
    rows = [{"prompt": f"Say {n}.", "completion": f"{n}! ✨ #n{n}"} for n in range(20)]
    notes.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    made = config(tiny_model, notes, folder / "run", method="qlora", compute_dtype="auto")
    told = Told()
    result = train(made, progress=told)
    assert result.eval_loss is not None
    assert result.eval_loss_before is not None
    assert result.eval_loss < result.eval_loss_before
    return made, told


def test_a_run_leaves_all_it_promises(trained: tuple[TrainConfig, Told]) -> None:
    made, _ = trained
    left = sorted(each.name for each in made.folder.iterdir() if each.name != ".lock")
    assert left == [
        "adapter",
        "data_card.json",
        "data_card.md",
        "loss.svg",
        "manifest.json",
        "metrics.jsonl",
        "train.json",
        "tuned.yaml",
    ]
    adapter = sorted(each.name for each in (made.folder / "adapter").iterdir())
    assert adapter == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "evalkit_adapter.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (made.folder / "loss.svg").read_text().startswith("<svg")


def test_progress_is_told_step_by_step_with_the_loss(trained: tuple[TrainConfig, Told]) -> None:
    _, told = trained
    assert told.done == told.total == 6
    assert all(note.startswith("loss ") for note in told.notes)
    assert "learned │ " in told.said


def test_every_step_is_in_the_metrics(trained: tuple[TrainConfig, Told]) -> None:
    made, _ = trained
    rows = read_metrics(made.folder)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all({"lr", "grad_norm", "seconds"} <= set(row) for row in steps)
    assert [row["step"] for row in rows if "eval_loss" in row] == [0, 3, 6]


def test_the_adapter_knows_its_base(trained: tuple[TrainConfig, Told], tiny_model: Path) -> None:
    made, _ = trained
    record = read_adapter_record(made.folder / "adapter")
    assert record is not None
    assert record.base == tiny_model.name
    assert record.base_weights == weights_hash(tiny_model)
    assert record.tokenizer
    assert record.template
    assert record.versions["trl"]


def test_the_tuned_file_is_a_second_arm_of_a_comparison(
    trained: tuple[TrainConfig, Told], tiny_model: Path, tmp_path: Path
) -> None:
    made, _ = trained
    base = tmp_path / "base.yaml"
    base.write_text(
        f"name: base\nmodel: {{kind: hf, path: {tiny_model}}}\nsuites: [style/rednote-en]\n"
    )
    arms: list[RunConfig] = load_arms([base, made.folder / "tuned.yaml"])
    assert arms[1].name == "tiny"
    assert arms[1].model.kind == "hf"
    assert arms[1].model.adapter == (made.folder / "adapter").resolve()
    assert Path(arms[1].model.path).resolve() == tiny_model.resolve()


def test_peft_loads_the_adapter_onto_the_plain_base_and_it_speaks_otherwise(
    trained: tuple[TrainConfig, Told], tiny_model: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made, _ = trained
    with quiet_libraries():
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        ids = torch.arange(3, 20).unsqueeze(0)
        before = base(ids).logits
        tuned = PeftModel.from_pretrained(base, made.folder / "adapter")
        after = tuned(ids).logits
    assert (before - after).abs().max() > 1e-3


def test_the_data_card_counts_what_was_trained_on(trained: tuple[TrainConfig, Told]) -> None:
    made, _ = trained
    card = json.loads((made.folder / "data_card.json").read_text())
    assert (card["train_rows"], card["held_out_rows"], card["truncated"]) == (18, 2, 0)
    assert card["files"][0]["license"] == "Apache-2.0"
    assert "| notes.jsonl | 20 |" in (made.folder / "data_card.md").read_text()


def test_no_file_of_a_run_tells_where_the_data_lay(
    trained: tuple[TrainConfig, Told],
) -> None:
    made, _ = trained
    for file in made.folder.rglob("*.json"):
        assert str(made.data[0].path.parent) not in file.read_text(), file


def test_only_the_tuned_file_tells_where_the_base_lay(
    trained: tuple[TrainConfig, Told], tiny_model: Path
) -> None:
    made, _ = trained
    files = [each for each in made.folder.rglob("*") if each.is_file()]
    telling = {each.name for each in files if str(tiny_model).encode() in each.read_bytes()}
    assert telling <= {"tuned.yaml"}


def test_an_adapter_and_its_tuned_file_name_the_base_alike(
    trained: tuple[TrainConfig, Told], tiny_model: Path
) -> None:
    made, _ = trained
    settings = json.loads((made.folder / "adapter" / "adapter_config.json").read_text())
    tuned = yaml.safe_load((made.folder / "tuned.yaml").read_text())
    assert settings["base_model_name_or_path"] == tiny_model.name
    # By the last part of its path a base is known again where there is no record.
    assert tuned["model"]["path"].rpartition("/")[2] == tiny_model.name


def test_a_finished_run_is_not_computed_again(trained: tuple[TrainConfig, Told]) -> None:
    made, _ = trained
    before = (made.folder / "manifest.json").stat().st_mtime_ns
    result = train(made)
    assert result.reused
    assert result.steps == 6
    assert (made.folder / "manifest.json").stat().st_mtime_ns == before


def test_another_configuration_in_the_same_folder_is_refused(
    trained: tuple[TrainConfig, Told],
) -> None:
    made, _ = trained
    other = made.model_copy(update={"learning_rate": 3e-3, "lora": Lora(r=2)})
    with pytest.raises(TrainingError, match=r"changed: lora\.r, .*learning_rate.*--fresh"):
        train(other)


KILLED = """
import os, signal, sys
from pathlib import Path
from trainers.config import TrainConfig
from trainers.sft import train

from tests.models.hf.tiny_models import make_model

class Killer:
    left = int(sys.argv[2])
    def start(self, *a, **k): pass
    def say(self, message): pass
    def advance(self, *a, **k):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

train(TrainConfig.model_validate_json(sys.argv[1]), progress=Killer())
"""


@pytest.mark.parametrize(("method", "dtype"), [("lora", "float32"), ("qlora", "bfloat16")])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    tiny_model: Path, notes: Path, tmp_path: Path, method: str, dtype: str
) -> None:
    given = {"method": method, "compute_dtype": dtype, "eval_every": 3}
    whole = config(tiny_model, notes, tmp_path / "whole", **given)
    assert train(whole).resumed_from == 0

    killed = whole.model_copy(update={"output": tmp_path / "killed"})
    command = [sys.executable, "-c", KILLED, killed.model_dump_json(), "5"]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    done = subprocess.run(command, env=here, check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (killed.folder / "manifest.json").exists()
    # As if it had died in the middle of the next checkpoint, too.
    (killed.folder / "checkpoints" / "checkpoint-6").mkdir()

    told = Told()
    result = train(killed, progress=told)
    assert result.resumed_from == 4
    assert told.done == told.total == 6
    assert adapter_bytes(killed.folder) == adapter_bytes(whole.folder)

    def metrics(folder: Path) -> list[dict[str, float]]:
        rows = read_metrics(folder)
        return [{key: v for key, v in row.items() if key != "seconds"} for row in rows]

    assert metrics(killed.folder) == metrics(whole.folder)


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    runs = [
        config(tiny_model, notes, tmp_path / str(n), seed=seed, max_steps=2)
        for n, seed in enumerate((7, 7, 8))
    ]
    for each in runs:
        train(each)
    first, same, other = (adapter_bytes(each.folder) for each in runs)
    assert first == same != other


def test_a_constant_rate_is_warmed_up_too(tiny_model: Path, notes: Path, tmp_path: Path) -> None:
    given = {"schedule": "constant", "max_steps": 4, "held_out": 0.0}
    warmed = config(tiny_model, notes, tmp_path / "warmed", warmup=0.5, **given)
    train(warmed)
    assert [row["lr"] for row in read_metrics(warmed.folder)] == [0.0, 5e-3, 1e-2, 1e-2]
    cold = config(tiny_model, notes, tmp_path / "cold", warmup=0.0, **given)
    train(cold)
    assert [row["lr"] for row in read_metrics(cold.folder)] == [1e-2] * 4


def test_fresh_starts_over(tiny_model: Path, notes: Path, tmp_path: Path) -> None:
    made = config(tiny_model, notes, tmp_path / "run", max_steps=2)
    train(made)
    other = made.model_copy(update={"max_steps": 3})
    result = train(other, fresh=True)
    assert (result.steps, result.reused, result.resumed_from) == (3, False, 0)


def test_a_folder_of_other_files_is_neither_used_nor_emptied(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(TrainingError, match=r"thesis\.tex"):
        train(config(tiny_model, notes, mine), fresh=True)
    assert (mine / "thesis.tex").read_text() == "years of work"


def test_a_loss_that_is_no_number_stops_the_run(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"loss became nan at step 0") as raised:
        train(config(broken, notes, tmp_path / "run"))
    assert raised.value.exit_code == ExitCode.INCOMPLETE
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_training_that_changes_nothing_is_an_error(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    # One step only, and the schedule begins at zero.
    with pytest.raises(TrainingError, match="changed nothing"):
        train(config(tiny_model, notes, tmp_path / "run", max_steps=1))


@pytest.mark.parametrize("lost", ["q_prj", "self_atn.q_proj", "mlp", "norm"])
def test_a_target_that_the_model_has_not_is_told_with_the_layers_it_has(
    tiny_model: Path, notes: Path, tmp_path: Path, lost: str
) -> None:
    made = config(tiny_model, notes, tmp_path / "run", lora=Lora(target=("v_proj", lost)))
    with pytest.raises(TrainingError) as raised:
        train(made)
    assert str(raised.value) == (
        f"`lora.target` names {lost}, and {tiny_model} has no such layer. Its linear layers are "
        "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; `all-linear` takes them "
        "all."
    )


def test_an_empty_list_of_targets_is_no_target() -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        Lora(target=())


def test_only_the_targets_are_adapted(tiny_model: Path, notes: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    targets = ("self_attn.q_proj", "down_proj")
    made = config(tiny_model, notes, tmp_path / "run", lora=Lora(target=targets), max_steps=2)
    weights = load_file(train(made).adapter / "adapter_model.safetensors")
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in weights} == {
        "q_proj", "down_proj",
    }  # fmt: skip


def test_an_output_that_cannot_be_written_is_a_clear_error(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Cannot write"):
        train(config(tiny_model, notes, tmp_path / "file" / "run"))


def test_a_finished_run_keeps_its_checkpoints_where_it_is_told_to(
    tiny_model: Path, notes: Path, tmp_path: Path
) -> None:
    kept = config(tiny_model, notes, tmp_path / "kept", keep_checkpoints=True)
    train(kept)
    whole = sorted(each.parent.name for each in kept.folder.glob("checkpoints/*/complete"))
    assert whole == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert train(kept).reused
    assert len(list(kept.folder.glob("checkpoints/*/complete"))) == 3
    assert train(kept.model_copy(update={"keep_checkpoints": False})).reused
    assert not (kept.folder / "checkpoints").exists()


def test_an_encoder_decoder_model_is_refused_before_it_is_trained(
    tmp_path: Path, notes: Path
) -> None:
    """transformers would open BART's decoder by itself, as a causal model."""
    make_model(tmp_path / "bart", "bart")
    with pytest.raises(TrainingError, match=r"encoder-decoder model \(bart\)"):
        train(config(tmp_path / "bart", notes, tmp_path / "out"))
