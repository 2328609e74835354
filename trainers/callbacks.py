"""What a run tells while it goes: metrics to a file, progress to the user, NaN to the brakes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from evalkit.errors import TrainingError
from evalkit.progress import Progress
from evalkit.store.runs import write_text

METRICS = "metrics.jsonl"
COMPLETE = "complete"

# The trainer's name for it, and ours.
_KEPT = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "eval_loss": "eval_loss",
}


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics, oldest first; none when it has not begun."""
    file = folder / METRICS
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the line a killed process was writing
            break
    return rows


def rewind_metrics(folder: Path, step: int) -> float:
    """Forget what happened after `step`, which will happen again; the seconds spent until it."""
    kept = [row for row in read_metrics(folder) if row["step"] <= step] if step else []
    text = "".join(json.dumps(row) + "\n" for row in kept)
    write_text(folder / METRICS, text)
    return float(kept[-1]["seconds"]) if kept else 0.0


class Recorder(TrainerCallback):  # type: ignore[misc]  # untyped in transformers
    """Writes every logged step, advances the bar, and stops at the first loss that is no number."""

    def __init__(self, folder: Path, part: str, progress: Progress, spent: float) -> None:
        self.file = folder / METRICS
        self.part, self.progress, self.spent = part, progress, spent
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time in training so far, earlier starts of this run included."""
        return self.spent + time.monotonic() - self.started

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """The bar begins where the checkpoint left off."""
        self.started = time.monotonic()
        self.progress.start(self.part, state.max_steps, done=state.global_step, unit="step")

    def on_log(self, args: Any, state: Any, _control: Any, **given: Any) -> None:
        """One row per training step and per evaluation."""
        logs: dict[str, Any] = given.get("logs") or {}
        found = {ours: logs[theirs] for theirs, ours in _KEPT.items() if theirs in logs}
        if not {"loss", "eval_loss"} & set(found):
            return  # the trainer's closing summary
        if args.fp16 and not math.isfinite(found.get("grad_norm", 0.0)):
            # The loss scale of float16 starts too high on purpose: such a step is skipped and the
            # scale lowered. It has no gradient, so none is written.
            del found["grad_norm"]
        self._refuse_nan(found, state.global_step)
        row = {"step": state.global_step, **found, "seconds": round(self.seconds, 3)}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if "loss" in found:
            self.progress.advance(self.part, 1, note=f"loss {found['loss']:.3f}")

    def _refuse_nan(self, found: dict[str, float], step: int) -> None:
        for name in ("loss", "eval_loss", "grad_norm"):
            value = found.get(name)
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"{name} became {value} at step {step}, so the run was stopped. Lower "
                    "`learning_rate`, raise `warmup`, or set `compute_dtype: float32`; if it is "
                    "so at the first step, the base model's weights are damaged."
                )

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole: a killed process leaves half of one behind."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / COMPLETE).touch()
