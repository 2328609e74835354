"""The model that OpenCompass sees: it has no weights, and passes on what it is asked.

There are two passes. In the first each question is noted, and its number is the answer; so the
files that OpenCompass writes tell which questions belong to which row. In the second each question
is answered by the main process, and everything else happens as it did before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from opencompass.models.base import BaseModel, LMTemplateParser
from opencompass.models.huggingface_above_v4_33 import (
    _convert_base_messages,
    _convert_chat_messages,
    _get_meta_template,
)

MARK = "\x02evalkit:{}\x03"
_MARKED = re.compile("\x02evalkit:([0-9]+)\x03")

Answering = Callable[[int, list[dict[str, Any]]], list[Any]]
"""The number of the first question, and the questions as they are asked now, to their answers."""


class EngineModel(BaseModel):  # type: ignore[misc]  # untyped in opencompass
    """Questions in the words of OpenCompass's own Hugging Face classes, base or chat."""

    def __init__(self, *, chat: bool, answers: Answering | None = None) -> None:
        """Without `answers` this is the first pass."""
        super().__init__(path="evalkit")
        self.chat = chat
        self.max_seq_len = None
        self.questions: list[dict[str, Any]] = []
        self._answers = answers
        self.asked = 0
        self._chat_parser = _get_meta_template(None)
        self._text_parser = LMTemplateParser()

    def parse_template(self, prompt_template: Any, mode: str) -> Any:
        """Turns where a chat model is to write; a text, always, where likelihoods are asked."""
        as_chat = self.chat and mode == "gen"
        parser = self._chat_parser if as_chat else self._text_parser
        return parser.parse_template(prompt_template, mode)

    def generate(
        self,
        inputs: Sequence[Any],
        max_out_len: int,
        min_out_len: int | None = None,
        stopping_criteria: Sequence[str] = (),
        **others: Any,
    ) -> list[str]:
        """The text that follows each prompt."""
        others = {key: one for key, one in others.items() if one not in (None, False, {}, [])}
        if min_out_len is not None and min_out_len > 1:
            others["min_out_len"] = min_out_len
        if others:
            raise NotImplementedError(f"evalkit does not generate with {others}")
        prompts = _convert_chat_messages(inputs) if self.chat else _convert_base_messages(inputs)
        stops = list(stopping_criteria)
        questions = [
            {"kind": "generate", "prompt": one, "new": max_out_len, "stops": stops}
            for one in prompts
        ]
        found = self._put(questions)
        return [MARK.format(one) if self._answers is None else str(one or "") for one in found]

    def get_ppl(self, inputs: Sequence[Any], mask_length: Sequence[int] | None = None) -> Any:
        """The mean negative log-likelihood of each text's tokens."""
        if mask_length is not None:
            raise NotImplementedError("evalkit does not normalise perplexities by a second text")
        texts = _convert_base_messages(inputs)
        return self._numbers([{"kind": "ppl", "text": one} for one in texts])

    def get_loglikelihood(self, inputs: Sequence[Any], conts: Sequence[str]) -> Any:
        """OpenCompass's own log-likelihood of a text, given how long its continuation is."""
        texts = _convert_base_messages(inputs)
        pairs = zip(texts, conts, strict=True)
        return self._numbers([{"kind": "ll", "text": one, "rest": rest} for one, rest in pairs])

    def get_token_len(self, prompt: Any) -> int:
        """How many tokens a text has that was asked; OpenCompass's bits per byte need it."""
        if self._answers is None:
            return 1
        (text,) = _convert_base_messages([prompt])
        (length,) = self._answers(-1, [{"kind": "length", "text": text}])
        return int(length or 0)

    def _numbers(self, questions: list[dict[str, Any]]) -> Any:
        found = self._put(questions)
        return np.array([math.nan if one is None else float(one) for one in found])

    def _put(self, questions: list[dict[str, Any]]) -> list[Any]:
        first, self.asked = self.asked, self.asked + len(questions)
        if self._answers is not None:
            return self._answers(first, questions)
        self.questions += questions
        return list(range(first, self.asked))


def numbers_in(row: Any) -> list[int]:
    """The questions that made a row of OpenCompass's predictions, in the order they stand there."""
    found: list[int] = []
    for key, value in row.items():
        if isinstance(value, dict):
            found += numbers_in(value)
        elif key in ("PPL", "Loglikelihood", "ppl"):
            found.append(int(value))
        elif isinstance(value, str) and key != "origin_prompt":
            found += map(int, _MARKED.findall(value))
    return list(dict.fromkeys(found))
