"""A trial that was passed is not repeated for the very same model, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.home import home
from evalkit.models.hf import open_hf, trials
from tests.models.hf.test_hf_adapter_kinds import settings
from tests.models.hf.test_hf_engine import some_requests
from tests.models.hf.tiny_models import (
    Tiny,
    answers,
    config,
    likelihood,
    make_tuned,
    open_arms,
    writing,
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were surveyed, by their class."""
    found: list[str] = []
    survey = trials.survey

    def counted(network: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(type(network.model).__name__)
        return survey(network, *args, **kwargs)

    monkeypatch.setattr(trials, "survey", counted)
    return found


def test_a_second_start_takes_the_shortcuts_at_once(
    tiny: Callable[..., Tiny], surveys: list[str]
) -> None:
    requests = some_requests()
    first = answers(open_arms(tiny()), requests)
    second = answers(open_arms(tiny()), requests)
    assert surveys == ["LlamaForCausalLM"]
    assert [one.text for one in first] == [one.text for one in second]
    assert [one.logprobs for one in first] == [one.logprobs for one in second]
    answers(open_arms(tiny("qwen2")), requests)
    answers(open_arms(tiny(), dtype="bfloat16"), requests)
    assert len(surveys) == 3


@pytest.mark.parametrize("architecture", ["gemma2", "phi3", "gpt2"])
def test_a_recalled_trial_gives_the_very_numbers_of_the_first(
    tiny: Callable[..., Tiny], surveys: list[str], architecture: str
) -> None:
    """Soft caps, heads without a name, learned positions: each is recalled as it was found."""
    requests = some_requests()
    first, second = (answers(open_arms(tiny(architecture)), requests) for _ in range(2))
    assert len(surveys) == 1
    assert [one.logprobs for one in first] == [one.logprobs for one in second]
    assert [one.text for one in first] == [one.text for one in second]


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_a_plan_counts_what_is_read_as_soon_as_the_model_was_tried(
    tiny: Callable[..., Tiny], architecture: str
) -> None:
    """A model that reads texts whole reads shared starts as often as they are asked."""
    requests = [likelihood(f"The quick brown fox {n}", " A") for n in range(20)]
    engine = open_arms(tiny(architecture))
    batches = engine.batches(engine.prepare(requests))
    before = engine.outline(batches)
    assert before.assumed
    assert before.read_tokens == before.unique_tokens < before.tokens
    answers(engine, requests[:1])
    after = engine.outline(batches)
    assert not after.assumed
    assert after.unique_tokens == before.unique_tokens
    reads_whole = architecture == "bloom"
    assert after.read_tokens == (after.tokens - 20 * 1 if reads_whole else after.unique_tokens)
    assert ((after.seconds or 0) > (before.seconds or 0)) or not reads_whole


def test_a_soft_prompt_is_known_to_read_texts_whole_before_it_is_loaded(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    adapter = make_tuned(tiny().model, tmp_path / "soft", settings("prompt tuning", "llama"))
    arms = {"base": config(tiny().model), "tuned": config(tiny().model, adapter)}
    engine = open_hf(arms, offline=True)
    asked = [likelihood(f"The quick brown fox {n}", " A", arm) for arm in arms for n in range(20)]
    outline = engine.outline(engine.batches(engine.prepare(asked)))
    assert outline.unique_tokens < outline.read_tokens < outline.tokens


def test_reading_a_prompt_is_no_decoding_where_texts_are_written_alone(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny("bloom"))
    (one,) = answers(engine, [writing("The quick brown fox")])
    told = engine.measures("base")
    assert told["tokens_prefilled"] == one.tokens_in
    assert told["tokens_generated"] == one.tokens_out - 1, "the first came with the prompt"
    assert told["prefill_seconds"] > 0


def test_a_trial_that_failed_and_a_damaged_note_are_tried_again(
    tiny: Callable[..., Tiny], surveys: list[str]
) -> None:
    for _ in range(2):
        answers(open_arms(tiny("bloom")), some_requests())
    assert surveys == ["BloomForCausalLM"] * 2
    (failed,) = (home() / "trials").glob("*")
    answers(open_arms(tiny()), some_requests())
    (note,) = set((home() / "trials").glob("*")) - {failed}
    note.write_text("{}", encoding="ascii")
    answers(open_arms(tiny()), some_requests())
    assert surveys[2:] == ["LlamaForCausalLM"] * 2
