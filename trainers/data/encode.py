"""Rows to token ids, with a label on every token of an answer and on no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import TrainingError
from evalkit.records import Message
from trainers.data.rows import Row

IGNORED = -100
"""The label of a token that is read but not learned (PyTorch's cross-entropy skips it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row as the model sees it; `labels` is as long as `input_ids`."""

    row: Row
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    cut: int

    @property
    def learned(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A tokenizer, the chat template it renders with, and where sequences end.

    `stop_ids` are the tokens at which generation stops: the last thing an answer teaches.
    """

    tokenizer: Any
    template: str
    stop_ids: frozenset[int]
    max_length: int
    system: str | None = None

    def encode(self, row: Row) -> Example:
        """Render the conversation once, tokenise it once, and label the answers' tokens.

        Raises TrainingError where the template does not render an answer after its question.
        """
        turns = list(row.messages)
        if self.system is not None and turns[0].role != "system":
            turns.insert(0, Message(role="system", content=self.system))
        text, spans = self._rendered(turns, row)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        labels = [IGNORED] * len(ids)
        for start, end in spans:
            for index, (first, _) in enumerate(offsets):
                # A token across the boundary belongs to the question: the model is given it.
                if start <= first < end:
                    labels[index] = ids[index]
                    if ids[index] in self.stop_ids:
                        break  # nothing after the end of a turn is ever generated
        kept = self.max_length
        return Example(
            row=row,
            input_ids=tuple(ids[:kept]),
            labels=tuple(labels[:kept]),
            cut=max(len(ids) - kept, 0),
        )

    def _rendered(self, turns: Sequence[Message], row: Row) -> tuple[str, list[tuple[int, int]]]:
        """The whole conversation, and the spans of characters a model would have to write."""
        text = self._apply(turns, row, generation=False)
        spans = []
        for index, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            asked = self._apply(turns[:index], row, generation=True)
            answered = self._apply(turns[: index + 1], row, generation=False)
            if not (answered.startswith(asked) and text.startswith(answered)):
                raise TrainingError(
                    f"{row.place}: the chat template renders turn {index + 1} otherwise in the "
                    "whole conversation than when it is asked for, so its answer cannot be told "
                    "from the question. Split the conversation into rows of one answer each, or "
                    "give another `chat_template`."
                )
            spans.append((len(asked), len(answered)))
        return text, spans

    def _apply(self, turns: Sequence[Message], row: Row, *, generation: bool) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                chat_template=self.template,
                add_generation_prompt=generation,
                tokenize=False,
            )
        except Exception as error:  # templates are programs: they raise what they like
            raise TrainingError(
                f"{row.place}: the chat template refuses this conversation: {error}"
            ) from error
        return str(text)
