"""Tasks that come with lm-eval, over their real data: GSM8K, and subjects of CMMLU as a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harnesses.lm_eval_tasks import lm_eval, number, run_arms, scores, write_yaml
from tests.models.hf.tiny_models import Tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations

DATA = Path(__file__).parents[3] / "shared" / "data"
SUBJECTS = ("arts", "agronomy", "college_mathematics")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """lm-eval's own files, but that the data lies here."""
    if not DATA.is_dir():
        pytest.skip("needs the benchmarks of ../shared/data")
    from lm_eval import tasks

    assert tasks.__file__ is not None
    own = Path(tasks.__file__).parent
    here = DATA / "gsm8k"
    files = {"train": str(here / "train-first2000.jsonl"), "test": str(here / "test.jsonl")}
    write_yaml(tmp_path, "gsm8k", _over(own / "gsm8k/gsm8k.yaml", "gsm8k_here", "json", files))
    for subject in SUBJECTS:
        files = {split: str(DATA / "cmmlu" / split / f"{subject}.csv") for split in ("dev", "test")}
        told = _over(own / f"cmmlu/cmmlu_{subject}.yaml", f"{subject}_here", "csv", files)
        write_yaml(tmp_path, subject, told)
    members = [f"{subject}_here" for subject in SUBJECTS]
    metrics = [{"metric": "acc", "weight_by_size": True}]
    write_yaml(
        tmp_path,
        "cmmlu",
        {"group": "cmmlu_here", "task": members, "aggregate_metric_list": metrics},
    )
    return tmp_path


def _over(theirs: Path, name: str, kind: str, files: dict[str, str]) -> dict[str, Any]:
    return {
        "include": str(theirs),
        "task": name,
        "dataset_path": kind,
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }


def test_gsm8k_is_lm_evals(long_tiny: Tiny, folder: Path) -> None:
    short = {"max_gen_toks": 16}
    run = run_arms(long_tiny, folder, ["gsm8k_here"], limit=12, lm_eval={"gen_kwargs": short})
    theirs = lm_eval(long_tiny, "tuned", folder, ["gsm8k_here"], limit=12, gen_kwargs=short)
    (info,) = run["tuned"].manifest.suites
    assert [one.name for one in info.metrics] == [
        "exact_match,strict-match",
        "exact_match,flexible-extract",
    ]
    assert "task version 3.0, 5-shot" in info.description
    assert (info.samples, info.available) == (12, 1319)
    for metric in info.metrics:
        found = number(run["tuned"], "gsm8k_here", metric.name)
        assert found == theirs.table["gsm8k_here"][metric.name]
    texts = [result.completions[0].text for result in run["tuned"].results]
    by_filter = [one for one in theirs.samples["gsm8k_here"] if one["filter"] == "strict-match"]
    assert texts == [one["resps"][0][0] for one in by_filter]


def test_cmmlu_is_lm_evals(long_tiny: Tiny, folder: Path) -> None:
    run = run_arms(long_tiny, folder, ["cmmlu_here"], limit=20, lm_eval={"num_fewshot": 2})["base"]
    theirs = lm_eval(long_tiny, "base", folder, ["cmmlu_here"], limit=20, num_fewshot=2)
    found = number(run, "cmmlu_here", "acc")
    assert found == pytest.approx(theirs.table["cmmlu_here"]["acc,none"], rel=1e-12)
    for subject in SUBJECTS:
        task = f"{subject}_here"
        own = [one.value for one in scores(run, "cmmlu_here", "acc", f"task={task}")]
        assert own == [one["acc"] for one in theirs.samples[task]]
        assert 0 < sum(filter(None, own)) < 20
