"""Several answers to each question: asked once each, averaged by sample, compared as means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from evalkit.config import DecodingConfig, RecordedModel, RunConfig
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.records import Completion, Metric, Run, Sample, Score
from evalkit.scorers.base import Scorer
from evalkit.scorers.repeats import averaged, score_each
from evalkit.store.completions import CompletionStore
from evalkit.store.runs import read_run

SUITE = "my/capitals"
QUESTIONS = [("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    suite = tmp_path / "suites" / SUITE
    suite.mkdir(parents=True)
    (suite / "suite.yaml").write_text(
        "title: Capitals\nversion: 1\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
        "task: generate\nprompt: 'Capital of {country}?'\nscorers: [contains]\nmax_new_tokens: 8\n"
    )
    rows = [
        {"id": f"c{number}", "country": country, "target": capital}
        for number, (country, capital) in enumerate(QUESTIONS)
    ]
    (suite / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    return tmp_path


def arm(
    folder: Path, name: str, texts: Mapping[str, Sequence[str]], repeats: int | None = None
) -> RunConfig:
    """A recorded arm; as many answers are asked for as there are, unless told."""
    file = folder / f"{name}.jsonl"
    rows = [json.dumps({"id": key, "texts": answers}) + "\n" for key, answers in texts.items()]
    file.write_text("".join(rows))
    count = repeats or max(map(len, texts.values()))
    return RunConfig(
        name=name,
        model=RecordedModel(kind="recorded", path=file),
        suites=(SUITE,),
        decoding=DecodingConfig(temperature=0.7, repeats=count),
    )


def evaluated(folder: Path, *configs: RunConfig) -> list[Run]:
    with CompletionStore(folder / "c.sqlite") as store:
        return evaluate(open_plan(configs, open_suites(configs[0])), store, folder / "runs")


ANSWERS = {
    "c0": ["Paris", "Paris.", "Lyon", "It is Paris"],
    "c1": ["Kyoto", "Tokyo", "Osaka", "Nara"],
    "c2": ["Lima"] * 4,
}


def test_a_sample_gets_the_mean_of_its_answers_and_keeps_their_own(folder: Path) -> None:
    (run,) = evaluated(folder, arm(folder, "base", ANSWERS))
    scores = [result.scores for result in run.results]
    assert [len(of_sample) for of_sample in scores] == [1, 1, 1]
    assert [of_sample[0].value for of_sample in scores] == [0.75, 0.25, 1.0]
    assert scores[1][0].values == (0.0, 1.0, 0.0, 0.0)
    assert [len(result.completions) for result in run.results] == [4, 4, 4]
    assert read_run(Path(run.path)).results[1].scores == scores[1]


def test_an_answer_that_failed_is_left_out_and_told(folder: Path) -> None:
    (run,) = evaluated(folder, arm(folder, "base", {**ANSWERS, "c1": ["Tokyo", "Nara"]}))
    score = run.results[1].scores[0]
    assert (score.value, score.values) == (0.5, (1.0, 0.0))
    assert score.reason.startswith("2 of 4 answers not scored: ")
    assert run.results[0].scores[0].reason == ""
    (alone,) = evaluated(folder, arm(folder, "other", {"c0": ["Paris", "Lyon"]}))
    missing = alone.results[2].scores[0]
    assert (missing.value, missing.values) == (None, ())
    assert "no row for 'c2'" in missing.reason


def test_one_repeat_is_scored_as_before(folder: Path) -> None:
    (run,) = evaluated(folder, arm(folder, "base", {key: one[:1] for key, one in ANSWERS.items()}))
    assert [result.scores[0] for result in run.results] == [
        Score(sample_id=f"c{number}", scorer="contains", value=value)
        for number, value in enumerate((1.0, 0.0, 1.0))
    ]


def test_more_repeats_ask_only_for_what_is_not_stored(folder: Path) -> None:
    evaluated(folder, arm(folder, "base", ANSWERS, repeats=2))
    with CompletionStore(folder / "c.sqlite") as store:
        config = arm(folder, "base", ANSWERS, repeats=4)
        plan = open_plan([config], open_suites(config))
        (row,) = plan.costs(store.known(plan.keys()))
    assert (row.samples, row.requests, row.stored, row.new_tokens) == (3, 12, 6, 96)


def test_scores_do_not_depend_on_the_order_of_the_answers() -> None:
    def measured(_: Sample, completions: Sequence[Completion]) -> list[Score]:
        (one,) = completions
        value = float(one.text) if one.text else None
        reason = "" if one.text else "empty"
        return [Score(sample_id="s", scorer="m", value=value, reason=reason, stats=(1.0, 0.1))]

    scorer = Scorer(name="m", metrics=(Metric(name="m"),), score=measured)
    sample = Sample(id="s", suite="x", prompt="?")
    texts = ["0.1", "0.7", "", "0.2", "nan", "1e-17", "0.3"]
    completions = [Completion(key=str(n), text=text) for n, text in enumerate(texts)]
    (here,) = score_each(scorer, sample, completions)
    (there,) = score_each(scorer, sample, completions[::-1])
    assert (here.value, here.reason, here.stats) == (there.value, there.reason, there.stats)
    assert here.values == there.values[::-1] == (0.1, 0.7, 0.2, 1e-17, 0.3)
    assert here.value == pytest.approx(0.26)
    assert here.reason == "2 of 7 answers not scored: empty"
    assert here.stats == pytest.approx((5.0, 0.5))


def test_the_score_of_one_answer_is_left_as_it_is() -> None:
    score = Score(sample_id="s", scorer="m", value=None, reason="empty", stats=(1.0,))
    assert averaged([score]) is score


def test_repeats_without_a_temperature_are_refused() -> None:
    with pytest.raises(ValidationError, match="repeats: 5 needs a temperature above 0"):
        DecodingConfig(repeats=5)
    assert DecodingConfig(repeats=5, temperature=0.1).repeats == 5
    for wrong in (0, 1001):
        with pytest.raises(ValidationError, match="repeats"):
            DecodingConfig(repeats=wrong, temperature=1.0)
