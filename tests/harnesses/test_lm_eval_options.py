"""Options of lm-eval's tasks, and what is refused: nothing is asked of a model here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import SuiteError
from evalkit.evaluate import open_suites
from evalkit.harnesses.base import Suite
from evalkit.harnesses.lm_eval import index
from evalkit.records import Completion, Decoding
from tests.harnesses.lm_eval_tasks import CHOICE, mean, opening, questions, write_task, write_yaml

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and datasets' own deprecations

WRITING: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "text",
    "metric_list": [mean("exact_match")],
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index of lm-eval's own names but the one that a test makes."""
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    index._shipped.cache_clear()


def opened(folder: Path, name: str, *, allow_code_execution: bool = False, **options: Any) -> Suite:
    config = opening(folder, name, **options)
    (suite,) = open_suites(config, allow_code_execution=allow_code_execution)
    return suite


def shots(suite: Suite) -> int:
    prompt = suite.samples[0].prompt
    assert isinstance(prompt, str)
    return prompt.count(" again")  # only the examples' questions say it


def test_the_number_of_examples_is_lm_evals_rule(tmp_path: Path) -> None:
    write_task(tmp_path, "free", questions(5), **CHOICE)
    write_task(tmp_path, "fixed", questions(5), num_fewshot=0, **CHOICE)
    for name, options, expected in [
        ("free", {}, 0),
        ("free", {"num_fewshot": 3}, 3),
        ("fixed", {"num_fewshot": 3}, 0),  # a task that says none keeps its word
        ("fixed", {"num_fewshot": 3, "tasks": {"fixed": {"num_fewshot": 2}}}, 2),
    ]:
        suite = opened(tmp_path, name, lm_eval=options)
        assert shots(suite) == expected
        for sample in suite.samples:  # the examples are told from the question
            assert sample.lead is not None
            assert sample.asked[sample.lead :] == f"{sample.fields['q']}\nA:"


def test_another_fewshot_seed_draws_other_examples(tmp_path: Path) -> None:
    write_task(tmp_path, "free", questions(5), **CHOICE)
    one, same, other = (
        opened(tmp_path, "free", lm_eval={"num_fewshot": 2, **seed})
        for seed in ({}, {"fewshot_seed": 1234}, {"fewshot_seed": 7})
    )
    assert one.samples == same.samples
    assert one.info.fingerprint == same.info.fingerprint
    assert one.samples != other.samples
    assert one.info.fingerprint != other.info.fingerprint


def decoding(suite: Suite) -> Decoding:
    (first, *_) = suite.asks[suite.samples[0].id]
    assert first.decoding is not None
    return first.decoding


def test_generation_settings_are_read_as_lm_evals_model_reads_them(tmp_path: Path) -> None:
    given = {"until": ["\n", "Q:"], "max_gen_toks": 9, "do_sample": False, "temperature": 1}
    write_task(tmp_path, "writing", questions(5), generation_kwargs=given, **WRITING)
    read = Decoding(
        max_new_tokens=9, stop=("\n", "Q:"), end_of_turn=False, thinking=("<think>", "</think>")
    )
    assert decoding(opened(tmp_path, "writing")) == read
    drawn = opened(
        tmp_path,
        "writing",
        seed=5,
        lm_eval={
            "gen_kwargs": {"do_sample": True, "temperature": 0.7, "top_p": 0.9},
            "tasks": {"writing": {"repeats": 4, "gen_kwargs": {"temperature": 0.5}}},
        },
    )
    assert decoding(drawn) == replace(read, temperature=0.5, top_p=0.9, seed=5)
    assert all(len(asked) == 4 for asked in drawn.asks.values())


def test_a_setting_of_the_task_that_is_not_followed_is_said(tmp_path: Path) -> None:
    given = {"until": ["\n"], "top_k": 5, "num_beams": 1, "repetition_penalty": 1.0}
    write_task(tmp_path, "writing", questions(5), generation_kwargs=given, **WRITING)
    assert opened(tmp_path, "writing").notes == (), "of a greedy text it changes nothing"
    drawn = {"do_sample": True, "temperature": 0.5}
    suite = opened(tmp_path, "writing", lm_eval={"gen_kwargs": drawn})
    assert suite.notes == ("the task's top_k: 5 is not followed",)


def test_decoding_of_native_suites_is_said_to_be_unheard(tmp_path: Path) -> None:
    write_task(tmp_path, "writing", questions(5), **WRITING)
    suite = opened(tmp_path, "writing", decoding={"temperature": 0.5, "repeats": 3})
    assert suite.notes[-1].startswith("decoding.temperature, decoding.repeats: of native suites")
    assert not suite.repeated


def test_the_limit_takes_the_first_documents(tmp_path: Path) -> None:
    write_task(tmp_path, "free", questions(9), **CHOICE)
    suite = opened(tmp_path, "free", limit=4)
    assert [one.id for one in suite.samples] == [f"free/{number}" for number in range(4)]
    assert (suite.info.samples, suite.info.available) == (4, 9)
    assert "the first 4 documents" in suite.info.description


def test_predict_only_scores_nothing_and_says_why(tmp_path: Path) -> None:
    write_task(tmp_path, "writing", questions(5), **WRITING)
    suite = opened(tmp_path, "writing", lm_eval={"predict_only": True})
    (score,) = suite.scorers[0].score(suite.samples[0], [Completion(key="k", text="x")])
    assert (score.scorer, score.value) == ("bypass", None)
    assert "predict_only" in score.reason


def test_what_lm_eval_cannot_score_is_missing(tmp_path: Path) -> None:
    own = "def process(doc, results):\n    return {'score': float(results[0]) + doc['gold']}\n"
    (tmp_path / "own.py").write_text(own)
    told = {**WRITING, "process_results": "!function own.process", "metric_list": [mean("score")]}
    write_task(tmp_path, "counting", questions(5), **told)
    suite = opened(tmp_path, "counting")
    sample = suite.samples[1]
    (known,) = suite.scorers[0].score(sample, [Completion(key="k", text="2.5")])
    assert known.value == 2.5 + sample.fields["gold"]
    (unknown,) = suite.scorers[0].score(sample, [Completion(key="k", text="no number")])
    assert unknown.value is None
    assert unknown.reason.startswith("lm-eval cannot score it: ValueError")


def test_the_suite_says_whose_number_it_is(tmp_path: Path) -> None:
    write_task(tmp_path, "free", questions(9), task_alias="Free choice", **CHOICE)
    info = opened(tmp_path, "free", lm_eval={"num_fewshot": 1}).info
    assert (info.name, info.title, info.source) == ("lm_eval:free", "Free choice", "json")
    assert info.description == f"lm-eval {index.version()}, task version 1.5, 1-shot"
    assert info.path.endswith("free.yaml")


def test_a_change_of_data_or_scoring_makes_another_suite(tmp_path: Path) -> None:
    def fingerprint(**changed: Any) -> str:
        rows = changed.pop("rows", questions(5))
        write_task(tmp_path, "free", rows, **{**CHOICE, **changed})
        return opened(tmp_path, "free").info.fingerprint

    first = fingerprint()
    assert fingerprint() == first
    other = [*questions(4), {**questions(5)[4], "gold": 2}]
    changes = [
        fingerprint(rows=other),
        fingerprint(metric_list=[mean("acc")]),
        fingerprint(doc_to_text="{{q}}"),
        fingerprint(metadata={"version": 2}),
    ]
    assert len({first, *changes}) == 5


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("fre", {}, "has no task, group or tag 'fre'. Did you mean 'free'?"),
    ("free", {"tasks": {"fred": {"repeats": 2}}}, "lm_eval.tasks: lm-eval has no task 'fred'. Did"),
    ("free", {"gen_kwargs": {"top_k": 3}}, "lm_eval.gen_kwargs: 'top_k' is not known here"),
    ("free", {"tasks": {"free": {"gen_kwargs": {"beams": 3}}}}, "lm_eval.tasks.free.gen_kwargs"),
    ("coding", {}, "--allow-code-execution"),
    ("nowhere", {}, "the data set 'some/where' cannot be had"),
    ("broken", {}, "lm_eval:broken: lm-eval .* cannot open it: KeyError"),
]


@pytest.mark.parametrize(("name", "options", "said"), REFUSED)
def test_mistakes_are_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], said: str
) -> None:
    # As the libraries are with HF_HUB_OFFLINE=1, which they read when they are imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(index, "_shipped", dict)
    write_task(tmp_path, "free", questions(5), **CHOICE)
    write_task(tmp_path, "coding", questions(5), unsafe_code=True, **WRITING)
    write_yaml(tmp_path, "nowhere", {"task": "nowhere", "dataset_path": "some/where", **CHOICE,
                                     "test_split": "test"})  # fmt: skip
    write_task(tmp_path, "broken", questions(5), **{**CHOICE, "test_split": "lost"})
    with pytest.raises(SuiteError, match=said):
        opened(tmp_path, name, lm_eval=options)


def test_code_may_be_allowed(tmp_path: Path) -> None:
    write_task(tmp_path, "coding", questions(5), unsafe_code=True, **WRITING)
    assert opened(tmp_path, "coding", allow_code_execution=True).samples


def test_refused_code_is_not_even_imported(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n")
    told = {**WRITING, "process_results": "!function own.process", "unsafe_code": True}
    write_task(tmp_path, "coding", questions(5), **told)
    with pytest.raises(SuiteError, match="--allow-code-execution"):
        opened(tmp_path, "coding")


@pytest.mark.parametrize(
    "member", ["coding", {"task": "coding"}, {"group": "inner", "task": ["coding"]}, "risky"]
)
def test_nor_is_that_of_a_group_which_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: Any
) -> None:
    monkeypatch.setattr(index, "_shipped", dict)
    (tmp_path / "own.py").write_text("raise SystemExit('imported')\n")
    told = {**WRITING, "process_results": "!function own.process", "unsafe_code": True}
    write_task(tmp_path, "coding", questions(5), tag="risky", **told)
    write_task(tmp_path, "free", questions(5), **CHOICE)
    write_yaml(tmp_path, "several", {"group": "several", "task": ["free", member]})
    with pytest.raises(SuiteError, match="lm_eval:coding runs the code"):
        opened(tmp_path, "several")


def test_a_task_without_documents_says_so(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def process(docs):\n    return docs.select([])\n")
    told = {**WRITING, "process_docs": "!function own.process"}
    write_task(tmp_path, "empty", questions(5), **told)
    with pytest.raises(SuiteError, match=r"no documents.*'test'.*process_docs \(process\)"):
        opened(tmp_path, "empty")


def test_metrics_that_the_first_document_does_not_give_are_found(tmp_path: Path) -> None:
    own = (
        "def process(doc, results):\n"
        "    return {'late' if doc['q'].startswith('Q4') else 'early': 1.0}\n"
    )
    (tmp_path / "own.py").write_text(own)
    metrics = [mean("early"), mean("late"), mean("never")]
    told = {**WRITING, "process_results": "!function own.process", "metric_list": metrics}
    write_task(tmp_path, "kinds", questions(5), **told)
    suite = opened(tmp_path, "kinds")
    assert [one.name for one in suite.info.metrics] == ["early", "late"]
    assert suite.notes == ("never is left out: no document gives it",)


def test_lm_evals_own_names_are_kept_and_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path, "kept", questions(5), tag="few", **CHOICE)
    read = []

    def walked(folder: Path) -> dict[str, Any]:
        from lm_eval.tasks._index import TaskIndex

        read.append(folder)
        return dict(TaskIndex.build([tmp_path]))

    monkeypatch.setattr(index, "_read_folder", walked)
    for _ in range(2):
        index._shipped.cache_clear()
        assert index.Index().find("kept").yaml_path == tmp_path / "kept.yaml"
        assert index.Index().members("few") == ["kept"]
    assert len(read) == 1
    kept = json.loads((tmp_path / "home/lm_eval/index.json").read_text())
    (tmp_path / "home/lm_eval/index.json").write_text(json.dumps({**kept, "mark": "older"}))
    index._shipped.cache_clear()
    assert "kept" in index.Index().entries
    assert len(read) == 2, "an index of another version is read anew"
    index._shipped.cache_clear()
