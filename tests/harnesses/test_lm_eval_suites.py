"""lm-eval's tasks as suites: lm-eval itself, on the same model, is the oracle of every number."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

import pytest

from evalkit.compare import compare
from evalkit.errors import SuiteError
from evalkit.evaluate import open_suites
from evalkit.records import Run
from tests.harnesses.lm_eval_tasks import (
    CHOICE,
    WORDS,
    Theirs,
    lm_eval,
    mean,
    number,
    opening,
    questions,
    run_arms,
    scores,
    write_task,
    write_yaml,
)
from tests.models.hf.tiny_models import Tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations

ARMS = ("base", "tuned")


WRITING = {"max_gen_toks": 6, "do_sample": False, "until": ["\n"]}


def write_all(folder: Path) -> None:
    """One task of every kind."""
    _write_choices(folder)
    _write_likelihoods(folder)
    _write_texts(folder)


def _write_choices(folder: Path) -> None:
    write_task(folder, "choosing", questions(14), **CHOICE)
    mutual = [*CHOICE["metric_list"], mean("acc_mutual_info"), mean("acc_bytes")]
    write_task(folder, "informed", questions(14), **{**CHOICE, "metric_list": mutual})
    pairs = [{**row, "gold": row["gold"] % 2} for row in questions(14)]
    write_task(
        folder,
        "classing",
        pairs,
        **{
            **CHOICE,
            "doc_to_choice": ["a", "i"],
            "metric_list": [
                {"metric": "f1"}, {"metric": "mcc"}, {"metric": "brier_score"}, mean("acc"),
            ],
        },
    )  # fmt: skip
    blanks = [
        {"q": WORDS[n % 10], "first": WORDS[n % 7], "second": WORDS[n % 5], "gold": n % 2}
        for n in range(10)
    ]
    write_task(
        folder,
        "filling",
        blanks,
        output_type="multiple_choice",
        doc_to_text="gold",
        doc_to_choice="{{[first, second]}}",
        doc_to_target="q",
        metric_list=[mean("acc")],
    )


def _write_likelihoods(folder: Path) -> None:
    write_task(
        folder,
        "predicting",
        questions(12),
        output_type="loglikelihood",
        doc_to_text="{{q}} It is",
        doc_to_target=" {{text}}",
        metric_list=[{"metric": "perplexity"}, mean("acc")],
    )
    texts = [{"q": " ".join(WORDS[n : n + 4] * (n + 1))} for n in range(6)]
    write_task(
        folder,
        "rolling",
        texts,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="q",
        metric_list=[
            {"metric": "word_perplexity"},
            {"metric": "byte_perplexity"},
            {"metric": "bits_per_byte"},
        ],
    )


def _write_texts(folder: Path) -> None:
    write_task(
        folder,
        "writing",
        [{**row, "letter": "aeiou"[n % 5]} for n, row in enumerate(questions(15))],
        output_type="generate_until",
        doc_to_text="{{q}}",
        doc_to_target="letter",
        generation_kwargs=WRITING,
        repeats=2,
        filter_list=[
            {"name": "strict", "filter": [_regex("([aeiou])"), {"function": "take_first"}]},
            {
                "name": "voted",
                "filter": [_regex("([a-o])"), {"function": "majority_vote"},
                           {"function": "take_first"}],
            },
        ],
        metric_list=[mean("exact_match", ignore_case=True)],
    )  # fmt: skip
    write_task(
        folder,
        "translating",
        [{**row, "text": " ".join([row["text"], *WORDS[:3]])} for row in questions(12)],
        output_type="generate_until",
        doc_to_text="{{q}}",
        doc_to_target="text",
        generation_kwargs={**WRITING, "max_gen_toks": 16, "until": ["@@"]},
        metric_list=[{"metric": name} for name in ("bleu", "chrf", "chrf++", "ter")],
    )


def _regex(pattern: str) -> dict[str, Any]:
    return {"function": "regex", "regex_pattern": pattern, "fallback": "?"}


KINDS = ["choosing", "informed", "classing", "filling", "predicting", "rolling", "writing",
         "translating"]  # fmt: skip


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """All kinds as text with two examples: evalkit's runs, and lm-eval's words, by arm."""
    folder = tmp_path_factory.mktemp("tasks")
    write_all(folder)
    runs = run_arms(tiny, folder, KINDS, lm_eval={"num_fewshot": 2})
    return runs, {arm: lm_eval(tiny, arm, folder, KINDS, num_fewshot=2) for arm in ARMS}


def check(run: Run, theirs: Theirs, task: str) -> None:
    """The numbers of a task, over all and of every document."""
    told = {
        key: value
        for key, value in theirs.table[task].items()
        if "," in key and "_stderr" not in key
    }
    info = next(one for one in run.manifest.suites if one.name == f"lm_eval:{task}")
    assert {one.name for one in info.metrics} == {key.removesuffix(",none") for key in told}
    for key, value in told.items():
        name = key.removesuffix(",none")
        assert number(run, task, name) == pytest.approx(value, rel=1e-5, abs=1e-9), (task, key)
        metric, filtered = key.rsplit(",", 1)
        single = [one[metric] for one in theirs.samples[task] if one["filter"] == filtered]
        if all(isinstance(one, Real) for one in single) and "perplexity" not in metric:
            assert [one.value for one in scores(run, task, name)] == single, (task, key)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("task", KINDS)
def test_every_number_is_lm_evals(plain: tuple[Any, Any], task: str, arm: str) -> None:
    runs, theirs = plain
    check(runs[arm], theirs[arm], task)


def test_the_arms_and_their_documents_differ_so_that_equal_numbers_mean_something(
    plain: tuple[Any, Any],
) -> None:
    runs, _ = plain
    for task, metric in [("informed", "acc_mutual_info"), ("writing", "exact_match,strict"),
                         ("predicting", "perplexity"), ("translating", "chrf")]:  # fmt: skip
        values = [[one.value for one in scores(runs[arm], task, metric)] for arm in ARMS]
        assert values[0] != values[1], task
        assert len(set(values[0])) > 1, task


def test_flips_between_wrong_choices_are_seen(plain: tuple[Any, Any]) -> None:
    runs, theirs = plain
    found = compare(runs["base"], runs["tuned"])
    told = {(one.suite, one.metric.name): one for one in found.deltas}
    for metric, length in [("acc", lambda _choice: 1), ("acc_norm", len)]:
        picked = [[_picked(one, length) for one in theirs[arm].samples["choosing"]] for arm in ARMS]
        golds = [one["doc"]["gold"] for one in theirs["base"].samples["choosing"]]
        moved = sum(
            a != b and gold not in (a, b) for a, b, gold in zip(*picked, golds, strict=True)
        )
        assert told["lm_eval:choosing", metric].changed == moved
        assert told["lm_eval:choosing", metric].divergence is not None


def _picked(sample: Any, length: Callable[[str], int]) -> int:
    """The choice that lm-eval's log-likelihoods prefer."""
    values = [
        response[0] / length(choice)
        for response, choice in zip(sample["filtered_resps"], sample["doc"]["choices"], strict=True)
    ]
    return values.index(max(values))


GROUPED = {"small": 4, "middle": 7, "large": 10}


def write_groups(folder: Path) -> None:
    """Three tasks in two groups of both weightings, in a group of groups, and in a tag."""
    for place, (name, size) in enumerate(GROUPED.items()):
        write_task(folder, name, questions(size, start=5 * place), tag="sizes", **CHOICE)
    for name, by_size, members in [
        ("by_size", True, list(GROUPED)),
        ("by_task", False, list(GROUPED)),
        ("nested", True, ["small", {"group": "inner", "task": ["middle", "large"]}]),
    ]:
        metric = {"metric": "acc", "weight_by_size": by_size}
        told = {"group": name, "task": members, "aggregate_metric_list": [metric]}
        write_yaml(folder, name, {**told, "metadata": {"version": 2}})
    write_yaml(folder, "bare", {"group": "bare", "task": ["small", "middle"]})


@pytest.mark.parametrize(
    ("name", "limit"), [("by_size", None), ("by_task", None), ("by_task", 5), ("nested", 5)]
)
def test_a_groups_number_is_lm_evals_and_each_task_is_a_slice(
    tiny: Tiny, tmp_path: Path, name: str, limit: int | None
) -> None:
    write_groups(tmp_path)
    run = run_arms(tiny, tmp_path, [name], limit=limit)["tuned"]
    theirs = lm_eval(tiny, "tuned", tmp_path, [name], limit=limit)
    whole = theirs.table[name]["acc,none"]
    assert number(run, name, "acc") == pytest.approx(whole, rel=1e-12)
    for task in GROUPED:
        part = theirs.table[task]["acc,none"]
        assert number(run, name, "acc", f"task={task}") == pytest.approx(part, rel=1e-12)
    (info,) = run.manifest.suites
    (metric,) = info.metrics
    assert metric.kind == ("ratio" if name == "by_task" else "binary")
    assert info.available == 21
    assert info.slices is not None
    assert info.slices["task=large"] == 10
    assert info.slices.get("group=nested::inner") == (17 if name == "nested" else None)


def test_the_two_weightings_differ_so_that_equal_numbers_mean_something(
    tiny: Tiny, tmp_path: Path
) -> None:
    write_groups(tmp_path)
    run = run_arms(tiny, tmp_path, ["by_size"])["base"]
    even = [number(run, "by_size", "acc", f"task={task}") for task in GROUPED]
    assert number(run, "by_size", "acc") != pytest.approx(sum(filter(None, even)) / 3, rel=1e-3)


def test_a_tag_is_a_suite_for_each_of_its_tasks(tmp_path: Path) -> None:
    write_groups(tmp_path)
    names = [suite.info.name for suite in open_suites(opening(tmp_path, "sizes"))]
    assert names == ["lm_eval:large", "lm_eval:middle", "lm_eval:small"]


def test_a_group_without_a_number_is_its_tasks_and_says_so(tmp_path: Path) -> None:
    write_groups(tmp_path)
    suites = open_suites(opening(tmp_path, "bare"))
    assert [suite.info.name for suite in suites] == ["lm_eval:small", "lm_eval:middle"]
    assert "of the group bare" in suites[0].notes[0]


def test_a_task_that_is_asked_twice_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path)
    config = opening(tmp_path, "sizes", "small")
    with pytest.raises(SuiteError, match="'lm_eval:small' is named twice"):
        open_suites(config)
