"""A later turn is asked after the model's own answer, and the last answer is the one scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare, question
from evalkit.config import DecodingConfig, HFModel, RecordedModel, RunConfig, ThinkingTags
from evalkit.errors import SuiteError
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.records import Run
from evalkit.store.completions import CompletionStore
from evalkit.store.runs import read_run
from tests.models.hf.tiny_models import make_adapter, make_model

SUITE = "my/talks"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "Name a city.", "then": ["And its country?", "And its river?"],
     "target": "Seine"},
    {"id": "b", "prompt": "Name a tree.", "target": "oak"},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with a sample of three turns and one of a single turn."""
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    write(tmp_path, ROWS)
    return tmp_path


def write(folder: Path, rows: Sequence[dict[str, Any]], more: str = "") -> None:
    place = folder / "suites" / SUITE
    place.mkdir(parents=True, exist_ok=True)
    (place / "suite.yaml").write_text(
        "title: Talks\nlanguage: en\ntask: generate\nmax_new_tokens: 3\n"
        + (more if "scorers" in more else "scorers: [contains]\n" + more)
    )
    (place / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recorded(folder: Path, name: str, first: Sequence[str], second: str, **more: Any) -> RunConfig:
    file = folder / f"{name}.jsonl"
    rows = [{"id": "a", "texts": list(first)}, {"id": "b", "text": second}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = RecordedModel(kind="recorded", path=file)
    return RunConfig(name=name, model=model, suites=(SUITE,), **more)


def evaluated(folder: Path, *configs: RunConfig) -> list[Run]:
    plan = open_plan(configs, open_suites(configs[0]), offline=True)
    with CompletionStore(folder / "store.sqlite") as store:
        return evaluate(plan, store, folder / "runs")


def values(run: Run) -> list[float | None]:
    return [result.scores[0].value for result in run.results]


def test_all_turns_are_kept_and_the_last_one_is_scored(folder: Path) -> None:
    arms = [
        recorded(folder, "base", ["Paris", "France", "the Seine"], "oak"),
        recorded(folder, "tuned", ["Seine", "Seine", "the Rhine"], "oak"),
    ]
    base, tuned = evaluated(folder, *arms)
    assert (values(base), values(tuned)) == ([1.0, 1.0], [0.0, 1.0])
    first = read_run(Path(base.path)).results[0]
    assert [one.text for one in first.completions] == ["Paris", "France", "the Seine"]
    assert question(first) == "Name a city.\n\nAnd its country?\n\nAnd its river?"
    assert not any("recorded answers" in check.name for check in base.manifest.checks)
    assert compare(base, tuned).deltas[0].lost == 1


def test_a_turn_that_is_missing_is_no_score_and_ends_the_conversation(folder: Path) -> None:
    (run,) = evaluated(folder, recorded(folder, "base", ["Paris"], "oak"))
    assert values(run) == [None, 1.0]
    assert len(run.results[0].completions) == 2
    assert "has 1 text; the turns and repeats ask for more" in run.results[0].completions[1].error


def test_repeats_go_their_own_ways_through_the_turns(folder: Path) -> None:
    texts = ["A", "B", "A, then", "B, then", "Seine", "Rhine"]
    decoding = DecodingConfig(repeats=2, temperature=1.0)
    config = recorded(folder, "base", texts, "oak", decoding=decoding)
    (folder / "base.jsonl").write_text(
        json.dumps({"id": "a", "texts": texts}) + "\n" + '{"id": "b", "texts": ["oak", "elm"]}\n'
    )
    (run,) = evaluated(folder, config)
    assert [result.scores[0].values for result in run.results] == [(1.0, 0.0), (1.0, 0.0)]


def test_the_plan_counts_the_turns_to_come(folder: Path) -> None:
    config = recorded(folder, "base", ["1", "2", "3"], "oak")
    plan = open_plan([config], open_suites(config), offline=True)
    (cost,) = plan.costs(set())
    assert (cost.samples, cost.requests, cost.new_tokens) == (2, 4, 4 * 3)


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ([{"prompt": "x", "then": "y"}], "", "'then' must be a list of texts"),
        ([{"prompt": "x", "then": [""]}], "", "'then' must be a list of texts"),
        ([{"prompt": "x", "then": ["y"]}], "chat: false\n", "this suite is not asked as one"),
    ],
)
def test_turns_that_cannot_be_asked_are_refused(
    folder: Path, rows: list[dict[str, Any]], more: str, message: str
) -> None:
    write(folder, rows, more)
    with pytest.raises(SuiteError, match=message):
        open_suites(recorded(folder, "base", ["x"], "y"))


def test_a_model_reads_its_own_answer_before_the_next_turn(folder: Path) -> None:
    """The oracle is the model's own tokenizer and template over the conversation so far."""
    write(folder, [{"id": "a", "prompt": "City?", "then": ["River?"]}], "scorers: [diversity]\n")
    make_model(folder / "model", "llama")
    make_adapter(folder / "model", folder / "lora")
    model = HFModel(kind="hf", path=str(folder / "model"), dtype="float32", device="cpu")
    arms = [
        RunConfig(name="base", model=model, suites=(SUITE,)),
        RunConfig(
            name="tuned",
            model=model.model_copy(update={"adapter": folder / "lora"}),
            suites=(SUITE,),
        ),
    ]
    runs = evaluated(folder, *arms)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    for run in runs:
        talk = [{"role": "user", "content": "City?"}]
        for said in run.results[0].completions:
            wanted = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
            assert said.prompt_text == wanted
            talk.append({"role": "assistant", "content": said.text})
            talk.append({"role": "user", "content": "River?"})
        assert len(run.results[0].completions) == 2
    assert any(
        b.prompt_text != t.prompt_text
        for b, t in zip(*(r.results[0].completions for r in runs), strict=True)
    )
    checks = {one.name: one.status for one in compare(*runs).checks}
    assert checks["same prompts"] == "ok"
    again = evaluated(folder, *arms)
    assert [one.results for one in again] == [one.results for one in runs]


def test_thinking_that_is_cut_off_ends_the_conversation_without_a_score(folder: Path) -> None:
    write(folder, [{"id": "a", "prompt": "City?", "then": ["River?"]}], "scorers: [diversity]\n")
    make_model(folder / "model", "llama")
    model = HFModel(kind="hf", path=str(folder / "model"), dtype="float32", device="cpu")
    plain = RunConfig(name="base", model=model, suites=(SUITE,))
    (run,) = evaluated(folder, plain)
    prompt = run.results[0].completions[0].prompt_text
    # What the template ends with is where this model is said to begin to think.
    tags = ThinkingTags(open=prompt[-6:].strip(), close="</never>")
    (run,) = evaluated(folder, plain.model_copy(update={"name": "other", "reasoning": tags}))
    (only,) = run.results[0].completions
    assert (only.stop_reason, only.text) == ("thinking", "")
    assert [score.value for score in run.results[0].scores] == [None] * 4
    assert "thinking was cut off" in run.results[0].scores[0].reason
