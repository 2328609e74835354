"""Whose a run's folder is, and what is said when the disk does not go along."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from evalkit.errors import ModelError, StoreError, TrainingError
from trainers.config import DataFile, TrainConfig
from trainers.folder import claimed, run_state, writing


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """What a run's state looks at in a base's folder, the weights aside."""
    folder = tmp_path / "here" / "some-model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"hidden_size": 64}')
    return folder


@pytest.fixture
def templated(tmp_path: Path, notes: Path) -> TrainConfig:
    """A recipe with a chat template of its own."""
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    return TrainConfig(
        name="x", model="some/model", data=(DataFile(path=notes),), chat_template=template
    )


def test_a_run_is_not_continued_under_another_text_of_its_chat_template(
    templated: TrainConfig, base: Path, tmp_path: Path
) -> None:
    assert templated.chat_template is not None
    with claimed(tmp_path / "run", run_state(templated, base, "w"), fresh=False):
        pass
    templated.chat_template.write_text("{{ messages }} ")
    with (
        pytest.raises(TrainingError, match=r"changed: chat_template\.sha256"),
        claimed(tmp_path / "run", run_state(templated, base, "w"), fresh=False),
    ):
        pass


def test_a_chat_template_that_moved_is_the_same(
    templated: TrainConfig, base: Path, tmp_path: Path
) -> None:
    assert templated.chat_template is not None
    (tmp_path / "there").mkdir()
    moved = tmp_path / "there" / "chat.jinja"
    moved.write_bytes(templated.chat_template.read_bytes())
    other = templated.model_copy(update={"chat_template": moved})
    assert run_state(templated, base, "w") == run_state(other, base, "w")


def test_a_chat_template_that_cannot_be_read_is_named(
    templated: TrainConfig, base: Path, tmp_path: Path
) -> None:
    gone = templated.model_copy(update={"chat_template": tmp_path / "gone.jinja"})
    with pytest.raises(TrainingError, match=r"the chat template .*gone\.jinja: No such file"):
        run_state(gone, base, "w")


def test_a_base_that_moved_is_the_same_and_one_of_another_configuration_is_not(
    notes: Path, base: Path, tmp_path: Path
) -> None:
    made = TrainConfig(name="x", model=str(base), data=(DataFile(path=notes),))
    with claimed(tmp_path / "run", run_state(made, base, "w"), fresh=False):
        pass
    there = (tmp_path / "here").rename(tmp_path / "there") / base.name
    moved = made.model_copy(update={"model": str(there)})
    with claimed(tmp_path / "run", run_state(moved, there, "w"), fresh=False):
        pass
    (there / "config.json").write_text('{"hidden_size": 64, "rope_theta": 5.0}')
    with (
        pytest.raises(TrainingError, match="changed: base_config"),
        claimed(tmp_path / "run", run_state(moved, there, "w"), fresh=False),
    ):
        pass


def test_a_damaged_configuration_of_the_base_is_named(templated: TrainConfig, base: Path) -> None:
    (base / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        run_state(templated, base, "w")


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
