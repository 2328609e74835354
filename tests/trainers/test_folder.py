"""Whose a run's folder is, and what is said when the disk does not go along."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from evalkit.errors import StoreError, TrainingError
from trainers.config import DataFile, TrainConfig
from trainers.folder import claimed, run_state, writing


@pytest.fixture
def templated(tmp_path: Path, notes: Path) -> TrainConfig:
    """A recipe with a chat template of its own."""
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    return TrainConfig(
        name="x", model="some/model", data=(DataFile(path=notes),), chat_template=template
    )


def test_a_run_is_not_continued_under_another_text_of_its_chat_template(
    templated: TrainConfig, tmp_path: Path
) -> None:
    assert templated.chat_template is not None
    with claimed(tmp_path / "run", run_state(templated, "w"), fresh=False):
        pass
    templated.chat_template.write_text("{{ messages }} ")
    with (
        pytest.raises(TrainingError, match=r"changed: chat_template\.sha256"),
        claimed(tmp_path / "run", run_state(templated, "w"), fresh=False),
    ):
        pass


def test_a_chat_template_that_moved_is_the_same(templated: TrainConfig, tmp_path: Path) -> None:
    assert templated.chat_template is not None
    (tmp_path / "there").mkdir()
    moved = tmp_path / "there" / "chat.jinja"
    moved.write_bytes(templated.chat_template.read_bytes())
    other = templated.model_copy(update={"chat_template": moved})
    assert run_state(templated, "w") == run_state(other, "w")


def test_a_chat_template_that_cannot_be_read_is_named(
    templated: TrainConfig, tmp_path: Path
) -> None:
    gone = templated.model_copy(update={"chat_template": tmp_path / "gone.jinja"})
    with pytest.raises(TrainingError, match=r"the chat template .*gone\.jinja: No such file"):
        run_state(gone, "w")


def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the disk is full") as raised, writing(tmp_path):
        Path("/dev/full").write_text("x")
    assert str(tmp_path) in str(raised.value)


def test_a_folder_that_is_not_ours_to_write_is_named_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    denied = PermissionError(errno.EACCES, "Permission denied", str(file))
    with pytest.raises(StoreError, match="Cannot write to") as raised, writing(tmp_path):
        raise denied
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/models/base/tokenizer.json"),
        OSError(errno.EIO, "Input/output error", "/models/base/model.safetensors"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_other_troubles_are_not_blamed_on_the_folder(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(TrainingError) as raised, writing(tmp_path):
        raise error
    assert "Cannot write" not in str(raised.value)
    assert str(error) in str(raised.value)
