"""Whole texts: every token but the first is scored, as if each text were read alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from evalkit.models.base import Engine
from evalkit.models.hf import answering, network, open_hf, openings
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.network import read_on
from evalkit.models.hf.sizes import size
from evalkit.records import Request
from tests.models.hf.oracle import CLOSE, Oracle
from tests.models.hf.tiny_models import Tiny, answers, config, likelihood, some_text

SHOT = "What is A? A is B.\n"
WORDS = ("Paris", "北京", "the dog", "B", "42", "🙂", "fox", "A", "今天", "é")


def whole(text: str, arm: str = "base") -> Request:
    return Request(arm=arm, suite="tiny", sample_id="0", kind="whole", prompt="", continuation=text)


def texts() -> list[str]:
    """Few-shot choices on a start, more on a longer one that begins with it, and texts apart."""
    rng = random.Random(5)
    pairs = [(word, other) for word in WORDS for other in WORDS]
    choices = (" A", " the dog.", "？北京")
    questions = [SHOT * 2 + f"{a} {b}? It is{c}" for a, b in pairs[::2] for c in choices]
    questions += [SHOT * 4 + a + b + c for a, b in pairs for c in choices]
    return [*questions, *(some_text(rng, 2, 20) for _ in range(8)), "the lazy dog. " * 30, "Who?"]


def open_wide(tiny: Tiny, **fields: Any) -> Engine:
    return open_hf(
        {
            "base": config(tiny.model, **fields),
            "tuned": config(tiny.model, tiny.adapter, **fields),
        },
        offline=True,
    )


def expected(oracle: Oracle, text: str, room: int) -> tuple[list[float], bool]:
    """What a plain forward gives of the tokens that the tokenizer makes of a text."""
    ids: Sequence[int] = oracle.tokenizer(text)["input_ids"]
    if len(ids) > room:  # as transformers cuts on the left: special tokens stay
        oracle.tokenizer.truncation_side = "left"
        ids = oracle.tokenizer(text, truncation=True, max_length=room)["input_ids"]
    return oracle.scored(ids[:1], ids[1:])


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_token_but_the_first_is_scored_as_a_plain_forward_scores_it(
    tiny: Callable[..., Tiny], architecture: str, bos: bool
) -> None:
    made = tiny(architecture, bos=bos)
    engine = open_wide(made, batch_tokens=64)
    asked = [whole(text, arm) for arm in ("base", "tuned") for text in texts()]
    found = answers(engine, asked)
    for arm, adapter in (("base", None), ("tuned", made.adapter)):
        oracle = Oracle(made.model, adapter)
        mine = [one for request, one in zip(asked, found, strict=True) if request.arm == arm]
        for text, one in [*zip(texts(), mine, strict=True)][::9]:  # their neighbours beside them
            values, greedy = expected(oracle, text, oracle.room)
            assert one.error == ""
            assert one.logprobs == pytest.approx(values, abs=CLOSE)
            assert one.is_greedy == greedy
            assert len(one.token_ids) == len(one.logprobs)


def test_shared_starts_are_read_once_and_nested_ones_go_on_from_each_other(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_wide(tiny("llama"), batch_tokens=64)
    asked = [whole(text) for text in texts()]
    batches = engine.batches(list({one.key: one for one in engine.prepare(asked)}.values()))
    trunks = {(batch.rows[0][0].prompt_ids[: batch.shared]) for batch in batches if batch.shared}
    assert len(trunks) > 1
    assert any(one != other and other[: len(one)] == one for one in trunks for other in trunks)
    outline = engine.outline(batches)
    assert outline.unique_tokens < outline.tokens
    assert size(batches, 64).reads == outline.unique_tokens


def test_a_shared_start_is_read_once_for_its_scores_and_its_keys_in_parts(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[int, tuple[int, ...]]] = []

    def noted(network: Any, cache: Any, ids: Any, known: int, most: int, **how: Any) -> Any:
        for part, chunks in read_on(network, cache, ids, known, most, **how):
            parts.append((part.stop - part.start, ids[: part.stop]))
            yield part, chunks

    for module in (openings, network):
        monkeypatch.setattr(module, "read_on", noted)
    monkeypatch.setattr(answering, "LEAST", 16)
    made, asked = tiny("llama"), texts()
    engine = open_wide(made, batch_tokens=64)
    assert isinstance(engine, HFEngine)
    engine._answering.budget = replace(engine._answering.budget, score_tokens=16)
    found = answers(engine, [whole(text) for text in asked])
    assert max(size for size, _ in parts) == 16
    assert len({start for _, start in parts}) == len(parts) > 2
    oracle = Oracle(made.model, None)
    for text, one in [*zip(asked, found, strict=True)][::9]:
        assert one.logprobs == pytest.approx(expected(oracle, text, oracle.room)[0], abs=CLOSE)


def test_a_text_of_one_token_has_nothing_to_score(tiny: Callable[..., Tiny]) -> None:
    (one,) = answers(open_wide(tiny("llama")), [whole("A")])
    assert one.error == "the text has fewer than two tokens"


def test_a_whole_text_and_a_continuation_of_equal_tokens_are_two_answers(
    tiny: Callable[..., Tiny],
) -> None:
    prepared = open_wide(tiny("llama")).prepare([whole("What is A"), likelihood("What is", " A")])
    assert prepared[0].prompt_ids + prepared[0].continuation_ids == (
        prepared[1].prompt_ids + prepared[1].continuation_ids
    )
    assert prepared[0].key != prepared[1].key
