"""Encoder-decoder models: what is read once, where a decoder begins, and what is refused.

That their numbers are those of transformers and lm-eval is shown where all architectures are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from evalkit.errors import ModelError
from evalkit.models.base import Outline
from evalkit.models.hf import estimate, generation, open_hf
from evalkit.models.hf.engine import HFEngine
from evalkit.models.hf.seq2seq import writing as seq2seq_writing
from evalkit.models.hf.sizes import Size
from evalkit.records import Decoding, Request
from tests.models.hf.oracle import PROMPTS, PairOracle, check
from tests.models.hf.test_hf_adapter_kinds import settings
from tests.models.hf.tiny_models import (
    GREEDY,
    LENGTH,
    Heard,
    Tiny,
    answers,
    config,
    likelihood,
    make_tokenizer,
    make_tuned,
    open_whole,
    rolling,
    writing,
)

QUESTIONS = ["The quick brown fox", "今天天气很好，", "What is the capital of France?"]


def opened(folder: Path, said: Heard | None = None, **fields: Any) -> HFEngine:
    """An engine with one arm."""
    engine = open_hf({"base": config(folder, **fields)}, offline=True, progress=said or Heard())
    assert isinstance(engine, HFEngine)
    return engine


def notes(said: Heard) -> list[str]:
    """What it was told beyond that a model is loaded."""
    return [message for message in said.messages if not message.startswith("Loading")]


@contextmanager
def counted(engine: HFEngine) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """The shapes of what encoder and decoder are given within."""
    engine._load()
    assert engine._loaded is not None
    base = engine._loaded.arms.base
    given: dict[str, list[tuple[int, ...]]] = {"encoder": [], "decoder": []}

    def note(name: str) -> Callable[..., None]:
        return lambda _, __, inputs: given[name].append(tuple(inputs["input_ids"].shape))

    hooks = [
        half.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, half in (("encoder", base.get_encoder()), ("decoder", base.get_decoder()))
    ]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_prompt_is_encoded_once_for_its_choices_and_one_row_has_those_of_one_token(
    tiny: Callable[..., Tiny], architecture: str
) -> None:
    engine = opened(tiny(architecture).model)
    asked = [
        likelihood(text, choice) for text in QUESTIONS for choice in ("A", "B", "C", " dog over")
    ]
    batches = engine.batches(engine.prepare(asked))
    outline = engine.outline(batches)
    with counted(engine) as given:
        answers(engine, asked)
    assert sum(rows for rows, _ in given["encoder"]) == len(QUESTIONS)
    long = engine.prepare(asked[3:4])[0].continuation_ids
    assert len(long) > 1
    assert sum(rows for rows, _ in given["decoder"]) == len(QUESTIONS), "before any of its answers"
    _agree(engine, outline)


def _agree(engine: HFEngine, outline: Outline) -> None:
    """What was done is what was planned."""
    done = engine.measures("base")
    assert done["tokens_packed"] == outline.unique_tokens == outline.read_tokens
    assert done["flop_done"] == pytest.approx(outline.flop)
    assert not outline.assumed
    assert (outline.seconds or 0) > 0


def test_long_prompts_are_encoded_once_and_answers_that_begin_alike_are_one_row(
    tiny: Callable[..., Tiny],
) -> None:
    model = tiny("t5").model
    engine = opened(model, batch_tokens=128)
    choices = ("A", "B", "Ab", "Abc", "Ac", "Bc", "C")
    asked = [likelihood(f"{n} " + "The fox. " * 12, choice) for n in range(6) for choice in choices]
    long = len(engine.prepare(asked[:1])[0].prompt_ids)
    assert 2 * long < 128 < 4 * long, "few prompts fit, and none with a prompt for each choice"
    outline = engine.outline(engine.batches(engine.prepare(asked)))
    with counted(engine) as given:
        check(engine, asked, {"base": PairOracle(model)})
    assert sum(rows for rows, _ in given["encoder"]) == 6
    assert sum(rows for rows, _ in given["decoder"]) == 6 * 2, "A, C, Ab, Ac, Abc; and B, Bc"
    _agree(engine, outline)


def test_texts_are_written_in_step_and_those_that_ended_are_not_written_on(
    tiny: Callable[..., Tiny],
) -> None:
    engine = opened(tiny("t5").model)
    limits = (9, 9, 5)
    asked = [
        writing(text, Decoding(max_new_tokens=limit))
        for text, limit in zip(QUESTIONS, limits, strict=True)
    ]
    with counted(engine) as given:
        got = answers(engine, asked)
    assert [one.tokens_out for one in got] == list(limits), "none ends by itself"
    assert given["encoder"] == [(3, max(one.tokens_in for one in got))]
    assert given["decoder"] == [(3, 1)] * 5 + [(2, 1)] * 4
    done = engine.measures("base")
    assert done["tokens_generated"] == sum(limits) - 3, "the first comes with reading the prompt"
    assert done["tokens_prefilled"] == sum(one.tokens_in for one in got) + 3


def test_a_prompt_is_shown_with_its_marks_and_keeps_the_last_where_it_is_too_long(
    tiny: Callable[..., Tiny],
) -> None:
    engine = opened(tiny("bart", bos=True).model)
    short, long = engine.prepare([likelihood("The", " A"), likelihood("The " * 60, " A")])
    assert short.prompt_text == "<|bos|>The<|im_end|>"
    assert (short.prompt_ids[0], short.prompt_ids[-1]) == (1, 3)
    assert len(long.prompt_ids) == LENGTH
    assert long.truncated > 0
    assert long.prompt_ids[-1] == 3
    assert long.prompt_text.endswith("<|im_end|>")
    assert not long.prompt_text.startswith("<|bos|>")
    marked, empty = engine.prepare([likelihood("<|bos|>The<|im_end|>", " A"), writing("")])
    assert marked.prompt_ids == short.prompt_ids, "no mark is doubled"
    assert empty.prompt_ids == (1, 3)


def test_new_tokens_leave_a_prompt_its_room_and_have_the_decoders(
    tiny: Callable[..., Tiny],
) -> None:
    engine = opened(tiny("bart").model)
    (kept,) = engine.prepare([writing("The " * 60, Decoding(max_new_tokens=LENGTH))])
    assert len(kept.prompt_ids) == LENGTH
    assert answers(engine, [kept.request])[0].tokens_out == LENGTH
    with pytest.raises(ModelError, match="asks for up to 65 new tokens"):
        engine.prepare([writing("The", Decoding(max_new_tokens=LENGTH + 1))])
    free = opened(tiny("t5").model)  # by distance: any number
    assert answers(free, [writing("The", Decoding(max_new_tokens=80))])[0].tokens_out == 80


def test_a_model_that_reckons_by_distance_may_be_given_longer_texts(
    tiny: Callable[..., Tiny],
) -> None:
    model = tiny("t5").model
    check(
        opened(model, max_length=3 * LENGTH),
        [likelihood("The quick brown fox. " * 20, " A"), rolling("Hello " * 80)],
        {"base": longer_oracle(model)},
    )
    with pytest.raises(ModelError, match="made for at most 64 tokens"):
        opened(tiny("bart").model, max_length=LENGTH + 1)


def longer_oracle(folder: Path) -> PairOracle:
    """One that rolls through windows of three times the usual length."""
    oracle = PairOracle(folder)
    oracle.room = 3 * LENGTH
    return oracle


def test_whole_texts_are_refused_by_the_name_of_the_suite(tiny: Callable[..., Tiny]) -> None:
    asked = Request(
        arm="base", suite="oc-hellaswag", sample_id="0", kind="whole", prompt="", continuation="A"
    )
    with pytest.raises(ModelError, match=r"oc-hellaswag .* encoder-decoder"):
        opened(tiny("t5").model).prepare([asked])


def declared(tiny: Tiny, folder: Path, **settings: Any) -> Path:
    """A copy of the model whose generation_config.json says so."""
    copytree(tiny.model, folder)
    file = folder / "generation_config.json"
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"forced_bos_token_id": 77},
        {"decoder_start_token_id": 88},
        {"repetition_penalty": 1.7},
        {"forced_bos_token_id": 77, "decoder_start_token_id": 88, "repetition_penalty": 1.7},
    ],
)
@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_texts_begin_as_generate_has_them_begin_and_scores_as_labels_are_shifted(
    tiny: Callable[..., Tiny], tmp_path: Path, architecture: str, settings: dict[str, Any]
) -> None:
    said = Heard()
    plain = opened(tiny(architecture).model)
    engine = opened(declared(tiny(architecture), tmp_path / "model", **settings), said)
    oracle = PairOracle(tmp_path / "model")
    asked = [writing(text, Decoding(max_new_tokens=limit)) for text, limit in PROMPTS]
    if "repetition_penalty" not in settings:  # a text's log-probabilities are the model's own
        check(engine, [*asked, likelihood("The", " A"), rolling("Hello")], {"base": oracle})
    got, others = answers(engine, asked), answers(plain, asked)
    _write_alike(engine, oracle, asked)
    assert [one.text for one in got] != [one.text for one in others]
    assert {one.key for one in got}.isdisjoint(one.key for one in others)
    assert not any("is not followed" in note for note in notes(said))


@pytest.mark.parametrize("architecture", ["t5", "bart"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"forced_bos_token_id": 77},
        {"repetition_penalty": 1.7, "forced_bos_token_id": 77, "bad_words_ids": [[5], [3]]},
    ],
)
def test_an_older_folder_tells_in_its_config_how_it_writes(
    tiny: Callable[..., Tiny], tmp_path: Path, architecture: str, settings: dict[str, Any]
) -> None:
    """As saved before generation_config.json was: transformers reads the other file then."""
    folder, said = tmp_path / "model", Heard()
    copytree(tiny(architecture).model, folder)
    (folder / "generation_config.json").unlink()
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings | {"num_beams": 4}))
    engine, oracle = opened(folder, said), PairOracle(folder)
    asked = [writing(text, Decoding(max_new_tokens=limit)) for text, limit in PROMPTS]
    _write_alike(engine, oracle, asked)
    assert "num_beams: 4" in notes(said)[0]


def _write_alike(engine: HFEngine, oracle: PairOracle, asked: Sequence[Request]) -> None:
    for one, item in zip(answers(engine, asked), engine.prepare(asked), strict=True):
        assert item.decoding is not None
        new = oracle.written(item.prompt_ids, item.decoding.max_new_tokens)
        assert list(one.token_ids) == new[: len(one.token_ids)]


def test_where_no_start_of_a_decoder_is_told_the_bos_is_one(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    copytree(tiny("bart").model, folder)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1}))
    engine, oracle = opened(folder), PairOracle(folder)
    assert engine.tokens.decoder_start == (3,)
    assert engine.tokens.text_start == (1,)
    _write_alike(engine, oracle, [writing(text) for text in QUESTIONS])


def test_single_tokens_that_a_model_bans_are_not_written(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    plain = answers(opened(tiny("marian").model), [writing(text) for text in QUESTIONS])
    banned = [[one.token_ids[0]] for one in plain] + [[3]]
    said = Heard()
    engine = opened(declared(tiny("marian"), tmp_path / "model", bad_words_ids=banned), said)
    asked = [writing(text) for text in QUESTIONS]
    _write_alike(engine, PairOracle(tmp_path / "model"), asked)
    got = answers(engine, asked)
    assert not {token for one in got for token in one.token_ids} & {one[0] for one in banned[:-1]}
    assert {one.key for one in got}.isdisjoint(one.key for one in plain)
    sampled = Decoding(max_new_tokens=12, temperature=2.0)
    drawn = answers(engine, [writing("The", sampled, index=index) for index in range(20)])
    assert not {token for one in drawn for token in one.token_ids} & {b[0] for b in banned[:-1]}
    assert not notes(said)[1:], "nothing is said of what is followed"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_behind_the_head_is_part_of_the_logits(
    tiny: Callable[..., Tiny], tmp_path: Path, dtype: str
) -> None:
    """A small one too, which the trial in 16 bits would not miss."""
    model = open_whole(tiny("marian").model)
    chance = torch.Generator().manual_seed(2)
    scale = 0.2 if dtype == "bfloat16" else 2.0
    model.final_logits_bias.copy_(scale * torch.randn(1, 400, generator=chance))
    model.save_pretrained(tmp_path / "model")
    make_tokenizer(eos=True).save_pretrained(tmp_path / "model")
    engine = opened(tmp_path / "model", dtype=dtype)
    oracle = PairOracle(tmp_path / "model", dtype=getattr(torch, dtype))
    asked = [likelihood(text, end) for text in QUESTIONS for end in (" A", "北京", " the dog")]
    check(engine, asked, {"base": oracle}, near=2e-4 if dtype == "float32" else 0.05)
    assert engine._loaded is not None
    network = engine._loaded.networks["base"]
    assert network.logits_from == "head"
    assert network.finish.bias is not None


def test_a_decoder_of_less_reach_than_its_encoder_has_windows_and_texts_of_its_own(
    tiny: Callable[..., Tiny],
) -> None:
    engine, oracle = opened(tiny("led").model), PairOracle(tiny("led").model)
    (long,) = engine.prepare([likelihood("The " * 60, " A")])
    assert len(long.prompt_ids) == LENGTH
    check(engine, [rolling("Hello 🙂 dear friends " * 8)], {"base": oracle})
    text = writing("The", Decoding(max_new_tokens=LENGTH // 2))
    _write_alike(engine, oracle, [text])
    with pytest.raises(ModelError, match="33 new tokens, but the model holds 32 in all"):
        engine.prepare([writing("The", Decoding(max_new_tokens=LENGTH // 2 + 1))])
    (too_long,) = answers(engine, [likelihood("The", "the fox " * 20)])
    assert "more than the 32" in too_long.error


def test_a_beam_search_that_a_model_asks_for_is_said_not_to_be_made(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    said = Heard()
    told = {"num_beams": 4, "forced_bos_token_id": 1, "no_repeat_ngram_size": 3}
    opened(declared(tiny("bart"), tmp_path / "model", **told), said)
    (note,) = notes(said)
    assert "num_beams: 4" in note
    assert "no_repeat_ngram_size: 3" in note
    assert "forced_bos" not in note


def test_a_decoder_of_which_nobody_says_where_it_begins_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    copytree(tiny("t5").model, folder)
    (folder / "generation_config.json").unlink()
    file = folder / "config.json"
    content = json.loads(file.read_text())
    for name in ("decoder_start_token_id", "bos_token_id"):
        content.pop(name, None)
    file.write_text(json.dumps(content))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            marks = json.loads((folder / name).read_text())
            marks.pop("bos_token", None)
            (folder / name).write_text(json.dumps(marks))
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        opened(folder)


class Short:
    """Runs out of memory for more texts than so many, from some step on."""

    def __init__(self, most: int, after: int) -> None:
        self.most, self.left, self.failures = most, after, 0

    def __call__(self, model: Any, parts: Any, rows: Sequence[Any], rules: Any) -> None:
        self.left -= 1
        if self.left < 0 and len(rows) > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        generation.choose(model, parts, rows, rules)


@pytest.mark.parametrize("after", [0, 3])
def test_texts_that_do_not_fit_together_are_gone_on_with_half_as_many_and_lose_no_token(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    asked = [
        writing(f"{text} {n}", Decoding(max_new_tokens=6 + n)) for text in QUESTIONS for n in (0, 3)
    ]
    expected = answers(opened(tiny("t5").model), asked)
    short = Short(2, after)
    monkeypatch.setattr(seq2seq_writing, "choose", short)
    engine = opened(tiny("t5").model)
    got = answers(engine, asked)
    assert short.failures == 2, "six, three, one"
    assert [one.token_ids for one in got] == [one.token_ids for one in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    answers(engine, [writing(f"{text}?", Decoding(max_new_tokens=6)) for text in QUESTIONS])
    assert short.failures == 2, "what did not fit is not tried again"


def test_a_single_text_that_does_not_fit_is_an_error_that_says_what_to_do(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seq2seq_writing, "choose", Short(0, 0))
    with pytest.raises(ModelError, match="Not even one text at a time fits"):
        answers(opened(tiny("t5").model), [writing("The")])


def trial_requests() -> list[Request]:
    """Choices, texts and a whole document."""
    asked = [likelihood(text, end) for text in QUESTIONS for end in (" A", "北京", " the dog")]
    return [*asked, *(writing(text) for text in QUESTIONS), rolling("Hello 🙂 dear friends")]


def test_an_encoder_that_minds_its_neighbours_is_left_to_the_model(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its states, handed over, are not what the model itself makes of the prompts."""
    from transformers import T5ForConditionalGeneration

    model, said = tiny("t5").model, Heard()
    oracle = PairOracle(model)
    for text in QUESTIONS:  # before `generate` is given such an encoder, too
        oracle.written(oracle.tokenizer(text).input_ids, GREEDY.max_new_tokens)
    real = T5ForConditionalGeneration.get_encoder

    def get_encoder(model: Any, *given: Any, **named: Any) -> Any:
        encoder = real(model, *given, **named)

        def encode(attention_mask: Any, **inputs: Any) -> Any:
            return encoder(attention_mask=torch.ones_like(attention_mask), **inputs)

        return encode

    monkeypatch.setattr(T5ForConditionalGeneration, "get_encoder", get_encoder)
    check(opened(model, said), trial_requests(), {"base": oracle})
    (note,) = notes(said)
    assert "once for each of its choices" in note
    assert "anew for every token" in note


def test_a_model_that_minds_padding_reads_one_text_at_a_time(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import T5ForConditionalGeneration

    model, said = tiny("t5").model, Heard()
    oracle = PairOracle(model)
    real = T5ForConditionalGeneration.forward

    def forward(model: Any, attention_mask: Any = None, **inputs: Any) -> Any:
        if attention_mask is not None:
            attention_mask = torch.ones_like(attention_mask)
        return real(model, attention_mask=attention_mask, **inputs)

    monkeypatch.setattr(T5ForConditionalGeneration, "forward", forward)
    check(opened(model, said), trial_requests(), {"base": oracle})
    (note,) = notes(said)
    assert "one text at a time: others beside it would change its numbers" in note
    assert "once for each of its choices" not in note, "the states of one prompt serve all"


def test_a_cache_that_cannot_be_parted_serves_one_text_at_a_time(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.cache_utils import EncoderDecoderCache

    def refuse(*_: Any) -> None:
        raise ValueError("no")

    monkeypatch.setattr(EncoderDecoderCache, "batch_select_indices", refuse)
    model, said = tiny("bart").model, Heard()
    check(opened(model, said), trial_requests(), {"base": PairOracle(model)})
    (note,) = notes(said)
    assert note.endswith("writes one text at a time.")


def test_a_model_too_short_for_the_trial_is_computed_plainly(tiny: Callable[..., Tiny]) -> None:
    model, said = tiny("t5").model, Heard()
    oracle = PairOracle(model)
    oracle.room = 39
    check(opened(model, said, max_length=39), trial_requests(), {"base": oracle})
    assert "too short" in notes(said)[0]


def test_an_encoder_that_changes_for_good_is_refused(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    import transformers as t

    copytree(tiny("pegasus").model, tmp_path / "model")
    bird = t.BigBirdPegasusConfig(vocab_size=400, d_model=32)
    bird.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="attention_type: original_full"):
        opened(tmp_path / "model")


def test_two_halves_that_were_put_together_are_one_model(tmp_path: Path) -> None:
    import transformers as t

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    half = t.BertConfig(vocab_size=400, intermediate_size=48, **sizes)
    both = t.EncoderDecoderConfig.from_encoder_decoder_configs(half, half)
    both.decoder_start_token_id, both.pad_token_id = 1, 0
    model: Any = t.EncoderDecoderModel(both)
    model.save_pretrained(tmp_path)
    make_tokenizer(eos=True).save_pretrained(tmp_path)
    check(opened(tmp_path), trial_requests(), {"base": PairOracle(tmp_path)})


def test_a_decoder_that_sees_what_comes_after_is_refused(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import T5ForConditionalGeneration

    real = T5ForConditionalGeneration.forward

    def forward(*given: Any, **inputs: Any) -> Any:
        out = real(*given, **inputs)
        out.logits = out.logits + out.logits.mean(dim=1, keepdim=True)
        return out

    monkeypatch.setattr(T5ForConditionalGeneration, "forward", forward)
    with pytest.raises(ModelError, match="not causal"):
        answers(opened(tiny("t5").model), [likelihood("The", " A")])


def test_soft_prompts_have_a_prompt_read_for_each_choice_and_the_plan_counts_it(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    model = tiny("t5").model
    adapter = make_tuned(model, tmp_path / "soft", settings("prompt tuning", "t5"))
    arms = {"base": config(model), "tuned": config(model, adapter)}
    engine = open_hf(arms, offline=True)
    asked = [
        likelihood(text, choice, arm)
        for arm in arms
        for text in QUESTIONS
        for choice in (" dog over", " the fox", "北京 is")
    ]
    outline = engine.outline(engine.batches(engine.prepare(asked)))
    prompts = sum(len(one.prompt_ids) for one in engine.prepare(asked[:9]))
    assert outline.read_tokens - outline.unique_tokens == prompts - prompts // 3
    assert not outline.assumed


def test_soft_prompts_that_stand_before_the_decoder_leave_its_texts_less_room(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    model = tiny("bart").model
    adapter = make_tuned(model, tmp_path / "soft", settings("prefix tuning", "bart"))
    arms = {"base": config(model), "tuned": config(model, adapter)}
    engine = open_hf(arms, offline=True)
    asked = [writing("The", Decoding(max_new_tokens=LENGTH - 5), arm) for arm in arms]
    assert [one.tokens_out for one in answers(engine, asked)] == [LENGTH - 5] * 2
    with pytest.raises(ModelError, match="60 new tokens, but the model holds 59 in all"):
        engine.prepare([writing("The", Decoding(max_new_tokens=LENGTH - 4))])


def test_each_half_is_counted_with_the_weights_that_its_tokens_meet(
    tiny: Callable[..., Tiny],
) -> None:
    engine = opened(tiny("t5").model)
    shape = estimate.shape_of(tiny("t5").model, engine._loader.config)
    model = open_whole(tiny("t5").model)
    encoder = sum(
        weight.numel()
        for name, weight in model.get_encoder().named_parameters()
        if not name.startswith("embed_tokens")
    )
    assert shape.encoder == encoder
    assert shape.weights == sum(weight.numel() for weight in model.parameters())
    assert shape.body + shape.encoder + shape.head == shape.weights
    names = ("encoder.block.0.w", "model.encoder.layers.0.w", "encoder.encoder.layer.0.w")
    assert all(estimate._OF_ENCODER.search(name) for name in names)
    others = ("decoder.bert.encoder.layer.0.w", "encoder.embed_tokens.w", "decoder.encoder.w")
    assert not any(estimate._OF_ENCODER.search(name) for name in others)
    size = Size()
    size.add_encoded(10)
    size.add_decoded(3, prompt=10, reads=2)
    assert shape.met(size) == 10 * shape.encoder + 3 * shape.body + 2 * shape.head
    assert size.places == 10 * 10 + (1 + 2 + 3) + 3 * 10
