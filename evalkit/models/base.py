"""The narrow protocol every source of completions speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evalkit.records import Check, Completion, Decoding, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as the model will see it, with the key of everything that determines its answer.

    `prompt_ids` and `continuation_ids` are empty for models that take text. Two requests with
    one key have one answer: whoever runs them computes it once.
    """

    key: str
    request: Request
    prompt_ids: tuple[int, ...] = ()
    continuation_ids: tuple[int, ...] = ()
    prompt_text: str = ""
    prompt_hash: str = ""
    truncated: int = 0
    decoding: Decoding | None = None


class Engine(Protocol):
    """One opened source that answers for one or more arms.

    The local engine answers for a base and all its adapters over one copy of the weights, which
    is why arms are named in the requests and not one object each. Nothing heavy is loaded before
    the first call of `complete`, so that a plan costs only a tokenizer.
    """

    arms: tuple[str, ...]

    def fingerprints(self, arm: str) -> Mapping[str, str]:
        """Hashes and names of what determines this arm's answers (weights, adapter, tokenizer,
        template, dtype, quantization, engine …); goes into the manifest."""

    def checks(self, arm: str, /) -> tuple[Check, ...]:
        """The canaries that only the opened source can tell of (is the adapter this base's?)."""

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Tokenise and key the requests, in their order."""

    def batches(self, prepared: Sequence[Prepared]) -> list[list[Prepared]]:
        """Cut work into batches that are computed, and then stored, whole.

        Deterministic in its input, so that a killed run resumes with the very same batches.
        """

    def seconds(self, batches: Sequence[Sequence[Prepared]], /) -> float | None:
        """About how long the batches take at most; None where nobody can know."""

    def complete(self, batch: Sequence[Prepared]) -> Iterator[Completion]:
        """Answer a batch; one completion for each key, in any order.

        Raises ModelError where it cannot go on; what it gave before that is kept.
        """

    def measures(self, arm: str, /) -> Mapping[str, float]:
        """What the work for this arm cost so far (seconds, peak memory in bytes, usage, cost).

        Where arms are computed together, over one copy of the weights, each has the whole.
        """

    def close(self) -> None:
        """Give back memory and connections; closing twice is harmless."""
