"""Recipes over real data: the prompts, the answers and the numbers are lm-eval's own."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import HFModel, RunConfig
from evalkit.harnesses.base import Suite
from evalkit.harnesses.native import open_suite
from evalkit.records import Completion

SHARED = Path(__file__).parents[3] / "shared" / "data"
FIRST = 60
PARTS = ["logiqa-en", "logiqa-zh", "sat-en", "gaokao-history"]

pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data sets of ../shared/data"),
    pytest.mark.filterwarnings("ignore"),  # lm-eval's and datasets' own deprecations
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root of the shared data, in the layouts of the hub."""
    monkeypatch.setenv("EVALKIT_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("EVALKIT_SUITES", raising=False)
    _link(tmp_path / "openai/gsm8k/main/test.jsonl", "gsm8k/test.jsonl")
    _link(tmp_path / "openai/gsm8k/main/train.jsonl", "gsm8k/train-first2000.jsonl")
    _link(tmp_path / "haonan-li/cmmlu", "cmmlu")
    _link(tmp_path / "lm-sys/mt_bench/question.jsonl", "mt_bench/question.jsonl")
    for part in PARTS:
        file = tmp_path / f"hails/agieval-{part}/test.jsonl"
        file.parent.mkdir(parents=True)
        rows = map(json.loads, (SHARED / f"agieval/{part}.jsonl").open(encoding="utf-8"))
        file.write_text("".join(json.dumps(_as_on_the_hub(row)) + "\n" for row in rows))
    return tmp_path


def _link(place: Path, source: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(SHARED / source)


def _as_on_the_hub(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of AGIEval's repository in the columns of the hub's copies."""
    query = f"{row['passage'] or ''}Q: {row['question']} Answer Choices: {' '.join(row['options'])}"
    ask = f"{query}\nA: Among A through D, the answer is"
    return {"query": ask, "choices": row["options"], "gold": ["ABCDE".index(row["label"])]}


def opened(name: str, **options: Any) -> Suite:
    run = RunConfig(name="base", model=HFModel(kind="hf", path="o/n"), suites=(name,), **options)
    return open_suite(name, run)


def task_of(config: str, files: Mapping[str, Path], **changes: Any) -> Any:
    """lm-eval's task of a YAML file of its own, over local files instead of the hub."""
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    told = load_yaml(Path(lm_eval.tasks.__file__).parent / config)
    kind = "csv" if next(iter(files.values())).suffix == ".csv" else "json"
    told |= {
        "dataset_path": kind,
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {split: str(path) for split, path in files.items()},
            "cache_dir": str(next(iter(files.values())).parents[2] / "datasets"),
        },
        **changes,
    }
    told.pop("tag", None)
    return ConfigurableTask(config=told)


def requests(task: Any) -> list[Any]:
    """lm-eval's requests for the first documents; all of them would take minutes."""
    task.build_all_requests(limit=FIRST, rank=0, world_size=1)
    return list(task.instances)


def test_gsm8ks_prompts_stops_and_answers_are_those_of_lm_eval(root: Path) -> None:
    suite = opened("math/gsm8k")
    folder = root / "openai/gsm8k/main"
    files = {"test": folder / "test.jsonl", "train": folder / "train.jsonl"}
    first = {"sampler": "first_n", "split": "train"}
    task = task_of("gsm8k/gsm8k.yaml", files, num_fewshot=8, fewshot_config=first)
    asked = requests(task)
    assert [sample.prompt for sample in suite.samples[:FIRST]] == [one.args[0] for one in asked]
    assert (len(suite.samples), len(asked)) == (1319, FIRST)
    assert list(suite.stop) == asked[0].args[1]["until"]
    assert suite.info.license == "MIT"


def test_a_gsm8k_answer_is_right_where_lm_evals_flexible_extract_says_so(root: Path) -> None:
    suite = opened("math/gsm8k")
    folder = root / "openai/gsm8k/main"
    files = {"test": folder / "test.jsonl", "train": folder / "train.jsonl"}
    task = task_of("gsm8k/gsm8k.yaml", files, num_fewshot=0)
    asked = requests(task)
    rng = random.Random(1)
    right = [sample.targets[0] for sample in suite.samples[:FIRST]]
    said = [
        number if rng.random() < 0.5 else str(rng.randrange(99)) for number in right
    ]  # fmt: skip
    endings = [
        " So it is ${}.",
        " I cannot tell.",
        " 3 times 4 is 12.\n#### {}",
        "\n#### {}\n\nThis took 3 steps.",
        " The answer is {}. Check: 48 + 24 = 72, which is 1.5 times 48.",
        " The answer is 5. No: it is {}",
    ]
    texts = [endings[n % len(endings)].format(number) for n, number in enumerate(said)]
    for one, text in zip(asked, texts, strict=True):
        one.resps = [text]
    task.apply_filters()
    theirs = [
        task.process_results(one.doc, [one.filtered_resps["flexible-extract"]])["exact_match"]
        for one in asked
    ]
    ours = [value_of(suite, n, text=text) for n, text in enumerate(texts)]
    assert ours == theirs
    assert 0.1 < sum(ours) / len(ours) < 0.7


def value_of(suite: Suite, place: int, **completion: Any) -> float:
    """The gated metric of one text, or of the likelihoods of one sample's choices."""
    sample = suite.samples[place]
    if "text" in completion:
        said = [Completion(key="k", text=completion["text"], stop_reason="stop")]
    else:
        said = [Completion(key="k", logprobs=(one,)) for one in completion["likelihoods"]]
    scores = {s.scorer: s.value for scorer in suite.scorers for s in scorer.score(sample, said)}
    value = scores[suite.info.metric]
    assert value is not None
    return value


def agrees(suite: Suite, task: Any, start: int = 0) -> None:
    """Hold the requests and accuracies of a suite, from a place on, against those of a task."""
    asked = requests(task)
    by_doc: dict[int, list[Any]] = {}
    for one in asked:
        by_doc.setdefault(one.doc_id, []).append(one)
    rng = random.Random(2)
    for number, (_, group) in enumerate(sorted(by_doc.items())):
        sample = suite.samples[start + number]
        ours = [(sample.prompt, suite.delimiter + choice) for choice in sample.choices]
        assert ours == [one.args for one in sorted(group, key=lambda one: one.idx)]
        said = [rng.gauss(-5, 2) for _ in group]
        theirs = task.process_results(group[0].doc, [(one, False) for one in said])["acc"]
        assert value_of(suite, start + number, likelihoods=said) == float(theirs)
    assert len(by_doc) == FIRST


def test_cmmlus_prompts_and_accuracies_are_those_of_lm_eval(root: Path) -> None:
    suite = opened("exams/cmmlu")
    subjects = list(dict.fromkeys(sample.slices["subject"] for sample in suite.samples))
    assert len(subjects) == 23
    assert ["23 of 67" in note and "anatomy" in note for note in suite.notes] == [True]
    start = 0
    for subject in subjects:
        files = {
            split: root / f"haonan-li/cmmlu/{split}/{subject}.csv" for split in ("dev", "test")
        }
        mine = sum(sample.slices["subject"] == subject for sample in suite.samples)
        if subject in ("agronomy", "college_mathematics", "world_religions"):
            agrees(suite, task_of(f"cmmlu/cmmlu_{subject}.yaml", files, num_fewshot=5), start)
        start += mine
    assert start == len(suite.samples)
    assert suite.info.license == "CC-BY-NC-SA-4.0"


@pytest.mark.parametrize("part", PARTS)
def test_agievals_prompts_and_accuracies_are_those_of_lm_eval(root: Path, part: str) -> None:
    suite = opened(f"exams/agieval-{part}")
    files = {"test": root / f"hails/agieval-{part}/test.jsonl"}
    agrees(suite, task_of(f"agieval/{part}.yaml", files))


def test_cmmlu_in_a_chat_shows_its_own_subjects_examples_as_turns(root: Path) -> None:
    suite = opened("exams/cmmlu-chat")
    prompt = next(s.prompt for s in suite.samples if s.slices["subject"] == "arts")
    assert not isinstance(prompt, str)
    assert [turn.role for turn in prompt] == ["system", *["user", "assistant"] * 5, "user"]
    assert "艺术学" in prompt[0].content
    dev = (SHARED / "cmmlu/dev/arts.csv").read_text(encoding="utf-8")
    assert prompt[1].content.partition("\n")[0] in dev
    right = suite.samples[0].targets[0]
    wide = right.translate(str.maketrans("ABCD", "ＡＢＣＤ"))
    said = [right, f"答案是{wide}。", f"选（{right}）", "我不知道", "ABC", f"E{right}"]
    assert [value_of(suite, 0, text=text) for text in said] == [1, 1, 1, 0, 0, 0]
    wrong = "A" if right != "A" else "B"
    said = [f"{wrong}不对，答案是{right}。", f"{right}\n答案：{wrong}", f"{right}或{wrong}"]
    assert [value_of(suite, 0, text=text) for text in said] == [1, 1, 0]


def test_gsm8k_in_a_chat_asks_once_and_takes_the_last_number(root: Path) -> None:
    suite = opened("math/gsm8k-chat")
    sample = suite.samples[0]
    assert len(sample.prompt) == 1
    assert value_of(suite, 0, text="16 - 3 - 4 = 9, times 2.\n18") == 1.0
    assert value_of(suite, 0, text="18, or rather 19") == 0.0


def test_mt_bench_has_eighty_questions_of_two_turns(root: Path) -> None:
    suite = opened("chat/mt-bench")
    assert len(suite.samples) == 80
    assert {len(sample.then) for sample in suite.samples} == {1}
    assert suite.samples[0].id == "81"
    assert suite.samples[0].then == (
        "Rewrite your previous response. Start every sentence with the letter A.",
    )
