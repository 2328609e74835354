"""A table becomes a suite that opens; looking a suite over tells what is seldom meant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evalkit.errors import SuiteError
from evalkit.harnesses.scaffold import check_suite, new_suite
from evalkit.harnesses.suitefile import read_suite_file


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a current folder and no suites of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    return tmp_path


def made(name: str, text: str, **options: str) -> list[dict[str, object]]:
    """The samples of a suite made from a file of that text."""
    Path(name).write_text(text, encoding="utf-8")
    folder = new_suite(Path(name), Path("suites"), "my/faq", **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def refusal(name: str, text: str, **options: str) -> str:
    with pytest.raises(SuiteError) as caught:
        made(name, text, **options)
    assert not Path("suites/my/faq").exists()
    assert not list(Path().rglob(".faq-*")), "a draft was left behind"
    return str(caught.value)


def test_a_csv_of_questions_and_answers_becomes_a_suite() -> None:
    text = 'id,Question,Answer,topic\nq1,"Capital of\nFrance?",Paris,geo\nq2,2+2?,4,maths\n'
    assert made("faq.csv", text) == [
        {"id": "q1", "Question": "Capital of\nFrance?", "target": "Paris", "topic": "geo"},
        {"id": "q2", "Question": "2+2?", "target": "4", "topic": "maths"},
    ]
    report = check_suite("my/faq")
    assert report.suite is not None
    assert report.suite.info.metric == "normalized_match"
    assert report.suite.info.title == "Faq"
    assert report.prompts == ("[user] Capital of\nFrance?", "[user] 2+2?")
    assert "# fields to tell apart in the report: topic" in Path(
        "suites/my/faq/suite.yaml"
    ).read_text(encoding="utf-8")


def test_choices_in_columns_are_found_with_their_letter_or_text() -> None:
    text = "question;A;B;C;answer\nbarks?;dog;cat;cow;A\nmeows?;dog;cat;cow;cat\n"
    assert made("quiz.csv", text) == [
        {"question": "barks?", "choices": ["dog", "cat", "cow"], "answer": 0},
        {"question": "meows?", "choices": ["dog", "cat", "cow"], "answer": 1},
    ]


def test_a_letter_names_its_own_choice_where_another_is_empty() -> None:
    text = "question,A,B,C,D,answer\nq?,one,,three,four,C\nr?,one,,three,four,D\n"
    assert made("quiz.csv", text) == [
        {"question": "q?", "choices": ["one", "three", "four"], "answer": 1},
        {"question": "r?", "choices": ["one", "three", "four"], "answer": 2},
    ]


def test_choices_may_be_told_by_their_index_from_0() -> None:
    text = "question,A,B,answer\nq?,one,two,1\nr?,one,two,0\n"
    assert [row["answer"] for row in made("quiz.csv", text)] == [1, 0]


def test_choices_in_a_jsonl_keep_their_index() -> None:
    row = {"question": "barks?", "choices": ["dog", "cat"], "answer": 0}
    assert made("quiz.jsonl", json.dumps(row)) == [row]


def test_texts_alone_become_a_perplexity_suite_and_chinese_is_seen() -> None:
    rows = made("texts.jsonl", json.dumps({"正文": "今天天气很好，我们去公园散步。"}))
    assert rows == [{"text": "今天天气很好，我们去公园散步。"}]
    suite = check_suite("my/faq").suite
    assert suite is not None
    assert (suite.task, suite.info.language) == ("perplexity", "zh")


def test_columns_of_any_name_can_be_chosen() -> None:
    rows = made("t.tsv", "my question\tgold\nWhy?\tBecause.\n", prompt="my question", target="gold")
    assert rows == [{"prompt": "Why?", "target": "Because."}]


def test_the_column_that_was_chosen_is_asked_whatever_the_others_are_called() -> None:
    text = "Question text,prompt,target\nREAL?,OTHER,t\n"
    assert made("t.csv", text, prompt="Question text") == [
        {"prompt_2": "REAL?", "target": "t", "prompt": "OTHER"}
    ]
    suite = check_suite("my/faq").suite
    assert suite is not None
    assert not isinstance(suite.samples[0].prompt, str)
    assert suite.samples[0].prompt[-1].content == "REAL?"


def test_the_text_that_was_chosen_is_the_one_that_is_predicted() -> None:
    rows = made("t.csv", "content,text\nREAL,OTHER\n", prompt="content", scorer="perplexity")
    assert rows == [{"text": "REAL", "text_2": "OTHER"}]


def test_the_question_may_stand_in_the_column_that_is_called_id() -> None:
    assert made("t.csv", "id,answer\nq?,b\n", prompt="id") == [{"prompt": "q?", "target": "b"}]


def test_targets_say_how_they_are_scored() -> None:
    for targets, scorers in (
        (["3.5", "-5", "1/2"], [("number", {})]),
        (["A", "C", "B"], [("choice", {})]),
        (["A", "F", "B"], [("choice", {"letters": "ABCDEF"})]),
        (["3.5", "many"], [("normalized_match", {})]),
    ):
        made("t.csv", "question,answer\n" + "".join(f"q{n}?,{t}\n" for n, t in enumerate(targets)))
        told = read_suite_file(Path("suites/my/faq"))
        assert [(line.name, line.options) for line in told.scorers] == scorers
        shutil.rmtree("suites/my/faq")


def test_answers_that_are_letters_are_asked_with_the_choices_in_sight() -> None:
    text = "question,A,B,C,answer\nbarks?,cat,,dog,C\nmeows?,cat,cow,dog,A\n"
    rows = made("quiz.csv", text, scorer="choice")
    assert rows == [
        {"question": "barks?", "options": "A. cat\nB. dog", "target": "B"},
        {"question": "meows?", "options": "A. cat\nB. cow\nC. dog", "target": "A"},
    ]
    report = check_suite("my/faq")
    assert report.prompts[0] == (
        "[user] barks?\n\nA. cat\nB. dog\n\nAnswer with the letter of the right choice."
    )
    assert report.suite is not None
    assert (report.suite.task, report.suite.scorers[0].name) == ("generate", "choice")


def test_an_answer_to_an_open_question_is_held_against_the_choices_text() -> None:
    text = "question,A,B,answer\nbarks?,dog,cat,A\nmeows?,dog,cat,cat\n"
    assert [row["target"] for row in made("q.csv", text, scorer="contains")] == ["dog", "cat"]


def test_a_cell_may_be_as_long_as_a_row() -> None:
    long = "x" * 200_000
    assert made("f.csv", f"question,answer\nq?,{long}\n") == [{"question": "q?", "target": long}]


def test_a_set_is_told_from_a_suite() -> None:
    with pytest.raises(SuiteError, match=r"'forgetting' is a set of suites.*knowledge/everyday-en"):
        check_suite("forgetting")


def test_a_suite_is_never_overwritten() -> None:
    made("faq.csv", "question,answer\na?,b\n")
    with pytest.raises(SuiteError, match="suites/my/faq exists already"):
        made("faq.csv", "question,answer\na?,b\n")


REFUSALS = [
    ("f.txt", "", {}, "f.txt: expected a .csv, .tsv, .jsonl, .json or .parquet file"),
    ("f.csv", "question,answer\n", {}, "f.csv: there are no rows in it."),
    ("f.csv", "question,answer\na?,b\nx\n", {}, "f.csv:3: 1 cells, but 2 columns"),
    ("f.csv", 'question,answer\n"a?,b\n', {}, "f.csv:2: not valid CSV: unexpected end of data"),
    ("f.csv", "a,a\n1,2\n", {}, "f.csv:1: every column needs a name of its own."),
    ("f.csv", "foo,bar\n1,2\n", {}, "which column holds the question? Name it with --prompt"),
    ("f.csv", "question,answer\n,b\n", {}, "f.csv:2: the question is empty"),
    ("f.csv", "question,answer\na?,\n", {}, "f.csv:2: the column 'answer' is empty"),
    (
        "f.csv",
        "question,answer\na?,b\n",
        {"prompt": "qestion"},
        "no column 'qestion' for the question. Did you mean 'question'?",
    ),
    (
        "f.csv",
        "question,A,B,answer\na?,x,y,2\n",
        {},
        "f.csv:2: the answer '2' is neither a choice's letter nor its text",
    ),
    ("f.csv", "question,A,B\na?,x,y\n", {}, "which column holds the right choice?"),
    ("f.csv", "question,A,B,C,answer\na?,x,,z,B\n", {}, "the answer is 'B', and that choice is"),
    (
        "f.csv",
        "question,A,B,answer\na?,x,y,1\n",
        {},
        "do they count from 0 or from 1? Give letters",
    ),
    ("f.csv", "question,A,B,answer\na?,B,A,A\n", {}, "is one choice's letter and another's text"),
    ("f.jsonl", '{"question": "a?", "target": []}', {}, "f.jsonl:1: the column 'target' is empty"),
    (
        "f.csv",
        "id,question\na,a?\n",
        {"scorer": "exact_match"},
        "which column holds it? Name it with --target; there are: id, question.",
    ),
    (
        "f.csv",
        "question,answer\na?,b\n",
        {"scorer": "exact_mtch"},
        "my/faq was not written: Suite 'my/faq' names no scorer of evalkit: 'exact_mtch'.",
    ),
    ("f.csv", "question,answer\na?,b\na?,b\n", {}, "my/faq was not written: samples.jsonl:2:"),
    ("gone/f.jsonl", None, {}, "gone/f.jsonl: no such file."),
]


@pytest.mark.parametrize(("name", "text", "options", "message"), REFUSALS)
def test_what_cannot_be_made_into_a_suite_is_refused_and_leaves_nothing(
    name: str, text: str | None, options: dict[str, str], message: str
) -> None:
    if text is None:
        with pytest.raises(SuiteError, match=message):
            new_suite(Path(name), Path("suites"), "my/faq")
    else:
        assert message in refusal(name, text, **options)


def test_a_name_that_would_leave_the_folder_is_refused() -> None:
    with pytest.raises(SuiteError, match="cannot name a suite"):
        new_suite(Path("f.csv"), Path("suites"), "../faq")


def test_checking_tells_what_is_seldom_meant() -> None:
    folder = Path("suites/my/faq")
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(
        "title: T\nlanguage: en\ntask: choice\nscorers: [choice_accuracy]\n"
    )
    rows = [
        {"prompt": f"Is it yes? {n // 2}", "choices": ["yes", "no"], "answer": 0, "target": "yes"}
        | {"id": str(n)}
        for n in range(20)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = check_suite("suites/my/faq")
    assert report.name == "my/faq"
    assert report.problems == ()
    assert report.longest_prompt == len("Is it yes? 0")
    assert report.warnings == (
        "no licence: say in `license` under which terms the questions may be used",
        "only 20 samples: intervals will be too wide to decide much",
        "10 prompts occur more than once, such as (x2) 'Is it yes? 0'",
        "the target stands in the prompt of 20 samples, such as '0'",
        "100 % of the right answers are choice 0 (from 0): shuffle the choices",
    )


def test_a_suite_that_cannot_be_opened_is_a_report_with_its_problems() -> None:
    folder = Path("suites/my/faq")
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text("title: T\n")
    report = check_suite("my/faq")
    assert report.suite is None
    assert "task: missing" in report.problems[0]
    with pytest.raises(SuiteError, match="No suite 'my/fak'"):
        check_suite("my/fak")
