"""Where a text of lm-eval's tasks ends, and what of it is the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.records import Run
from tests.harnesses.lm_eval_tasks import lm_eval, mean, questions, run_arms, scores, write_task
from tests.models.hf.tiny_models import TEMPLATE, Tiny, make_adapter, make_model

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations

WRITING: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "text",
    "metric_list": [mean("exact_match")],
}


def model(folder: Path, template: str) -> Tiny:
    made = folder / "model"
    make_model(made, "llama")
    (made / "chat_template.jinja").write_text(template)
    return Tiny(made, make_adapter(made, folder / "lora"))


def write(folder: Path, name: str, *until: str) -> None:
    told = {"until": list(until), "max_gen_toks": 30, "do_sample": False}
    write_task(folder, name, questions(24), generation_kwargs=told, **WRITING)


def texts(run: Run, task: str) -> list[str]:
    return [
        one.text
        for result in run.results
        if result.sample.suite == f"lm_eval:{task}"
        for one in result.completions
    ]


def test_a_text_ends_where_lm_eval_ends_it(tmp_path: Path) -> None:
    # A template that ends a turn by a token which the model's own files do not name.
    own = model(tmp_path, TEMPLATE.replace("<|im_end|>", "<|im_start|>"))
    write(tmp_path, "free", "zz")
    write(tmp_path, "marked", "<|im_start|>")
    run = run_arms(own, tmp_path, ["free", "marked"])["base"]
    theirs = lm_eval(own, "base", tmp_path, ["free", "marked"])
    for task in ("free", "marked"):
        assert texts(run, task) == [one["resps"][0][0] for one in theirs.samples[task]]
    pairs = list(zip(texts(run, "free"), texts(run, "marked"), strict=True))
    assert any(long != short and long.startswith(short) for long, short in pairs)


def test_what_is_cut_off_while_thinking_is_truncated_and_not_wrong(tmp_path: Path) -> None:
    # The prompt begins the thinking, and a random model never ends it.
    own = model(tmp_path, TEMPLATE.replace("assistant\n", "assistant\n<think>\n"))
    make = {"chat": "always", "limit": 6}
    write(tmp_path, "pondering", "e", "a", "\n")
    run = run_arms(own, tmp_path, ["pondering"], **make)["base"]
    for result in run.results:
        (completion,), (score,) = result.completions, result.scores
        if completion.tokens_out == 30:
            assert (completion.stop_reason, completion.text) == ("thinking", "")
            assert score.value is None
            assert score.reason.startswith("truncated")
    cut = [result.completions[0].thinking for result in run.results]
    assert any({*one} & {*"ea\n"} for one in cut), "a stop string within the thinking ends nothing"
    kept = run_arms(own, tmp_path, ["pondering"], reasoning="none", **make)["base"]
    assert [one.value for one in scores(kept, "pondering", "exact_match")] == [0.0] * 6
    assert all(len(one) < len(other) for one, other in zip(texts(kept, "pondering"), cut,
                                                           strict=True))  # fmt: skip
