"""What transformers and peft say by themselves: one text at a time, no cache, no shortcut."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.models.base import Engine, Prepared
from evalkit.records import Completion, Decoding, Request
from tests.models.hf.tiny_models import (
    LENGTH,
    answers,
    likelihood,
    open_whole,
    rolling,
    writing,
)

TIE = 1e-5
"""Where the two best logits are nearer than this, rounding decides and texts may differ."""

CLOSE = 2e-4
"""How near a token's log-probability must come, in float32 on a CPU."""


class Oracle:
    """A model folder, with or without an adapter, loaded with nothing of evalkit."""

    def __init__(self, folder: Path, adapter: Path | None = None, **options: Any) -> None:
        """`options` go to from_pretrained."""
        from peft import PeftModel
        from transformers import AutoTokenizer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = {"dtype": torch.float32, **options}
            self.model = open_whole(folder, **given).eval()
            for layer in self.model.modules():
                # Else bitsandbytes computes in bfloat16 on a CPU that can, whatever it is told.
                if getattr(layer, "support_avx512bf16_for_cpu", False):
                    layer.support_avx512bf16_for_cpu = False
            self.virtual = 0  # soft tokens, for which every arm's texts leave room
            if adapter is not None:
                self.model = PeftModel.from_pretrained(self.model, str(adapter)).eval()
                settings = self.model.peft_config["default"]
                self.virtual = getattr(settings, "num_virtual_tokens", 0)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
        reach = getattr(self.model.config, "max_decoder_position_embeddings", LENGTH)
        self.room = min(LENGTH, reach)
        self._written: dict[tuple[tuple[int, ...], int], list[int]] = {}

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Logits [T, V] of one text, alone, by one plain forward."""
        text = torch.tensor([list(ids)])
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logits = self.model(
                input_ids=text, attention_mask=torch.ones_like(text), use_cache=False
            ).logits
        # Prompt tuning puts soft tokens in front of the text, prefix tuning in front of the keys.
        plain: torch.Tensor = logits[0, -len(ids) :].float()
        return plain

    def scored(
        self, prompt: Sequence[int], continuation: Sequence[int]
    ) -> tuple[list[float], bool]:
        """The log-probability of each token of a continuation; whether each was the likeliest."""
        logits = self.logits([*prompt, *continuation][:-1])[len(prompt) - 1 :]
        targets = torch.tensor(list(continuation))
        logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return logprobs.tolist(), bool((logits.argmax(-1) == targets).all())

    def rolled(self, first: int, text: Sequence[int]) -> tuple[list[float], bool]:
        """The same of a whole text, in lm-eval's windows."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        cuts = get_rolling_token_windows(list(text), first, self.room, 1)
        windows = [self.scored(*make_disjoint_window(cut)) for cut in cuts]
        return [value for values, _ in windows for value in values], all(g for _, g in windows)

    def written(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """The new tokens of `generate` on one prompt, greedily."""
        asked = (tuple(prompt), tokens)
        if asked not in self._written:
            self._written[asked] = self._write(prompt, tokens)
        return self._written[asked]

    def _write(self, prompt: Sequence[int], tokens: int) -> list[int]:
        text = torch.tensor([list(prompt)])
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            out = self.model.generate(
                input_ids=text,
                attention_mask=torch.ones_like(text),
                do_sample=False,
                max_new_tokens=tokens,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new: list[int] = out[0, text.shape[1] :].tolist()
        return new

    def scored_text(self, prompt: Sequence[int], new: Sequence[int]) -> list[float]:
        """The log-probability of each new token of a text."""
        return self.scored(prompt, new)[0]

    def is_tied(self, prompt: Sequence[int], new: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two texts part where the two best tokens are equal but for rounding."""
        pairs = zip(new, other, strict=False)
        parting = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
        if parting is None:
            return False
        best = self.next_logits(prompt, new[:parting]).topk(2).values
        return float(best[0] - best[1]) < TIE

    def next_logits(self, prompt: Sequence[int], new: Sequence[int]) -> torch.Tensor:
        """Logits [V] of what comes after a prompt and some new tokens."""
        return self.logits([*prompt, *new])[-1]

    def text(self, ids: Sequence[int], stop: Sequence[str]) -> str:
        """The text of new tokens, without the end token, up to the first of the stop strings."""
        ended = [token for token in ids if token != self.tokenizer.eos_token_id]
        text = str(self.tokenizer.decode(ended, skip_special_tokens=True))
        places = [text.find(one) for one in stop if one in text]
        return text[: min(places)] if places else text


class PairOracle(Oracle):
    """An encoder-decoder model's: the prompt to the encoder, what follows to the decoder."""

    def answered(self, prompt: Sequence[int], **decoder: Any) -> torch.Tensor:
        """Logits [T, V] of one decoder after one prompt, by one plain forward."""
        text = torch.tensor([list(prompt)])
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            out = self.model(input_ids=text, attention_mask=torch.ones_like(text), **decoder)
        plain: torch.Tensor = out.logits[0].float()
        return plain

    def scored(
        self, prompt: Sequence[int], continuation: Sequence[int]
    ) -> tuple[list[float], bool]:
        """As of labels, which transformers shifts by itself."""
        targets = torch.tensor(list(continuation))
        given = {"labels": targets[None]}
        if self.model.config.model_type == "mbart":  # which it has begin with their own last token
            ids = [self.start[0], *continuation[:-1]]
            given = {"decoder_input_ids": torch.tensor([ids])}
        logits = self.answered(prompt, **given)
        logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return logprobs.tolist(), bool((logits.argmax(-1) == targets).all())

    @property
    def start(self) -> list[int]:
        """What `generate` has the decoder begin with."""
        settings = self.model.generation_config
        forced = settings.forced_bos_token_id
        start = settings.decoder_start_token_id
        start = settings.bos_token_id if start is None else start
        return [start, *([] if forced is None else [forced])]

    def next_logits(self, prompt: Sequence[int], new: Sequence[int]) -> torch.Tensor:
        """Logits [V] of what comes after a prompt and some new tokens."""
        ids = torch.tensor([[*self.start, *new]])
        return self.answered(prompt, decoder_input_ids=ids, use_cache=False)[-1]

    def scored_text(self, prompt: Sequence[int], new: Sequence[int]) -> list[float]:
        """The log-probability of each new token of a text."""
        ids = torch.tensor([[*self.start, *new]])
        logits = self.answered(prompt, decoder_input_ids=ids[:, :-1], use_cache=False)
        logprobs = logits[-len(new) :].log_softmax(-1)
        return logprobs.gather(1, torch.tensor([list(new)]).T)[:, 0].tolist()

    def _write(self, prompt: Sequence[int], tokens: int) -> list[int]:
        text, begun = torch.tensor([list(prompt)]), len(self.start)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            out = self.model.generate(
                input_ids=text,
                attention_mask=torch.ones_like(text),
                do_sample=False,
                num_beams=1,
                max_new_tokens=tokens + begun - 1,
            )
        return list(out[0, begun:].tolist())


def oracle_of(folder: Path, adapter: Path | None = None, **options: Any) -> Oracle:
    """The oracle of a model of either kind."""
    from transformers import AutoConfig

    paired = AutoConfig.from_pretrained(folder).is_encoder_decoder
    return (PairOracle if paired else Oracle)(folder, adapter, **options)


START = "The quick brown fox jumps over the lazy dog. What is A?\n"
QUESTIONS = ("Who?", "What is 北京?", "Dear friends, what is the capital?")
CHOICES = (" A", " the lazy dog.", "今天天气很好")
ALONE = (("Hello 🙂", " dear friends"), ("", " Paris"), ("答案：", "北京"), ("B A B A", "?"))
PROMPTS = (  # uneven, and with limits that let rows leave one by one
    ("The", 12),
    (START + QUESTIONS[1], 5),
    ("今天天气很好，我们去公园散步吧。", 9),
    (START, 1),
    ("Once upon a time there was a small model. " * 2, 12),
    ("What is the capital of France? Paris. " + QUESTIONS[0], 3),
    ("🎉", 15),
)


def scoring_requests(arm: str) -> list[Request]:
    """Shared, nested and lone prompts, one or many choices, texts of one window and of several."""
    branches = [likelihood(START + q, choice, arm) for q in QUESTIONS for choice in CHOICES]
    nested = [likelihood(START[:end], START[end : end + 9], arm) for end in (10, 30, 50)]
    nested += [likelihood(START, choice, arm) for choice in ("Who", *CHOICES)]
    alone = [likelihood(*pair, arm) for pair in ALONE]
    texts = [rolling(text, arm) for text in ("Hello", START, (START + CHOICES[2]) * 4)]
    return [*branches, *nested, *alone, *texts]


def writing_requests(arm: str, oracle: Oracle) -> list[Request]:
    """Greedy texts, to a limit and up to a string the model is known to say; and their scores."""
    requests = []
    for prompt, limit in PROMPTS:
        requests.append(writing(prompt, Decoding(max_new_tokens=limit), arm))
        text = oracle.text(oracle.written(oracle.tokenizer(prompt).input_ids, limit), ())
        said = re.findall("[ -~]{2}", text[2:])
        stop = (said[0], "never said") if said else ("never said",)
        requests.append(writing(prompt, Decoding(max_new_tokens=limit, stop=stop), arm))
        first = oracle.text(oracle.written(oracle.tokenizer(prompt).input_ids, limit)[:1], ())
        if first.strip() and "\ufffd" not in first:  # the likeliest, as other choices seldom are
            requests.append(likelihood(prompt, first, arm))
    return requests


def check(
    engine: Engine,
    requests: Sequence[Request],
    oracles: Mapping[str, Oracle],
    *,
    near: float = CLOSE,
) -> None:
    """Assert that the engine's answers to the requests are the oracles', arm by arm."""
    got = answers(engine, requests)
    for item, completion in zip(engine.prepare(requests), got, strict=True):
        assert not completion.error
        oracle = oracles[item.request.arm]
        if item.request.kind == "generate":
            _check_text(oracle, item, completion, near)
        else:
            _check_scores(oracle, item, completion, near)


def _check_scores(oracle: Oracle, item: Prepared, completion: Completion, near: float) -> None:
    if item.request.kind == "rolling":
        (first,) = item.prompt_ids
        logprobs, greedy = oracle.rolled(first, item.continuation_ids)
    else:
        logprobs, greedy = oracle.scored(item.prompt_ids, item.continuation_ids)
    worst = max(abs(a - b) for a, b in zip(completion.logprobs, logprobs, strict=True))
    said = f"{item.request.arm} {item.request.prompt!r} {item.request.continuation!r}"
    assert worst <= near, f"off by {worst:.2g}: {said}"
    assert completion.is_greedy == greedy, said


def _check_text(oracle: Oracle, item: Prepared, completion: Completion, near: float) -> None:
    assert item.decoding is not None
    new = oracle.written(item.prompt_ids, item.decoding.max_new_tokens)
    if completion.token_ids != tuple(new[: len(completion.token_ids)]):
        tied = oracle.is_tied(item.prompt_ids, new, completion.token_ids)
        assert tied, f"{item.request.arm} {item.request.prompt!r}: {completion.token_ids} != {new}"
        return
    assert completion.text == oracle.text(new, item.decoding.stop)
    if len(completion.token_ids) < len(new):
        assert completion.stop_reason == "stop", "only a stop string ends a text before the oracle"
    logprobs = oracle.scored_text(item.prompt_ids, completion.token_ids)
    assert completion.logprobs == pytest.approx(logprobs, abs=near)
