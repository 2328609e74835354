"""Several answers to each question from the local engine: different draws, each computed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.config import DecodingConfig, HFModel, RunConfig
from evalkit.evaluate import evaluate, open_plan, open_suites
from evalkit.records import Run
from evalkit.store.completions import CompletionStore
from tests.models.hf.tiny_models import Tiny

SUITE = "my/words"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    suite = tmp_path / "suites" / SUITE
    suite.mkdir(parents=True)
    (suite / "suite.yaml").write_text(
        "title: Words\nversion: 1\nlanguage: en\nlicense: Apache-2.0\nsource: a test\n"
        "task: generate\nprompt: 'The {word}'\nscorers: [diversity]\nmax_new_tokens: 8\n"
    )
    rows = [{"id": word, "word": word, "target": "x"} for word in ("quick", "lazy")]
    (suite / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("EVALKIT_SUITES", str(tmp_path / "suites"))
    return tmp_path


def drawn(folder: Path, tiny: Tiny, repeats: int) -> tuple[Run, int]:
    """A run with so many answers to each question, and how many of them were computed."""
    config = RunConfig(
        name=f"base-{repeats}",
        model=HFModel(kind="hf", path=str(tiny.model), dtype="float32", device="cpu"),
        suites=(SUITE,),
        chat="never",
        decoding=DecodingConfig(temperature=1.0, repeats=repeats),
    )
    with CompletionStore(folder / "c.sqlite") as store:
        before = store.size().completions
        plan = open_plan([config], open_suites(config), offline=True)
        (run,) = evaluate(plan, store, folder / "runs")
        return run, store.size().completions - before


def test_more_repeats_keep_the_first_answers_and_draw_only_the_others(
    folder: Path, tiny: Callable[..., Tiny]
) -> None:
    few, computed = drawn(folder, tiny(), 2)
    assert computed == 4
    many, more = drawn(folder, tiny(), 6)
    assert more == 8
    for first, whole in zip(few.results, many.results, strict=True):
        texts = [one.text for one in whole.completions]
        assert len(set(texts)) > 3, "these are draws, not one text over and over"
        assert [one.text for one in first.completions] == texts[:2]
        score = next(one for one in whole.scores if one.scorer == "distinct_1")
        assert 0 < len(score.values) <= 6
        assert score.value == pytest.approx(sum(score.values) / len(score.values))
    assert drawn(folder, tiny(), 6)[1] == 0
