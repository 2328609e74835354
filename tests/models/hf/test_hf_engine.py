"""The engine: keys, batches, texts, memory; a value does not depend on who was computed beside."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.errors import ModelError
from evalkit.models.base import Batch
from evalkit.models.hf import base_identity, open_hf
from evalkit.models.hf.loading import quiet
from evalkit.models.hf.memory import cache_bytes
from evalkit.models.hf.plan import width
from evalkit.models.hf.sizes import windows
from evalkit.records import Decoding, Message, Request
from evalkit.thinking import cut_at
from tests.models.hf.tiny_models import (
    TEMPLATE,
    Tiny,
    answers,
    config,
    fuzzed_pairs,
    likelihood,
    make_tokenizer,
    model_config,
    open_arms,
    rolling,
    writing,
)

SHOTS = "".join(f"What is {n}? {n} is what jumps over the lazy dog.\n" for n in range(4))
SAMPLED = Decoding(max_new_tokens=10, temperature=1.0, top_p=0.9, seed=4)


def some_requests(arm: str = "base") -> list[Request]:
    """Every kind of request, with prompts that share their starts and prompts that do not."""
    shared = [
        likelihood(SHOTS[:90] + question, choice, arm)
        for question in ("What is A?", "What is 北京?", "Who?")
        for choice in (" A", " B", " the lazy dog.", "今天天气很好")
    ]
    apart = [likelihood(*pair, arm=arm) for pair in fuzzed_pairs(3, 12)]
    texts = [rolling("Hello 🙂 " * n, arm) for n in (1, 5, 30)]
    written = [writing(p, arm=arm) for p in ("The", "今天天气", "What is the capital of France?")]
    return [*shared, *apart, *texts, *written, writing("The", SAMPLED, arm)]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, evalkit.models.hf; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("level", "heard"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_the_libraries_are_heard_where_evalkits_own_debugging_is_on(
    caplog: pytest.LogCaptureFixture, level: int, heard: bool
) -> None:
    caplog.set_level(level, logger="evalkit")
    caplog.set_level(logging.WARNING, logger="transformers")
    with quiet():
        assert logging.getLogger("transformers").isEnabledFor(logging.WARNING) is heard
    assert logging.getLogger("transformers").isEnabledFor(logging.WARNING)


def test_weights_are_not_loaded_before_something_is_computed(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    engine.batches(engine.prepare(some_requests()))
    assert engine.measures("base")["load_seconds"] == 0
    answers(engine, [likelihood("The", " A")])
    assert engine.measures("base")["load_seconds"] > 0
    engine.close()
    engine.close()
    (again,) = answers(engine, [likelihood("The", " A")])
    assert again.logprobs, "a closed engine loads again when it is asked"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_order_subset_and_neighbours_do_not_change_a_value(
    tiny: Callable[..., Tiny], architecture: str
) -> None:
    engine = open_arms(tiny(architecture))
    requests = some_requests()
    together = {c.key: c for c in answers(engine, requests)}
    shuffled = random.Random(1).sample(requests, len(requests))
    alone = [next(engine.complete(Batch.of([item]))) for item in engine.prepare(shuffled)]
    for one in [*answers(engine, shuffled), *answers(engine, shuffled[:9]), *alone]:
        same = together[one.key]
        assert (one.text, one.token_ids, one.is_greedy) == (
            same.text,
            same.token_ids,
            same.is_greedy,
        )
        assert one.logprobs == pytest.approx(same.logprobs, abs=1e-4)


def test_a_small_token_budget_gives_the_same_values(tiny: Callable[..., Tiny]) -> None:
    wide = answers(open_arms(tiny()), some_requests("tuned"))
    narrow = answers(open_arms(tiny(), batch_tokens=64), some_requests("tuned"))
    for one, other in zip(wide, narrow, strict=True):
        assert one.key == other.key, "how work is cut is no part of the key"
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.text == other.text


def test_a_shared_start_is_read_once(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    requests = [likelihood(SHOTS[:90] + q, c) for q in "ABCD" for c in (" A", " B", " the lazy")]
    prepared = engine.prepare(requests)
    answers(engine, requests)
    assert engine.measures("base")["tokens_packed"] < 0.3 * sum(map(width, prepared))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "bloom"])
def test_a_tokens_share_of_the_cache_is_what_the_model_keeps(architecture: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    settings = model_config(architecture, 400)
    model = AutoModelForCausalLM.from_config(settings).eval()
    with torch.inference_mode():
        cache = model(torch.tensor([[5, 6, 7]]), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 3 * cache_bytes(settings, torch.float32) == kept


def test_rolling_windows_are_those_of_lm_eval() -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    for length in (0, 1, 7, 8, 9, 16, 17, 40):
        text = list(range(10, 10 + length))
        expected = [make_disjoint_window(pair) for pair in get_rolling_token_windows(text, 1, 8, 1)]
        got = [(list(p), list(c)) for p, c in windows((1,), tuple(text), 8)]
        assert got == expected


def test_the_key_names_all_that_determines_an_answer_and_nothing_else(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny())
    requests = [
        likelihood("The", " A"),
        likelihood("The", " B"),
        likelihood("The", " A", "tuned"),
        rolling("The A"),
        writing("The"),
        writing("The", Decoding(max_new_tokens=13)),
        writing("The", Decoding(max_new_tokens=12, stop=("x",))),
        writing("The", SAMPLED),
        writing("The", replace(SAMPLED, seed=5)),
        writing("The", SAMPLED, index=1),
    ]
    keys = [item.key for item in engine.prepare(requests)]
    assert len(set(keys)) == len(keys)
    same = [
        replace(requests[0], suite="other", sample_id="9", index=3),
        writing("The", replace(requests[4].decoding or SAMPLED, seed=99)),
    ]
    assert [item.key for item in engine.prepare(same)] == [keys[0], keys[4]]
    half = open_arms(tiny(), dtype="bfloat16")
    assert half.prepare(requests[:1])[0].key != keys[0]
    assert open_arms(tiny("gpt2")).prepare(requests[:1])[0].key != keys[0]
    assert [item.key for item in open_arms(tiny()).prepare(requests)] == keys


def test_the_same_weights_in_another_configuration_have_another_key(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    def key(**settings: object) -> str:
        folder = tmp_path / "model"
        shutil.copytree(tiny().model, folder, dirs_exist_ok=True)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
        engine = open_hf({"base": config(folder)}, offline=True)
        return engine.prepare([likelihood("The", " A")])[0].key

    (unchanged,) = open_arms(tiny()).prepare([likelihood("The", " A")])
    assert key(_name_or_path="elsewhere", transformers_version="5.0.0") == unchanged.key
    assert key(rms_norm_eps=0.5) != unchanged.key


def test_arms_differ_in_their_adapter_alone(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    base, tuned = engine.fingerprints("base"), engine.fingerprints("tuned")
    assert {name for name in base if base[name] != tuned[name]} == {"adapter", "packages"}
    assert base["adapter"] == ""
    assert base["dtype"] == "float32"
    one, other = config(tiny().model), config(tiny().model, tiny().adapter)
    assert base_identity(one) == base_identity(other)
    assert base_identity(one) != base_identity(config(tiny().model, quantization="nf4"))


def test_a_stop_string_ends_its_row_and_not_the_batch(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    prompts = ["The", "今天天气很好，", "What is the capital"]
    free = answers(engine, [writing(p, Decoding(max_new_tokens=20)) for p in prompts])
    stop = free[0].text[3:5]
    stopped = Decoding(max_new_tokens=20, stop=("never seen", stop))
    got = answers(engine, [writing(p, stopped) for p in prompts])
    assert [c.text for c in got] == [cut_at(c.text, stopped.stop) for c in free]
    assert got[0].stop_reason == "stop"
    assert got[0].tokens_out < 20
    for one, other in zip(got, free, strict=True):
        assert other.token_ids[: one.tokens_out] == one.token_ids


def test_a_stop_string_within_the_thinking_ends_nothing(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    prompt = "What is the capital <t>"  # as by a template that opens the thinking itself
    (free,) = answers(engine, [writing(prompt, Decoding(max_new_tokens=24))])
    middle = len(free.text) // 2
    tags, stop = ("<t>", free.text[middle : middle + 3]), free.text[1:3]
    thinking = Decoding(max_new_tokens=24, stop=(stop,), thinking=tags)
    plain = Decoding(max_new_tokens=24, stop=(stop,))
    got, short = answers(engine, [writing(prompt, one) for one in (thinking, plain)])
    assert got.text == cut_at(free.text, (stop,), tags, prompt)
    assert len(got.text) > middle > len(short.text)
    assert short.text == free.text[: free.text.find(stop)]


def test_the_end_of_turn_ends_a_text(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    many = [writing(chr(0x4E00 + n), Decoding(max_new_tokens=40)) for n in range(24)]
    ended = [c for c in answers(engine, many) if c.token_ids[-1] == 3]
    assert ended, "among so many random texts some should end by themselves"
    for completion in ended:
        assert completion.stop_reason == "stop"
        assert 3 not in completion.token_ids[:-1]
        assert "<|im_end|>" not in completion.text
    assert all(c.tokens_out == 40 for c in answers(engine, many) if c.stop_reason == "length")


def test_logprobs_of_a_text_are_those_of_scoring_it(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    (item,) = engine.prepare([writing("The quick", SAMPLED)])
    (written,) = engine.complete(Batch.of([item]))
    scored = replace(
        item,
        key="scored",
        request=likelihood("", ""),
        continuation_ids=written.token_ids,
        decoding=None,
    )
    (again,) = engine.complete(Batch.of([scored]))
    assert written.logprobs == pytest.approx(again.logprobs, abs=1e-4)


def test_sampling_depends_on_seed_and_repeat_and_on_no_neighbour(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny())
    requests = [writing("The", SAMPLED, index=n) for n in range(6)]
    texts = [c.text for c in answers(engine, requests)]
    assert len(set(texts)) > 3
    assert [c.text for c in answers(engine, requests[::-1])] == texts[::-1]
    other = [writing("The", replace(SAMPLED, seed=5), index=n) for n in range(6)]
    assert [c.text for c in answers(engine, other)] != texts
    assert [c.text for c in answers(open_arms(tiny()), requests[2:3])] == texts[2:3]


def test_sampled_tokens_follow_the_models_distribution(tiny: Callable[..., Tiny]) -> None:
    from scipy.stats import chisquare

    engine = open_arms(tiny())
    decoding = Decoding(max_new_tokens=1, temperature=2.0)
    drawn = [
        c.token_ids[0]
        for c in answers(engine, [writing("The", decoding, index=n) for n in range(2000)])
    ]
    (item,) = engine.prepare([writing("The", decoding)])
    every = [
        replace(
            item,
            key=str(token),
            request=likelihood("", ""),
            continuation_ids=(token,),
            decoding=None,
        )
        for token in range(len(make_tokenizer()))
    ]
    logprobs = {int(c.key): c.logprobs[0] for c in engine.complete(Batch.of(every))}
    import numpy as np

    weights = np.exp(np.array([logprobs[token] for token in sorted(logprobs)]) / 2.0)
    expected = 2000 * weights / weights.sum()
    seen = np.bincount(drawn, minlength=len(expected))
    common = expected >= 5
    observed = [*seen[common], seen[~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    assert chisquare(observed, wanted).pvalue > 1e-3


def test_what_cannot_be_scored_says_why_and_is_no_number(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    got = answers(engine, [likelihood("The", ""), likelihood("The", " x" * 200), rolling("")])
    assert [c.stop_reason for c in got] == ["error"] * 3
    assert [c.logprobs for c in got] == [()] * 3
    assert "no tokens" in got[0].error
    assert "more than the 64" in got[1].error
    assert "no tokens" in got[2].error


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantised_base_answers_with_and_without_an_adapter(
    tiny: Callable[..., Tiny], quantization: str
) -> None:
    engine = open_arms(tiny("wide"), quantization=quantization)
    requests = [likelihood("The quick", " Paris", arm) for arm in ("base", "tuned")]
    got = answers(engine, [*requests, writing("The"), writing("The", arm="tuned")])
    full = answers(open_arms(tiny("wide")), requests)
    assert engine.fingerprints("base")["quantization"] == quantization
    assert got[0].logprobs != full[0].logprobs
    assert got[0].logprobs != got[1].logprobs
    assert got[0].logprobs == pytest.approx(full[0].logprobs, abs=3.0)
    assert all(c.token_ids for c in got)


def test_a_device_that_is_not_there_is_an_error(tiny: Callable[..., Tiny]) -> None:
    with pytest.raises(ModelError, match=r"model\.device"):
        open_hf({"base": config(tiny().model, device="toaster")}, offline=True)


def test_chat_and_text_are_both_answered(tiny: Callable[..., Tiny]) -> None:
    turns = (Message(role="user", content="你好"),)
    got = answers(open_arms(tiny()), [writing(turns), likelihood(turns, "Paris")])
    assert got[0].prompt_text.endswith("<|im_start|>assistant\n")
    assert got[1].logprobs
    assert got[0].prompt_hash


def test_a_turns_end_that_the_model_does_not_name_ends_a_text_unless_told_otherwise(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE.replace("<|im_end|>", "<|im_start|>"))
    engine = open_arms(tiny(), chat_template=template)
    free = Decoding(max_new_tokens=40, temperature=3.0, end_of_turn=False)
    prompts = [chr(0x4E00 + n) for n in range(80)]
    long = answers(engine, [writing(prompt, free) for prompt in prompts])
    short = answers(engine, [writing(p, replace(free, end_of_turn=True)) for p in prompts])
    ended = 0
    for one, other in zip(long, short, strict=True):
        if 2 in one.token_ids[:-1]:
            ended += 1
            assert other.token_ids == one.token_ids[: one.token_ids.index(2) + 1]
            assert other.stop_reason == "stop"
        else:
            assert other.token_ids == one.token_ids
    assert ended, "among so many random texts some should hold the mark"


def test_a_stop_string_that_no_text_shows_ends_it_at_its_token(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny())
    free = Decoding(max_new_tokens=40, temperature=3.0)
    prompts = [chr(0x4E00 + n) for n in range(80)]
    long = answers(engine, [writing(prompt, free) for prompt in prompts])
    stopped = replace(free, stop=("<|im_start|>",))
    short = answers(engine, [writing(prompt, stopped) for prompt in prompts])
    cut = [(a, b) for a, b in zip(long, short, strict=True) if 2 in a.token_ids]
    assert cut, "among so many random texts some should hold the mark"
    for one, other in cut:
        assert "<|im_start|>" not in one.text
        assert one.token_ids.index(2) == len(other.token_ids) - 1
        assert other.stop_reason == "stop"
