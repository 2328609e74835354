"""What a reasoning model thinks before it answers, told from the answer.

Thinking stands between two tags at the beginning of a text. A chat template may have written the
opening one at the end of the prompt already. What is cut off within the thinking is no answer: it
is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.records import Completion

TAGS = ("<think>", "</think>")
"""As DeepSeek-R1, Qwen3 and most others write them."""

TRUNCATED = "truncated: the thinking was cut off at max_new_tokens, before any answer"


class Parts(NamedTuple):
    """A text in two; `answer_at` is where the answer begins, None where the thinking never ends."""

    thinking: str
    answer: str
    answer_at: int | None


def split(text: str, tags: Sequence[str], prompt: str = "") -> Parts:
    """The thinking at the beginning of a text, and what comes after it.

    Without tags, and where the text does not begin with thinking, all of it is the answer.
    """
    if not tags:
        return Parts("", text, 0)
    opening, closing = tags
    skipped = len(text) - len(text.lstrip())
    end = text.find(closing)
    if text.startswith(opening, skipped):
        start = skipped + len(opening)
        end = text.find(closing, start)
    elif prompt.rstrip().endswith(opening) or (end >= 0 and opening not in text[:end]):
        start = 0
    else:
        return Parts("", text, 0)
    if end < 0:
        return Parts(text[start:].strip(), "", None)
    rest = text[end + len(closing) :]
    answer = rest.lstrip()
    return Parts(text[start:end].strip(), answer, len(text) - len(answer))


def answer_only(completion: Completion, tags: Sequence[str], prompt: str = "") -> Completion:
    """The completion with its thinking set apart; cut off within it, the stop reason says so."""
    found = split(completion.text, tags, prompt)
    if not found.thinking and found.answer_at == 0:
        return completion
    cut = not found.answer and completion.stop_reason == "length"
    return replace(
        completion,
        text=found.answer,
        thinking=found.thinking,
        stop_reason="thinking" if cut else completion.stop_reason,
    )


def cut_at(text: str, stops: Sequence[str], tags: Sequence[str] = (), prompt: str = "") -> str:
    """The text before the first of the stop strings that stands in its answer."""
    start = split(text, tags, prompt).answer_at
    if start is None:
        return text  # it is still thinking
    found = [place for stop in stops if stop and (place := text.find(stop, start)) >= 0]
    return text[: min(found)] if found else text


def joined(thinking: str, answer: str, tags: Sequence[str], *, ended: bool) -> str:
    """The text as a model would have written it, where a server took the thinking out of it."""
    if not thinking or not tags:
        return answer
    opening, closing = tags
    return f"{opening}\n{thinking}\n{closing}\n{answer}" if ended or answer else opening + thinking


def unfinished(completion: Completion) -> str:
    """Why a completion holds no answer although the model did not fail; else empty."""
    return TRUNCATED if completion.stop_reason == "thinking" else ""
