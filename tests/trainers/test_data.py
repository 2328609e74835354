"""Reading, splitting and labelling training rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
from evalkit.errors import TrainingError
from evalkit.records import Message
from tests.trainers.tiny import TEMPLATE, tiny_tokenizer
from trainers.config import DataFile
from trainers.data.encode import IGNORED, Encoder, Example
from trainers.data.rows import Row, read_rows
from trainers.data.split import split_files


def write(file: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def pair(n: int) -> dict[str, str]:
    return {"id": f"r{n}", "prompt": f"question {n}", "completion": f"answer {n}"}


def test_both_forms_of_a_row_are_read(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
    ]
    file = write(tmp_path / "a.jsonl", pair(1), "", {"messages": turns})
    rows = read_rows(file)
    assert [row.line for row in rows] == [1, 3]
    assert [turn.role for turn in rows[0].messages] == ["user", "assistant"]
    assert rows[1].messages[0] == Message(role="system", content="Be brief.")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected an object, got list"),
        ('{"text": "x"}', "needs `messages`, or `prompt` and `completion`; its keys are text"),
        ('{"prompt": "a", "completion": " "}', "`completion` is empty"),
        ('{"prompt": 3, "completion": "b"}', "`prompt` must be text, got int"),
        ('{"messages": []}', "not empty"),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "role 'bot'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "end with an assistant's turn"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "nothing is asked"),
        ('{"prompt": "a", "completion": "\\ud83d"}', "`completion` holds half of a surrogate pair"),
        ('{"\\ud83d": "a"}', "its keys are \\ud83d"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"x": ' + "9" * 5_000 + "}", "not valid JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    file = write(tmp_path / "a.jsonl", pair(1), line)
    with pytest.raises(TrainingError) as raised:
        read_rows(file)
    assert f"{file}:2: " in str(raised.value)
    assert reason in str(raised.value)
    assert str(raised.value).encode()  # a terminal can print it


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085"])
def test_a_line_ends_where_json_lines_end_and_nowhere_else(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "a.jsonl"
    text = json.dumps({"prompt": "a", "completion": f"b{mark}c"}, ensure_ascii=False)
    file.write_bytes(f"{text}\r\n{text}\n".encode())
    rows = read_rows(file)
    assert [row.line for row in rows] == [1, 2]
    assert rows[0].messages[1].content == f"b{mark}c"


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    plain = read_rows(write(tmp_path / "a.jsonl", pair(1)))
    marked = tmp_path / "b.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes())
    assert [row.messages for row in read_rows(marked)] == [row.messages for row in plain]


def test_a_file_of_another_encoding_is_told_with_the_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", pair(1))
    file.write_bytes(file.read_bytes() + b'{"prompt": "\xe9"}')
    with pytest.raises(TrainingError, match=r"a\.jsonl:2: not UTF-8 text"):
        read_rows(file)


def test_many_bad_rows_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *["{"] * 13)
    with pytest.raises(TrainingError, match=r"13 of 13 rows(.|\n)*a.jsonl:10(.|\n)*and 3 more"):
        read_rows(file)


def test_a_missing_and_an_empty_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training data at"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(TrainingError, match="is empty"):
        read_rows(write(tmp_path / "a.jsonl", ""))


def test_nothing_held_out_is_trained_on_even_when_rows_repeat(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", *map(pair, range(20)), *map(pair, range(5)))
    second = write(tmp_path / "b.jsonl", *map(pair, range(10, 30)))
    split = split_files([DataFile(path=first), DataFile(path=second)], 0.2, seed=3)
    train = {row.content_hash for row in split.train}
    held_out = {row.content_hash for row in split.held_out}
    assert not train & held_out
    assert [part.duplicates for part in split.files] == [5, 10]
    assert [len(part.held_out) for part in split.files] == [4, 2]
    assert len(train) + len(held_out) == 30


def test_the_split_is_the_same_for_a_seed_and_another_for_another(tmp_path: Path) -> None:
    file = DataFile(path=write(tmp_path / "a.jsonl", *map(pair, range(40))))
    assert split_files([file], 0.1, seed=1) == split_files([file], 0.1, seed=1)
    assert split_files([file], 0.1, seed=1) != split_files([file], 0.1, seed=2)


def test_a_weight_repeats_rows_and_a_limit_drops_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(pair, range(20)))
    limited = split_files([DataFile(path=path, limit=8)], 0.0, seed=0)
    assert len(limited.train) == 8
    weighted = split_files([DataFile(path=path, weight=2.5)], 0.0, seed=0)
    assert len(weighted.train) == 50
    assert len({row.content_hash for row in weighted.train}) == 20


def encoder(**changes: Any) -> Encoder:
    tokenizer = tiny_tokenizer()
    given = {
        "tokenizer": tokenizer,
        "template": TEMPLATE,
        "stop_ids": frozenset([tokenizer.eos_token_id]),
        "max_length": 512,
    }
    return Encoder(**{**given, **changes})


def row(*turns: tuple[str, str]) -> Row:
    messages = tuple(Message(role=role, content=text) for role, text in turns)  # type: ignore[arg-type]
    return Row(messages=messages, file="a.jsonl", line=1)


def learned(example: Example, encoder: Encoder) -> str:
    return str(encoder.tokenizer.decode([i for i in example.labels if i != IGNORED]))


def test_only_the_answers_and_their_end_of_turn_are_learned() -> None:
    enc = encoder()
    example = enc.encode(
        row(("user", "Hi 你好"), ("assistant", "一 ✨"), ("user", "More"), ("assistant", "two"))
    )
    assert learned(example, enc) == "一 ✨<|im_end|>two<|im_end|>"
    whole = enc.tokenizer.decode(example.input_ids)
    assert whole.startswith("<|im_start|>user\nHi 你好<|im_end|>\n<|im_start|>assistant\n一 ✨")


def test_a_system_prompt_is_put_before_rows_that_have_none() -> None:
    enc = encoder(system="Be kind.")
    text = enc.tokenizer.decode(enc.encode(row(("user", "a"), ("assistant", "b"))).input_ids)
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>")
    own = row(("system", "Mine."), ("user", "a"), ("assistant", "b"))
    assert "Be kind." not in enc.tokenizer.decode(enc.encode(own).input_ids)


def test_a_long_row_loses_its_end_and_says_how_much() -> None:
    enc = encoder(max_length=40)
    example = enc.encode(row(("user", "a"), ("assistant", "b" * 100)))
    assert len(example.input_ids) == len(example.labels) == 40
    assert example.cut > 60
    assert enc.tokenizer.eos_token_id not in example.labels


def test_a_template_that_rewrites_earlier_answers_is_refused() -> None:
    forgetful = TEMPLATE.replace(
        "{{ message['content'] }}", "{{ message['content'] if loop.last else '…' }}"
    )
    turns = row(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    with pytest.raises(TrainingError, match=r"a\.jsonl:1: .*renders turn 2 otherwise"):
        encoder(template=forgetful).encode(turns)


def test_a_template_that_refuses_a_row_names_it() -> None:
    strict = "{{ raise_exception('no system role') }}"
    with pytest.raises(TrainingError, match=r"a\.jsonl:1: .*no system role"):
        encoder(template=strict).encode(row(("user", "a"), ("assistant", "b")))


def test_labels_equal_trls_own_for_prompt_and_completion(tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    from trainers.quiet import quiet_libraries

    enc = encoder()
    turns = [("user", "Say 你好 😀 twice"), ("assistant", "你好\n\n你好 😀")]
    as_turns = [{"role": role, "content": text} for role, text in turns]
    tiny = LlamaConfig(
        vocab_size=len(enc.tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    with quiet_libraries():
        trainer = SFTTrainer(
            model=LlamaForCausalLM(tiny),
            args=SFTConfig(
                output_dir=str(tmp_path),
                use_cpu=True,
                bf16=False,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"prompt": as_turns[:1], "completion": as_turns[1:]}]),
            processing_class=enc.tokenizer,
        )
    theirs = trainer.train_dataset[0]
    ours = enc.encode(row(*turns))
    assert list(ours.input_ids) == theirs["input_ids"]
    # trl also learns the newline that the template writes after the end of the turn.
    end = theirs["input_ids"].index(enc.tokenizer.eos_token_id, len(theirs["input_ids"]) - 2)
    assert list(ours.labels[: end + 1]) == theirs["labels"][: end + 1]
    assert set(ours.labels[end + 1 :]) == {IGNORED}
