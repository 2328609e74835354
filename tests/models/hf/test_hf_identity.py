"""An answer's key: the same for the same question, another for whatever might change a number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evalkit.models.base import Prepared
from evalkit.models.hf import identity, open_hf
from evalkit.models.hf.generation import Rules
from evalkit.models.hf.identity import key_stem, keyed
from evalkit.models.hf.texts import Encoded, Ids, Seen
from evalkit.records import Decoding, Request
from tests.models.hf.tiny_models import Tiny, config, open_arms

RULES = Rules(tokenizer=None, stop_ids=frozenset({3, 7}), end_of_turn=4)
SAMPLED = Decoding(temperature=0.7, seed=5)


def asked(
    request: Request,
    prompt: Ids = (5, 6),
    rest: Ids = (),
    arm: str = "base",
    rules: Rules = RULES,
    reach: int = 64,
) -> Prepared:
    encoded = Encoded(Seen.of(prompt, "text"), rest, 0)
    return keyed(request, encoded, key_stem({"weights": "w", "adapter": arm}), rules, reach)


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
        asked(request(decoding=Decoding(stop=("\n",))), rules=replace(RULES, special={"\n": 8})),
        asked(request("loglikelihood"), rest=(8, 9)),
        asked(request("loglikelihood"), prompt=(5, 6, 8), rest=(9,)),
        asked(request("loglikelihood"), rest=(8, 9, 0)),
        asked(request("rolling"), rest=(8, 9)),
        asked(request("rolling"), rest=(8, 9), reach=32),
        asked(request(), rules=replace(RULES, repetition_penalty=1.1)),
    ]
    assert len({one.key for one in different}) == len(different)


def test_how_long_a_prompt_might_be_decides_its_tokens_alone() -> None:
    for kind, rest in (("generate", ()), ("loglikelihood", (8, 9)), ("whole", (8,))):
        short, long = (asked(request(kind), rest=rest, reach=reach).key for reach in (32, 64))
        assert short == long


def told(tiny: Callable[..., Tiny], **given: object) -> dict[str, str]:
    """What the engine of a tiny model says it is, beside its adapter."""
    return dict(open_arms(tiny(), **given).fingerprints("tuned"))


def test_a_real_engines_parts_are_in_every_key(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each field of the fingerprints changes the head of the keys, but those that the ids tell."""
    plain = told(tiny)
    heads = {
        name: key_stem({**plain, name: "another"}).hexdigest() != key_stem(plain).hexdigest()
        for name in plain
    }
    assert [name for name, changes in heads.items() if not changes] == ["template", "max_length"]
    assert set(heads) == {
        *("engine", "weights", "config", "adapter", "tokenizer", "template", "dtype"),
        *("quantization", "device", "max_length", "packages"),
    }
    assert told(tiny, dtype="bfloat16")["dtype"] == "bfloat16" != plain["dtype"]
    for package in ("torch", "transformers", "peft"):
        assert f"{package}==" in plain["packages"]
    assert "bitsandbytes==" not in plain["packages"]
    assert "bitsandbytes==" in told(tiny, quantization="nf4")["packages"]
    monkeypatch.setattr(identity, "_version", lambda name: "0.0" if name == "torch" else "1")
    assert "torch==0.0" in told(tiny)["packages"]
    capability = torch.backends.cpu.get_cpu_capability
    assert capability() in plain["device"], "another instruction set rounds otherwise"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    assert told(tiny)["device"] != plain["device"]


@pytest.mark.parametrize(
    ("stored", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes=="),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel=="),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors=="),
    ],
)
def test_weights_that_are_stored_quantised_depend_on_their_library(
    tiny: Callable[..., Tiny], tmp_path: Path, stored: dict[str, object], package: str
) -> None:
    folder = shutil.copytree(tiny().model, tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, "quantization_config": stored}))
    engine = open_hf({"base": config(folder)}, offline=True)
    assert package in engine.fingerprints("base")["packages"]


@pytest.mark.parametrize("ids", [(), (1,), (2**31, 49_151)])
def test_a_prompts_hash_names_its_ids(ids: Ids) -> None:
    one, other = asked(request(), prompt=ids), asked(request("rolling"), prompt=ids, rest=(4,))
    assert one.prompt_hash == other.prompt_hash != asked(request()).prompt_hash
    assert len(one.prompt_hash) == 16
