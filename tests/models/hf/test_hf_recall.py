"""A trial that was passed is not repeated for the very same model, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.home import home
from evalkit.models.hf import trials
from tests.models.hf.test_hf_engine import some_requests
from tests.models.hf.tiny_models import Tiny, answers, open_arms


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


def test_a_trial_that_failed_and_a_damaged_note_are_tried_again(
    tiny: Callable[..., Tiny], surveys: list[str]
) -> None:
    for _ in range(2):
        answers(open_arms(tiny("bloom")), some_requests())
    assert surveys == ["BloomForCausalLM"] * 2
    assert not list((home() / "trials").glob("*"))
    answers(open_arms(tiny()), some_requests())
    (note,) = (home() / "trials").glob("*")
    note.write_text("{}", encoding="ascii")
    answers(open_arms(tiny()), some_requests())
    assert surveys[2:] == ["LlamaForCausalLM"] * 2
