"""A local judge is scored, not read: probabilities of the options, in both orders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evalkit.config import ModelJudge
from evalkit.errors import ModelError
from evalkit.judges.asking import estimate, judge
from evalkit.judges.local import softmax
from evalkit.judges.preferences import preferences
from evalkit.judges.rendering import pairwise_options, pointwise_options
from evalkit.store.completions import CompletionStore
from tests.judges.asked import config, graded, job
from tests.models.hf.tiny_models import make_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    make_model(folder, "llama")
    settings = json.loads((folder / "config.json").read_text())
    settings["max_position_embeddings"] = 16_384  # enough for a whole question
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def local(path: Path, **told: Any) -> ModelJudge:
    """A random judge that can read a whole question, unless told otherwise."""
    own = {"dtype": "float32", "device": "cpu"}
    model = {"kind": "hf", "path": str(path), **own, **told}
    return ModelJudge.model_validate({"name": "tiny", "model": model})


def test_probabilities_of_the_options_are_those_of_transformers(
    tiny: Path, store: CompletionStore
) -> None:
    """Held against the model's own softmax over the next token, by hand."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    jobs = [job([graded("up", 2, 7)]), job([graded("up", 2, 7)], protocol="pointwise", suite="x")]
    done = judge(jobs, config(local(tiny)), store, offline=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    assert len(done.judgements) == 4
    for one in done.judgements:
        asked = next(job for job in jobs if job.suite == one.suite)
        options = (
            pairwise_options(asked.matters[0], asked.rubric, one.order)
            if one.order
            else pointwise_options(asked.matters[0], asked.rubric, one.arm or "base")
        )
        turns = [{"role": turn.role, "content": turn.content} for turn in options.prompt]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = [
            tokenizer(text + each, add_special_tokens=False)["input_ids"]
            for each in options.continuations
        ]
        assert len({tuple(each[:-1]) for each in ids}) == 1, "one token each, on one prompt"
        with torch.inference_mode():
            logits = model(torch.tensor([ids[0][:-1]])).logits[0, -1]
        shares = torch.softmax(logits[[each[-1] for each in ids]], dim=0).tolist()
        expected = sum(s * u for s, u in zip(shares, options.utilities, strict=True))
        assert one.value == pytest.approx(
            1 - expected if one.order == "base_first" else expected, abs=1e-4
        )
    assert done.judgements[0].level in ("better", "tie", "worse")


def test_probabilities_of_both_orders_are_averaged(tiny: Path, store: CompletionStore) -> None:
    done = judge([job([graded("up", 2, 7)])], config(local(tiny)), store, offline=True)
    (one,) = preferences(done.judgements)
    both = [each.value or 0.0 for each in done.judgements]
    assert all(0 < value < 1 for value in both)
    assert one.value == pytest.approx(sum(both) / 2)


def test_scores_are_not_repeated_for_they_are_the_same(tiny: Path, store: CompletionStore) -> None:
    how = config(local(tiny), repeat=3, temperature=0.5)
    done = judge([job([graded("up", 2, 7)])], how, store, offline=True)
    assert [(one.order, one.repeat) for one in done.judgements] == [
        ("base_first", 0), ("tuned_first", 0),
    ]  # fmt: skip


def test_what_is_stored_is_not_scored_again(tiny: Path, store: CompletionStore) -> None:
    jobs, how = [job([graded("up", 2, 7), graded("down", 7, 2)])], config(local(tiny))
    (told,) = estimate(jobs, how, store, offline=True)
    assert (told.calls, told.stored, told.cost) == (4, 0, None)
    assert told.tokens_in > 1000
    first = judge(jobs, how, store, offline=True)
    assert (first.spent["tiny"].calls, first.spent["tiny"].cost) == (4, None)
    again = judge(jobs, how, store, offline=True)
    assert again.judgements == first.judgements
    assert (again.spent["tiny"].calls, again.spent["tiny"].stored) == (0, 4)


def test_a_question_that_does_not_fit_is_an_error_and_no_verdict(
    tiny: Path, store: CompletionStore
) -> None:
    jobs = [job([graded("up", 2, 7)])]
    done = judge(jobs, config(local(tiny, max_length=64)), store, offline=True)
    assert {one.status for one in done.judgements} == {"error"}
    assert all("tokens longer than this judge can read" in one.error for one in done.judgements)


@pytest.mark.slow
def test_a_random_model_fails_the_probes(tiny: Path, store: CompletionStore) -> None:
    how = config(local(tiny), probes="refuse")
    with pytest.raises(ModelError, match="'tiny' fails the known-answer probes"):
        judge([job([graded("up", 2, 7)])], how, store, offline=True)


def test_softmax_takes_differences_alone() -> None:
    shares = softmax([-1000.0, -1000.0 + math.log(3)])
    assert shares == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    "told", [{"reasoning": True}, {"max_new_tokens": 64}, {"structured": "never"}]
)
def test_how_a_verdict_is_written_is_no_matter_of_a_local_judge(told: dict[str, object]) -> None:
    model = {"kind": "hf", "path": "some/model"}
    (name,) = told
    with pytest.raises(ValidationError, match=f"{name} is of judges that write their verdict"):
        ModelJudge.model_validate({"kind": "model", "name": "j", "model": model, **told})
    assert ModelJudge.model_validate({"name": "j", "model": model}).max_new_tokens == 768
