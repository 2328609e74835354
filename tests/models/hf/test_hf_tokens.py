"""Which token ids a request becomes: boundaries, special tokens, templates, limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import ModelError, UsageError
from evalkit.models.hf import open_hf
from evalkit.models.hf.tokenizers import tokenizer_hash
from evalkit.records import Decoding, Message
from tests.models.hf.tiny_models import (
    Heard,
    Tiny,
    config,
    likelihood,
    make_tokenizer,
    open_arms,
    rolling,
    writing,
)

TURNS = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="1+1?"),
    Message(role="assistant", content="2"),
    Message(role="user", content="你好"),
)


def text_of(ids: tuple[int, ...]) -> str:
    return str(make_tokenizer().decode(ids, skip_special_tokens=False))


def test_trailing_whitespace_of_a_context_belongs_to_the_continuation(
    tiny: Callable[..., Tiny],
) -> None:
    (item,) = open_arms(tiny()).prepare([likelihood("Answer: \n", "北京")])
    assert text_of(item.prompt_ids) == item.prompt_text == "Answer:"
    assert text_of(item.continuation_ids) == " \n北京"


def test_an_empty_context_starts_from_the_bos_token(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    for item in engine.prepare([likelihood("", "Paris"), likelihood("  ", "Paris")]):
        assert item.prompt_ids == (1,)
        assert text_of(item.continuation_ids).strip() == "Paris"


def test_bos_is_written_once_on_every_row(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny("llama", bos=True))
    requests = [writing("Hello"), writing("<|bos|>Hello"), likelihood("<|bos|>Hello", " x")]
    for item in engine.prepare(requests):
        assert item.prompt_ids.count(1) == 1
        assert item.prompt_ids[0] == 1
        assert item.prompt_text == "<|bos|>Hello"


def test_turns_are_written_by_the_chat_template(tiny: Callable[..., Tiny]) -> None:
    (item,) = open_arms(tiny()).prepare([writing(TURNS, Decoding(max_new_tokens=2))])
    assert item.prompt_text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n"
        "<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert text_of(item.prompt_ids) == item.prompt_text


def test_an_answer_that_was_begun_is_continued(tiny: Callable[..., Tiny]) -> None:
    begun = (*TURNS, Message(role="assistant", content="Well,"))
    (item,) = open_arms(tiny()).prepare([writing(begun)])
    assert item.prompt_text.endswith("<|im_start|>assistant\nWell,")


def test_a_template_file_replaces_the_models_own(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}", encoding="utf-8")
    engine = open_arms(tiny(), chat_template=file)
    (item,) = engine.prepare([writing(TURNS)])
    assert item.prompt_text == "[Be brief.][1+1?][2][你好]"
    assert (
        engine.fingerprints("base")["template"]
        != open_arms(tiny()).fingerprints("base")["template"]
    )


def test_a_missing_template_file_is_named(tiny: Callable[..., Tiny], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.jinja"):
        open_arms(tiny(), chat_template=tmp_path / "absent.jinja")


def test_a_system_prompt_leads_the_first_turn_where_the_template_has_no_system_role(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    file = tmp_path / "strict.jinja"
    file.write_text(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.content }}]{% endfor %}",
        encoding="utf-8",
    )
    engine = open_hf(
        {"base": config(tiny().model, chat_template=file)}, offline=True, progress=said
    )
    (item,) = engine.prepare([writing(TURNS)])
    assert item.prompt_text == "[Be brief.\n\n1+1?][2][你好]"
    assert any("system role" in message for message in said.messages)


def test_a_template_that_drops_the_system_prompt_is_no_way_to_lose_it(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    file = tmp_path / "deaf.jinja"
    file.write_text(
        "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content | trim }}]{% endif %}"
        "{% endfor %}",
        encoding="utf-8",
    )
    engine = open_hf(
        {"base": config(tiny().model, chat_template=file)}, offline=True, progress=said
    )
    prompts = [writing((*TURNS[:3], Message(role="user", content=str(n)))) for n in range(3)]
    prepared = engine.prepare(prompts)
    assert prepared[2].prompt_text == "[Be brief.\n\n1+1?][2][2]"
    assert len([message for message in said.messages if "system role" in message]) == 1
    with pytest.raises(ModelError, match="leaves out the system prompt"):
        engine.prepare([writing((TURNS[0], TURNS[2]))])


def test_a_template_may_trim_the_system_prompt(
    tiny: Callable[..., Tiny], tmp_path: Path, said: Heard
) -> None:
    file = tmp_path / "trim.jinja"
    file.write_text("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", encoding="utf-8")
    model = config(tiny().model, chat_template=file)
    engine = open_hf({"base": model}, offline=True, progress=said)
    turns = (Message(role="system", content=" Be brief.\n"), Message(role="user", content="Hi"))
    (item,) = engine.prepare([writing(turns)])
    assert item.prompt_text == "[Be brief.][Hi]"
    assert not said.messages


def test_turns_without_a_template_are_an_error_that_says_what_to_do(
    tiny: Callable[..., Tiny], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "raw"
    shutil.copytree(tiny().model, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    engine = open_hf({"base": config(folder)}, offline=True)
    with pytest.raises(ModelError, match="chat_template"):
        engine.prepare([writing(TURNS)])


def test_what_is_too_long_loses_tokens_on_the_left_and_says_how_many(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny())
    text = "The quick brown fox jumps over the lazy dog. " * 20
    full = len(make_tokenizer().encode(text.rstrip()))
    scored, written = engine.prepare(
        [likelihood(text, "Paris"), writing(text, Decoding(max_new_tokens=14))]
    )
    # The last token is predicted and never read, so one more than the 64 fits.
    assert len(scored.prompt_ids) + len(scored.continuation_ids) == 65
    assert scored.truncated == full - len(scored.prompt_ids)
    assert len(written.prompt_ids) == 50
    assert written.truncated > 0
    assert text_of(written.prompt_ids) == written.prompt_text


def test_more_new_tokens_than_the_model_holds_are_an_error(tiny: Callable[..., Tiny]) -> None:
    with pytest.raises(ModelError, match="max_new_tokens"):
        open_arms(tiny()).prepare([writing("Hi", Decoding(max_new_tokens=64))])


def test_max_length_of_the_config_is_obeyed_and_bounded(tiny: Callable[..., Tiny]) -> None:
    (item,) = open_arms(tiny(), max_length=16).prepare([likelihood("The quick " * 30, "x")])
    assert len(item.prompt_ids) + len(item.continuation_ids) == 17
    with pytest.raises(ModelError, match="at most 64"):
        open_arms(tiny(), max_length=65)


def test_arms_that_would_see_different_tokens_are_refused(tiny: Callable[..., Tiny]) -> None:
    model = tiny()
    arms = {
        "base": config(model.model),
        "tuned": config(model.model, model.adapter, max_length=32),
    }
    with pytest.raises(UsageError, match="max_length"):
        open_hf(arms, offline=True)


def test_a_boundary_that_merges_leaves_the_continuation_its_own_tokens(
    tiny: Callable[..., Tiny],
) -> None:
    engine = open_arms(tiny())
    (item,) = engine.prepare([likelihood("quic", "k")])
    assert len(make_tokenizer().encode("quick")) <= len(make_tokenizer().encode("quic")), (
        "the test needs a text that merges"
    )
    assert text_of(item.prompt_ids + item.continuation_ids) == "quick"


def test_the_hash_of_a_tokenizer_survives_its_use() -> None:
    tokenizer = make_tokenizer()
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "bb ccc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_hash(tokenizer) == before
    assert tokenizer_hash(make_tokenizer(extra=["<|new|>"])) != before


def test_the_prompt_hash_is_that_of_the_ids(tiny: Callable[..., Tiny]) -> None:
    engine = open_arms(tiny())
    base, tuned, other = engine.prepare(
        [writing("Hello"), writing("Hello", arm="tuned"), writing("Hello!")]
    )
    assert base.prompt_hash == tuned.prompt_hash != other.prompt_hash
    (rolled,) = engine.prepare([rolling("Hello")])
    assert rolled.prompt_hash
