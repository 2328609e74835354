"""A suite is opened whole or refused with the file and line of everything that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, RunConfig
from evalkit.errors import SuiteError
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import (
    find_suites,
    limited,
    open_suite,
    subset,
    suite_folders,
)
from evalkit.records import Message, Sample

RUN = RunConfig(name="base", model=HFModel(kind="hf", path="org/name"), suites=("my/quiz",))

CHOICE = """\
title: Quiz
language: en
task: choice
prompt: "Question: {question}\\nAnswer:"
scorers: [choice_accuracy]
"""
GENERATE = """\
title: Answers
language: en
task: generate
scorers: [exact_match]
"""
ROWS: list[dict[str, Any]] = [
    {"question": "What barks?", "choices": ["a dog", "a cat"], "answer": 0, "topic": "animals"},
    {"question": "What meows?", "choices": ["a dog", "a cat"], "answer": 1, "topic": "animals"},
]
SHOTS: list[dict[str, Any]] = [
    {"question": f"Is {number} a number?", "choices": ["yes", "no"], "answer": 0}
    for number in range(5)
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a current folder and no suites of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    return tmp_path


def write(
    suite: str,
    rows: Sequence[Mapping[str, Any] | str],
    shots: Sequence[Mapping[str, Any]] = (),
    name: str = "my/quiz",
    root: str = "suites",
) -> Path:
    folder = Path(root) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text(suite, encoding="utf-8")
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    if shots:
        (folder / "fewshot.jsonl").write_text("\n".join(map(json.dumps, shots)), encoding="utf-8")
    return folder


def opened(config: RunConfig = RUN) -> Suite:
    return open_suite("my/quiz", config)


def complaint(config: RunConfig = RUN) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        opened(config)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_a_choice_suite_becomes_samples_with_rendered_prompts() -> None:
    write(CHOICE + "slices: [topic]\ncluster: topic\nlicense: Apache-2.0\n", ROWS)
    suite = opened()
    first, second = suite.samples
    assert first.prompt == "Question: What barks?\nAnswer:"
    assert (first.choices, first.answer) == (("a dog", "a cat"), 0)
    assert second.slices == {"topic": "animals"}
    assert second.cluster == "animals"
    assert second.fields["question"] == "What meows?"
    assert suite.delimiter == " "
    assert (suite.info.samples, suite.info.metric) == (2, "accuracy")
    assert (suite.info.license, suite.info.path) == ("Apache-2.0", "suites/my/quiz")


def test_generation_is_a_chat_unless_told_otherwise() -> None:
    write(GENERATE + "system: Be brief.\nmax_new_tokens: 9\n", [{"prompt": "Hi?", "target": "Yes"}])
    suite = opened()
    assert suite.samples[0].prompt == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi?"),
    )
    assert suite.samples[0].targets == ("Yes",)
    assert suite.max_new_tokens == 9
    never = opened(RUN.model_copy(update={"chat": "never", "system": "Run's own."}))
    assert never.samples[0].prompt == "Run's own.\n\nHi?"


def test_a_template_reads_a_chat_s_choices_without_a_space_before_them() -> None:
    write(CHOICE + 'delimiter: " "\n', ROWS)
    assert opened().delimiter == " "
    assert opened(RUN.model_copy(update={"chat": "always"})).delimiter == ""
    write(CHOICE + 'chat: true\ndelimiter: " "\n', ROWS)
    assert opened().delimiter == " "


def test_worked_examples_stand_before_every_question_as_turns_or_as_text() -> None:
    fewshot = "fewshot: {count: 2, seed: 3}\n"
    write(CHOICE + fewshot, ROWS, SHOTS)
    text = opened().samples[0].prompt
    assert isinstance(text, str)
    shots = text.split("\n\n")
    assert shots[2] == "Question: What barks?\nAnswer:"
    assert all(shot.endswith("\nAnswer: yes") for shot in shots[:2])

    chat = opened(RUN.model_copy(update={"chat": "always"})).samples[0].prompt
    assert [turn.role for turn in chat if isinstance(turn, Message)] == [
        "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    as_text = opened(RUN.model_copy(update={"chat": "always", "fewshot_as": "text"}))
    assert as_text.samples[0].prompt == (Message(role="user", content=text),)


def test_a_sample_knows_where_its_own_question_begins() -> None:
    question = "Question: What barks?\nAnswer:"
    write(CHOICE + "fewshot: {count: 2, seed: 3}\n", ROWS, SHOTS)
    for update in ({}, {"system": "Be brief."}, {"chat": "always", "fewshot_as": "text"}):
        first = opened(RUN.model_copy(update=update)).samples[0]
        assert first.lead
        assert first.asked[first.lead :] == question
        assert first.asked[: first.lead].count("\nAnswer: yes\n\n") == 2
    as_turns = opened(RUN.model_copy(update={"chat": "always"})).samples[0]
    assert (as_turns.asked, as_turns.lead) == (question, 0)


def test_the_seed_alone_chooses_the_examples() -> None:
    write(CHOICE + "fewshot: {count: 2, seed: 3}\n", ROWS, SHOTS)
    first = opened().samples[0].prompt
    write(CHOICE + "fewshot: {count: 2, seed: 3}\n", ROWS, SHOTS[::-1])
    assert opened().samples[0].prompt == first
    write(CHOICE + "fewshot: {count: 2, seed: 4}\n", ROWS, SHOTS)
    assert opened().samples[0].prompt != first


def test_a_question_is_never_its_own_worked_example() -> None:
    shots = [{**SHOTS[0], "question": row["question"]} for row in ROWS] + SHOTS[:1]
    write(CHOICE + "fewshot: {count: 2}\n", ROWS, shots)
    for sample in opened().samples:
        assert isinstance(sample.prompt, str)
        assert sample.prompt.count(str(sample.fields["question"])) == 1
    write(CHOICE + "fewshot: {count: 3}\n", ROWS, shots)
    assert complaint()[1] == (
        "suites/my/quiz/samples.jsonl:1: it is among the worked examples, and without it there "
        "are only 2 of the 3 that fewshot.count asks for"
    )


def test_a_perplexity_suite_has_the_text_itself_as_its_prompt() -> None:
    suite = "title: T\nlanguage: en\ntask: perplexity\nscorers: [perplexity]\n"
    write(suite, [{"text": "Once upon a time."}])
    always = RUN.model_copy(update={"chat": "always", "system": "Be brief."})
    assert opened(always).samples[0].prompt == "Once upon a time."
    write(suite + "system: Hello\nstop: [x]\n", [{"text": "a"}])
    assert complaint() == [
        "suites/my/quiz/suite.yaml:1: a suite of task 'perplexity' has no 'stop', 'system'"
    ]


def test_ids_are_given_or_come_from_the_content_and_survive_reordering() -> None:
    write(CHOICE, ROWS)
    before = {sample.fields["question"]: sample.id for sample in opened().samples}
    write(CHOICE, [{**ROWS[1], "id": 7}, dict(reversed(ROWS[0].items()))])
    second, first = opened().samples
    assert first.id == before["What barks?"]
    assert len(first.id) == 12
    assert second.id == "7"


ROW_MISTAKES: list[tuple[dict[str, Any] | str, str]] = [
    ('{"question": ', "not valid JSON: Expecting value at column 14"),
    ("[1]", 'expected an object such as {"id": …}'),
    ('{"question": "a", "question": "b"}', "the field 'question' is written twice"),
    ('{"score": NaN}', "NaN is not JSON; leave the field out where there is no value"),
    ('{"question": "\\ud800"}', "half of a surrogate pair (\\ud800 to \\udfff) is no text"),
    ("[" * 100_000, "nested too deeply"),
    ('"' + "x" * 4_000_000, "a row of 4,000,001 characters; at most 4,000,000 are read"),
    ({"qestion": "a"}, "the prompt needs the field 'question'. Did you mean 'qestion'?"),
    ({"question": ["a"]}, "the field 'question' must be text or a number to stand in a prompt"),
    (
        {"question": "x" * 1_000_001, "choices": ["a", "b"], "answer": 0},
        "a prompt of 1,000,019 characters; at most 1,000,000",
    ),
    (
        {"question": "a", "choises": ["a", "b"], "answer": 0},
        "a choice needs 'choices', a list. Did you mean 'choises'?",
    ),
    ({"question": "a", "choices": "ab", "answer": 0}, "'choices' must be a list of texts"),
    (
        {"question": "a", "choices": ["a"], "answer": 0},
        "'choices' must hold two or more texts, none of them empty",
    ),
    (
        {"question": "a", "choices": ["a", "a"], "answer": 0},
        "'choices' holds the same text twice",
    ),
    (
        {"question": "a", "choices": ["a", "b"]},
        "a choice needs 'answer', the index of the right one (from 0)",
    ),
    (
        {"question": "a", "choices": ["a", "b"], "answer": "A"},
        "'answer' must be the index of the right choice, not 'A'",
    ),
    (
        {"question": "a", "choices": ["a", "b"], "answer": 2},
        "'answer' is 2, but there are 2 choices (from 0)",
    ),
    (
        {"id": "a\nb", "question": "a", "choices": ["a", "b"], "answer": 0},
        "'id' must be 1 to 200 printable characters",
    ),
    (
        {"question": "a", "choices": ["a", "b"], "answer": 0, "target": 4},
        "'target' must be a text or a list of texts (numbers in quotes)",
    ),
]


@pytest.mark.parametrize(("row", "message"), ROW_MISTAKES, ids=[said for _, said in ROW_MISTAKES])
def test_a_wrong_row_is_told_with_its_line(row: dict[str, Any] | str, message: str) -> None:
    write(CHOICE, [ROWS[0], "", row])
    assert complaint() == [f"suites/my/quiz/samples.jsonl:3: {message}"]


def test_all_wrong_rows_are_told_together_and_a_flood_is_cut() -> None:
    write(CHOICE, [ROWS[0], *[{"question": "a"}] * 30])
    said = complaint()
    assert said[0] == "30 mistakes:"
    assert said[1].startswith("suites/my/quiz/samples.jsonl:2: ")
    assert said[-1] == "… and 10 more"


def test_two_rows_of_one_id_or_one_content_are_an_error() -> None:
    write(CHOICE, [{**ROWS[0], "id": "x"}, {**ROWS[1], "id": "x"}])
    assert complaint() == ["suites/my/quiz/samples.jsonl:2: the same id as line 1: 'x'"]
    write(CHOICE, [ROWS[0], ROWS[0]])
    assert "the same content (give the rows ids if that is meant) as line 1" in complaint()[0]


def test_an_empty_suite_is_an_error() -> None:
    write(CHOICE, [])
    assert complaint() == [
        "suites/my/quiz/samples.jsonl: the suite is empty; it needs at least one sample."
    ]
    Path("suites/my/quiz/samples.jsonl").unlink()
    assert complaint() == ["suites/my/quiz/samples.jsonl: no such file."]


def test_a_field_that_no_row_has_is_told_once() -> None:
    write(CHOICE.replace("{question}", "{qestion}") + "slices: [topc]\ncluster: doc\n", ROWS)
    assert complaint() == [
        "3 mistakes:",
        (
            "suites/my/quiz/suite.yaml: prompt: no sample has a field 'qestion'. "
            "Did you mean 'question'?"
        ),
        "suites/my/quiz/suite.yaml: slices: no sample has a field 'topc'. Did you mean 'topic'?",
        (
            "suites/my/quiz/suite.yaml: cluster: no sample has a field 'doc'. "
            "They have: question, choices, answer, topic."
        ),
    ]


@pytest.mark.parametrize("hole", ["{question.__class__}", "{question[0]}", "{question!r}", "{0}"])
def test_a_template_takes_plain_names_only(hole: str) -> None:
    write(CHOICE.replace("{question}", hole), ROWS)
    (said,) = complaint()
    assert said.startswith("suites/my/quiz/suite.yaml:4: prompt: ")
    assert "is not a plain field name; use {name} for a field and {{ or }} for a brace" in said


def test_braces_are_written_twice() -> None:
    write(CHOICE.replace("{question}", "{{x}} {question}"), ROWS)
    assert opened().samples[0].prompt == "Question: {x} What barks?\nAnswer:"
    write(CHOICE.replace("{question}", "{x"), ROWS)
    assert "prompt: a lone brace; write {{ or }} for a brace" in complaint()[0]


def test_mistakes_in_the_suite_file_come_with_their_lines() -> None:
    write(CHOICE + "scorer: [x]\nfewshot: {count: 2, file: ../secret}\ngate: {margn: 1}\n", ROWS)
    assert complaint() == [
        "3 mistakes:",
        "suites/my/quiz/suite.yaml:6: scorer: unknown key. Did you mean 'scorers'?",
        (
            "suites/my/quiz/suite.yaml:7: fewshot.file: expected the name of a file in the suite's "
            "folder; got '../secret'"
        ),
        "suites/my/quiz/suite.yaml:8: gate.margn: unknown key. Did you mean 'margin'?",
    ]


def test_the_gated_metric_must_be_one_of_the_scorers() -> None:
    write(CHOICE + "metric: accuracy_chr\n", ROWS)
    (said,) = complaint()
    assert said.startswith("suites/my/quiz/suite.yaml: metric: 'accuracy_chr' is no metric of its")
    assert said.endswith("Did you mean 'accuracy_char'?")
    write(CHOICE + "metric: accuracy_char\n", ROWS)
    assert opened().info.metric == "accuracy_char"


def test_a_metric_that_only_describes_never_decides() -> None:
    write(GENERATE.replace("exact_match", "style_features, exact_match"), [{"prompt": "Hi?"}])
    assert opened().info.metric == "exact_match"
    write(GENERATE.replace("exact_match", "style_features"), [{"prompt": "Hi?"}])
    assert "only describes" in complaint()[0]
    assert complaint()[0].endswith("Add a scorer that judges.")
    wanted = "scorers: [style_features, exact_match]\nmetric: style.emoji"
    write(GENERATE.replace("scorers: [exact_match]", wanted), [{"prompt": "Hi?"}])
    assert complaint()[0].endswith("Name one of exact_match.")


def test_an_option_too_long_for_a_path_is_no_path() -> None:
    pattern = "a" * 300
    write(GENERATE.replace("exact_match", f"{{name: regex, pattern: {pattern}}}"),
          [{"prompt": "Hi?", "target": "a"}])  # fmt: skip
    assert opened().info.metric


def test_an_unknown_scorer_names_the_nearest() -> None:
    write(CHOICE.replace("choice_accuracy", "choice_acuracy"), ROWS)
    assert "Did you mean 'choice_accuracy'?" in complaint()[0]


def test_an_unknown_suite_names_the_nearest_and_where_was_looked() -> None:
    write(CHOICE, ROWS)
    with pytest.raises(SuiteError, match=r"No suite 'my/quizz' in suites.* Did you mean 'my/quiz'"):
        open_suite("my/quizz", RUN)
    with pytest.raises(SuiteError, match="Run `evalkit suites list` to see them"):
        open_suite("zzzzzz", RUN)


@pytest.mark.parametrize("name", ["../suites/my/quiz", "/etc", "my//quiz", "my/../my/quiz", ""])
def test_a_name_never_leaves_the_suite_folders(name: str) -> None:
    write(CHOICE, ROWS)
    with pytest.raises(SuiteError, match="No suite"):
        open_suite(name, RUN)


def test_the_user_s_folders_come_first_and_the_note_says_which_won(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(CHOICE, ROWS)
    write(CHOICE.replace("Quiz", "Mine"), ROWS, root="mine")
    assert opened().notes == ()
    monkeypatch.setenv("EVALKIT_SUITES", "mine")
    suite = opened()
    assert suite.info.title == "Mine"
    assert suite.notes == ("taken from mine/my/quiz; there is another in suites/my/quiz",)
    found = next(each for each in find_suites() if each.name == "my/quiz")
    assert (found.path, found.hides) == (Path("mine/my/quiz"), (Path("suites/my/quiz"),))


def test_a_folder_of_suites_that_is_not_there_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EVALKIT_SUITES", "nowhere")
    with pytest.raises(SuiteError, match="EVALKIT_SUITES names nowhere"):
        find_suites()


def test_a_scorer_that_cannot_read_the_tasks_completions_is_a_mistake() -> None:
    text = CHOICE.replace("choice_accuracy", "chrf")
    assert text != CHOICE
    write(text, ROWS)
    with pytest.raises(SuiteError, match="'chrf' scores generate suites"):
        opened()


def test_a_broken_suite_is_listed_with_its_problem() -> None:
    write("title: T\n", ROWS)
    found = next(each for each in find_suites() if each.name == "my/quiz")
    assert "task: missing" in found.problem


def test_the_fingerprint_changes_with_whatever_is_read() -> None:
    folder = write(CHOICE + "fewshot: {count: 2}\n", ROWS, SHOTS)
    before = opened().info.fingerprint
    assert opened().info.fingerprint == before
    seen = {before}
    for name in ("suite.yaml", "samples.jsonl", "fewshot.jsonl"):
        path = folder / name
        text = path.read_text()
        path.write_text(text + "\n")
        seen.add(opened().info.fingerprint)
        path.write_text(text)
    assert len(seen) == 4
    assert opened().info.fingerprint == before


def test_references_count_into_the_fingerprint_of_the_suite_that_uses_them() -> None:
    notes = [
        {"id": f"r{n}", "kind": "note", "topic": "tea", "text": f"🍵 Tea {n}!\n#tea"}
        for n in range(25)
    ]
    write(GENERATE.replace("exact_match", "{name: style_distance, references: style/tea}"),
          [{"prompt": "Write."}])  # fmt: skip
    assert "No suite 'style/tea'" in complaint()[0]
    other = write(GENERATE, [{"prompt": "Write.", "target": "x"}], name="style/tea")
    assert "has no reference texts" in complaint()[0]
    path = other / "references.jsonl"
    path.write_text("\n".join(map(json.dumps, notes)), encoding="utf-8")
    before = opened().info.fingerprint
    path.write_text("\n".join(map(json.dumps, notes[::-1])), encoding="utf-8")
    assert opened().info.fingerprint != before
    path.write_text('{"id": "r", "kind": "nots", "text": "x"}\n', encoding="utf-8")
    assert complaint() == [
        "suites/style/tea/references.jsonl:1: 'kind' must be note or plain, not 'nots'"
    ]


def test_a_subset_is_random_nested_and_in_order() -> None:
    samples = [Sample(id=f"s{number}", suite="x", prompt="") for number in range(200)]
    few, more = subset(samples, 20, 0), subset(samples, 50, 0)
    assert (len(few), len(more)) == (20, 50)
    assert set(few_ids := [each.id for each in few]) < {each.id for each in more}
    assert few_ids == sorted(few_ids, key=lambda name: int(name[1:]))
    assert few_ids != [each.id for each in samples[:20]]
    assert few != subset(samples, 20, 1)
    assert subset(samples, 500, 0) == tuple(samples)


def test_a_limited_suite_says_how_many_samples_it_has() -> None:
    write(CHOICE, ROWS)
    assert limited(opened(), None, 0) == opened()
    suite = limited(opened(), 1, 0)
    assert (len(suite.samples), suite.info.samples) == (1, 1)


@pytest.mark.parametrize("name", [found.name for found in find_suites(suite_folders()[-1:])])
def test_every_shipped_suite_can_be_listed(name: str) -> None:
    found = next(each for each in find_suites() if each.name == name)
    assert not found.problem
    assert found.license
    assert found.dataset or found.samples >= 30
