"""From suites to run folders: nothing computed twice, nothing lost, the same bytes again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from evalkit.compare import compare
from evalkit.config import GateConfig, RecordedModel, RunConfig, SuiteGate
from evalkit.errors import ModelError, SuiteError, UsageError
from evalkit.evaluate import evaluate, make_plan, open_plan, open_suites
from evalkit.gate.decide import check_gate, decide
from evalkit.harnesses.native import open_suite
from evalkit.models.base import Batch, Engine, Outline, Prepared
from evalkit.records import Check, Completion, Request
from evalkit.store.completions import CompletionStore

SUITE = "my/capitals"
QUESTIONS = [("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima"), ("Kenya", "Nairobi")]


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "suites" / SUITE
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(
        "title: Capitals\nversion: 1\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
        "task: generate\nprompt: 'Capital of {country}?'\nscorers: [contains]\n"
        "max_new_tokens: 8\n"
    )
    rows = [
        {"id": f"c{number}", "country": country, "target": capital}
        for number, (country, capital) in enumerate(QUESTIONS)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    return tmp_path


def _arm(folder: Path, name: str, texts: Mapping[str, str]) -> RunConfig:
    file = folder / f"{name}.jsonl"
    rows = [json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()]
    file.write_text("".join(rows))
    return RunConfig(name=name, model=RecordedModel(kind="recorded", path=file), suites=(SUITE,))


class Counting:
    """An engine in front of another that counts what it is asked and can break down."""

    def __init__(self, inner: Engine, breaks_at: int = -1) -> None:
        self.inner, self.breaks_at, self.asked = inner, breaks_at, 0
        self.prepared: list[int] = []
        self.arms = inner.arms

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        return self.inner.fingerprints(arm)

    def checks(self, arm: str) -> tuple[Check, ...]:
        return self.inner.checks(arm)

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        self.prepared.append(len(requests))
        return self.inner.prepare(requests)

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        return [Batch.of([one]) for one in prepared]

    def outline(self, batches: Sequence[Batch]) -> Outline:
        return self.inner.outline(batches)

    def profile(self) -> Mapping[str, float]:
        return self.inner.profile()

    def complete(self, batch: Batch) -> Iterator[Completion]:
        if self.asked == self.breaks_at:
            raise KeyboardInterrupt
        self.asked += len(batch)
        return self.inner.complete(batch)

    def measures(self, arm: str) -> Mapping[str, float]:
        return {f"asked_for_{arm}": float(self.asked)}

    def close(self) -> None:
        self.inner.close()


class Dwindling(Counting):
    """Answers one request, has no answer to a second, and then answers nothing any more."""

    def batches(self, prepared: Sequence[Prepared]) -> list[Batch]:
        return [Batch.of(prepared)]

    def complete(self, batch: Batch) -> Iterator[Completion]:
        first, second = list(batch)[:2]
        yield from self.inner.complete(Batch.of([first]))
        yield Completion(key=second.key, stop_reason="error", error="the quota is used up")
        raise ModelError("the quota is used up")


def _counted(*configs: RunConfig, breaks_at: int = -1) -> Counting:
    return Counting(open_plan(configs, open_suites(configs[0])).engines[0], breaks_at)


def test_two_recorded_models_become_a_comparison(suites: Path) -> None:
    base = _arm(suites, "base", {"c0": "Paris.", "c1": "Kyoto", "c2": "Lima", "c3": "Mombasa"})
    tuned = _arm(suites, "tuned", {"c0": "Paris", "c1": "Tokyo!", "c2": "Lima", "c3": "Nairobi"})
    with CompletionStore(suites / "c.sqlite") as store:
        runs = evaluate(open_plan([base, tuned], open_suites(base)), store, suites / "runs")
    delta = compare(*runs).deltas[0]
    assert (delta.base, delta.tuned, delta.gained, delta.lost) == (0.5, 1.0, 2, 0)
    assert (suites / "runs" / runs[0].manifest.run_id / "manifest.json").is_file()


def test_slices_and_flips_are_of_the_metric_that_the_gate_names(suites: Path) -> None:
    folder = suites / "suites" / SUITE
    text = (folder / "suite.yaml").read_text()
    told = text.replace("[contains]", "[contains, exact_match]") + "slices: [country]\n"
    (folder / "suite.yaml").write_text(told)
    gate = GateConfig(suites={SUITE: SuiteGate(metric="exact_match")})
    wordy = {"c0": "It is Paris", "c1": "Tokyo", "c2": "Lima", "c3": "Nairobi"}
    base = _arm(suites, "base", wordy).model_copy(update={"gate": gate})
    tuned = _arm(suites, "tuned", {**wordy, "c0": "Paris"}).model_copy(update={"gate": gate})
    with CompletionStore(suites / "c.sqlite") as store:
        opened = open_suites(base)
        check_gate([suite.info for suite in opened], gate)
        comparison = compare(*evaluate(open_plan([base, tuned], opened), store, suites / "runs"))
    assert [(flip.metric, flip.sample_id) for flip in comparison.flips] == [("exact_match", "c0")]
    sliced = {delta.metric.name for delta in comparison.deltas if delta.slice}
    assert sliced == {"exact_match"}
    (verdict,) = decide(comparison, gate).suites
    assert verdict.delta is not None
    assert (verdict.delta.metric.name, verdict.delta.gained) == ("exact_match", 1)


def test_a_gated_metric_the_suite_lacks_is_refused_with_the_nearest(suites: Path) -> None:
    gate = GateConfig(suites={SUITE: SuiteGate(metric="contain")})
    config = _arm(suites, "base", {}).model_copy(update={"gate": gate})
    with pytest.raises(UsageError, match="Did you mean 'contains'"):
        check_gate([suite.info for suite in open_suites(config)], gate)


def test_all_wrong_suites_are_told_at_once(suites: Path) -> None:
    config = _arm(suites, "base", {})
    wrong = config.model_copy(update={"suites": ("my/capitls", SUITE, "opencompass:boolq")})
    with pytest.raises(SuiteError) as caught:
        open_suites(wrong)
    first, second = str(caught.value).splitlines()
    assert "Did you mean 'my/capitals'?" in first
    assert "opencompass:boolq" in second


def test_what_is_stored_is_not_computed_again(suites: Path) -> None:
    config = _arm(suites, "base", {f"c{n}": "Paris" for n in range(4)})
    suite = open_suite(SUITE, config)
    asked = []
    with CompletionStore(suites / "c.sqlite") as store:
        for fresh in (False, False, True):
            engine = _counted(config)
            evaluate(make_plan([config], [suite], [engine]), store, suites / "runs", fresh=fresh)
            asked.append(engine.asked)
    assert asked == [4, 0, 4]


def test_a_run_broken_off_goes_on_and_ends_in_the_same_bytes(suites: Path) -> None:
    config = _arm(suites, "base", {f"c{n}": f"answer {n}" for n in range(4)})
    suite = open_suite(SUITE, config)
    with CompletionStore(suites / "whole.sqlite") as store:
        engine = _counted(config)
        whole = evaluate(make_plan([config], [suite], [engine]), store, suites / "whole")[0]
    with CompletionStore(suites / "broken.sqlite") as store:
        engine = _counted(config, breaks_at=3)
        with pytest.raises(KeyboardInterrupt):
            evaluate(make_plan([config], [suite], [engine]), store, suites / "again")
        assert not list((suites / "again").glob("*/manifest.json"))
        engine = _counted(config)
        again = evaluate(make_plan([config], [suite], [engine]), store, suites / "again")[0]
        assert engine.asked == 1
    for file in sorted(Path(whole.path).glob("*.parquet")):
        assert file.read_bytes() == (Path(again.path) / file.name).read_bytes(), file.name


def test_what_was_answered_before_a_failure_is_kept(suites: Path) -> None:
    config = _arm(suites, "base", {f"c{n}": "Paris" for n in range(4)})
    suite = open_suite(SUITE, config)
    with CompletionStore(suites / "c.sqlite") as store:
        failing = Dwindling(_counted(config).inner)
        with pytest.raises(ModelError, match="quota"):
            evaluate(make_plan([config], [suite], [failing]), store, suites / "runs")
        assert not list((suites / "runs").glob("*/manifest.json"))
        engine = _counted(config)
        evaluate(make_plan([config], [suite], [engine]), store, suites / "runs")
    assert engine.asked == 3


def test_each_manifest_holds_the_measures_of_its_own_arm(suites: Path) -> None:
    base = _arm(suites, "base", {f"c{n}": "Paris" for n in range(4)})
    tuned = _arm(suites, "tuned", {f"c{n}": "Lima" for n in range(4)})
    engine = Counting(open_plan([base, tuned], open_suites(base)).engines[0])
    with CompletionStore(suites / "c.sqlite") as store:
        plan = make_plan([base, tuned], open_suites(base), [engine])
        runs = evaluate(plan, store, suites / "runs")
    own = [{name for name in run.manifest.measures if "asked_for" in name} for run in runs]
    assert own == [{"asked_for_base"}, {"asked_for_tuned"}]


def test_an_answer_that_is_missing_is_not_a_zero(suites: Path) -> None:
    config = _arm(suites, "base", {"c0": "Paris", "c1": "Tokyo", "c2": "Lima"})
    with CompletionStore(suites / "c.sqlite") as store:
        run = evaluate(open_plan([config], open_suites(config)), store, suites / "runs")[0]
        assert store.size().completions == 3
    values = [result.scores[0].value for result in run.results]
    assert values == [1.0, 1.0, 1.0, None]
    assert run.results[3].scores[0].reason
    assert run.manifest.counts["errors"] == 1


def test_no_answer_at_all_is_an_error_not_a_run(suites: Path) -> None:
    config = _arm(suites, "base", {"other": "Paris"})
    with (
        CompletionStore(suites / "c.sqlite") as store,
        pytest.raises(ModelError, match="not one request could be answered"),
    ):
        evaluate(open_plan([config], open_suites(config)), store, suites / "runs")


def test_the_plan_counts_what_is_stored_before_anything_runs(suites: Path) -> None:
    config = _arm(suites, "base", {f"c{n}": "Paris" for n in range(4)})
    plan = open_plan([config], open_suites(config))
    (row,) = plan.costs(set(list(plan.keys())[:1]))
    assert (row.samples, row.requests, row.new_tokens, row.stored) == (4, 4, 32, 1)


def test_the_requests_of_all_arms_of_an_engine_are_prepared_in_one_call(suites: Path) -> None:
    base = _arm(suites, "base", {f"c{n}": "Paris" for n in range(4)})
    tuned = _arm(suites, "tuned", {f"c{n}": "Lima" for n in range(4)})
    engine = _counted(base, tuned)
    plan = make_plan([base, tuned], open_suites(base), [engine])
    assert engine.prepared == [8]
    for arm in plan.arms:
        assert {one.request.arm for one in arm.prepared} == {arm.config.name}
        assert [one.request.sample_id for one in arm.prepared] == ["c0", "c1", "c2", "c3"]


def test_ten_thousand_samples_that_are_stored_are_not_asked_again(suites: Path) -> None:
    rows = [{"id": f"n{n}", "country": f"Land {n}", "target": f"City {n}"} for n in range(10_000)]
    file = suites / "suites" / SUITE / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = _arm(suites, "base", {row["id"]: row["target"] for row in rows})
    with CompletionStore(suites / "c.sqlite") as store:
        asked, seconds = [], 0.0
        for _ in range(2):
            engine = _counted(config)
            started = time.perf_counter()
            plan = make_plan([config], open_suites(config), [engine])
            (run,) = evaluate(plan, store, suites / "runs")
            seconds = time.perf_counter() - started
            asked.append(engine.asked)
    assert asked == [10_000, 0]
    assert sum(result.scores[0].value or 0 for result in run.results) == 10_000
    assert seconds < 30  # some two on two slow cores; the bound is for a loaded machine
