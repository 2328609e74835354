"""OpenCompass's suites against OpenCompass itself, in its own environment, on a tiny model."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.opencompass_oracle import Theirs, merged, older, opencompass, write_jsonl
from evalkit.compare import compare
from evalkit.config import HFModel, OpenCompassConfig, OpenCompassCustom, RunConfig
from evalkit.errors import SuiteError
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.harnesses.opencompass import environment
from evalkit.harnesses.opencompass.environment import Installed
from evalkit.harnesses.opencompass.likelihoods import perplexity
from evalkit.models.hf import open_hf
from evalkit.planning import make_plan
from evalkit.records import Result, Run
from evalkit.sequential import evaluate_early
from evalkit.store.completions import CompletionStore
from tests.models.hf.tiny_models import Tiny

REAL_HOME = os.environ.get("EVALKIT_HOME")

pytestmark = [pytest.mark.opencompass, pytest.mark.filterwarnings("ignore")]

WORDS = (
    "fox",
    "dog",
    "北京",
    "Paris",
    "🙂",
    "capital",
    "答案",
    "lazy",
    "quick",
    "brown",
    "jumps",
    "A",
)
ARMS = ("base", "tuned")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """OpenCompass's environment, seen from a home of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        if REAL_HOME is None:
            patch.delenv("EVALKIT_HOME", raising=False)
        else:
            patch.setenv("EVALKIT_HOME", REAL_HOME)
        found = environment.find()
        if found is None or found.stale:
            pytest.skip("OpenCompass is not installed: evalkit harness install opencompass")
        home = tmp_path_factory.mktemp("home")
        (home / "envs").symlink_to(found.folder.parent)
        patch.setenv("EVALKIT_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield found


def exam(count: int = 13) -> list[dict[str, str]]:
    """Questions with three choices, the right one drawn round."""
    return [
        {
            "question": f"What is the {WORDS[n % 12]} of {WORDS[(5 * n + 1) % 12]}?",
            **{letter: WORDS[(n + 3 * place) % 12] for place, letter in enumerate("ABC")},
            "answer": "ABC"[n % 3],
        }
        for n in range(count)
    ]


def quiz(count: int = 9) -> list[dict[str, str]]:
    return [
        {"question": f"{WORDS[n]}, {WORDS[n + 1]},", "answer": WORDS[n % 3]} for n in range(count)
    ]


FEWSHOT = """
letters = ["A", "B", "C", "D"]
hint = "以下是单项选择题。\\n</E>"
ask = "题目：{question}\\nA. {A}\\nB. {B}\\nC. {C}\\nD. {D}\\n答案是: "
datasets = [
    dict(
        type="opencompass.datasets.CMMLUDataset", path="cmmlu", name=name, abbr="cmmlu-" + name,
        reader_cfg=dict(input_columns=["question", "A", "B", "C", "D"], output_column="answer",
                        train_split="dev", test_split="test"),
        infer_cfg=dict(
            ice_template=dict(type="opencompass.openicl.icl_prompt_template.PromptTemplate",
                              template={one: ask + one + "\\n" for one in letters}),
            prompt_template=dict(type="opencompass.openicl.icl_prompt_template.PromptTemplate",
                                 template={one: hint + ask + one for one in letters},
                                 ice_token="</E>"),
            retriever=dict(type="opencompass.openicl.icl_retriever.FixKRetriever",
                           fix_id_list=[0, 1]),
            inferencer=dict(type="opencompass.openicl.icl_inferencer.PPLInferencer")),
        eval_cfg=dict(evaluator=dict(
            type="opencompass.openicl.icl_evaluator.AccwithDetailsEvaluator")))
    for name in ("agronomy", "anatomy")
]
"""


def write_cmmlu(folder: Path) -> None:
    """CMMLU's files with questions of our own: two subjects of unequal size."""
    for subject, sizes in (("agronomy", (3, 5)), ("anatomy", (3, 8))):
        for split, size in zip(("dev", "test"), sizes, strict=True):
            file = folder / "cmmlu" / split / f"{subject}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("w", encoding="utf-8", newline="") as opened:
                writer = csv.writer(opened)
                writer.writerow(["", "Question", "A", "B", "C", "D", "Answer"])
                for n in range(size):
                    words = [WORDS[(n + 2 * place + len(subject)) % 12] for place in range(4)]
                    writer.writerow([n, f"{WORDS[n]}是什么？", *words, "ABCD"[(3 * n) % 4]])


class Bench:
    """A folder with all data, both arms of a tiny model, and OpenCompass's own answers."""

    def __init__(self, installed: Installed, folder: Path, tiny: Tiny) -> None:
        self.installed, self.folder, self.tiny = installed, folder, tiny
        self.exam = write_jsonl(folder / "exam.jsonl", exam())
        self.quiz = write_jsonl(folder / "quiz.jsonl", quiz())
        write_cmmlu(folder)
        self.fewshot = folder / "fewshot.py"
        self.fewshot.write_text(FEWSHOT, encoding="utf-8")
        whole = merged(tiny.model, tiny.adapter, folder / "merged")
        self.models = {
            "base": older(tiny.model, folder / "old-base"),
            "tuned": older(whole, folder / "old-tuned"),
        }

    def config(self, arm: str, *suites: str, **given: Any) -> RunConfig:
        adapter = self.tiny.adapter if arm == "tuned" else None
        custom = {
            "exam": OpenCompassCustom(path=self.exam, infer_method="ppl"),
            "exam-written": OpenCompassCustom(path=self.exam),
            "quiz": OpenCompassCustom(path=self.quiz),
            "fewshot": OpenCompassCustom(path=self.fewshot),
        }
        model = HFModel(
            kind="hf", path=str(self.tiny.model), adapter=adapter, dtype="float32", device="cpu"
        )
        return RunConfig(
            name=arm,
            model=model,
            suites=tuple(f"opencompass:{name}" for name in suites),
            opencompass=OpenCompassConfig(custom=custom, data=self.folder),
            **given,
        )

    def runs(self, *suites: str, **given: Any) -> dict[str, Run]:
        """Both arms by evalkit."""
        configs = [self.config(arm, *suites, **given) for arm in ARMS]
        opened = open_suites(configs[0])
        plan = open_plan(configs, opened, offline=True)
        with CompletionStore(self.folder / "store.sqlite") as store:
            runs = evaluate(plan, store, self.folder / "runs")
        return {run.manifest.name: run for run in runs}

    def theirs(self, arm: str, kind: str) -> dict[str, Theirs]:
        """What OpenCompass's own command and model class make of the same data, all at once."""
        own = [
            {"path": str(self.quiz), "abbr": "quiz"},
            {"path": str(self.exam), "abbr": "exam-written"},
            {"path": str(self.exam), "abbr": "exam", "infer_method": "ppl"},
        ]
        chat = kind == "HuggingFacewithChatTemplate"
        told = f"{FEWSHOT}\ndatasets = {'' if chat else 'datasets + '}{own[: 1 if chat else 3]!r}\n"
        model = {
            "type": f"opencompass.models.{kind}",
            "abbr": "own",
            "path": str(self.models[arm]),
            "model_kwargs": {"torch_dtype": "torch.float"},
            "max_out_len": 6,
            "batch_size": 1,
            "run_cfg": {"num_gpus": 0},
        }
        config = self.folder / f"{arm}-{kind}.py"
        config.write_text(f"{told}models = [{model!r}]\n", encoding="utf-8")
        return opencompass(self.installed, config, self.folder / f"{arm}-{kind}", self.folder)


@pytest.fixture(scope="module")
def bench(installed: Installed, tmp_path_factory: pytest.TempPathFactory, long_tiny: Tiny) -> Bench:
    return Bench(installed, tmp_path_factory.mktemp("opencompass"), long_tiny)


@pytest.fixture(scope="module")
def theirs(bench: Bench) -> dict[str, dict[str, Theirs]]:
    return {arm: bench.theirs(arm, "HuggingFaceBaseModel") for arm in ARMS}


@pytest.fixture(scope="module")
def ours(bench: Bench) -> dict[str, Run]:
    names = ("exam", "exam-written", "quiz", "fewshot")
    return bench.runs(*names, decoding={"max_new_tokens": 6})


def of(run: Run, suite: str, dataset: str = "") -> list[Result]:
    """The results of a suite, or of one data set in it, in its order."""
    return [
        one
        for one in run.results
        if one.sample.suite == f"opencompass:{suite}"
        and one.sample.slices.get("dataset", "") == dataset
    ]


def accuracy(results: list[Result]) -> float:
    values = [one.scores[0].value for one in results]
    known = [one for one in values if one is not None]
    assert len(known) == len(values)
    return 100 * sum(known) / len(known)


def perplexities(row: dict[str, Any]) -> dict[str, float]:
    return {key[7:]: one["PPL"] for key, one in row.items() if key.startswith("label: ")}


def hold_choices_equal(results: list[Result], theirs: Theirs) -> None:
    """The same likelihoods, so the same choices, and the same number."""
    assert len(results) == len(theirs.rows)
    for mine, row in zip(results, theirs.rows, strict=True):
        found = perplexities(row)
        ours = [perplexity(one) for one in mine.completions]
        assert ours == pytest.approx(list(found.values()), abs=1e-4)
        assert list(found)[ours.index(min(ours))] == row["prediction"]
        assert mine.scores[0].value == float(row["prediction"] == row["gold"])
    assert accuracy(results) == pytest.approx(theirs.results["accuracy"])


@pytest.mark.parametrize("arm", ARMS)
def test_choices_of_custom_data_are_those_of_opencompasss_own_model(
    arm: str, ours: dict[str, Run], theirs: dict[str, dict[str, Theirs]]
) -> None:
    hold_choices_equal(of(ours[arm], "exam"), theirs[arm]["exam"])
    number = theirs[arm]["exam"].results["accuracy"]
    note = f"opencompass:exam: OpenCompass 0.5.4 says accuracy {number:.2f}"
    assert note in ours[arm].manifest.notes


def test_the_arms_are_paired_sample_by_sample(ours: dict[str, Run]) -> None:
    found = compare(ours["base"], ours["tuned"])
    gated = {one.suite: one for one in found.deltas if not one.slice and one.metric.name}
    assert (gated["opencompass:exam"].n, gated["opencompass:exam"].missing) == (13, 0)
    assert (gated["opencompass:fewshot"].n, gated["opencompass:fewshot"].missing) == (13, 0)


@pytest.mark.parametrize("arm", ARMS)
def test_few_shot_data_sets_of_a_config_file_have_the_mean_that_a_summary_shows(
    arm: str, ours: dict[str, Run], theirs: dict[str, dict[str, Theirs]]
) -> None:
    numbers = []
    for name in ("cmmlu-agronomy", "cmmlu-anatomy"):
        hold_choices_equal(of(ours[arm], "fewshot", name), theirs[arm][name])
        numbers.append(theirs[arm][name].results["accuracy"])
    info = next(one for one in ours[arm].manifest.suites if one.name == "opencompass:fewshot")
    assert info.gated.kind == "ratio"
    mine = [one for one in ours[arm].results if one.sample.suite == info.name]
    stats = [one.scores[0].stats for one in mine]
    mean = sum(top for top, _ in stats) / sum(low for _, low in stats)
    assert 100 * mean == pytest.approx(sum(numbers) / 2)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", ["exam-written", "quiz"])
def test_texts_and_their_scores_are_those_of_opencompasss_own_model(
    arm: str, name: str, ours: dict[str, Run], theirs: dict[str, dict[str, Theirs]]
) -> None:
    results = of(ours[arm], name)
    texts = [one.completions[0].text for one in results]
    assert texts == [row["prediction"] for row in theirs[arm][name].rows]
    assert accuracy(results) == pytest.approx(theirs[arm][name].results["accuracy"])


def test_asked_as_a_chat_the_turns_are_those_of_opencompasss_chat_model(bench: Bench) -> None:
    found = bench.theirs("base", "HuggingFacewithChatTemplate")
    run = bench.runs("quiz", chat="always", decoding={"max_new_tokens": 6})["base"]
    texts = [one.completions[0].text for one in of(run, "quiz")]
    assert texts == [row["prediction"] for row in found["quiz"].rows]


def test_a_limit_takes_the_first_rows(bench: Bench) -> None:
    (suite,) = open_suites(bench.config("base", "exam", limit=4))
    assert [one.id for one in suite.samples] == [f"exam/{n}" for n in range(4)]
    assert suite.info.available == 13


def test_in_blocks_each_sample_has_the_score_it_has_in_the_whole(
    bench: Bench, ours: dict[str, Run]
) -> None:
    whole = {one.sample.id: one.scores[0].value for one in of(ours["base"], "exam")}
    configs = [bench.config(arm, "exam") for arm in ARMS]
    engine = open_hf({one.name: one.model for one in configs}, offline=True)  # type: ignore[misc]
    plan = make_plan(configs, open_suites(configs[0]), [engine])
    with CompletionStore(bench.folder / "store.sqlite") as store:
        runs = evaluate_early(plan, store, bench.folder / "early")
    for one in runs[0].results:
        assert one.scores[0].value == whole[one.sample.id]


REFUSED = {
    "humaneval_gen": "--allow-code-execution",
    "mtbench_single_judge_diff_temp": "ChatInferencer",
    "cmmlu_llm_judge_gen": "another model",
    "no_such_data": "no data set 'no_such_data'",
    "ceval_ppl": "Its data is not there",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_is_told_by_name(bench: Bench, name: str) -> None:
    with pytest.raises(SuiteError, match=REFUSED[name]):
        open_suites(bench.config("base", name))


def test_a_config_that_crashes_is_one_clear_error(bench: Bench) -> None:
    broken = bench.folder / "broken.py"
    broken.write_text(FEWSHOT.replace("CMMLUDataset", "NoSuchDataset"), encoding="utf-8")
    config = bench.config("base", "fewshot")
    custom = {"fewshot": OpenCompassCustom(path=broken)}
    own = OpenCompassConfig(custom=custom, data=bench.folder)
    with pytest.raises(SuiteError, match=r"opencompass:fewshot: .*NoSuchDataset") as caught:
        open_suites(config.model_copy(update={"opencompass": own}))
    assert "Traceback" not in str(caught.value)
