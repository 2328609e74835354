"""The page that holds lm-eval's numbers against evalkit's, and the tasks it asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harnesses
from benchmarks.harnesses import (
    ARMS,
    CHAT,
    PLAIN,
    WAYS,
    Job,
    answer_rows,
    measured,
    metric_rows,
    page,
    parsed,
    read,
    write_tasks,
)

SHARED = Path(__file__).parents[2] / "shared" / "data"


def job(acc: float, text: str = "Paris", nats: float = -1.5) -> dict[str, Any]:
    return {
        "metrics": {"t": {"alias": "t", "acc,none": acc, "acc_stderr,none": "N/A"}},
        "answers": {"t": {0: [nats]}, "w": {0: [text]}},
        "seconds": 3.0,
    }


def jobs(**other: Any) -> dict[str, Any]:
    names = [f"{way}-{arm}-plain" for way in WAYS for arm in ARMS]
    return {name: job(0.25) for name in names} | other


def test_a_number_that_is_printed_otherwise_is_said_to_differ() -> None:
    rows = metric_rows(jobs())
    assert [row["metric"] for row in rows] == ["acc,none", "acc_stderr,none"]
    assert all(row["equal"] for row in rows)
    rows = metric_rows(jobs(**{"evalkit-tuned-plain": job(0.2501)}))
    assert [row["equal"] for row in rows] == [False, True]
    assert rows[0]["said"]["evalkit-tuned"] == "0.2501"
    assert metric_rows(jobs(**{"evalkit-base-plain": job(0.25 + 1e-9)}))[0]["equal"]


def test_answers_are_held_side_by_side() -> None:
    other = job(0.25, text="Rome", nats=-1.25)
    rows = answer_rows(jobs(**{"evalkit-tuned-plain": other}))
    found = {(row["task"], row["arm"]): row for row in rows}
    assert (found["t", "base"]["nats"], found["t", "tuned"]["nats"]) == (0, 0.25)
    assert (found["w", "base"]["texts"], found["w", "base"]["equal_texts"]) == (1, 1)
    assert (found["w", "tuned"]["texts"], found["w", "tuned"]["equal_texts"]) == (1, 0)


def test_the_page_tells_what_differs() -> None:
    asked = parsed(["m", "a", "d", "--limit", "7"])
    told = page(measured(jobs(**{"evalkit-base-plain": job(0.5)}), asked))
    assert "| `t` | acc,none | 0.2500 | 0.5000 | 0.2500 | 0.2500 | **differs** |" in told
    assert "up to 7 rows" in told
    assert "| `t` | tuned | 1 | 0.0e+00 |  |" in told
    assert "| `w` | tuned | 1 | 0.0e+00 | 1 of 1 |" in told


@pytest.mark.parametrize(
    ("theirs", "ours", "control", "rounding"),
    [
        (5.0921, 5.0920, 5.0920, True),
        (5.0921, 5.0920, 5.0921, False),
        (5.0921, 6.0, 5.0920, False),
        ("N/A", 5.0920, 5.0920, False),
    ],
)
def test_what_lm_eval_says_otherwise_itself_is_rounding(
    monkeypatch: pytest.MonkeyPatch, theirs: Any, ours: float, control: float, rounding: bool
) -> None:
    asked_of: list[str] = []

    def run(one: Job, _asked: Any) -> Path:
        asked_of.append(one.name)
        assert one.some == ("bench_gsm8k_text",)
        assert "bench_gsm8k_text" in one.command(asked)
        return Path(one.name)

    def told(value: Any) -> dict[str, Any]:
        return {"metrics": {"bench_gsm8k_text": {"word_perplexity,none": value}}, "answers": {}}

    monkeypatch.setattr(harnesses, "run", run)
    monkeypatch.setattr(harnesses, "read", lambda _: told(control))
    asked = parsed(["m", "a", "d"])
    found = {f"{way}-base-plain": told(theirs if way == "hf" else ours) for way in WAYS}
    found |= {f"{way}-tuned-plain": told(7.0) for way in WAYS}
    rows = metric_rows(found)
    harnesses.ask_control(rows, asked)
    assert asked_of == ["hf-4-base-plain", "hf-4-tuned-plain"]
    assert (rows[0]["equal"], rows[0]["rounding"]) == (False, rounding)


def test_both_ways_get_one_command_line(tmp_path: Path) -> None:
    asked = parsed(["m", "a", "d", "--work", str(tmp_path)])
    for arm in ARMS:
        theirs, ours = (Job(way=way, arm=arm, chat=True).command(asked) for way in WAYS)
        (name, folder) = ((a, b) for a, b in zip(theirs, ours, strict=True) if a != b)
        assert name == ("hf", "evalkit")
        assert folder == tuple(str(tmp_path / f"{way}-{arm}-chat") for way in WAYS)
        assert ",".join(CHAT) in ours
        assert any(("peft=a" in word) == (arm == "tuned") for word in ours if "pretrained=" in word)


def test_results_are_read_as_lm_eval_writes_them(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    told = {
        "results": {"t": {"acc,none": 0.5}},
        "groups": {"g": {"acc,none": 0.5}},
        "configs": {
            "t": {"output_type": "multiple_choice"},
            "w": {"output_type": "generate_until"},
        },
    }
    (tmp_path / "m" / "results_2026-01-01T00-00-00.json").write_text(json.dumps(told))
    for name, resps in (("t", [[["-1.5", "False"]], [["-2.0", "True"]]]), ("w", [["42"]])):
        row = {"doc_id": 3, "filter": "none", "resps": resps}
        file = tmp_path / "m" / f"samples_{name}_2026-01-01T00-00-00.jsonl"
        file.write_text(json.dumps(row) + "\n")
    (tmp_path / "done.json").write_text('{"command": [], "seconds": 2.5}')
    found = read(tmp_path)
    assert set(found["metrics"]) == {"t", "g"}
    assert found["answers"] == {"t": {3: [-1.5, -2.0]}, "w": {3: ["42"]}}
    assert found["seconds"] == 2.5


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data sets of ../shared/data")
@pytest.mark.filterwarnings("ignore")
def test_every_task_reads_its_data_and_gives_lm_evals_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.harnesses.lm_eval_model import register
    from tests.harnesses.lm_eval_files import run_tasks
    from tests.models.hf import tiny_models

    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    register()
    longer = {**tiny_models.SIZES, "max_position_embeddings": 1024}  # for passages and choices
    monkeypatch.setattr(tiny_models, "LENGTH", 1024)
    monkeypatch.setitem(tiny_models.ARCHITECTURES, "llama", ("LlamaConfig", longer))
    tiny_models.make_model(tmp_path / "model", "llama")
    write_tasks(tmp_path / "tasks", SHARED)
    for tasks, chat in ((PLAIN, False), (CHAT, True)):
        given = {"pretrained": str(tmp_path / "model"), "dtype": "float32"}
        ways = [
            run_tasks(
                way,
                dict(given),
                tmp_path / "tasks",
                tasks=list(tasks),
                limit=2,
                apply_chat_template=chat,
                gen_kwargs="max_gen_toks=8",
            )
            for way in WAYS
        ]
        theirs, ours = ways
        assert ours["results"].keys() == theirs["results"].keys()
        for task, metrics in theirs["results"].items():
            for name, value in metrics.items():
                same = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
                assert ours["results"][task][name] == same, (task, name)
