"""Suites of OpenCompass's data sets, where what its process says is played back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.options import Questions, load_configs
from evalkit.config import HFModel, OpenCompassConfig, OpenCompassCustom, RunConfig
from evalkit.configfile import load_arms
from evalkit.errors import ConfigError, RunError, SuiteError
from evalkit.harnesses.base import Suite
from evalkit.harnesses.opencompass import suites as module
from evalkit.harnesses.opencompass.environment import Installed
from evalkit.harnesses.opencompass.names import find
from evalkit.harnesses.opencompass.suites import open_opencompass
from evalkit.harnesses.opencompass.worker import Reply, Worker
from evalkit.records import Completion, Message, Score

LETTERS = ("A", "B")


def ppl(abbr: str, first: int, rows: int, metric: str = "accuracy") -> dict[str, Any]:
    """A data set of choices between two letters; the right one is A."""
    return {
        "abbr": abbr,
        "inferencer": "PPLInferencer",
        "available": rows + 5,
        "runs": 1,
        "first": first,
        "rows": [
            {"asks": [[2 * n, 2 * n + 1]], "labels": list(LETTERS), "gold": "A"}
            for n in range(rows)
        ],
        "metrics": [{"name": metric, "share": True, "points": False}],
        "config": {"abbr": abbr},
    }


def questions(rows: int) -> list[dict[str, Any]]:
    return [
        {"kind": "ppl", "text": f"Question {n}? Answer: {letter}"}
        for n in range(rows)
        for letter in LETTERS
    ]


class Played(Worker):
    """A worker that was told beforehand what it says; it evaluates as OpenCompass would."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.commands: list[Mapping[str, Any]] = []
        self.off = 0.0
        self.asked_again = list(told["questions"])

    def call(self, command: Mapping[str, Any], reply: Reply | None = None) -> Any:
        self.commands.append(command)
        if command["do"] == "ask":
            return self.told
        assert reply is not None
        found = []
        for one in self.told["datasets"]:
            wanted = command["wanted"].get(one["abbr"])
            if wanted is None:
                continue
            asks = [number for place in wanted for number in one["rows"][place]["asks"][0]]
            first = one["first"]
            numbers = [
                reply({"first": first + number, "questions": [self.asked_again[first + number]]})[0]
                for number in asks
            ]
            width = len(asks) // len(wanted)
            values = [
                float(row.index(min(row)) == 0)
                for row in (numbers[n : n + width] for n in range(0, len(numbers), width))
            ]
            number = 100 * sum(values) / len(values)
            metric = {"number": number, "values": values, "share": True}
            found.append({"abbr": one["abbr"], "runs": [{"metrics": {"accuracy": metric}}]})
        return {"datasets": found}


def opened(
    monkeypatch: pytest.MonkeyPatch, told: Mapping[str, Any], tmp_path: Path, **config: Any
) -> tuple[list[Suite], Played]:
    worker = Played(told)
    configs = tmp_path / "lib/python3.11/site-packages/opencompass/configs"
    (configs / "datasets/demo").mkdir(parents=True, exist_ok=True)
    (configs / "datasets/demo/demo_ppl.py").touch()
    installed = Installed(
        folder=tmp_path, python="3.11", versions={"opencompass": "0.5.4"}, stale=False
    )
    monkeypatch.setattr(module, "required", lambda: installed)
    monkeypatch.setattr(module, "_worker", lambda *_: worker)
    given = {"model": HFModel(kind="hf", path="none"), "suites": ("opencompass:demo_ppl",)}
    return open_opencompass("demo_ppl", RunConfig(name="base", **{**given, **config})), worker


def answered(suite: Suite, likeliest: int) -> dict[str, list[Completion]]:
    """Completions by which the choice of that index wins everywhere."""
    return {
        sample.id: [
            Completion(key="", logprobs=(-1.0, -1.0 if index == likeliest else -2.0))
            for index, _ in enumerate(suite.asks[sample.id])
        ]
        for sample in suite.samples
    }


def scored(suite: Suite, found: Mapping[str, list[Completion]]) -> dict[str, Sequence[Score]]:
    """The scores of those samples, by id."""
    (scorer,) = suite.scorers
    assert scorer.score_all is not None
    mine = [(one, found[one.id]) for one in suite.samples if one.id in found]
    return {
        sample.id: scores for (sample, _), scores in zip(mine, scorer.score_all(mine), strict=True)
    }


def test_choices_are_whole_texts_and_the_score_is_opencompasss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"questions": questions(3), "datasets": [ppl("demo", 0, 3)]}
    (suite,), worker = opened(monkeypatch, told, tmp_path, limit=3)
    assert worker.commands[0]["limit"] == 3
    assert suite.info.name == "opencompass:demo_ppl"
    assert suite.info.metric == "accuracy"
    assert suite.info.gated.kind == "binary"
    assert suite.info.available == 8
    sample = suite.samples[0]
    assert (sample.id, sample.prompt) == ("demo/0", "Question 0? Answer: ")
    assert (sample.choices, sample.answer, sample.targets) == (("A", "B"), 0, ("A",))
    assert [one.kind for one in suite.asks["demo/1"]] == ["whole", "whole"]
    assert suite.asks["demo/1"][1].continuation == "Question 1? Answer: B"
    mine = answered(suite, 0)
    mine["demo/2"] = answered(suite, 1)["demo/2"]
    found = scored(suite, mine)
    assert [found[key][0].value for key in mine] == [1.0, 1.0, 0.0]
    assert suite.remarks() == ("OpenCompass 0.5.4 says accuracy 66.67",)


def test_some_samples_are_scored_alone_and_then_no_number_of_the_whole_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"questions": questions(3), "datasets": [ppl("demo", 0, 3)]}
    (suite,), worker = opened(monkeypatch, told, tmp_path)
    found = scored(suite, {"demo/2": answered(suite, 1)["demo/2"]})
    assert worker.commands[-1]["wanted"] == {"demo": [2]}
    assert found["demo/2"][0].value == 0.0
    assert suite.remarks() == ()


def test_several_data_sets_are_slices_and_their_mean_is_that_of_their_means(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"questions": [*questions(1), *questions(3)],
            "datasets": [ppl("one", 0, 1), ppl("three", 2, 3)]}  # fmt: skip
    (suite,), _ = opened(monkeypatch, told, tmp_path)
    assert suite.info.slices == {"dataset=one": 6, "dataset=three": 8}
    assert suite.samples[1].slices == {"dataset": "three"}
    assert suite.info.gated.kind == "ratio"
    mine = {**answered(suite, 1), "one/0": answered(suite, 0)["one/0"]}
    found = scored(suite, mine)
    stats = [found[key][0].stats for key in mine]
    assert sum(top for top, _ in stats) / sum(low for _, low in stats) == pytest.approx(0.5)
    assert suite.remarks() == ("OpenCompass 0.5.4 says accuracy 50.00, the mean of 2 data sets",)


@pytest.mark.parametrize(
    ("metric", "better", "higher"),
    [
        ("accuracy", {}, True),
        ("toxicity", {}, False),
        ("seconds", {"demo_ppl": {"seconds": "lower"}}, False),
        ("gloss", {"demo_ppl": {"gloss": "higher"}}, True),
    ],
)
def test_which_way_is_better_is_guessed_or_told(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    metric: str,
    better: dict[str, Any],
    higher: bool,
) -> None:
    told = {"questions": questions(1), "datasets": [ppl("demo", 0, 1, metric)]}
    options = OpenCompassConfig(better=better)
    (suite,), _ = opened(monkeypatch, told, tmp_path, opencompass=options)
    assert suite.info.gated.higher_is_better is higher


@pytest.mark.parametrize(
    ("better", "why"),
    [
        ({"demo_ppl": {"acuracy": "lower"}}, r"'acuracy'.*has accuracy\. Did you mean 'accuracy'"),
        ({"demo_pp": {"accuracy": "lower"}}, r"not among the suites: demo_ppl\. Did you mean"),
    ],
)
def test_a_way_told_of_what_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, better: dict[str, Any], why: str
) -> None:
    told = {"questions": questions(1), "datasets": [ppl("demo", 0, 1)]}
    with pytest.raises(SuiteError, match=why):
        opened(monkeypatch, told, tmp_path, opencompass=OpenCompassConfig(better=better))


def test_data_sets_without_a_common_metric_are_suites_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"questions": [*questions(1), *questions(1)],
            "datasets": [ppl("one", 0, 1), ppl("two", 2, 1, "f1")]}  # fmt: skip
    suites, _ = opened(monkeypatch, told, tmp_path)
    assert [suite.info.name for suite in suites] == ["opencompass:one", "opencompass:two"]
    assert "no metric in common" in suites[0].notes[0]


def test_texts_are_written_as_the_data_set_wants_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "Hi?"}]
    asked = [
        {"kind": "generate", "prompt": "Once", "new": 7, "stops": ["\n"]},
        {"kind": "generate", "prompt": turns, "new": 9, "stops": []},
    ]
    rows = [{"asks": [[n]], "labels": [], "gold": ["x", "y"]} for n in range(2)]
    dataset = {**ppl("demo", 0, 0), "inferencer": "GenInferencer", "rows": rows}
    told = {"questions": asked, "datasets": [dataset]}
    (suite,), worker = opened(monkeypatch, told, tmp_path, chat="always", seed=4)
    assert worker.commands[0]["chat"] is True
    first, second = (suite.asks[f"demo/{n}"][0] for n in range(2))
    assert first.prompt == "Once"
    assert first.decoding is not None
    assert (first.decoding.max_new_tokens, first.decoding.stop) == (7, ("\n",))
    assert first.decoding.end_of_turn is False
    assert second.prompt == (Message(role="user", content="Hi?"),)
    assert suite.samples[0].targets == ("x", "y")


def test_a_second_pass_that_asks_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"questions": questions(1), "datasets": [ppl("demo", 0, 1)]}
    (suite,), worker = opened(monkeypatch, told, tmp_path)
    worker.asked_again[0] = {"kind": "ppl", "text": "another example? Answer: A"}
    with pytest.raises(RunError, match="asks something else the second time"):
        scored(suite, answered(suite, 0))


def test_the_fingerprint_is_of_all_that_is_asked_and_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fingerprint(told: Mapping[str, Any]) -> str:
        return opened(monkeypatch, told, tmp_path)[0][0].info.fingerprint

    told = {"questions": questions(2), "datasets": [ppl("demo", 0, 2)]}
    other_gold = ppl("demo", 0, 2)
    other_gold["rows"][1]["gold"] = "B"
    other_words = [*questions(1), *questions(1)]
    prints = {
        fingerprint(told),
        fingerprint({**told, "datasets": [other_gold]}),
        fingerprint({**told, "questions": other_words}),
        fingerprint({**told, "datasets": [{**ppl("demo", 0, 2), "config": {"n": 1}}]}),
    }
    assert len(prints) == 4
    assert fingerprint(told) in prints


def test_a_row_about_which_nothing_is_asked_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = ppl("demo", 0, 2)
    silent["rows"][1]["asks"] = [[]]
    with pytest.raises(SuiteError, match="nothing about row 1 of demo"):
        opened(monkeypatch, {"questions": questions(1), "datasets": [silent]}, tmp_path)


def test_names_are_found_in_the_runs_own_folder_first(tmp_path: Path) -> None:
    for root in ("own", "shipped"):
        folder = tmp_path / root / "datasets" / "mmlu"
        folder.mkdir(parents=True)
        (folder / "mmlu_ppl.py").touch()
    (tmp_path / "shipped/datasets/mmlu/mmlu_gen.py").touch()
    options = OpenCompassConfig(config_dir=tmp_path / "own")
    shipped = tmp_path / "shipped"
    assert find("mmlu_ppl", options, shipped).path.is_relative_to(tmp_path / "own")
    assert find("mmlu_gen/_datasets", options, shipped).told["suffix"] == "_datasets"
    with pytest.raises(SuiteError, match=r"no data set 'mmlu_ppI'.*'mmlu_ppl'"):
        find("mmlu_ppI", options, shipped)


def test_data_of_the_runs_own_is_told_with_what_is_known_of_it(tmp_path: Path) -> None:
    file = tmp_path / "exam.jsonl"
    file.touch()
    custom = OpenCompassCustom(path=file, infer_method="ppl")
    place = find("exam", OpenCompassConfig(custom={"exam": custom}), tmp_path)
    assert place.told == {"custom": {"path": str(file), "infer_method": "ppl"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{exam: {path: exam.txt}}", "no .jsonl, .csv or .py file"),
        ("{exam: {path: mine.py, infer_method: ppl}}", "says for itself"),
        ("{exam: {path: absent.jsonl}}", "nothing there"),
        ("{'../exam': {path: exam.jsonl}}", "cannot name it"),
    ],
)
def test_mistakes_in_a_yaml_are_told(tmp_path: Path, text: str, why: str) -> None:
    for name in ("exam.txt", "exam.jsonl", "mine.py"):
        (tmp_path / name).touch()
    yaml = tmp_path / "base.yaml"
    yaml.write_text(
        "name: base\nmodel: {kind: hf, path: m}\nsuites: ['opencompass:exam']\n"
        f"opencompass: {{custom: {text}}}\n"
    )
    with pytest.raises(ConfigError, match=why):
        load_arms([yaml], [])


def test_a_way_told_of_a_suite_that_the_command_line_leaves_out_is_left_out_too(
    tmp_path: Path,
) -> None:
    yaml = tmp_path / "base.yaml"
    yaml.write_text(
        "name: base\nmodel: {kind: hf, path: m}\nsuites: ['opencompass:one', 'opencompass:two']\n"
        "opencompass: {better: {one: {seconds: lower}, two: {seconds: lower}}}\n"
    )
    (both,) = load_configs([yaml], Questions())
    (only,) = load_configs([yaml], Questions(suites="opencompass:one"))
    assert list(both.opencompass.better) == ["one", "two"]
    assert only.opencompass.better == {"one": {"seconds": "lower"}}
