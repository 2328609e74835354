"""What is refused or said before training begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")
from evalkit.errors import ModelError, StoreError, TrainingError
from tests.trainers.tiny import TEMPLATE, tiny_tokenizer
from trainers.base import open_encoder, require_causal
from trainers.checks import check_examples, check_space, shown_example
from trainers.config import DataFile, TrainConfig
from trainers.data.encode import Encoder
from trainers.data.rows import Row, read_rows


def encoder(template: str = TEMPLATE, max_length: int = 512) -> Encoder:
    tokenizer = tiny_tokenizer()
    ends = frozenset([tokenizer.eos_token_id])
    return Encoder(tokenizer=tokenizer, template=template, stop_ids=ends, max_length=max_length)


def rows(tmp_path: Path, *pairs: tuple[str, str]) -> list[Row]:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": asked, "completion": said}) for asked, said in pairs]
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_rows(file)


def test_a_run_in_which_every_label_is_masked_is_refused(tmp_path: Path) -> None:
    given = rows(tmp_path, ("a long question" * 9, "yes"), ("another one" * 12, "no"))
    with pytest.raises(TrainingError, match=r"Every label is masked.*raise `max_length`"):
        check_examples(given, [], encoder(max_length=64))


def test_a_template_that_leaves_the_answers_out_is_refused(tmp_path: Path) -> None:
    deaf = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(TrainingError, match="renders the answers as nothing"):
        check_examples(rows(tmp_path, ("a", "b")), [], encoder(deaf))


def test_a_run_that_never_learns_to_stop_is_refused(tmp_path: Path) -> None:
    endless = TEMPLATE.replace("<|im_end|>", "")
    with pytest.raises(TrainingError, match=r"ends an answer \(<\|im_end\|>\) is in no label"):
        check_examples(rows(tmp_path, ("a", "b")), [], encoder(endless))


def test_a_run_in_which_every_answer_is_cut_is_refused(tmp_path: Path) -> None:
    given = rows(tmp_path, ("a", "b" * 100), ("c", "d" * 90))
    with pytest.raises(TrainingError, match=r"Every row is cut.*longest row has 122 tokens"):
        check_examples(given, [], encoder(max_length=64))


def test_cut_and_unanswered_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    given = rows(tmp_path, ("a", "b"), ("c", "d" * 100), ("e" * 100, "f"))
    checked = check_examples(given, given[2:], encoder(max_length=64))
    assert [example.row.line for example in checked.train] == [1, 2]
    assert checked.held_out == ()
    assert checked.unanswered == 1
    assert "2 of 3 rows are longer" in checked.notes[0]
    assert "1 rows have no answer left" in checked.notes[1]


def test_the_shown_example_tells_what_is_read_from_what_is_learned(tmp_path: Path) -> None:
    enc = encoder()
    shown = shown_example(enc.encode(rows(tmp_path, ("Hi", "Yo ✨\nBye"))[0]), enc.tokenizer)
    lines = shown.splitlines()
    assert lines[0].endswith("rows.jsonl:1):")
    assert lines[1:] == [
        "  read    │ <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎",
        "  learned │ Yo ✨⏎Bye<|im_end|>",
        "  read    │ ⏎",
    ]


def test_a_model_without_a_chat_template_is_refused_with_the_way_out(
    tmp_path: Path, notes: Path
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "raw")
    (tmp_path / "raw" / "config.json").write_text('{"model_type": "llama"}')
    config = TrainConfig(name="x", model=str(tmp_path / "raw"), data=(DataFile(path=notes),))
    with pytest.raises(TrainingError, match="Set `chat_template`"):
        open_encoder(config, tmp_path / "raw")
    template = tmp_path / "chat.jinja"
    template.write_text(TEMPLATE)
    given = config.model_copy(update={"chat_template": template})
    assert open_encoder(given, tmp_path / "raw").template == TEMPLATE
    template.write_bytes("{# größer #}".encode("latin-1"))
    with pytest.raises(ModelError, match=r"cannot read .*chat\.jinja"):
        open_encoder(given, tmp_path / "raw")


def test_an_encoder_decoder_model_is_not_trained_as_half_of_itself(
    tmp_path: Path, notes: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bart", "is_encoder_decoder": true}')
    config = TrainConfig(name="x", model=str(tmp_path), data=(DataFile(path=notes),))
    with pytest.raises(TrainingError, match=r"encoder-decoder model \(bart\)"):
        require_causal(config, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    require_causal(config, tmp_path)


def test_a_disk_too_small_for_the_checkpoints_is_told_before_training(tmp_path: Path) -> None:
    check_space(tmp_path, trainable=1000)
    with pytest.raises(StoreError, match="checkpoints need about"):
        check_space(tmp_path, trainable=10**15)
