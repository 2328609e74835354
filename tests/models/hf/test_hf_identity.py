"""An answer's key: the same for the same question, another for whatever might change a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.models.base import Prepared
from evalkit.models.hf.generation import Rules
from evalkit.models.hf.identity import key_head, keyed
from evalkit.models.hf.texts import Encoded, Ids, Seen
from evalkit.records import Decoding, Request

RULES = Rules(tokenizer=None, stop_ids=frozenset({3, 7}), end_of_turn=4)
SAMPLED = Decoding(temperature=0.7, seed=5)


def asked(request: Request, prompt: Ids = (5, 6), rest: Ids = (), arm: str = "base") -> Prepared:
    encoded = Encoded(Seen.of(prompt, "text"), rest, 0)
    return keyed(request, encoded, key_head({"weights": "w", "adapter": arm}), RULES)


def request(kind: str = "generate", **other: object) -> Request:
    told = {"arm": "base", "suite": "s", "sample_id": "1", "prompt": "p", "decoding": Decoding()}
    return Request(kind=kind, **{**told, **other})  # type: ignore[arg-type]


def test_one_question_has_one_key_whoever_asks_it() -> None:
    same = {
        asked(request()).key,
        asked(request(arm="other")).key,
        asked(request(suite="t", sample_id="2")).key,
        asked(request(decoding=Decoding(seed=9), index=3)).key,  # greedy depends on no seed
    }
    assert len(same) == 1


def test_whatever_determines_the_numbers_is_in_the_key() -> None:
    different = [
        asked(request()),
        asked(request(), prompt=(5, 6, 0)),
        asked(request(), prompt=(56,)),
        asked(request(), arm="tuned"),
        asked(request(decoding=Decoding(max_new_tokens=8))),
        asked(request(decoding=Decoding(stop=("\n",)))),
        asked(request(decoding=Decoding(end_of_turn=False))),
        asked(request(decoding=SAMPLED)),
        asked(request(decoding=replace(SAMPLED, seed=6))),
        asked(request(decoding=replace(SAMPLED, top_p=0.5))),
        asked(request(decoding=SAMPLED, index=1)),
        keyed(
            request(decoding=Decoding(stop=("\n",))),
            Encoded(Seen.of((5, 6), "text"), (), 0),
            key_head({"weights": "w", "adapter": "base"}),
            replace(RULES, special={"\n": 8}),
        ),
        asked(request("loglikelihood"), rest=(8, 9)),
        asked(request("loglikelihood"), prompt=(5, 6, 8), rest=(9,)),
        asked(request("loglikelihood"), rest=(8, 9, 0)),
        asked(request("rolling"), rest=(8, 9)),
        keyed(
            request(),
            Encoded(Seen.of((5, 6), "text"), (), 0),
            key_head({"weights": "w", "adapter": "base"}),
            replace(RULES, repetition_penalty=1.1),
        ),
    ]
    assert len({one.key for one in different}) == len(different)


@pytest.mark.parametrize("ids", [(), (1,), (2**31, 49_151)])
def test_a_prompts_hash_names_its_ids(ids: Ids) -> None:
    one, other = asked(request(), prompt=ids), asked(request("rolling"), prompt=ids, rest=(4,))
    assert one.prompt_hash == other.prompt_hash != asked(request()).prompt_hash
    assert len(one.prompt_hash) == 16
