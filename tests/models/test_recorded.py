"""Outputs of any other tool can be compared; what is not in the file is missing, not empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.config import RecordedModel
from evalkit.errors import ModelError
from evalkit.models.base import Engine
from evalkit.models.recorded import open_recorded
from evalkit.records import Completion, Request, RequestKind


def opened(path: Path, text: str) -> Engine:
    path.write_text(text, encoding="utf-8")
    return open_recorded({"base": RecordedModel(kind="recorded", path=path)})


def ask(
    sample: str, kind: RequestKind = "generate", index: int = 0, suite: str = "s", arm: str = "base"
) -> Request:
    return Request(
        arm=arm, suite=suite, sample_id=sample, kind=kind, prompt="?", continuation="x", index=index
    )


def answers(engine: Engine, *requests: Request) -> list[Completion]:
    """The completions in the order of the requests."""
    prepared = engine.prepare(requests)
    done = {one.key: one for batch in engine.batches(prepared) for one in engine.complete(batch)}
    return [done[one.key] for one in prepared]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_recorded_texts_come_back(file: Path) -> None:
    engine = opened(
        file, '{"id": "a", "text": "Paris", "model": "other"}\n\n{"id": 2, "text": ""}\n'
    )
    first, second = answers(engine, ask("a"), ask("2"))
    assert (first.text, first.stop_reason, first.error) == ("Paris", "stop", "")
    assert (second.text, second.error) == ("", "")


def test_recorded_loglikelihoods_come_back_choice_by_choice(file: Path) -> None:
    engine = opened(file, '{"id": "a", "choices": [-1.5, -0.25]}')
    done = answers(engine, *(ask("a", "loglikelihood", index) for index in range(2)))
    assert [one.loglikelihood for one in done] == [-1.5, -0.25]
    assert {one.stop_reason for one in done} == {"scored"}


def test_several_recorded_texts_come_back_one_for_each_repeat(file: Path) -> None:
    engine = opened(file, '{"id": "a", "texts": ["1", "2"]}\n{"id": "b", "text": "3"}\n')
    asked = [ask(sample, index=index) for sample in "ab" for index in range(3)]
    assert [one.text for one in answers(engine, *asked)] == ["1", "2", "", "3", "", ""]
    errors = [one.error for one in answers(engine, *asked) if one.error]
    more = "the turns and repeats ask for more"
    two, one = f"{file}:1 has 2 texts; {more}", f"{file}:2 has 1 text; {more}"
    assert errors == [two, one, one]
    assert engine.checks("base") == ()


def test_more_repeats_keep_the_keys_of_the_first(file: Path) -> None:
    text = '{"id": "a", "texts": ["1", "2", "3"]}\n'
    keys = [
        [one.key for one in opened(file, text).prepare([ask("a", index=n) for n in range(count)])]
        for count in (1, 2, 3)
    ]
    assert keys[2][:2] == keys[1]
    assert keys[1][:1] == keys[0]
    assert len(set(keys[2])) == 3


def test_recorded_texts_that_nobody_asks_for_are_told(file: Path) -> None:
    engine = opened(file, '{"id": "a", "texts": ["1", "2", "3"]}\n{"id": "b", "text": "4"}\n')
    answers(engine, ask("a"), ask("a", index=1), ask("b"), ask("b", index=1))
    (check,) = engine.checks("base")
    assert (check.name, check.status) == ("all recorded answers used", "warning")
    assert "up to 3 texts" in check.message
    assert check.message.endswith("only the first 2 were scored, as `decoding.repeats` is 2")


def test_a_suite_tells_equal_ids_apart(file: Path) -> None:
    text = '{"id": "a", "suite": "s", "text": "1"}\n{"id": "a", "text": "2"}\n'
    engine = opened(file, text)
    assert [one.text for one in answers(engine, ask("a"), ask("a", suite="t"))] == ["1", "2"]


def test_what_was_not_recorded_is_an_error_of_its_sample(file: Path) -> None:
    engine = opened(file, '{"id": "a", "text": "1"}\n{"id": "b", "choices": [-1, -2]}\n')
    asked = [ask("z"), ask("b"), ask("a", "loglikelihood"), ask("a", "rolling")]
    asked += [ask("b", "loglikelihood", index) for index in range(3)]
    done = answers(engine, *asked)
    assert {one.stop_reason for one in done} == {"error"}
    assert [one.error for one in done] == [
        f"{file} has no row for 'z'",
        f"{file}:2 has no 'text'",
        f"{file}:1 has no 'choices'",
        "a recording holds no log-likelihoods of whole texts",
        *[f"{file}:2 has 2 choices; asked are 3"] * 3,
    ]


MISTAKES = [
    ('{"id": ', "not valid JSON: Expecting value at column 8"),
    ("[1]", 'expected an object such as {"id": "q1", "text": "Paris"}'),
    ('{"text": "x"}', "'id' must be the sample's id"),
    ('{"id": "a"}', "expected one of 'text', 'texts', 'choices'; it has id"),
    (
        '{"id": "a", "text": "x", "choices": [-1]}',
        "expected one of 'text', 'texts', 'choices'; it has id, text, choices",
    ),
    ('{"id": "a", "text": 3}', "'text' must be a text"),
    (
        '{"id": "a", "texts": ["x", 3]}',
        "'texts' must be a list of texts, one for each answer to the question",
    ),
    (
        '{"id": "a", "texts": []}',
        "'texts' must be a list of texts, one for each answer to the question",
    ),
    (
        '{"id": "a", "output": "x"}',
        "expected one of 'text', 'texts', 'choices'; it has id, output",
    ),
    (
        '{"id": "a", "choices": []}',
        "'choices' must be a list of log-likelihoods, one for each choice",
    ),
    (
        '{"id": "a", "choices": [-1, NaN]}',
        "nan is no log-likelihood; expected a finite number, 0 or less",
    ),
    (
        '{"id": "a", "choices": [0.5]}',
        "0.5 is no log-likelihood; expected a finite number, 0 or less",
    ),
    ('{"id": "a", "text": "\\ud800"}', "half of a surrogate pair (\\ud800 to \\udfff) is no text"),
    ("[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_wrong_line_is_told_with_its_place(file: Path, line: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        opened(file, '{"id": "first", "text": "x"}\n' + line)
    assert str(caught.value) == f"{file}:2: {message}"


def test_a_sample_recorded_twice_is_an_error_and_all_mistakes_come_together(file: Path) -> None:
    with pytest.raises(ModelError) as caught:
        opened(file, '{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}\n{"id": 1}\n')
    assert str(caught.value).splitlines() == [
        "2 mistakes:",
        f"  {file}:2: 'a' was recorded before, at {file}:1",
        f"  {file}:3: expected one of 'text', 'texts', 'choices'; it has id",
    ]


def test_a_file_that_is_gone_or_no_text_is_told(file: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        open_recorded({"base": RecordedModel(kind="recorded", path=file)})
    file.write_bytes(b'{"id": "a", "text": "\xff"}')
    with pytest.raises(ModelError, match=r"answers\.jsonl:1: not UTF-8 text"):
        open_recorded({"base": RecordedModel(kind="recorded", path=file)})


def test_keys_follow_the_content_of_the_file(file: Path, tmp_path: Path) -> None:
    first = opened(file, '{"id": "a", "text": "1"}')
    copy = opened(tmp_path / "copy.jsonl", '{"id": "a", "text": "1"}')
    other = opened(tmp_path / "other.jsonl", '{"id": "a", "text": "2"}')
    keys = [engine.prepare([ask("a")])[0].key for engine in (first, copy, other)]
    assert keys[0] == keys[1] != keys[2]
    assert first.fingerprints("base") == copy.fingerprints("base") != other.fingerprints("base")


def test_a_byte_order_mark_makes_no_other_recording(file: Path, tmp_path: Path) -> None:
    row = '{"id": "a", "text": "1\u20282"}'
    plain, marked = opened(file, row), opened(tmp_path / "marked.jsonl", f"\ufeff{row}")
    assert answers(marked, ask("a"))[0].text == "1\u20282"
    assert plain.fingerprints("base") == marked.fingerprints("base")


def test_two_arms_read_their_own_files(tmp_path: Path) -> None:
    arms = {}
    for name in ("base", "tuned"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(f'{{"id": "a", "text": "{name}"}}')
        arms[name] = RecordedModel(kind="recorded", path=path)
    engine = open_recorded(arms)
    done = answers(engine, *(ask("a", arm=name) for name in arms))
    assert [one.text for one in done] == ["base", "tuned"]
