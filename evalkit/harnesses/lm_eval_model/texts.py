"""lm-eval's ways with generated texts: what its gen_kwargs mean, and where a text ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import UsageError
from evalkit.harnesses.lm_eval.generating import IDLE, read_settings
from evalkit.records import Decoding

MAX_NEW_TOKENS = 256
"""How long a text may be where a task does not say; as lm-eval's HFLM has it."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How one task wants its texts: as the engine knows it, and lm-eval's own stop strings."""

    decoding: Decoding
    stops: tuple[str, ...]


def read_manner(given: Mapping[str, Any], *, eos: str | None, seed: int, task: str) -> Manner:
    """A task's gen_kwargs, by lm-eval's own rules for them.

    Raises UsageError for what the engine does not do; that would change every text unseen.
    """
    from lm_eval.models.utils import handle_stop_sequences

    wanted = read_settings(given, MAX_NEW_TOKENS, task)
    stops = handle_stop_sequences(list(wanted.until), eos=eos)
    temperature = wanted.temperature or 0.0
    if wanted.sampled and temperature <= 0:
        raise UsageError(
            f"{task}: do_sample is true and the temperature 0; set --gen_kwargs temperature=… "
            "above 0, or do_sample=false."
        )
    _refuse(wanted.others, task)
    decoding = Decoding(
        max_new_tokens=wanted.limit,
        temperature=temperature,
        top_p=wanted.top_p,
        stop=tuple(stop for stop in stops if stop and stop != eos),
        seed=seed if wanted.sampled else 0,
        end_of_turn=False,  # lm-eval asks the model's own files and the task what ends a text
    )
    return Manner(decoding, tuple(stops))


def _refuse(others: Mapping[str, Any], task: str) -> None:
    for name, value in others.items():
        raise UsageError(
            f"{task}: generation_kwargs: {name}: {value!r} is nothing the model evalkit does. It "
            "follows until, max_gen_toks, do_sample, temperature and top_p; set it otherwise by "
            f"--gen_kwargs {name}={IDLE.get(name, 'null')}, or use --model hf for this task."
        )


def cut_text(
    ids: Sequence[int], stops: Sequence[str], tokenizer: Any, think_end: str | int | None = None
) -> str:
    """The text of new tokens as HFLM gives it at batch size 1: ended by `stops`, without them.

    `think_end` ends what a model thinks before it answers: a token id, or the text of it.
    """
    from lm_eval.models.utils import postprocess_generated_text

    kept = list(ids[: _end(ids, stops, tokenizer)])
    if isinstance(think_end, int) and think_end in kept:
        kept = kept[len(kept) - kept[::-1].index(think_end) :]
    text = str(tokenizer.decode(kept, skip_special_tokens=True))
    if isinstance(think_end, int):
        text = text.lstrip()
    after = think_end if isinstance(think_end, str) else None
    return str(postprocess_generated_text(text, list(stops), after))


def _end(ids: Sequence[int], stops: Sequence[str], tokenizer: Any) -> int:
    """How many tokens HFLM would have let the model write.

    It looks for a stop string in the last tokens with the special ones written out, and so also
    ends at one that is no end of text to the model (`until: ["<|im_end|>"]`).
    """
    text = tokenizer.decode(ids, skip_special_tokens=False)
    reach = {
        stop: len(tokenizer.encode(stop, add_special_tokens=False)) + 2
        for stop in stops
        if stop and stop in text
    }
    for end in range(1, len(ids) + 1) if reach else ():
        for stop, back in reach.items():
            tail = tokenizer.decode(ids[max(0, end - back) : end], skip_special_tokens=False)
            if stop in tail:
                return end
    return len(ids)
