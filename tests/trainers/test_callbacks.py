"""What is written while a run goes on, and what stops it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")
from evalkit.errors import TrainingError
from evalkit.progress import Silent
from trainers.callbacks import Recorder, read_metrics


def log(folder: Path, *, fp16: bool, **logs: float) -> None:
    """One step's numbers, as the trainer hands them over."""
    recorder = Recorder(folder, "train", Silent(), spent=0.0)
    recorder.on_log(SimpleNamespace(fp16=fp16), SimpleNamespace(global_step=1), None, logs=logs)


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_float16_step_that_the_loss_scaler_skips_does_not_stop_the_run(
    tmp_path: Path, norm: float
) -> None:
    log(tmp_path, fp16=True, loss=2.5, grad_norm=norm)
    (row,) = read_metrics(tmp_path)
    assert row["loss"] == 2.5
    assert "grad_norm" not in row


def test_a_finite_gradient_is_written_in_float16_too(tmp_path: Path) -> None:
    log(tmp_path, fp16=True, loss=2.5, grad_norm=0.5)
    assert read_metrics(tmp_path)[0]["grad_norm"] == 0.5


@pytest.mark.parametrize("fp16", [False, True])
def test_a_loss_that_is_no_number_stops_the_run_in_every_type(tmp_path: Path, fp16: bool) -> None:
    with pytest.raises(TrainingError, match="loss became nan at step 1"):
        log(tmp_path, fp16=fp16, loss=math.nan, grad_norm=1.0)


def test_without_a_loss_scale_an_infinite_gradient_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="grad_norm became inf at step 1"):
        log(tmp_path, fp16=False, loss=2.5, grad_norm=math.inf)
