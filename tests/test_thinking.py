"""What a reasoning model thinks is kept apart from what it answers, from engine to scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from evalkit.config import RecordedModel, RunConfig, ThinkingTags
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.records import Completion, StopReason
from evalkit.scorers.generated import failure
from evalkit.store.completions import CompletionStore
from evalkit.store.runs import read_run
from evalkit.thinking import TAGS, TRUNCATED, answer_only, cut_at, split
from tests.scorers.examples import make_sample, make_scorer

SUITE = "my/sums"


@pytest.mark.parametrize(
    ("text", "prompt", "thinking", "answer"),
    [
        ("7", "", "", "7"),
        ("<think>3 + 4</think>\n\n7", "", "3 + 4", "7"),
        ("\n<think>\n3 + 4\n</think>7", "", "3 + 4", "7"),
        ("<think></think>7", "", "", "7"),
        ("3 + 4</think>7", "<assistant><think>\n", "3 + 4", "7"),
        ("3 + 4</think>7", "", "3 + 4", "7"),  # an endpoint does not tell its prompt
        ("<think>3 + ", "", "3 +", ""),
        ("3 + ", "<think>\n", "3 +", ""),
        ("The tag <think> opens and </think> closes.", "", "", None),
    ],
)
def test_thinking_is_split_off_at_its_tags(
    text: str, prompt: str, thinking: str, answer: str | None
) -> None:
    found = split(text, TAGS, prompt)
    assert (found.thinking, found.answer) == (thinking, text if answer is None else answer)
    assert split(text, (), prompt).answer == text


def _completion(text: str, stop_reason: StopReason) -> Completion:
    return Completion(key="k", text=text, stop_reason=stop_reason, tokens_out=9)


def test_thinking_that_is_cut_off_is_no_answer_and_not_a_wrong_one() -> None:
    cut = answer_only(_completion("<think>3 + 4 is 7, so", "length"), TAGS)
    assert (cut.stop_reason, cut.text, cut.tokens_out) == ("thinking", "", 9)
    assert failure([cut]) == TRUNCATED
    for name in ("number", "exact_match"):
        scores = make_scorer(name).score(make_sample("7"), [cut])
        assert {(score.value, score.reason) for score in scores} == {(None, TRUNCATED)}
    # A model that ends within its thinking had room to answer, and did not.
    ended = answer_only(_completion("<think>3 + 4", "stop"), TAGS)
    assert (ended.stop_reason, ended.text) == ("stop", "")
    # An answer that is cut off is an answer.
    long = answer_only(_completion("<think>3</think>7 and", "length"), TAGS)
    assert (long.stop_reason, long.text) == ("length", "7 and")


def test_stop_strings_count_behind_the_thinking_only() -> None:
    text = "<think>a\n\nb</think>\n\nyes\n\nno"
    assert cut_at(text, ["\n\n"], TAGS) == "<think>a\n\nb</think>\n\nyes"
    assert cut_at("<think>a\n\nb", ["\n\n"], TAGS) == "<think>a\n\nb"
    assert cut_at("a\n\nb</think>c\n\n", ["\n\n"], TAGS, "<think>\n") == "a\n\nb</think>c"
    assert cut_at(text, ["\n\n"]) == "<think>a"
    assert cut_at("yes\n\nno", ["\n\n"], TAGS) == "yes"


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one suite of sums, which EVALKIT_SUITES names."""
    folder = tmp_path / "suites" / SUITE
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(
        "title: Sums\nlanguage: en\ntask: generate\nlicense: CC0\nscorers: [number]\n"
    )
    rows = [{"id": f"s{n}", "prompt": "3 + 4?", "target": "7"} for n in range(2)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    return tmp_path


def _config(folder: Path, **more: object) -> RunConfig:
    texts = {"s0": "<think>8? No.</think>\n7", "s1": "[T]8[/T] 7 [T]9"}
    file = folder / "said.jsonl"
    file.write_text("".join(json.dumps({"id": k, "text": t}) + "\n" for k, t in texts.items()))
    model = RecordedModel(kind="recorded", path=file)
    return RunConfig.model_validate({"name": "said", "model": model, "suites": (SUITE,), **more})


@pytest.mark.parametrize(
    ("reasoning", "thoughts", "texts"),
    [
        ("auto", ["8? No.", ""], ["7", "[T]8[/T] 7 [T]9"]),
        ("none", ["", ""], ["<think>8? No.</think>\n7", "[T]8[/T] 7 [T]9"]),
        ({"open": "[T]", "close": "[/T]"}, ["", "8"], ["<think>8? No.</think>\n7", "7 [T]9"]),
    ],
)
def test_a_run_keeps_the_thinking_and_scores_the_answer(
    suites: Path, reasoning: object, thoughts: list[str], texts: list[str]
) -> None:
    config = _config(suites, reasoning=reasoning)
    with CompletionStore(suites / "c.sqlite") as store:
        (run,) = evaluate(open_plan([config], open_suites(config)), store, suites / "runs")
    read = read_run(Path(run.path))
    assert read.results == run.results
    completions = [one for result in read.results for one in result.completions]
    assert [one.thinking for one in completions] == thoughts
    assert [one.text for one in completions] == texts


def test_tags_need_both_ends(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="reasoning"):
        _config(tmp_path, reasoning={"open": "<t>"})
    config = _config(tmp_path, reasoning=ThinkingTags(open="<t>", close="</t>"))
    assert config.thinking == ("<t>", "</t>")


def test_an_answer_without_tags_is_left_as_it_is() -> None:
    plain = _completion(" 7\n", "length")
    assert answer_only(plain, TAGS) is plain
    assert replace(plain, thinking="").stop_reason == "length"
