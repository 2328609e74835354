"""Supervised fine-tuning of an adapter: the loss is on the answers only."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, TrainingError
from evalkit.models.weights import find_model, weights_hash
from evalkit.progress import Progress, Silent
from trainers.artifacts import (
    ADAPTER,
    TUNED,
    as_row,
    save_adapter,
    write_manifest,
    write_tuned,
)
from trainers.base import (
    check_targets,
    compute_dtype,
    lora_config,
    open_encoder,
    open_model,
    require_causal,
    require_packages,
)
from trainers.checks import Checked, check_examples, check_space, shown_example
from trainers.config import TrainConfig
from trainers.curve import write_curve
from trainers.data.card import DataCard, data_card, write_card
from trainers.data.encode import Encoder, Example
from trainers.data.split import split_files
from trainers.folder import (
    CHECKPOINTS,
    MANIFEST,
    claimed,
    last_checkpoint,
    run_state,
    writing,
)
from trainers.quiet import quiet_libraries

if TYPE_CHECKING:
    from trainers.callbacks import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to; losses are nats per learned token on the held-out rows.

    `reused` says that the folder held this very run, finished, and nothing was computed.
    """

    folder: Path
    adapter: Path
    tuned: Path
    steps: int
    seconds: float
    train_rows: int
    held_out_rows: int
    learned_tokens: int
    loss: float
    eval_loss_before: float | None
    eval_loss: float | None
    notes: tuple[str, ...] = ()
    resumed_from: int = 0
    reused: bool = False


def train(
    config: TrainConfig,
    *,
    progress: Progress = Silent(),  # noqa: B008  stateless
    fresh: bool = False,
    offline: bool = False,
) -> TrainResult:
    """Train the adapter `config` describes into its folder; goes on where a killed run stopped.

    `fresh` deletes what an earlier run left there. Raises TrainingError, ModelError, StoreError
    or MissingExtraError; an unfinished run stays resumable through all of them.
    """
    require_packages(config)
    base = find_model(config.model, revision=config.revision, offline=offline, progress=progress)
    base_weights = weights_hash(base)
    state = run_state(config, base, base_weights)
    folder = config.folder
    with quiet_libraries(), claimed(folder, state, fresh=fresh), _explained(folder):
        if (folder / MANIFEST).is_file():
            _clear(config, folder)
            return _finished(folder)
        return _train(config, base, base_weights, folder, progress)


def _train(
    config: TrainConfig, base: Path, base_weights: str, folder: Path, progress: Progress
) -> TrainResult:
    from trainers.callbacks import COMPLETE, Recorder, read_metrics, rewind_metrics

    started = datetime.now(UTC)
    require_causal(config, base)
    encoder = open_encoder(config, base)
    checked, card = _data(config, encoder, folder, progress)
    checkpoint = last_checkpoint(folder, COMPLETE)
    step = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
    recorder = Recorder(folder, f"train {config.name}", progress, rewind_metrics(folder, step))
    trainer = _trainer(config, base, encoder.tokenizer, checked, folder, recorder, step)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    metrics = read_metrics(folder)
    adapter = save_adapter(trainer.model, encoder, config, base_weights, folder)
    write_curve(metrics, folder / "loss.svg", f"{config.name}: loss")
    result = TrainResult(
        folder=folder,
        adapter=adapter,
        tuned=write_tuned(config, folder),
        steps=int(trainer.state.global_step),
        seconds=round(recorder.seconds, 1),
        train_rows=card.train_rows,
        held_out_rows=card.held_out_rows,
        learned_tokens=card.learned_tokens,
        **_losses(metrics),
        notes=checked.notes,
        resumed_from=step,
    )
    result_row = {key: v for key, v in as_row(result).items() if key not in _NOT_FACTS}
    times = {"started": started.isoformat(), "finished": datetime.now(UTC).isoformat()}
    write_manifest(folder, config, base_weights, {"result": result_row, **times})
    _clear(config, folder)
    return result


def _clear(config: TrainConfig, folder: Path) -> None:
    """The adapter is all that is left of a finished run, unless its checkpoints are to be kept."""
    if not config.keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _data(
    config: TrainConfig, encoder: Encoder, folder: Path, progress: Progress
) -> tuple[Checked, DataCard]:
    """The examples, checked and shown to the user, and the card written of them."""
    split = split_files(config.data, config.held_out, config.seed)
    checked = check_examples(split.train, split.held_out, encoder)
    card = data_card(
        split,
        checked.train,
        checked.held_out,
        unanswered=checked.unanswered,
        max_length=config.max_length,
        seed=config.seed,
    )
    write_card(card, folder, config.name)
    progress.say(shown_example(checked.train[0], encoder.tokenizer))
    for note in checked.notes:
        progress.say(note)
    return checked, card


_NOT_FACTS = {"folder", "adapter", "tuned", "reused"}  # where it lies, not what came out


def _finished(folder: Path) -> TrainResult:
    """The result of the complete run in `folder`."""
    try:
        facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["result"]
        facts["notes"] = tuple(facts["notes"])
        return TrainResult(
            folder=folder,
            adapter=folder / ADAPTER,
            tuned=folder / TUNED,
            reused=True,
            **facts,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder / MANIFEST} is damaged. Start over with --fresh.") from error


def _losses(metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
    training = [row["loss"] for row in metrics if "loss" in row]
    held_out = [row["eval_loss"] for row in metrics if "eval_loss" in row]
    return {
        "loss": training[-1],
        "eval_loss_before": held_out[0] if held_out else None,
        "eval_loss": held_out[-1] if held_out else None,
    }


def _trainer(
    config: TrainConfig,
    base: Path,
    tokenizer: Any,
    checked: Checked,
    folder: Path,
    recorder: Recorder,
    step: int,
) -> Any:
    """trl's SFTTrainer on rows that are already tokens and labels."""
    import torch
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    from trainers.loss import AnswerTrainer

    # Before the adapter is made: its A matrices are random.
    set_seed(config.seed)
    model = open_model(config, base)
    check_targets(config, model)
    trainer = AnswerTrainer(
        model=model,
        args=_arguments(config, len(checked.train), bool(checked.held_out), folder, step),
        train_dataset=_dataset(checked.train),
        eval_dataset=_dataset(checked.held_out) if checked.held_out else None,
        processing_class=tokenizer,
        peft_config=lora_config(config),
        callbacks=[recorder],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainable = [each for each in trainer.model.parameters() if each.requires_grad]
    for weight in trainable:
        # trl halves them for QLoRA, but a bfloat16 weight loses most steps of a small rate.
        weight.data = weight.data.to(torch.float32)
    kept = math.ceil(trainer.args.max_steps / trainer.args.save_steps)
    check_space(
        folder,
        sum(each.numel() for each in trainable),
        checkpoints=max(kept, 3) if config.keep_checkpoints else 3,
    )
    return trainer


def _dataset(examples: Sequence[Example]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [list(example.input_ids) for example in examples],
            "labels": [list(example.labels) for example in examples],
        }
    )


def _arguments(config: TrainConfig, rows: int, evaluated: bool, folder: Path, step: int) -> Any:
    import torch
    from trl import SFTConfig

    batches = math.ceil(rows / config.batch_size)
    per_epoch = max(math.ceil(batches / config.accumulation), 1)
    steps = config.max_steps or math.ceil(config.epochs * per_epoch)
    dtype = compute_dtype(config)
    arguments = SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        seed=config.seed,
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=None,  # trl's default; deprecated for the name below
        activation_checkpointing=config.gradient_checkpointing,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_scheduler(config),
        warmup_steps=math.ceil(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=not torch.cuda.is_available(),
        max_length=config.max_length,
        # Rows come as tokens and labels: what was checked and shown is what is trained on.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="steps",
        save_steps=config.save_every or max(math.ceil(steps / 4), 10),
        save_total_limit=None if config.keep_checkpoints else 2,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=config.eval_every or math.ceil(steps / 2),
        eval_on_start=evaluated and step == 0,
        prediction_loss_only=True,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # a NaN must be seen, to stop at it
        disable_tqdm=True,
        report_to="none",
    )
    # Several GPUs are used through a launcher; one process takes one.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _scheduler(config: TrainConfig) -> str:
    """The schedule as transformers names it, whose "constant" ignores the warm-up."""
    warmed = config.schedule == "constant" and config.warmup > 0
    return "constant_with_warmup" if warmed else config.schedule


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Give the machine's own troubles (memory, disk) an error the user can act on."""
    from evalkit.models.hf.memory import is_out_of_memory

    try:
        with writing(folder):
            yield
    except EvalkitError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(
                "The memory did not suffice. Halve `batch_size` and double `accumulation` (the "
                "same training), set `gradient_checkpointing: true`, or lower `max_length`."
            ) from error
        if shutil.disk_usage(folder).free < 2**20:  # torch and safetensors say it in their ways
            with writing(folder):
                raise OSError(28, "No space left on device") from error
        raise
