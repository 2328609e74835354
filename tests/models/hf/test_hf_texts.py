"""Texts that begin alike are encoded in pieces, and become the very ids they have as wholes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from evalkit.models.hf.texts import Encoded, Texts
from evalkit.models.hf.tokens import Tokens
from evalkit.records import Request
from tests.models.hf.tiny_models import CORPUS, make_tokenizer

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
BOS = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PIECES = (
    "the", "of", " capital", " What is", " the", "\n", "\n\n", "Answer:", " Paris", "  ", " ", "?",
    "\t", "12", " 345", "é", "e\u0301", "\u0301", "北京", "答案：", "🙂", "don't", " <mask>",
    "<mask>", "<s>", "of Paris", "ﬁ", "...", " (A)", "İ", "\r\n", "▁", "A", "B",
)  # fmt: skip


def bpe(pre: Any, *, norm: Any = None, bos: bool = False, added: Sequence[AddedToken] = ()) -> Any:
    return made(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
        (pre, norm, bos, added),
    )


def unigram(pre: Any, *, norm: Any = None, bos: bool = False) -> Any:
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    return made(models.Unigram(), trainer, (pre, norm, bos, ()))


def made(model: Any, trainer: Any, parts: tuple[Any, Any, bool, Sequence[AddedToken]]) -> Any:
    from transformers import PreTrainedTokenizerFast

    pre, norm, bos, added = parts
    backend = Tokenizer(model)
    if pre is not None:
        backend.pre_tokenizer = pre
    if norm is not None:
        backend.normalizer = norm
    backend.train_from_iterator([*CORPUS, *(" ".join(PIECES[i:]) for i in range(20))], trainer)
    if bos:
        backend.post_processor = BOS
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def byte_level(*, prefix: bool = False, regex: bool = True) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def sequence(*parts: Any) -> Any:
    return pre_tokenizers.Sequence(list(parts))


CUT: dict[str, Callable[[], Any]] = {
    "byte-level": lambda: bpe(byte_level()),
    "byte-level with BOS": lambda: bpe(byte_level(), bos=True),
    "byte-level with a space in front": lambda: bpe(byte_level(prefix=True)),
    "Llama 3": lambda: bpe(
        sequence(
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level(regex=False)
        ),
        norm=normalizers.NFC(),
        bos=True,
    ),
    "digits apart": lambda: bpe(sequence(pre_tokenizers.Digits(True), byte_level())),
    "lower case": lambda: bpe(
        pre_tokenizers.Whitespace(),
        norm=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    ),
    "SentencePiece": lambda: unigram(pre_tokenizers.Metaspace()),
    "SentencePiece with BOS": lambda: unigram(
        pre_tokenizers.Metaspace(prepend_scheme="first"), bos=True
    ),
    "T5": lambda: unigram(
        sequence(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace())
    ),
    "a mask that eats spaces": lambda: bpe(
        byte_level(), added=[AddedToken("<mask>", lstrip=True, rstrip=True)]
    ),
}  # fmt: skip
WHOLE: dict[str, Callable[[], Any]] = {
    "one word": lambda: unigram(pre_tokenizers.Metaspace(split=False)),
    "no words": lambda: bpe(None),
    "Llama 2": lambda: bpe(
        None,
        norm=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        bos=True,
    ),
    "Gemma": lambda: bpe(
        pre_tokenizers.Split(" ", "merged_with_previous"), norm=normalizers.Replace(" ", "▁")
    ),
    "a token of two words": lambda: bpe(byte_level(), added=[AddedToken("of Paris")]),
    "a word that eats spaces": lambda: bpe(byte_level(), added=[AddedToken("the", rstrip=True)]),
}


@cache
def tokenizer_of(kind: str) -> Any:
    return (CUT | WHOLE)[kind]()


def encoded(tokenizer: Any, pairs: Sequence[tuple[str, str]], arms: str = "b") -> list[Encoded]:
    """The pairs as one arm's requests, or as those of several."""
    tokens = Tokens(
        tokenizer=tokenizer,
        template=None,
        max_length=4_000,
        added_prefix=tuple(tokenizer.encode("")[:1]) if tokenizer.encode("") else (),
        empty_prefix=1,
        stop_ids=frozenset(),
        end_of_turn=None,
        unembedded_from=None,
        tokenizer_hash="",
        template_hash="",
        warn=lambda _: None,
    )
    return tokens.encode(
        [
            Request(
                arm=arm,
                suite="s",
                sample_id="0",
                kind="loglikelihood",
                prompt=prompt,
                continuation=continuation,
            )
            for arm in arms
            for prompt, continuation in pairs
        ]
    )


def several(start: str, count: int) -> list[tuple[str, str]]:
    prompts = [f"{start}Question: what is the number of {n}?\nAnswer:" for n in range(count)]
    return [(prompt, f" it is {choice}") for prompt in prompts for choice in "ABCD"]


texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@pytest.mark.parametrize("kind", [*CUT, *WHOLE])
@given(data=st.data())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
def test_pieces_become_the_ids_of_the_whole(kind: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    start = "Some words that all begin with.\n\n" * 2 + data.draw(texts)
    ends = data.draw(st.lists(st.tuples(texts, texts), min_size=20, max_size=24))
    pairs = [(start + question, " " + choice) for question, choice in ends]
    for (prompt, continuation), got in zip(pairs, encoded(tokenizer, pairs), strict=True):
        before = tokenizer.encode(prompt.rstrip())
        after = tokenizer.encode(prompt + continuation)[len(before) :]
        assert list(got.prompt.ids) == before
        if after:  # else the boundary merged, which test_hf_tokens has
            assert list(got.continuation_ids) == after


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a tokenizer was given."""
    seen: list[str] = []
    for name in ("_compiled", "_exact"):
        inner = getattr(Texts, name)

        def counted(self: Texts, given: list[str], inner: Any = inner) -> Any:
            seen.extend(given)
            return inner(self, given)

        monkeypatch.setattr(Texts, name, counted)
    return seen


@pytest.mark.parametrize("kind", CUT)
def test_a_shared_start_is_read_a_few_times_and_not_by_every_choice(
    kind: str, read: list[str]
) -> None:
    start = "Some words that all of them begin with.\n" * 20
    pairs = several(start, 200)
    encoded(tokenizer_of(kind), pairs)
    assert sum(map(len, read)) < sum(len(prompt + choice) for prompt, choice in pairs) / 4


@pytest.mark.parametrize("kind", WHOLE)
def test_where_a_text_cannot_be_cut_every_text_is_read_whole(kind: str, read: list[str]) -> None:
    pairs = several("Some words that all of them begin with.\n" * 3, 20)
    encoded(tokenizer_of(kind), pairs)
    assert {prompt + choice for prompt, choice in pairs} <= set(read)


def test_a_second_arm_is_not_encoded_again_and_shares_every_id(read: list[str]) -> None:
    tokenizer = make_tokenizer()
    pairs = several("Some words that all of them begin with.\n" * 3, 20)
    one = encoded(tokenizer, pairs, arms="b")
    cost = len(read)
    read.clear()
    both = encoded(tokenizer, pairs, arms="bt")
    assert len(read) == cost
    assert both == [*one, *one]
    assert all(b is t for b, t in zip(both[:80], both[80:], strict=True))
    assert len({id(item.prompt.ids) for item in both}) == 20


def test_a_tokenizer_left_set_to_pad_and_cut_is_put_right() -> None:
    tokenizer = make_tokenizer()
    pairs = several("", 20)
    before = encoded(tokenizer, pairs)
    tokenizer(["a", "bb ccc"], padding=True, truncation=True, max_length=2)
    assert encoded(tokenizer, pairs) == before


def test_ids_beyond_the_number_of_tokens_are_kept() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<|late|>"])
    (got,) = encoded(tokenizer, [("<|late|>", " x")])
    assert got.prompt.ids == (len(tokenizer) - 1,)
