"""lm-eval's HFLM is the oracle: the same log-likelihoods, the same greedy flags and texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.models.base import Engine
from evalkit.models.hf import products
from evalkit.records import Decoding
from tests.models.hf.tiny_models import (
    Tiny,
    answers,
    fuzzed_pairs,
    likelihood,
    open_arms,
    rolling,
    some_text,
    writing,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and transformers' own deprecations

KINDS = [("llama", False), ("llama", True), ("gpt2", False)]
OTHERS = [("mistral", False), ("gemma2", False), ("bloom", False)]
PAIRED = [("t5", False), ("t5-gated", False), ("bart", True), ("t5gemma", False)]
ARMS = ["base", "tuned"]


def oracle(tiny: Tiny, arm: str, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    peft = str(tiny.adapter) if arm == "tuned" else None
    return HFLM(pretrained=str(tiny.model), dtype="float32", device="cpu", peft=peft, **options)


def ask(method: Any, arguments: Sequence[tuple[Any, ...]]) -> Any:
    from lm_eval.api.instance import Instance

    rows = [Instance(method.__name__, {}, given, 0) for given in arguments]
    return method(rows, disable_tqdm=True)


def scorable(pairs: Sequence[tuple[str, str]], engine: Engine) -> list[tuple[str, str]]:
    """lm-eval asserts that a boundary never merges a continuation away; leave those out."""
    tokenizer = engine._tokens.tokenizer  # type: ignore[attr-defined]

    def survives(context: str, continuation: str) -> bool:
        kept = context.rstrip()
        whole = tokenizer.encode(context + continuation)
        return not context or len(whole) > len(tokenizer.encode(kept)) > 0

    return [pair for pair in pairs if survives(*pair)]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("architecture", "bos"), KINDS + OTHERS + PAIRED)
def test_loglikelihoods_and_greedy_flags_equal_those_of_lm_eval(
    tiny: Callable[..., Tiny], architecture: str, bos: bool, arm: str
) -> None:
    model = tiny(architecture, bos=bos)
    engine = open_arms(model)
    pairs = scorable(fuzzed_pairs(seed=len(architecture), count=80), engine)
    expected = ask(oracle(model, arm, batch_size=7).loglikelihood, pairs)
    got = answers(engine, [likelihood(*pair, arm=arm) for pair in pairs])
    assert [round(c.loglikelihood, 9) for c in got] == pytest.approx(
        [value for value, _ in expected], abs=1e-4
    )
    assert [c.is_greedy for c in got] == [greedy for _, greedy in expected]
    assert any(c.truncated for c in got), "the fuzz should hold over-length prompts"


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("architecture", "bos"), KINDS + OTHERS + PAIRED)
def test_rolling_loglikelihoods_equal_those_of_lm_eval(
    tiny: Callable[..., Tiny], architecture: str, bos: bool, arm: str
) -> None:
    model = tiny(architecture, bos=bos)
    rng = random.Random(5)
    texts = ["A" + some_text(rng, size, size) for size in (2, 9, 30, 60, 90)]
    # lm-eval would score <|bos|> after <|bos|> with a tokenizer that adds one: not asked for here.
    # Of an encoder-decoder model it scores the special tokens around a text, too, and so do we.
    marks = {} if (architecture, bos) in PAIRED else {"add_bos_token": False}
    lm = oracle(model, arm, batch_size=3, **marks)
    expected = ask(lm.loglikelihood_rolling, [(text,) for text in texts])
    got = answers(open_arms(model), [rolling(text, arm) for text in texts])
    # lm-eval sums a window in float32: in thousands of nats that alone rounds by 1e-4.
    assert [c.loglikelihood for c in got] == pytest.approx(expected, abs=1e-4, rel=1e-7)
    assert max(c.tokens_out for c in got) > 64, "the longest text should need several windows"


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("architecture", "bos"), KINDS + OTHERS + PAIRED)
def test_greedy_texts_equal_those_of_lm_eval_at_batch_one(
    tiny: Callable[..., Tiny], architecture: str, bos: bool, arm: str
) -> None:
    model = tiny(architecture, bos=bos)
    rng = random.Random(11)
    prompts = ["The" + some_text(rng, size, size) for size in (0, 3, 8, 20, 40, 60)]
    given: dict[str, Any] = {"until": ["ab", "。"], "max_gen_toks": 12, "do_sample": False}
    if (architecture, bos) in PAIRED:  # else lm-eval would write as much again as it has read
        given["max_length"] = 1 + 12
    lm = oracle(model, arm, batch_size=1)
    expected = ask(lm.generate_until, [(prompt, given) for prompt in prompts])
    decoding = Decoding(max_new_tokens=12, stop=("ab", "。"))
    got = answers(open_arms(model), [writing(prompt, decoding, arm) for prompt in prompts])
    assert [c.text for c in got] == expected
    assert any(c.truncated for c in got)


@pytest.mark.smollm2
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("sooner", "close"), [(False, 1e-4), (True, 1e-3)])
def test_smollm2_equals_lm_eval(
    smollm2: Tiny, arm: str, sooner: bool, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With lm-eval's own products, and with those of another library: these round otherwise, which
    # adds up over a long text, and are as near to the truth (see test_hf_products).
    monkeypatch.setattr(products, "_has_onednn", lambda _: sooner)
    engine = open_arms(smollm2, max_length=96)
    pairs = [
        *scorable(fuzzed_pairs(seed=2, count=10), engine),
        ("The quick brown fox " * 30, "jumps"),
        ("The capital of France is", " Paris"),
    ]
    text = "今天天气很好 🙂, dear friends. " * 12
    prompts = ["The capital of France is", "中国的首都是", "Once upon a time 🙂 "]
    lm = oracle(smollm2, arm, batch_size=8, max_length=96)
    expected = ask(lm.loglikelihood, pairs)
    document = ask(lm.loglikelihood_rolling, [(text,)])
    lm.batch_size_per_gpu = 1
    given = {"until": ["\n\n"], "max_gen_toks": 8, "do_sample": False}
    texts = ask(lm.generate_until, [(prompt, given) for prompt in prompts])
    scored = answers(engine, [likelihood(*pair, arm=arm) for pair in pairs])
    assert [c.loglikelihood for c in scored] == pytest.approx([v for v, _ in expected], abs=1e-4)
    assert [c.is_greedy for c in scored] == [greedy for _, greedy in expected]
    (rolled,) = answers(engine, [rolling(text, arm)])
    assert rolled.loglikelihood == pytest.approx(document[0], abs=close, rel=1e-7)
    decoding = Decoding(max_new_tokens=8, stop=("\n\n",))
    written = answers(engine, [writing(prompt, decoding, arm) for prompt in prompts])
    assert [c.text for c in written] == texts


def test_a_rolling_text_never_begins_with_two_bos(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    engine = open_arms(tiny("llama", bos=True))
    (plain, marked) = engine.prepare([rolling("Hello"), rolling("<|bos|>Hello")])
    assert plain.prompt_ids == marked.prompt_ids == (1,)
    assert plain.continuation_ids == marked.continuation_ids
    assert plain.key == marked.key
