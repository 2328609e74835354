"""Whatever is asked beside a request, however often and in which order: its answer is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.models.base import Engine
from evalkit.models.hf import open_hf
from evalkit.records import Completion, Decoding, Request
from tests.models.hf.oracle import oracle_of, scoring_requests, writing_requests
from tests.models.hf.tiny_models import Tiny, answers, config, writing

SAMPLED = Decoding(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Two engines on the same arms, one with room for little at once, and all answers, once."""

    engines: tuple[Engine, Engine]
    requests: tuple[Request, ...]
    answers: tuple[Completion, ...]


@pytest.fixture(scope="module", params=["llama", "t5"])
def known(tiny: Callable[..., Tiny], request: pytest.FixtureRequest) -> Known:
    """A base, a LoRA on it, and every kind of request to both."""
    model = tiny(request.param)
    engines = tuple(
        open_hf(
            {
                "base": config(model.model, batch_tokens=tokens),
                "tuned": config(model.model, model.adapter, batch_tokens=tokens),
            },
            offline=True,
        )
        for tokens in (64, 512)
    )
    requests: list[Request] = []
    for arm, oracle in (("base", oracle_of(model.model)), ("tuned", oracle_of(*model))):
        requests += scoring_requests(arm) + writing_requests(arm, oracle)
        requests += [writing("The", SAMPLED, arm, index=index) for index in range(3)]
    assert len(engines) == 2
    return Known(
        engines=engines, requests=tuple(requests), answers=tuple(answers(engines[1], requests))
    )


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_order_subset_and_repetition_change_no_answer(known: Known, data: st.DataObject) -> None:
    everything = range(len(known.requests))
    chosen = data.draw(st.lists(st.sampled_from(everything), min_size=1, max_size=24))
    engine = data.draw(st.sampled_from(known.engines))
    got = answers(engine, [known.requests[index] for index in chosen])
    for index, one in zip(chosen, got, strict=True):
        same = known.answers[index]
        assert one.key == same.key
        assert one.logprobs == pytest.approx(same.logprobs, abs=1e-4)
        assert (one.text, one.token_ids) == (same.text, same.token_ids)
        assert (one.is_greedy, one.stop_reason) == (same.is_greedy, same.stop_reason)
        assert (one.tokens_in, one.truncated) == (same.tokens_in, same.truncated)


def test_all_at_once_in_reverse_and_twice_over(known: Known) -> None:
    for engine in known.engines:
        got = answers(engine, [*reversed(known.requests), *known.requests])
        for one, same in zip(got, [*reversed(known.answers), *known.answers], strict=True):
            assert one.logprobs == pytest.approx(same.logprobs, abs=1e-4)
            assert (one.text, one.is_greedy) == (same.text, same.is_greedy)
