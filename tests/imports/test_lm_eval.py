"""lm-eval's logs become runs; lm-eval, which wrote them, is the oracle of every number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.config import GateConfig
from evalkit.errors import UsageError
from evalkit.gate.decide import decide
from evalkit.imports.aggregates import read_column
from evalkit.imports.base import keep
from evalkit.imports.lm_eval import read_lm_eval
from evalkit.progress import Silent
from evalkit.records import Run
from evalkit.store.runs import read_run
from reports.summary import summarise
from tests.imports.conftest import Logs
from tests.imports.lm_eval_logs import FEW, ROWS, write_log


def imported(path: Path, output: Path, name: str = "") -> Run:
    return keep(read_lm_eval(path, Silent()), name, output)


@pytest.fixture
def copied(logs: Logs, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one arm's output folder, to be spoilt."""

    def copy(arm: str) -> Path:
        return Path(shutil.copytree(logs.folder / arm, tmp_path / arm))

    return copy


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit a results file, or every row of a samples file."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    rows = [json.loads(line) for line in lines]
    for row in rows:
        edit(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("arm", ["base", "tuned"])
def test_every_number_is_the_one_that_lm_eval_itself_printed(
    logs: Logs, tmp_path: Path, arm: str
) -> None:
    run = imported(logs.folder / arm, tmp_path)
    theirs = getattr(logs, arm)["results"]
    seen = 0
    for row in summarise(run):
        task = row.suite.removeprefix("lm_eval:")
        key = row.metric.name if "," in row.metric.name else f"{row.metric.name},none"
        close = 1e-7 if row.metric.name == "brier_score" else 1e-9  # logged in eight digits
        assert row.value == pytest.approx(theirs[task][key], rel=close), (task, key)
        assert row.n == (FEW if "few" in task else ROWS)
        seen += 1
    assert seen == 17


def test_the_kinds_and_directions_of_metrics_are_lm_evals(logs: Logs, tmp_path: Path) -> None:
    run = imported(logs.folder / "base", tmp_path)
    metrics = {
        (info.name.removeprefix("lm_eval:made_"), one.name): (one.kind, one.higher_is_better)
        for info in run.manifest.suites
        for one in info.metrics
    }
    assert metrics == {
        ("picks", "acc"): ("binary", True),
        ("picks", "acc_norm"): ("binary", True),
        ("sums", "exact_match,strict"): ("binary", True),
        ("sums", "exact_match,loose"): ("binary", True),
        ("texts", "word_perplexity"): ("perplexity", False),
        ("texts", "byte_perplexity"): ("perplexity", False),
        ("texts", "bits_per_byte"): ("ratio", False),
        ("lasts", "perplexity"): ("perplexity", False),
        ("lasts", "acc"): ("binary", True),
        ("translates", "bleu"): ("bleu", True),
        ("translates", "chrf"): ("chrf", True),
        ("translates", "ter"): ("ratio", False),
        ("few_picks", "acc"): ("binary", True),
        ("few_picks", "acc_norm"): ("binary", True),
        ("classes", "f1"): ("ratio", True),
        ("classes", "mcc"): ("mcc", True),
        ("classes", "brier_score"): ("continuous", False),
    }


def test_a_perplexity_is_gated_only_where_there_is_no_other_metric(
    logs: Logs, tmp_path: Path
) -> None:
    run = imported(logs.folder / "base", tmp_path)
    gated = {info.name.removeprefix("lm_eval:made_"): info.metric for info in run.manifest.suites}
    assert (gated["texts"], gated["lasts"], gated["picks"]) == ("bits_per_byte", "acc", "acc")


def test_of_a_log_that_can_be_read_whole_nothing_is_left_out(logs: Logs) -> None:
    assert read_lm_eval(logs.folder / "base", Silent()).notes == ()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("metric", "values", "kind"),
    [("f1", [[0, 0], [1, 0], [1, 0]], "ratio"), ("mcc", [[0, 1], [1, 1], [1, 1]], "mcc")],
)
def test_a_model_that_always_says_the_same_is_read_like_any_other(
    copied: Callable[[str], Path], metric: str, values: list[list[int]], kind: str
) -> None:
    from lm_eval.api import metrics as theirs

    aggregation = theirs.f1_score if metric == "f1" else theirs.matthews_corrcoef
    own = float(aggregation([tuple(one) for one in values]))
    folder, left = copied("base"), iter(values)
    file = the(folder, "samples_made_classes*")
    file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines()[: len(values)]))
    change(file, lambda row: row.update({metric: next(left)}))
    results = the(folder, "results_*.json")
    change(results, lambda one: one["results"]["made_classes"].update({f"{metric},none": own}))
    change(results, lambda one: one["n-samples"]["made_classes"].update(effective=len(values)))
    infos = {info.name: info for info in read_lm_eval(folder, Silent()).suites}
    assert "lm_eval:made_picks" in infos
    assert (metric, kind) in {(m.name, m.kind) for m in infos["lm_eval:made_classes"].metrics}


def test_what_no_document_adds_to_is_no_number_and_no_crash() -> None:
    overflowing = [-800.0, -900.0]
    assert read_column(overflowing, 1e300, "perplexity") is None
    found = read_column([[0, 0], [1, 0], [1, 0]], 0.0)  # 0 units of anything that is a rate
    assert found is not None
    assert (found.kind, found.values[1].stats) == ("ratio", (0.0, 1.0))


def test_a_task_that_cannot_be_compared_is_left_out_and_the_others_are_kept(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("base")
    results = the(folder, "results_*.json")
    change(results, lambda one: one["higher_is_better"].update(made_lasts={"acc": None}))
    found = read_lm_eval(folder, Silent())
    names = {info.name for info in found.suites}
    assert "lm_eval:made_lasts" not in names
    assert len(names) == 6
    (note,) = found.notes
    assert note.startswith("made_lasts is left out: lm_eval:made_lasts has no metric with")
    change(results, lambda one: one.update(higher_is_better={}))
    with pytest.raises(UsageError, match=r"nothing in it can be compared.\n  made_classes is left"):
        read_lm_eval(folder, Silent())


def test_a_mistake_of_evalkits_own_is_no_edited_file(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.estimates.np", None)
    with pytest.raises(AttributeError):
        read_lm_eval(logs.folder / "base", Silent())


def test_questions_and_answers_can_be_read(logs: Logs, tmp_path: Path) -> None:
    run = read_run(Path(imported(logs.folder / "tuned", tmp_path, "tuned").path))
    first = {result.sample.suite: result for result in reversed(run.results)}
    picked = first["lm_eval:made_picks"]
    assert picked.sample.prompt == "What comes after 0 things, one?"
    assert picked.sample.choices == (" one", " two", " three", " four")
    assert all(one.loglikelihood < 0 for one in picked.completions)
    wrote = first["lm_eval:made_sums"]
    assert wrote.sample.targets == ("one",)
    assert wrote.completions[0].text
    assert "one" in wrote.completions[0].text
    assert run.manifest.name == "tuned"
    assert run.manifest.versions["lm_eval"] == "0.4.13"


def test_the_worked_examples_of_a_log_are_told_from_the_questions(
    tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folder = copied("base")
    shots = "Name a pet.\nA dog\n\nName a fruit.\nAn apple\n\n"

    def put_before(row: dict[str, Any]) -> None:
        for request in row["arguments"].values():
            request["arg_0"] = shots + request["arg_0"]

    change(the(folder, "samples_made_few_picks*"), put_before)
    run = imported(folder, tmp_path / "runs")
    leads = {
        suite: {one.sample.lead for one in run.results if one.sample.suite == suite}
        for suite in ("lm_eval:made_few_picks", "lm_eval:made_picks")
    }
    assert leads == {"lm_eval:made_few_picks": {len(shots)}, "lm_eval:made_picks": {0}}


def test_two_old_outputs_are_compared_and_gated_without_a_model(logs: Logs, tmp_path: Path) -> None:
    base = imported(logs.folder / "base", tmp_path)
    tuned = imported(logs.folder / "tuned", tmp_path)
    comparison = compare(base, tuned)
    assert not comparison.unpaired
    assert {check.name: check.status for check in comparison.checks}["same prompts"] == "ok"
    delta = next(
        one
        for one in comparison.deltas
        if one.suite == "lm_eval:made_picks" and one.metric.name == "acc"
    )
    theirs = [one["results"]["made_picks"]["acc,none"] for one in (logs.base, logs.tuned)]
    assert delta.difference == pytest.approx(theirs[1] - theirs[0])
    outcomes = {one.suite: one.outcome for one in decide(comparison, GateConfig()).suites}
    assert outcomes["lm_eval:made_picks"] == "pass"
    assert outcomes["lm_eval:made_sums"] == "pass"


def test_other_versions_of_a_task_are_refused_by_name(
    logs: Logs, tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folder = copied("tuned")
    change(
        the(folder, "results_*.json"),
        lambda one: one["versions"].update(made_picks=2.0),
    )
    base = imported(logs.folder / "base", tmp_path / "runs")
    tuned = imported(folder, tmp_path / "runs")
    with pytest.raises(UsageError, match=r"made_picks: version is '1\.0' against '2\.0'"):
        compare(base, tuned)


def test_addresses_of_functions_are_no_difference(
    logs: Logs, tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folders = [logs.folder / "base", copied("tuned")]
    change(
        the(folders[1], "results_*.json"),
        lambda one: one["configs"]["made_picks"].update(process_docs="<function f at 0x7fb>"),
    )
    again = read_lm_eval(folders[1], Silent()).setups["lm_eval:made_picks"]["process_docs"]
    assert again == "<function f>"


def test_other_prompts_fail_the_comparison_and_are_shown(
    logs: Logs, tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folder = copied("tuned")

    def wrap(row: dict[str, Any]) -> None:
        for request in row["arguments"].values():
            request["arg_0"] = f"<|user|>{request['arg_0']}"

    for file in folder.rglob("samples_made_sums*"):
        change(file, wrap)
    base = imported(logs.folder / "base", tmp_path / "runs")
    comparison = compare(base, imported(folder, tmp_path / "runs"))
    failed = next(one for one in comparison.checks if one.status == "failed")
    assert failed.name == "same prompts"
    assert f"{ROWS} of " in failed.message
    assert "'What comes after 0 th" in failed.message
    assert "'<|user|>What comes" in failed.message
    assert decide(comparison, GateConfig()).exit_code == 1


def test_another_document_under_the_same_number_is_not_paired(
    logs: Logs, tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folder = copied("tuned")
    file = the(folder, "samples_made_picks*")
    first, *rest = file.read_text().splitlines()
    row = json.loads(first) | {"doc_hash": "0" * 64}
    file.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    base = imported(logs.folder / "base", tmp_path / "runs")
    comparison = compare(base, imported(folder, tmp_path / "runs"))
    assert [len(ids) for ids in comparison.unpaired.values()] == [2]
    verdict = decide(comparison, GateConfig())
    picks = next(one for one in verdict.suites if one.suite == "lm_eval:made_picks")
    assert picks.ground == "missing"


def test_a_score_that_is_no_number_is_missing_and_never_zero(
    logs: Logs, tmp_path: Path, copied: Callable[[str], Path]
) -> None:
    folder = copied("tuned")
    file = the(folder, "samples_made_picks*")
    first, *rest = file.read_text().splitlines()
    row = json.loads(first)
    lost = row["acc"]
    file.write_text("\n".join([json.dumps(row | {"acc": float("nan")}), *rest]) + "\n")
    theirs = logs.tuned["results"]["made_picks"]["acc,none"]
    mean = (theirs * ROWS - lost) / (ROWS - 1)  # what lm-eval's nanmean gives
    change(
        the(folder, "results_*.json"),
        lambda one: one["results"]["made_picks"].update({"acc,none": mean}),
    )
    run = imported(folder, tmp_path / "runs")
    row_of = next(one for one in summarise(run) if one.metric.name == "acc" and one.missing)
    assert (row_of.n, row_of.missing) == (ROWS - 1, 1)
    assert row_of.value == pytest.approx(mean)


def test_a_cut_samples_file_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("base")
    file = the(folder, "samples_made_picks*")
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    with pytest.raises(UsageError, match="39 documents, and the results file counts 40"):
        read_lm_eval(folder, Silent())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"doc_id": 0', "not valid JSON"),
        ("[1]", "expected an object"),
        ('{"doc_id": 0}', "not a row of lm-eval's samples"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_broken_line_is_told_with_its_file_and_number(
    copied: Callable[[str], Path], line: str | bytes, told: str
) -> None:
    folder = copied("base")
    file = the(folder, "samples_made_lasts*")
    first = file.read_bytes().splitlines()[0]
    file.write_bytes(first + b"\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(UsageError, match=rf"{file.name}:2: .*{told}"):
        read_lm_eval(folder, Silent())


def test_a_number_that_the_samples_do_not_give_again_is_left_out(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("base")
    change(
        the(folder, "results_*.json"),
        lambda one: one["results"]["made_picks"].update({"acc,none": 0.123}),
    )
    found = read_lm_eval(folder, Silent())
    info = next(one for one in found.suites if one.name == "lm_eval:made_picks")
    assert [one.name for one in info.metrics] == ["acc_norm"]
    assert any("made_picks: acc,none is left out" in note for note in found.notes)


def test_a_folder_without_logged_samples_says_which_option_writes_them(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01T00-00-00.000000.json").write_text("{}")
    with pytest.raises(UsageError, match="--log_samples"):
        read_lm_eval(tmp_path, Silent())


def test_a_folder_with_two_models_is_refused_and_each_can_be_named(logs: Logs) -> None:
    with pytest.raises(UsageError, match="evaluations of 2 models"):
        read_lm_eval(logs.folder, Silent())
    one = read_lm_eval(the(logs.folder / "base", "results_*.json"), Silent())
    assert one.model == "base"


def test_the_newest_evaluation_of_a_task_is_taken(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("base")
    old = the(folder, "samples_made_picks*")
    results = the(folder, "results_*.json")
    later = "2099-01-01T00-00-00.000000"
    newer = json.loads(results.read_text())
    newer["versions"]["made_picks"] = 7.0
    (results.parent / f"results_{later}.json").write_text(json.dumps(newer))
    shutil.copy(old, old.with_name(f"samples_made_picks_{later}.jsonl"))
    found = read_lm_eval(folder, Silent())
    versions = {name: setup["version"] for name, setup in found.setups.items()}
    assert versions["lm_eval:made_picks"] == "7.0"
    assert versions["lm_eval:made_sums"] == "1.0"
    assert len(found.suites) == 7


@pytest.mark.filterwarnings("ignore")
def test_a_group_whose_number_is_a_mean_of_samples_is_one_suite_in_slices(
    logs: Logs, tmp_path: Path
) -> None:
    own = write_log(tmp_path / "out", logs.tasks, "base", 0.5, wanted=("group",))
    run = imported(tmp_path / "out", tmp_path / "runs")
    (info,) = run.manifest.suites
    assert info.name == "lm_eval:made_group"
    assert info.slices == {"task=made_few_picks": FEW, "task=made_picks": ROWS}
    (row,) = summarise(run)
    assert row.value == pytest.approx(own["groups"]["made_group"]["acc,none"])
    by_task = {
        task: [r.scores[0].value for r in run.results if r.sample.slices["task"] == task]
        for task in ("made_picks", "made_few_picks")
    }
    for task, values in by_task.items():
        mean = sum(value for value in values if value is not None) / len(values)
        assert mean == pytest.approx(own["results"][task]["acc,none"])


@pytest.mark.filterwarnings("ignore")
def test_a_group_of_which_a_task_was_run_again_says_why_it_is_none(
    logs: Logs, tmp_path: Path
) -> None:
    write_log(tmp_path / "out", logs.tasks, "base", 0.5, wanted=("group",))
    (whole,) = (tmp_path / "out").rglob("results_*.json")
    write_log(tmp_path / "out", logs.tasks, "base", 0.5, wanted=("few_picks",))
    found = read_lm_eval(tmp_path / "out", Silent())
    assert {info.name for info in found.suites} == {"lm_eval:made_picks", "lm_eval:made_few_picks"}
    (note,) = found.notes
    assert note.startswith("made_group: its tasks stay apart, for made_few_picks ")
    alone = read_lm_eval(whole, Silent())
    assert [info.name for info in alone.suites] == ["lm_eval:made_group"]


@pytest.mark.filterwarnings("ignore")
def test_a_group_whose_tasks_count_alike_stays_a_list_of_them(logs: Logs, tmp_path: Path) -> None:
    write_log(tmp_path / "out", logs.tasks, "base", 0.5, wanted=("equals",))
    run = imported(tmp_path / "out", tmp_path / "runs")
    names = [info.name for info in run.manifest.suites]
    assert names == ["lm_eval:made_few_picks", "lm_eval:made_picks"]
    assert any("made_equals: its tasks stay apart" in note for note in run.manifest.notes)
