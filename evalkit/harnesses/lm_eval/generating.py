"""What lm-eval's generation settings ask for, wherever they meet evalkit: one reading of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.errors import UsageError

LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
FOLLOWED = frozenset({"until", "do_sample", "temperature", "top_p", *LIMITS})
IDLE: Mapping[str, object] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "top_k": 0,
    "repetition_penalty": 1.0,
}
"""Settings that evalkit does not have, with the value that asks for nothing."""
_OF_SAMPLING = {"top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}


class Wanted(NamedTuple):
    """How a text is to be generated; `temperature` None where a sampled text is told none.

    `others` would change the text, and evalkit does not have them.
    """

    until: tuple[str, ...]
    limit: int
    sampled: bool
    temperature: float | None
    top_p: float
    others: Mapping[str, Any]


def read_settings(given: Mapping[str, Any], limit: int, place: str) -> Wanted:
    """A task's generation_kwargs by lm-eval's own rules; `limit` where they set none.

    UsageError, which names the `place`, for a top_p that is none.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    known = {name: value for name, value in given.items() if value is not None}
    told: dict[str, Any] = dict(normalize_gen_kwargs(known, limit))
    sampled = bool(told["do_sample"])
    temperature = told.get("temperature")
    return Wanted(
        until=tuple(map(str, told["until"])),
        limit=int(told["max_gen_toks"]),
        sampled=sampled,
        temperature=float(temperature) if sampled and temperature is not None else None,
        top_p=_top_p(told, place) if sampled else 1.0,
        others={name: value for name, value in known.items() if _changes(name, value, sampled)},
    )


def _changes(name: str, value: object, sampled: bool) -> bool:
    """Whether a setting that evalkit does not have would change a text."""
    if name in FOLLOWED or name == "use_cache" or (not sampled and name in _OF_SAMPLING):
        return False
    return name not in IDLE or value != IDLE[name]


def _top_p(told: Mapping[str, Any], place: str) -> float:
    value = told.get("top_p", 1.0)
    top_p = float(value)
    if not 0 < top_p <= 1:
        raise UsageError(
            f"{place}: generation_kwargs: top_p: {value!r} is not above 0 and up to 1."
        )
    return top_p
