"""What is judged by which rubrics: declared by suites and runs, checked before all else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import RunConfig
from evalkit.configfile import load_arms
from evalkit.errors import ConfigError, SuiteError, UsageError
from evalkit.gate.decide import check_gate
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import open_suite
from evalkit.harnesses.suitefile import without_judging
from evalkit.judging.docket import Docket, jobs_of, make_docket
from evalkit.planning import open_suites
from evalkit.records import Completion, Pair, Result

NAME = "my/notes"
GENERATE = "task: generate\nprompt: '{prompt}'\nscorers: [exact_match]\nslices: [topic]\n"


def write_suite(folder: Path, name: str = NAME, more: str = "", task: str = GENERATE) -> None:
    suite = folder / name
    suite.mkdir(parents=True, exist_ok=True)
    head = "title: Notes\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
    (suite / "suite.yaml").write_text(head + task + more, encoding="utf-8")
    rows = [
        {"id": f"q{n}", "prompt": f"Write {n}", "target": "x", "topic": "abc"[n % 3]}
        for n in range(12)
    ]
    if "choice" in task:
        rows = [{**row, "choices": ["a", "b"], "answer": 0} for row in rows]  # type: ignore[dict-item]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (suite / "samples.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    (tmp_path / "said.jsonl").write_text("", encoding="utf-8")
    write_suite(tmp_path / "suites", more="judge: {rubrics: [rednote]}\n")
    return tmp_path


def config(suites: tuple[str, ...] = (NAME,), gate: Any = None, **judge: Any) -> RunConfig:
    judges = [{"kind": "recorded", "name": "j", "path": "said.jsonl"}]
    return RunConfig.model_validate(
        {
            "name": "base",
            "model": {"kind": "recorded", "path": "said.jsonl"},
            "suites": suites,
            "gate": gate or {},
            "judge": {"judges": judges, **judge},
        }
    )


def docket(told: RunConfig, **options: Any) -> Docket:
    return make_docket(open_suites(told), told, **options)


def mistakes(told: RunConfig) -> str:
    with pytest.raises(UsageError) as caught:
        docket(told)
    return str(caught.value)


def only(found: Docket) -> Suite:
    (suite,) = found.suites
    return suite


def test_a_suite_that_declares_a_rubric_is_judged_where_there_is_a_judge() -> None:
    found = docket(config())
    (one,) = found.assignments
    assert (one.suite, one.rubric.name, one.protocol, one.language) == (
        NAME,
        "rednote",
        "pairwise",
        "en",
    )
    info = only(found).info
    assert info.rubrics == ("rednote",)
    judged = next(metric for metric in info.metrics if metric.name == "judge.rednote")
    assert judged.scale == (0.0, 1.0)
    assert info.metric != "judge.rednote"


def test_without_a_judge_it_is_said_that_it_could_be_judged() -> None:
    told = config().model_copy(update={"judge": None})
    found = docket(told)
    assert not found.assignments
    assert only(found).info.rubrics == ()
    (note,) = found.notes
    assert NAME in note
    assert "judge" in note


def test_no_judge_leaves_it_out_without_a_word() -> None:
    found = docket(config(), wanted=False)
    assert (found.assignments, found.notes, found.config) == ((), (), None)


def test_named_suites_alone_are_judged_and_say_how() -> None:
    suites = {NAME: {"rubrics": ["funny", "helpful"], "protocol": "pointwise", "language": "zh"}}
    found = docket(judged_by(suites=suites))
    assert [one.rubric.name for one in found.assignments] == ["funny", "helpful"]
    assert {one.rubric.language for one in found.assignments} == {"zh"}
    scales = {one.metric.name: one.metric.scale for one in found.assignments}
    assert set(scales) == {"rating.funny", "rating.helpful"}
    assert all(scale in ((1.0, 5.0), (0.0, 1.0)) for scale in scales.values())


def _judge(**judge: Any) -> Any:
    return RunConfig.model_validate(
        {
            "name": "base",
            "model": {"kind": "recorded", "path": "said.jsonl"},
            "suites": [NAME],
            "judge": {
                "judges": [{"kind": "recorded", "name": "j", "path": "said.jsonl"}],
                **judge,
            },
        }
    ).judge


def judged_by(**judge: Any) -> RunConfig:
    return config().model_copy(update={"judge": _judge(**judge)})


def test_all_mistakes_are_told_at_once_with_the_nearest_names(here: Path) -> None:
    write_suite(here / "suites", "my/plain")
    write_suite(here / "suites", "my/choice", task="task: choice\nprompt: '{prompt}'\n"
                "scorers: [choice_accuracy]\n")  # fmt: skip
    judge = _judge(
        suites={
            "my/note": {},
            NAME: {"rubrics": ["rednot"]},
            "my/plain": {},
            "my/choice": {"rubrics": ["funny"]},
        }
    )
    told = config((NAME, "my/plain", "my/choice")).model_copy(update={"judge": judge})
    said = mistakes(told)
    assert "'my/note', which is not among the suites. Did you mean 'my/notes'?" in said
    assert "Did you mean 'rednote'?" in said
    assert "my/plain declares no rubric of its own" in said
    assert "my/choice is a choice suite" in said


def test_two_rubrics_of_one_name_are_refused(here: Path) -> None:
    file = here / "funny.yaml"
    file.write_text("title: Funny\nlanguage: en\nquestion: Which is funnier?\n", encoding="utf-8")
    assert "one name" in mistakes(judged_by(suites={NAME: {"rubrics": ["funny", str(file)]}}))


def test_the_gate_may_name_a_judged_metric() -> None:
    gate = {"suites": {NAME: {"metric": "judge.rednote", "margin": 0.1}}}
    told = config(gate=gate)
    found = docket(told)
    assert only(found).info.metric == "judge.rednote"
    check_gate(found.infos, told.gate)


def test_a_typo_of_a_judged_metric_is_told() -> None:
    gate = {"suites": {NAME: {"metric": "judge.rednot", "margin": 0.1}}}
    told = config(gate=gate)
    with pytest.raises(UsageError, match=r"Did you mean 'judge\.rednote'"):
        check_gate(docket(told).infos, told.gate)


def test_a_suite_may_be_gated_by_its_judge_by_default(here: Path) -> None:
    declared = "{rubrics: [rednote], metric: judge.rednote, policy: superiority, margin: 0.2}"
    write_suite(here / "suites", more=f"judge: {declared}\n")
    info = only(docket(config())).info
    assert (info.metric, info.policy, info.margin) == ("judge.rednote", "superiority", 0.2)
    plain = only(docket(config().model_copy(update={"judge": None}))).info
    assert plain.metric != "judge.rednote"
    own = {"suites": {NAME: {"metric": plain.metric}}}
    assert only(docket(config(gate=own))).info.metric == plain.metric


def test_a_suite_that_gates_on_what_it_is_not_judged_by_is_refused(here: Path) -> None:
    write_suite(here / "suites", more="judge: {rubrics: [rednote], metric: judge.funny}\n")
    assert "'judge.funny' is none of what my/notes is judged by" in mistakes(config())


def test_labels_correct_preferences_and_no_ratings_or_slices(here: Path) -> None:
    (here / "labels.csv").write_text("", encoding="utf-8")
    demand = {"labels": "labels.csv", "demand": "corrected"}
    info = only(docket(judged_by(**demand))).info
    assert "judge.rednote.corrected" in {one.name for one in info.metrics}
    gate = {"suites": {NAME: {"metric": "rating.rednote", "margin": 0.1}}}
    rated = config(gate=gate).model_copy(update={"judge": _judge(protocol="pointwise", **demand)})
    assert "correct no rating" in mistakes(rated)
    sliced = {"metric": "judge.rednote", "margin": 0.1, "must_not_regress": ["topic=a"]}
    told = config(gate={"suites": {NAME: sliced}}).model_copy(update={"judge": _judge(**demand)})
    assert "too few to tell slices apart" in mistakes(told)


def test_a_limit_takes_a_seeded_part_and_an_arm_without_an_answer_makes_no_matter() -> None:
    found = docket(judged_by(suites={NAME: {"limit": 5}}))
    suite = only(found)

    def answered(text: str, error: str = "") -> list[Result]:
        said = Completion(key="k", text=text, stop_reason="stop", error=error)
        return [Result(sample=one, completions=(said,), scores=()) for one in suite.samples]

    whole = [
        Pair(base=base, tuned=tuned)
        for base, tuned in zip(answered("one"), answered("two"), strict=True)
    ]
    once = jobs_of(whole, found.assignments, 0)
    assert once == jobs_of(whole, found.assignments, 0)
    (job,) = once.jobs
    assert len(job.matters) == 5
    assert {one.sample_id for one in job.matters} == once.ids(found.assignments[0])
    broken = [
        Pair(base=base, tuned=tuned)
        for base, tuned in zip(answered("one"), answered("", "timed out"), strict=True)
    ]
    silent = jobs_of(broken, found.assignments, 0)
    assert silent.jobs[0].matters == ()
    assert len(silent.pairs[NAME, "rednote"]) == 5


@pytest.mark.parametrize(
    "block",
    [
        "judge: {rubrics: [rednote]}\n",
        "judge:\n  rubrics: [rednote]\n  protocol: pointwise\n",
        "judge:\n  rubrics:\n    - rednote\n    - funny\n",
    ],
)
def test_a_suite_is_the_same_suite_whoever_judges_it(here: Path, block: str) -> None:
    write_suite(here / "suites", "my/one")
    write_suite(here / "suites", "my/two", more=block)
    told = config(("my/one",))
    one, two = (open_suite(name, told).info.fingerprint for name in ("my/one", "my/two"))
    assert one == two
    write_suite(here / "suites", "my/three", more="version: 2\n" + block)
    assert open_suite("my/three", told).info.fingerprint != one


def test_only_the_judging_is_taken_out_of_a_suite_file() -> None:
    text = "title: a\njudge:\n  rubrics: [b]\n\t\nmetric: c\n"
    assert without_judging(text) == "title: a\nmetric: c\n"
    assert without_judging("# judge: x\njudged: y\n") == "# judge: x\njudged: y\n"


def test_a_choice_suite_has_no_judge(here: Path) -> None:
    write_suite(here / "suites", "my/choice", "judge: {rubrics: [funny]}\n",
                "task: choice\nprompt: '{prompt}'\nscorers: [choice_accuracy]\n")  # fmt: skip
    with pytest.raises(SuiteError, match="has no 'judge'"):
        open_suite("my/choice", config(("my/choice",)))


BASE = """\
name: base
model: {{kind: recorded, path: {0}}}
suites: [my/notes]
judge:
  judges:
    - {{kind: recorded, name: r, path: {0}}}
    - {{kind: human, name: p, path: {1}}}
    - kind: model
      name: m
      model: {{kind: hf, path: ./judge}}
  labels: {1}
  suites: {{my/notes: {{rubrics: [rednote, own.yaml]}}}}
"""


def test_paths_of_a_judge_are_beside_the_file_that_names_them(here: Path) -> None:
    away = here / "away"
    (away / "judge").mkdir(parents=True)
    for name in ("said.jsonl", "labels.csv", "own.yaml"):
        (away / name).write_text("", encoding="utf-8")
    (here / "rednote").mkdir()  # a rubric's name is no path, whatever lies here
    file = away / "base.yaml"
    file.write_text(BASE.format("said.jsonl", "labels.csv"), encoding="utf-8")
    judge = load_arms([file])[0].judge
    assert judge is not None
    told = judge.model_dump(mode="json")
    assert told["judges"][0]["path"] == str(away / "said.jsonl")
    assert told["judges"][1]["path"] == str(away / "labels.csv")
    assert told["judges"][2]["model"]["path"] == str(away / "judge")
    assert told["labels"] == str(away / "labels.csv")
    assert told["suites"][NAME]["rubrics"] == ["rednote", str(away / "own.yaml")]


def test_every_lost_path_of_a_judge_is_told_with_its_key(here: Path) -> None:
    file = here / "base.yaml"
    file.write_text(BASE.format("said.jsonl", "gone.csv"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_arms([file])
    said = str(caught.value)
    for key in ("judge.judges[1].path", "judge.labels", "judge.suites.my/notes.rubrics[1]"):
        assert key in said, said


def test_an_arm_cannot_have_another_judge(here: Path) -> None:
    (here / "labels.csv").write_text("", encoding="utf-8")
    (here / "own.yaml").write_text("", encoding="utf-8")
    (here / "judge").mkdir()
    (here / "base.yaml").write_text(BASE.format("said.jsonl", "labels.csv"), encoding="utf-8")
    (here / "tuned.yaml").write_text(
        "name: tuned\nmodel: {kind: recorded, path: said.jsonl}\njudge: {repeat: 1, seed: 3}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"judge\.seed"):
        load_arms([here / "base.yaml", here / "tuned.yaml"])
